"""Yesterday's posterior as today's prior, against all days at once and against twins by hand."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from laplace_nn.checks import check_gradient, check_hessian
from laplace_nn.curvature import GGN, Anchor, Anchored, ExactHessian
from laplace_nn.curvature.regularised import FunctionSpace, WeightSpace
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, KernelPosterior, as_prior
from laplace_nn.priors import GaussianPrior, by_kind, by_unit, single
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map
from tests.cases import CASES
from tests.contracts import assert_close, assert_covariances_close

BETA = 2.5


@dataclass(frozen=True)
class Day:
    """A posterior and the log evidence of its rows given those before."""

    posterior: DensePosterior
    evidence: float


def fit(mlp, likelihood, rows, prior, anchor=None, form=DensePosterior, solver="auto"):
    """MAP from the prior's mean, the posterior there, and ln p of the rows under the prior."""
    start = np.zeros(mlp.n_params) if prior.mean is None else prior.mean
    objective = NegativeLogPosterior(mlp, likelihood, prior, rows, anchor)
    theta = find_map(objective, start, solver=solver).theta
    H = GGN(mlp, theta, likelihood, rows)
    H = H if anchor is None else Anchored(H, anchor, likelihood.scale)
    posterior = form.from_curvature(theta, H, prior, likelihood.scale)
    fitted = log_likelihood(mlp, theta, likelihood, rows)
    evidence = log_marginal_likelihood(posterior, fitted)
    if anchor is not None:
        evidence = replace(evidence, log_prior=anchor.log_density(theta, prior))
    return Day(posterior, evidence.total)


def one_after_the_other(mlp, likelihood, batches, prior):
    """The last day, and the sum of all days' evidences."""
    anchor, total = None, 0.0
    for rows in batches:
        day = fit(mlp, likelihood, rows, prior, anchor)
        prior, anchor = as_prior(day.posterior)
        total += day.evidence
    return day.posterior, total


def linear_rows(n_rows=30, n_outputs=1, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3))
    y = X @ rng.normal(size=(3, n_outputs)) + 0.5 + rng.normal(size=(n_rows, n_outputs))
    return RowBlocks(X, y, rng.integers(1, 4, size=n_rows).astype(float) if weighted else None)


def cut(rows, *edges):
    """The rows in consecutive batches."""
    weights, ends = rows.sample_weight, [0, *edges, rows.n_rows]
    return [
        RowBlocks(rows.X[a:b], rows.targets[a:b], None if weights is None else weights[a:b])
        for a, b in pairwise(ends)
    ]


def design(rows):
    return np.column_stack([rows.X, np.ones(rows.n_rows)])


@pytest.mark.parametrize("edges", [(15,), (1,), (29,), (4, 11, 20)], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_linear_days_add_up_to_all_rows_at_once(n_outputs, weighted, edges):
    rows, mlp = linear_rows(n_outputs=n_outputs, weighted=weighted), MLP((3, n_outputs))
    prior = by_kind(mlp).with_precisions([0.7, 0.2])
    whole = fit(mlp, Gaussian(BETA), rows, prior)
    posterior, evidence = one_after_the_other(mlp, Gaussian(BETA), cut(rows, *edges), prior)
    assert_close(posterior.theta_map, whole.posterior.theta_map)
    assert_covariances_close(posterior.covariance(), whole.posterior.covariance())
    assert_allclose(evidence, whole.evidence, rtol=1e-8)
    gamma = whole.posterior.n_effective_params()
    assert_allclose(posterior.n_effective_params(), gamma, rtol=1e-8)


def test_log_evidence_is_the_predictive_density():
    """ln p(D₂|D₁) of a linear network is ln N(y₂ | X₂ m, X₂ A₀⁻¹ X₂ᵀ + I/β)."""
    mlp, (first, second) = MLP((3, 1)), cut(linear_rows(), 12)
    yesterday = fit(mlp, Gaussian(BETA), first, single(mlp)).posterior
    today = fit(mlp, Gaussian(BETA), second, *as_prior(yesterday))
    X = design(second)
    covariance = X @ yesterday.covariance() @ X.T + np.eye(len(X)) / BETA
    mean = X @ yesterday.theta_map
    expected = multivariate_normal.logpdf(second.targets[:, 0], mean, covariance)
    assert_allclose(today.evidence, expected, rtol=1e-8)


def test_noise_may_differ_from_day_to_day():
    mlp, (first, second) = MLP((3, 1)), cut(linear_rows(), 12)
    yesterday = fit(mlp, Gaussian(2.0), first, single(mlp)).posterior
    today = fit(mlp, Gaussian(5.0), second, *as_prior(yesterday)).posterior
    X1, X2 = design(first), design(second)
    A = 2.0 * X1.T @ X1 + 5.0 * X2.T @ X2 + np.eye(4)
    pull = 2.0 * X1.T @ first.targets[:, 0] + 5.0 * X2.T @ second.targets[:, 0]
    assert_close(today.theta_map, np.linalg.solve(A, pull))
    assert_covariances_close(today.covariance(), np.linalg.inv(A))


@pytest.mark.parametrize("form", [DensePosterior, KernelPosterior])
def test_diagonal_days_are_their_twin_by_hand(form):
    mlp, (first, second) = MLP((3, 1)), cut(linear_rows(), 12)
    yesterday = fit(mlp, Gaussian(BETA), first, single(mlp), form=form).posterior
    prior, anchor = as_prior(yesterday, full=False)
    today = fit(mlp, Gaussian(BETA), second, prior, anchor, form=form)
    X1, X, y = design(first), design(second), second.targets[:, 0]
    D = np.diag(np.diag(BETA * X1.T @ X1 + np.eye(4)))
    m = np.linalg.solve(BETA * X1.T @ X1 + np.eye(4), BETA * X1.T @ first.targets[:, 0])
    A = BETA * X.T @ X + D
    assert_close(today.posterior.theta_map, np.linalg.solve(A, BETA * X.T @ y + D @ m))
    assert_covariances_close(today.posterior.solve(np.eye(4)), np.linalg.inv(A))
    covariance = X @ np.linalg.inv(D) @ X.T + np.eye(len(X)) / BETA
    expected = multivariate_normal.logpdf(y, X @ m, covariance)
    assert_allclose(today.evidence, expected, rtol=1e-8)


def logistic_errors(n_rows, seed):
    """Of two halves against all rows: mean in standard deviations, variance, evidence."""
    rng, mlp = np.random.default_rng(seed), MLP((3, 1))
    X = rng.normal(size=(n_rows, 3))
    logits = X @ [1.0, -1.0, 0.5] + 0.3 + rng.logistic(size=n_rows)
    rows = RowBlocks(X, (logits > 0.0).astype(float)[:, None])
    whole = fit(mlp, Bernoulli(), rows, single(mlp))
    posterior, evidence = one_after_the_other(mlp, Bernoulli(), cut(rows, n_rows // 2), single(mlp))
    variance = whole.posterior.variance()
    moved = np.abs(posterior.theta_map - whole.posterior.theta_map) / np.sqrt(variance)
    widened = np.abs(posterior.variance() / variance - 1.0)
    return moved.max(), widened.max(), abs(evidence - whole.evidence)


def test_logistic_days_come_close_to_all_rows_at_once():
    """Errors fall as 1/√N, here by 4: a quadratic stands for yesterday's rows."""
    few, many = (
        np.array([logistic_errors(n_rows, seed) for seed in range(8)]) for n_rows in (100, 1600)
    )
    assert np.all(many < [0.1, 0.1, 0.2])
    assert np.all(many.mean(axis=0) < 0.5 * few.mean(axis=0))


def anchored_objective(case, seed=0):
    rng, n_params = np.random.default_rng(seed), case.mlp.n_params
    mean, root = rng.normal(size=n_params), rng.normal(size=(n_params, n_params))
    prior = replace(case.prior, mean=mean)
    anchor = Anchor(mean, root @ root.T / n_params)
    return NegativeLogPosterior(case.mlp, case.likelihood, prior, case.rows, anchor)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_of_the_anchored_objective(case):
    E, theta = anchored_objective(case), case.theta
    value, gradient = E.value_and_gradient(theta)
    assert_allclose(E.value(theta), value, rtol=1e-14)
    check_gradient(E.value, lambda w: E.value_and_gradient(w)[1], theta)
    products = E.hessian_products(theta)
    check_hessian(
        lambda w: E.value_and_gradient(w)[1], lambda _: products(np.eye(len(theta))), theta
    )
    assert_close(E.hvp(theta, gradient), products(gradient), rtol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gauss_newton_has_the_anchor_whatever_the_number_of_rows(case):
    E = anchored_objective(case)
    A = case.precision_twin(case.ggn_twin) + E.anchor.matrix
    model = E.gauss_newton(case.theta)
    assert isinstance(model, WeightSpace)
    assert_close(model.precision(), A)
    v = np.random.default_rng(1).normal(size=len(A))
    assert_close(A @ model.solve(v), v)


@pytest.mark.parametrize("n_rows", [4, 40])
def test_as_many_groups_as_weights_are_trained_in_either_space(n_rows):
    mlp, rows = MLP((1, 6, 1)), curved_rows(n_rows, -1.0, 1.0, 0)
    mean = mlp.initialise(np.random.default_rng(0))
    own = GaussianPrior(np.arange(19), np.random.default_rng(1).uniform(0.5, 2.0, 19), mean=mean)
    objective = NegativeLogPosterior(mlp, Gaussian(20.0), own, rows)
    space = WeightSpace if n_rows > 19 else FunctionSpace
    assert isinstance(objective.gauss_newton(mean), space)
    result = find_map(objective, mean)
    anchor = Anchor(mean, np.zeros((19, 19)))
    twin = find_map(replace(objective, anchor=anchor), mean)
    assert result.converged and twin.converged
    assert_close(result.theta, twin.theta, rtol=1e-6)


def curved_rows(n_rows, low, high, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(low, high, size=(n_rows, 1))
    return RowBlocks(X, np.sin(2.0 * X) + 0.1 * rng.normal(size=(n_rows, 1)))


@pytest.mark.parametrize("n_rows", [40, 8], ids=["many-rows", "more-weights-than-rows"])
@pytest.mark.parametrize("solver", ["lm", "lbfgs", "cg"])
@pytest.mark.parametrize("build", [single, by_unit])
def test_training_on_an_anchor_ends_in_a_minimum(build, solver, n_rows):
    mlp, likelihood = MLP((1, 6, 1)), Gaussian(50.0)
    first, second = curved_rows(n_rows, -2.0, 0.0, 0), curved_rows(n_rows, 0.0, 2.0, 1)
    start = mlp.initialise(np.random.default_rng(2))
    mode = find_map(NegativeLogPosterior(mlp, likelihood, build(mlp), first), start).theta
    H = GGN(mlp, mode, likelihood, first)
    yesterday = DensePosterior.from_curvature(mode, H, build(mlp), likelihood.scale)
    prior, anchor = as_prior(yesterday)
    objective = NegativeLogPosterior(mlp, likelihood, prior, second, anchor)
    result = find_map(objective, mode, solver=solver)
    assert result.converged
    size = max(1.0, abs(result.energy))
    assert np.max(np.abs(objective.value_and_gradient(result.theta)[1])) <= 1e-6 * size
    exact = Anchored(ExactHessian(mlp, result.theta, likelihood, second), anchor, likelihood.scale)
    A = likelihood.scale * exact.dense() + np.diag(prior.precision)
    assert np.linalg.eigvalsh(A)[0] > 0.0
    # Yesterday's rows are remembered, which today's alone would not have it do.
    alone = find_map(NegativeLogPosterior(mlp, likelihood, build(mlp), second), mode).theta
    remembered, forgotten = (
        log_likelihood(mlp, theta, likelihood, first) for theta in (result.theta, alone)
    )
    assert remembered > forgotten
