"""The evidence: its terms, the cases where it is exact, and its invariances."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from laplace_nn.curvature import GGN, ExactHessian, PositivePart
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood, symmetry_term
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP, softplus, tanh
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import GaussianPrior, by_kind, single
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES, SYMMETRIC_CASES, permuted

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
POSTERIORS = pytest.mark.parametrize("posterior", [DensePosterior, KernelPosterior])


def evidence(posterior, curvature, theta, prior):
    """ln p(D) with a curvature's own network, likelihood and rows."""
    mlp, likelihood, rows = curvature.mlp, curvature.likelihood, curvature.rows
    fit = log_likelihood(mlp, theta, likelihood, rows)
    gaussian = posterior.from_curvature(theta, curvature, prior, likelihood.scale)
    return log_marginal_likelihood(gaussian, fit)


def row_log_likelihoods(case):
    """ln p(t_n|w) of every row by scipy.stats, (N,)."""
    f, y = reference.outputs(case.problem, case.theta, case.rows.X), case.rows.y
    if case.likelihood_name == "gaussian":
        return stats.norm.logpdf(y, f, 1.0 / np.sqrt(case.likelihood.noise_precision)).sum(axis=1)
    if case.likelihood_name == "bernoulli":
        return stats.bernoulli.logpmf(y, expit(f)).sum(axis=1)
    if case.likelihood_name == "poisson":
        return stats.poisson.logpmf(y, np.exp(f)).sum(axis=1)
    return stats.multinomial.logpmf(y, 1, softmax(f, axis=1))


@EACH_CASE
def test_log_likelihood_is_the_weighted_sum_of_log_densities(case):
    expected = case.problem.weights @ row_log_likelihoods(case)
    for budget in (2**27, 1):
        rows = replace(case.rows, memory_budget=budget)
        actual = log_likelihood(case.mlp, case.theta, case.likelihood, rows)
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@EACH_CASE
@POSTERIORS
def test_terms(posterior, case):
    terms = evidence(posterior, case.ggn, case.theta, case.prior)
    sd = 1.0 / np.sqrt(case.prior.precisions[case.prior.groups])
    prior = stats.norm.logpdf(case.theta, 0.0, sd).sum()
    A = case.precision_twin(case.ggn_twin)
    volume = 0.5 * np.linalg.slogdet(2.0 * np.pi * np.linalg.inv(A))[1]
    fit = case.problem.weights @ row_log_likelihoods(case)
    np.testing.assert_allclose(terms.log_prior, prior, rtol=1e-12)
    np.testing.assert_allclose(terms.log_volume, volume, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(terms.log_likelihood, fit, rtol=1e-12)
    np.testing.assert_allclose(terms.total, fit + prior + volume, rtol=1e-8)


def linear_problem(n_rows=12, n_inputs=3):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n_rows, n_inputs))
    return X, X @ rng.normal(size=n_inputs) + 0.7 + 0.3 * rng.normal(size=n_rows)


@pytest.mark.parametrize(
    ("posterior", "build"),
    [
        (DensePosterior, GGN),
        (DensePosterior, ExactHessian),
        (DensePosterior, lambda *args: PositivePart(ExactHessian(*args))),
        (KernelPosterior, GGN),
    ],
    ids=["dense-ggn", "dense-exact", "dense-positive-part", "kernel-ggn"],
)
@pytest.mark.parametrize("n_rows", [12, 2])
def test_linear_gaussian_evidence_is_exact(posterior, build, n_rows):
    """The log density of the targets themselves, weights integrated out, to 1e-10."""
    X, y = linear_problem(n_rows)
    alpha, alpha_bias, beta = 0.8, 0.05, 6.0
    mlp, rows, likelihood = MLP((3, 1)), RowBlocks(X, y[:, None]), Gaussian(beta)
    theta = reference.linear_gaussian_map(X, y, alpha, alpha_bias, beta)
    prior = by_kind(mlp).with_precisions([alpha, alpha_bias])
    H = build(mlp, theta, likelihood, rows)
    fit = log_likelihood(mlp, theta, likelihood, rows)
    actual = log_marginal_likelihood(posterior.from_curvature(theta, H, prior, beta), fit).total
    expected = reference.linear_gaussian_log_evidence(X, y, alpha, alpha_bias, beta)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


@POSTERIORS
def test_several_linear_outputs_are_as_many_problems(posterior):
    X, y = linear_problem()
    targets = np.column_stack([y, -2.0 * y + X[:, 0]])
    alpha, beta, mlp = 0.8, 6.0, MLP((3, 2))
    solutions = [reference.linear_gaussian_map(X, t, alpha, alpha, beta) for t in targets.T]
    theta = mlp.pack(
        [(np.array([w[:-1] for w in solutions]), np.array([w[-1] for w in solutions]))]
    )
    H = GGN(mlp, theta, Gaussian(beta), RowBlocks(X, targets))
    expected = [reference.linear_gaussian_log_evidence(X, t, alpha, alpha, beta) for t in targets.T]
    actual = evidence(posterior, H, theta, single(mlp, alpha)).total
    np.testing.assert_allclose(actual, sum(expected), rtol=1e-10)


@POSTERIORS
def test_linear_logistic_evidence_is_that_of_a_gaussian_process_classifier(posterior):
    """Laplace in weight space is Laplace in function space, at one and the same mode."""
    X, y = linear_problem(n_rows=30)
    labels = (y > np.median(y)).astype(float)
    alpha, mlp = 0.5, MLP((3, 1))
    theta = reference.logistic_map(X, labels, alpha)
    H = GGN(mlp, theta, Bernoulli(), RowBlocks(X, labels[:, None]))
    actual = evidence(posterior, H, theta, single(mlp, alpha)).total
    kernel = ConstantKernel(1.0 / alpha) * DotProduct(sigma_0=1.0)
    process = GaussianProcessClassifier(kernel, optimizer=None).fit(X, labels)
    np.testing.assert_allclose(actual, process.log_marginal_likelihood(), rtol=1e-8)


@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_equivalent_modes_have_equal_evidence(case):
    theta = permuted(case.mlp, case.theta, np.random.default_rng(0))
    assert np.abs(theta - case.theta).max() > 0.1
    same = GGN(case.mlp, theta, case.likelihood, case.rows)
    for posterior in (DensePosterior, KernelPosterior):
        one = evidence(posterior, case.ggn, case.theta, case.prior)
        other = evidence(posterior, same, theta, case.prior)
        np.testing.assert_allclose(one.total, other.total, rtol=1e-10)


@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_equivalent_modes_have_equal_exact_evidence(case):
    prior = case.prior.with_precisions(case.prior.precisions + 1e3)
    theta = permuted(case.mlp, case.theta, np.random.default_rng(0))
    same = ExactHessian(case.mlp, theta, case.likelihood, case.rows)
    one = evidence(DensePosterior, case.exact, case.theta, prior).total
    other = evidence(DensePosterior, same, theta, prior).total
    np.testing.assert_allclose(one, other, rtol=1e-10)


@POSTERIORS
@pytest.mark.parametrize("likelihood_name", ["gaussian", "bernoulli", "categorical"])
def test_weight_two_is_the_row_twice(posterior, likelihood_name):
    case = next(
        case
        for case in CASES
        if case.likelihood_name == likelihood_name and len(case.layer_sizes) > 2
    )
    weights = np.arange(case.n_rows) % 3.0
    times = weights.astype(int)
    weighted = RowBlocks(case.rows.X, case.rows.y, weights)
    repeated = RowBlocks(
        np.repeat(case.rows.X, times, axis=0), np.repeat(case.rows.y, times, axis=0)
    )
    one, other = (
        evidence(
            posterior, GGN(case.mlp, case.theta, case.likelihood, rows), case.theta, case.prior
        )
        for rows in (weighted, repeated)
    )
    np.testing.assert_allclose(one.total, other.total, rtol=1e-12)


def test_unit_of_the_targets_costs_their_log():
    """Targets in other units: β, the output weights' α and ln p(D) move as densities do."""
    X, y = linear_problem()
    alpha, beta, unit, mlp = 0.8, 6.0, 1000.0, MLP((3, 1))
    totals = []
    for c in (1.0, unit):
        theta = reference.linear_gaussian_map(X, c * y, alpha / c**2, alpha / c**2, beta / c**2)
        rows = RowBlocks(X, c * y[:, None])
        H = GGN(mlp, theta, Gaussian(beta / c**2), rows)
        totals.append(evidence(DensePosterior, H, theta, single(mlp, alpha / c**2)).total)
    np.testing.assert_allclose(totals[1], totals[0] - len(y) * np.log(unit), rtol=1e-10)


def test_symmetry_term_counts_equivalent_modes():
    # 2! 2² and 3! 2³ for an odd activation; 2! 3! otherwise; none without hidden units.
    sizes = (4, 2, 3, 1)
    np.testing.assert_allclose(symmetry_term(MLP(sizes, tanh)), np.log(2 * 4 * 6 * 8))
    np.testing.assert_allclose(symmetry_term(MLP(sizes, softplus)), np.log(2 * 6))
    assert symmetry_term(MLP((4, 1))) == 0.0


def test_evidence_has_its_maximum_at_the_noise_that_made_the_data():
    """Occam: too small and too large a β are both worth less."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X @ np.ones(3) + rng.normal(size=400) / np.sqrt(4.0)
    totals = []
    for beta in (0.4, 4.0, 40.0):
        theta = reference.linear_gaussian_map(X, y, 1.0, 1.0, beta)
        mlp = MLP((3, 1))
        H = GGN(mlp, theta, Gaussian(beta), RowBlocks(X, y[:, None]))
        prior = GaussianPrior(np.zeros(4, dtype=int), np.ones(1))
        totals.append(evidence(DensePosterior, H, theta, prior).total)
    assert totals[1] > max(totals[0], totals[2])
