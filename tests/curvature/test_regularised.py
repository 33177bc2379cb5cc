"""A = scale·H + Λ in weight space and in function space."""

import numpy as np
import pytest

from laplace_nn.curvature.regularised import FunctionSpace, WeightSpace
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.priors import GaussianPrior, single
from tests.cases import CASES
from tests.contracts import RTOL, assert_close, assert_covariances_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def both(case, prior, scale):
    """The two forms of one precision matrix."""
    factor = case.ggn.factor()
    F = factor.dense().reshape(-1, case.mlp.n_params)
    return WeightSpace(F.T @ F, prior, scale), FunctionSpace(factor, prior, scale)


@EACH_CASE
@pytest.mark.parametrize("form", [0, 1], ids=["weight-space", "function-space"])
def test_against_the_dense_matrix(case, form):
    regularised = both(case, case.prior, case.likelihood.scale)[form]
    A = case.precision_twin(case.ggn_twin)
    covariance = np.linalg.inv(A)
    np.testing.assert_allclose(regularised.logdet, np.linalg.slogdet(A)[1], rtol=RTOL)
    assert_covariances_close(regularised.solve(np.eye(len(A))), covariance)
    assert_close(regularised.solve(np.ones(len(A))), covariance @ np.ones(len(A)))
    gamma = np.zeros(case.prior.n_groups)
    for i, group in enumerate(case.prior.groups):
        gamma[group] += 1.0 - case.prior.precisions[group] * covariance[i, i]
    np.testing.assert_allclose(regularised.n_effective_params(), gamma, rtol=RTOL, atol=RTOL)


@EACH_CASE
def test_weight_space_parts(case):
    regularised, _ = both(case, case.prior, case.likelihood.scale)
    A = case.precision_twin(case.ggn_twin)
    assert_close(regularised.precision(), A)
    V = np.random.default_rng(0).normal(size=(len(A), 3))
    half = regularised.half_solve(V)
    assert_close(half.T @ half, V.T @ np.linalg.solve(A, V))
    shrinkage = case.prior.precision * np.diag(np.linalg.inv(A))
    np.testing.assert_allclose(regularised.shrinkage, shrinkage, rtol=RTOL)


@EACH_CASE
def test_function_space_parts(case):
    _, regularised = both(case, case.prior, case.likelihood.scale)
    F = case.ggn.factor().dense().reshape(-1, case.mlp.n_params)
    cross = F / case.prior.precision @ np.ones((F.shape[1], 2))
    half = regularised.half_solve_gram(cross)
    inner = np.eye(len(F)) + case.likelihood.scale * (F / case.prior.precision) @ F.T
    expected = case.likelihood.scale * cross.T @ np.linalg.solve(inner, cross)
    assert_close(half.T @ half, expected)


@EACH_CASE
def test_precisions_over_twelve_decades_cost_no_digits(case):
    """Both forms agree where A itself would have a condition number near 1e12."""
    precisions = np.geomspace(1e-6, 1e6, case.mlp.n_params)
    rng = np.random.default_rng(1)
    prior = GaussianPrior(rng.permutation(case.mlp.n_params), precisions)
    weight, function = both(case, prior, case.likelihood.scale)
    # The smallest pivots of I + B carry the rounding of its largest entries, about 1e7.
    np.testing.assert_allclose(weight.logdet, function.logdet, rtol=1e-8)
    assert np.all(weight.n_effective_params() > -1e-12)
    # γ = 1 - λ (A⁻¹)_ii loses what 1 is larger than γ: an absolute error.
    np.testing.assert_allclose(
        weight.n_effective_params(), function.n_effective_params(), rtol=0, atol=1e-8
    )


def test_a_diagonal_matrix_in_closed_form():
    h, alpha, scale = np.array([0.0, 2.0, 5.0, 1e8]), np.array([1e-6, 3.0, 1e6, 1.0]), 0.5
    prior = GaussianPrior(np.arange(4), alpha)
    regularised = WeightSpace(np.diag(h), prior, scale)
    a = scale * h + alpha
    np.testing.assert_allclose(regularised.logdet, np.log(a).sum(), rtol=1e-14)
    np.testing.assert_allclose(regularised.solve(np.ones(4)), 1.0 / a, rtol=1e-14)
    np.testing.assert_allclose(regularised.shrinkage, alpha / a, rtol=1e-14)
    np.testing.assert_allclose(regularised.n_effective_params(), scale * h / a, atol=1e-15)


@EACH_CASE
@pytest.mark.parametrize("form", [0, 1], ids=["weight-space", "function-space"])
def test_new_hyperparameters_equal_building_anew(case, form):
    start = both(case, case.prior, case.likelihood.scale)[form]
    for prior in (case.prior.with_precisions(2.0 * case.prior.precisions), single(case.mlp, 0.3)):
        moved, anew = start.with_hyperparameters(prior, 0.7), both(case, prior, 0.7)[form]
        np.testing.assert_allclose(moved.logdet, anew.logdet, rtol=1e-13)
        np.testing.assert_array_equal(moved.factor, anew.factor)


def test_new_precisions_reuse_what_was_computed():
    weight, function = both(CASES[0], CASES[0].prior, 1.0)
    other = CASES[0].prior.with_precisions(CASES[0].prior.precisions + 1.0)
    assert weight.with_hyperparameters(other, 2.0).hessian is weight.hessian
    assert function.with_hyperparameters(other, 2.0).jacobian is function.jacobian


def test_an_indefinite_precision_is_refused_with_its_own_smallest_eigenvalue():
    """A's eigenvalue, not that of the whitened matrix that was factored."""
    prior = GaussianPrior(np.arange(2), np.array([1.0, 100.0]))
    H = np.array([[-3.0, 1.0], [1.0, 2.0]])
    with pytest.raises(NotPositiveDefiniteError) as caught:
        _ = WeightSpace(H, prior, 2.0).logdet
    smallest = np.linalg.eigvalsh(2.0 * H + np.diag([1.0, 100.0]))[0]
    assert caught.value.smallest_eigenvalue == pytest.approx(smallest, rel=1e-12)
