"""The evidence: its terms, the cases where it is exact, and its invariances."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from laplace_nn.curvature import GGN, ExactHessian, PositivePart
from laplace_nn.evidence import (
    Evidence,
    hyperparameter_widths,
    log_likelihood,
    log_marginal_likelihood,
    log_width_term,
    normalisers_apart,
    symmetry_term,
)
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP, softplus, tanh
from laplace_nn.posterior import DensePosterior, KernelPosterior, SubsetPosterior
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


@EACH_CASE
def test_terms_with_the_exact_curvature(case):
    """Several α and outputs among the cases; the precisions make every A positive definite."""
    prior = case.prior.with_precisions(case.prior.precisions + 1e3)
    terms = evidence(DensePosterior, case.exact, case.theta, prior)
    shift = 1e3 * np.eye(case.mlp.n_params)
    volume = 0.5 * np.linalg.slogdet((case.precision_twin(case.exact_twin) + shift) / 2 / np.pi)[1]
    sd = 1.0 / np.sqrt(prior.precisions[prior.groups])
    fit = case.problem.weights @ row_log_likelihoods(case)
    log_prior = stats.norm.logpdf(case.theta, 0.0, sd).sum()
    np.testing.assert_allclose(terms.log_volume, -volume, rtol=1e-8)
    np.testing.assert_allclose(terms.total, fit + log_prior - volume, rtol=1e-8)


@EACH_CASE
@POSTERIORS
def test_normalisers_apart(posterior, case):
    gaussian = posterior.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    fit = log_likelihood(case.mlp, case.theta, case.likelihood, case.rows)
    whole = replace(log_marginal_likelihood(gaussian, fit), log_symmetry=3.0)
    n_rows, n_outputs = case.rows.total_weight, case.mlp.n_outputs
    apart = normalisers_apart(whole, gaussian, case.likelihood, n_rows, n_outputs)
    alphas, sizes = case.prior.precisions, np.bincount(case.prior.groups)
    P, nk = case.mlp.n_params, case.problem.weights.sum() * n_outputs
    noisy = case.likelihood_name == "gaussian"
    expected = {
        "likelihood_normaliser": 0.5 * nk * np.log(2.5 / 2.0 / np.pi) if noisy else 0.0,
        "likelihood_energy": -case.likelihood.scale * reference.energy(case.problem, case.theta),
        "prior_normaliser": 0.5 * (sizes @ np.log(alphas) - P * np.log(2.0 * np.pi)),
        "prior_energy": -0.5 * alphas[case.prior.groups] @ case.theta**2,
        "volume_normaliser": 0.5 * P * np.log(2.0 * np.pi),
        "determinant": -0.5 * np.linalg.slogdet(case.precision_twin(case.ggn_twin))[1],
        "symmetry": 3.0,
        "hyperparameter_widths": 0.0,
    }
    assert apart.keys() == expected.keys()
    for name, term in expected.items():
        np.testing.assert_allclose(apart[name], term, rtol=1e-8, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(sum(apart.values()), whole.total, rtol=1e-12)


def test_normalisers_apart_of_selected_weights():
    case = next(c for c in CASES if str(c) == "two-hidden")
    gaussian = SubsetPosterior.from_curvature(case.theta, case.ggn, case.prior, 2.5)
    whole = log_marginal_likelihood(gaussian, -7.0)
    apart = normalisers_apart(whole, gaussian, case.likelihood, case.n_rows, 1)
    last = case.theta[-gaussian.n_free :]
    alphas = case.prior.precisions[case.prior.groups][-gaussian.n_free :]
    np.testing.assert_allclose(apart["prior_energy"], -0.5 * alphas @ last**2, rtol=1e-12)
    np.testing.assert_allclose(sum(apart.values()), whole.total, rtol=1e-12)


def test_total_is_the_sum_of_the_named_terms():
    plain = Evidence(-5.0, -3.0, -1.0)
    assert plain.total == -9.0
    names = ["log_likelihood", "log_prior", "log_volume"]
    assert list(plain.terms()) == [*names, "log_symmetry", "log_hyperparameter_widths"]
    asked = replace(plain, log_symmetry=2.0, log_hyperparameter_widths=-0.5)
    assert list(asked.terms().values()) == [-5.0, -3.0, -1.0, 2.0, -0.5]
    assert asked.total == -7.5


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


LINEAR_FORMS = pytest.mark.parametrize(
    ("posterior", "build"),
    [(DensePosterior, GGN), (DensePosterior, ExactHessian), (KernelPosterior, GGN)],
    ids=["dense-ggn", "dense-exact", "kernel-ggn"],
)


@LINEAR_FORMS
@pytest.mark.parametrize("bias_precision", [0.8, 0.05])
def test_several_linear_outputs_are_as_many_problems(posterior, build, bias_precision):
    X, y = linear_problem()
    targets = np.column_stack([y, -2.0 * y + X[:, 0]])
    precisions, beta, mlp = (0.8, bias_precision), 6.0, MLP((3, 2))
    solutions = [reference.linear_gaussian_map(X, t, *precisions, beta) for t in targets.T]
    theta = mlp.pack(
        [(np.array([w[:-1] for w in solutions]), np.array([w[-1] for w in solutions]))]
    )
    H = build(mlp, theta, Gaussian(beta), RowBlocks(X, targets))
    expected = [reference.linear_gaussian_log_evidence(X, t, *precisions, beta) for t in targets.T]
    actual = evidence(posterior, H, theta, by_kind(mlp).with_precisions(precisions)).total
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


def test_symmetry_term_of_live_units_alone():
    mlp = MLP((4, 5, 3, 1))
    assert symmetry_term(mlp, (5, 3)) == symmetry_term(mlp)
    expected = symmetry_term(MLP((4, 2, 3, 1)))
    np.testing.assert_allclose(symmetry_term(mlp, np.array([2, 3])), expected, rtol=1e-12)
    np.testing.assert_allclose(symmetry_term(mlp, [0, 1]), np.log(2.0), rtol=1e-12)
    assert symmetry_term(MLP((4, 1)), []) == 0.0


@pytest.mark.parametrize("n_units", [(5,), (5, 3, 1), (6, 3), (5, -1), (2.5, 1), ()])
def test_symmetry_term_refuses_other_numbers_of_units(n_units):
    with pytest.raises(ValueError, match=r"n_units must hold a whole number .* \(5, 3\)"):
        symmetry_term(MLP((4, 5, 3, 1)), n_units)


def test_widths_are_mackays():
    gamma = np.array([3.0, 0.5])
    np.testing.assert_allclose(hyperparameter_widths(gamma, 9.0, False), np.sqrt(2.0 / gamma))
    with_noise = hyperparameter_widths(gamma, 9.0, True)
    np.testing.assert_allclose(with_noise, np.sqrt([2.0 / 3.0, 4.0, 2.0 / 5.5]))
    np.testing.assert_array_equal(hyperparameter_widths(2.0, 9.0, False), [1.0])
    log_widths = np.log(np.sqrt(2.0 * np.pi) * with_noise)
    np.testing.assert_allclose(log_width_term(with_noise), log_widths.sum(), rtol=1e-12)
    expected = log_widths.sum() - 3.0 * np.log(10.0)
    np.testing.assert_allclose(log_width_term(with_noise, 10.0), expected, rtol=1e-12)


@pytest.mark.parametrize("nothing", [0.0, 1e-300, 0.009, -0.3])
def test_pruned_groups_are_left_out_of_the_widths(nothing):
    widths = hyperparameter_widths(np.array([3.0, nothing]), 9.0, True)
    assert widths[1] == np.inf
    one = hyperparameter_widths(np.array([3.0]), 9.0 - nothing, True)
    np.testing.assert_allclose(log_width_term(widths, 20.0), log_width_term(one, 20.0), rtol=1e-12)
    assert log_width_term(np.array([np.inf]), 20.0) == 0.0


@pytest.mark.parametrize("n_values", [3.0, 2.0, np.nan])
def test_widths_need_data_that_are_left_to_the_noise(n_values):
    hyperparameter_widths(np.array([3.0]), n_values, False)
    with pytest.raises(ValueError, match="left to the noise"):
        hyperparameter_widths(np.array([3.0]), n_values, True)


@pytest.mark.parametrize("log_range", [0.0, -1.0, np.inf, np.nan])
def test_width_term_needs_a_range(log_range):
    with pytest.raises(ValueError, match="log_range must be positive"):
        log_width_term(np.ones(2), log_range)


def test_width_term_is_the_integral_over_the_hyperparameters():
    """∫ p(D|α, β) d ln α d ln β / (ln Ω)² of a linear model on a grid; Gaussian to 0.05 nats."""
    X, y = linear_problem(n_rows=100, n_inputs=20)
    design = np.column_stack([X, np.ones(100)])
    alpha, beta = 1.0, 1.0
    for _ in range(200):
        w = reference.linear_gaussian_map(X, y, alpha, alpha, beta)
        A = beta * design.T @ design + alpha * np.eye(21)
        gamma = 21 - alpha * np.trace(np.linalg.inv(A))
        alpha, beta = gamma / (w @ w), (100 - gamma) / np.sum((y - design @ w) ** 2)
    widths = hyperparameter_widths(np.array([gamma]), 100.0, True)
    steps = np.linspace(-6.0, 6.0, 21)
    best = reference.linear_gaussian_log_evidence(X, y, alpha, alpha, beta)
    ratios = [
        reference.linear_gaussian_log_evidence(X, y, a, a, b) - best
        for a in alpha * np.exp(widths[0] * steps)
        for b in beta * np.exp(widths[1] * steps)
    ]
    cell = np.prod(widths) * (steps[1] - steps[0]) ** 2
    expected = np.log(np.exp(ratios).sum() * cell) - 2.0 * np.log(32.0)
    np.testing.assert_allclose(log_width_term(widths, 32.0), expected, atol=0.05)


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
