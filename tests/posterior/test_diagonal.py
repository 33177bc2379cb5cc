"""The posterior with independent weights against the inverse of its diagonal."""

import numpy as np
import pytest

from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.curvature.backprop_diagonal import BackpropDiagonal
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.curvature.empirical_fisher import EmpiricalFisher
from laplace_nn.curvature.kfac import KFAC
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.posterior import DensePosterior
from laplace_nn.posterior.diagonal import DiagonalPosterior
from laplace_nn.priors import single
from tests.cases import CASES
from tests.contracts import RTOL, assert_covariances_close, check_posterior
from tests.curvature.test_backprop_diagonal import diagonal_twin
from tests.curvature.test_empirical_fisher import fisher_twin
from tests.curvature.test_kfac import kronecker_twin

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)

#: Every curvature with the twin of its matrix, from a case.
CURVATURES = {
    "ggn": (GGN, lambda case: case.ggn_twin),
    "exact": (ExactHessian, lambda case: case.exact_twin),
    "backprop-diagonal": (BackpropDiagonal, lambda case: diagonal_twin(case.problem, case.theta)),
    "empirical-fisher": (EmpiricalFisher, lambda case: fisher_twin(case.problem, case.theta)),
    "kfac": (KFAC, lambda case: kronecker_twin(case.problem, case.theta)),
}


def build(case, curvature=GGN, scale=None):
    H = curvature(case.mlp, case.theta, case.likelihood, case.rows)
    scale = case.likelihood.scale if scale is None else scale
    return DiagonalPosterior.from_curvature(case.theta, H, case.prior, scale)


@EACH_CASE
@pytest.mark.parametrize("name", CURVATURES)
def test_contract(name, case):
    curvature, twin = CURVATURES[name]
    h = np.diag(twin(case))
    # Where h is negative, the prior has to outweigh it; the battery's weakest precision is 0.4.
    scale = case.likelihood.scale if h.min() >= 0.0 else 0.1 / (1.0 - h.min())
    A = case.precision_twin(np.diag(h), scale)
    check_posterior(build(case, curvature, scale), A, case.new_jacobian)


@EACH_CASE
def test_a_diagonal_matrix_gives_the_dense_posterior(case):
    H = BackpropDiagonal(case.mlp, case.theta, case.likelihood, case.rows)
    scale = 0.1 / (1.0 + np.abs(H.diagonal()).max())
    diagonal, dense = (
        posterior.from_curvature(case.theta, H, case.prior, scale)
        for posterior in (DiagonalPosterior, DensePosterior)
    )
    np.testing.assert_allclose(diagonal.logdet_precision, dense.logdet_precision, rtol=RTOL)
    np.testing.assert_allclose(diagonal.solve(case.theta), dense.solve(case.theta), rtol=RTOL)
    for joint in (False, True):
        expected = dense.functional_covariance(case.new_jacobian, joint)
        assert_covariances_close(diagonal.functional_covariance(case.new_jacobian, joint), expected)


@EACH_CASE
def test_variances_are_never_larger_than_those_of_the_full_posterior(case):
    full = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    assert np.all(build(case).variance() <= full.variance() * (1.0 + 1e-12))


@EACH_CASE
def test_new_hyperparameters_equal_building_anew(case):
    start = build(case)
    for prior in (case.prior.with_precisions(3.0 * case.prior.precisions), single(case.mlp, 0.2)):
        moved = start.with_hyperparameters(prior, 0.6)
        anew = DiagonalPosterior.from_curvature(case.theta, case.ggn, prior, 0.6)
        assert moved.prior is prior and moved.scale == 0.6
        np.testing.assert_array_equal(moved.variance(), anew.variance())


@EACH_CASE
def test_memory_budget_changes_no_covariance(case, monkeypatch):
    posterior = build(case)
    expected = posterior.functional_covariance(case.new_jacobian)
    monkeypatch.setattr("laplace_nn.posterior.base.DEFAULT_MEMORY_BUDGET", 1)
    actual = posterior.functional_covariance(case.new_jacobian)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-14)


def test_a_negative_precision_is_refused_with_its_size():
    refused = 0
    for case in CASES:
        smallest = np.diag(case.precision_twin(case.exact_twin)).min()
        if smallest > 0:
            continue
        refused += 1
        posterior = build(case, ExactHessian)
        uses = (
            posterior.variance,
            posterior.n_effective_params,
            lambda posterior=posterior: posterior.logdet_precision,
            lambda posterior=posterior, case=case: posterior.solve(case.theta),
            lambda posterior=posterior: posterior.sample(1, np.random.default_rng(0)),
        )
        for use in uses:
            with pytest.raises(NotPositiveDefiniteError) as caught:
                use()
            assert caught.value.smallest_eigenvalue == pytest.approx(smallest, rel=1e-8)
    assert refused > 2


def test_an_overflow_is_named():
    case = CASES[4]
    posterior = build(case, scale=np.inf)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        posterior.variance()


def test_something_without_a_diagonal_is_refused():
    case = CASES[4]
    with pytest.raises(MissingCapabilityError, match="DiagonalPosterior needs diagonal"):
        DiagonalPosterior.from_curvature(case.theta, np.eye(2), case.prior, 1.0)
