"""The posterior by layers against the inverse of its dense precision."""

from dataclasses import replace

import numpy as np
import pytest

from laplace_nn.curvature import GGN
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.curvature.kfac import KFAC
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import jacobian
from laplace_nn.posterior import DensePosterior
from laplace_nn.posterior.kronecker import KroneckerPosterior
from laplace_nn.priors import GaussianPrior, ard, by_kind, by_layer, single
from tests.cases import CASES, interleaved
from tests.contracts import (
    RTOL,
    _check_moments,
    _check_samples,
    assert_covariances_close,
    check_posterior,
)
from tests.curvature.test_kfac import kronecker_twin

#: Interleaved groups differ between units; the same network under ARD stands in for them.
SUPPORTED = [replace(c, grouping="ard") if c.grouping == "interleaved" else c for c in CASES]
EACH_CASE = pytest.mark.parametrize("case", SUPPORTED, ids=str)
ONE_UNIT_LAYERS = [c for c in SUPPORTED if all(size == 1 for size in c.layer_sizes[1:])]


def curvature_of(case):
    return KFAC(case.mlp, case.theta, case.likelihood, case.rows)


def build(case, prior=None, scale=None):
    scale = case.likelihood.scale if scale is None else scale
    H = curvature_of(case)
    return KroneckerPosterior.from_curvature(case.theta, H, prior or case.prior, scale)


@EACH_CASE
def test_contract(case):
    H = kronecker_twin(case.problem, case.theta)
    A, posterior = case.precision_twin(H), build(case)
    _check_moments(posterior, A, case.new_jacobian)
    _check_samples(posterior, A)
    uneven = case.prior.with_precisions(1.5 * case.prior.precisions + 0.1)
    spread = np.random.default_rng(0).uniform(0.3, 4.0, size=99)
    for prior in (uneven, *(new(case.mlp) for new in (single, by_layer, by_kind, ard))):
        prior = prior.with_precisions(prior.precisions * spread[: prior.n_groups])
        scale = 0.5 * posterior.scale
        moved = posterior.with_hyperparameters(prior, scale)
        assert moved.prior is prior and moved.scale == scale
        _check_moments(moved, scale * H + np.diag(prior.precision), case.new_jacobian)
    _check_moments(posterior, A, case.new_jacobian)


@pytest.mark.parametrize("case", ONE_UNIT_LAYERS, ids=str)
def test_whole_contract_where_every_layer_has_one_unit(case):
    """Then no prior can differ between units, and the battery's own priors are supported."""
    A = case.precision_twin(kronecker_twin(case.problem, case.theta))
    check_posterior(build(case), A, case.new_jacobian)


def test_cases_cover_every_kind_of_prior():
    groupings = {case.grouping for case in SUPPORTED}
    assert groupings >= {"single", "by_layer", "by_kind", "ard", "pruned"}
    assert len(ONE_UNIT_LAYERS) > 2


@EACH_CASE
def test_it_equals_the_dense_posterior_of_the_same_curvature(case):
    dense = DensePosterior.from_curvature(
        case.theta, curvature_of(case), case.prior, case.likelihood.scale
    )
    kronecker = build(case)
    np.testing.assert_allclose(kronecker.logdet_precision, dense.logdet_precision, rtol=RTOL)
    np.testing.assert_allclose(kronecker.variance(), dense.variance(), rtol=RTOL)
    at_rows = jacobian(case.mlp, case.theta, case.mlp.forward(case.theta, case.rows.X))
    for J in (case.new_jacobian, at_rows):
        for joint in (False, True):
            expected = dense.functional_covariance(J, joint)
            assert_covariances_close(kronecker.functional_covariance(J, joint), expected)


@pytest.mark.parametrize("case", [CASES[0], CASES[1]], ids=str)
def test_a_linear_network_with_gaussian_noise_gives_the_full_posterior(case):
    full = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    np.testing.assert_allclose(build(case).logdet_precision, full.logdet_precision, rtol=RTOL)
    assert_covariances_close(build(case).solve(np.eye(case.mlp.n_params)), full.covariance())


@EACH_CASE
def test_new_hyperparameters_equal_building_anew(case):
    for prior in (case.prior.with_precisions(3.0 * case.prior.precisions), single(case.mlp, 0.2)):
        moved, anew = build(case).with_hyperparameters(prior, 0.6), build(case, prior, 0.6)
        np.testing.assert_allclose(moved.logdet_precision, anew.logdet_precision, rtol=1e-13)
        np.testing.assert_allclose(moved.variance(), anew.variance(), rtol=1e-13)


def test_new_hyperparameters_keep_the_units_eigenvectors():
    posterior = build(CASES[5])
    moved = posterior.with_hyperparameters(single(CASES[5].mlp), 2.0)
    assert moved.regularised.unit_eigen is posterior.regularised.unit_eigen


@EACH_CASE
def test_memory_budget_changes_no_covariance(case, monkeypatch):
    posterior = build(case)
    expected = posterior.functional_covariance(case.new_jacobian)
    monkeypatch.setattr("laplace_nn.posterior.base.DEFAULT_MEMORY_BUDGET", 1)
    actual = posterior.functional_covariance(case.new_jacobian)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-14)


@EACH_CASE
def test_precisions_of_very_different_size_cost_no_digits(case):
    """A group that is all but fixed beside one that is free: PRML 5.166 would lose the second."""
    prior = by_kind(case.mlp)
    prior = prior.with_precisions(10.0 ** np.resize([-4.0, 8.0, 0.0], prior.n_groups))
    posterior = build(case, prior)
    # Whitened by hand: the plain inverse of so uneven a matrix has no digits to compare with.
    root = 1.0 / np.sqrt(prior.precision)
    H = kronecker_twin(case.problem, case.theta)
    whitened = np.eye(len(root)) + case.likelihood.scale * root[:, None] * H * root
    expected = np.diag(np.linalg.inv(whitened)) * root**2
    np.testing.assert_allclose(posterior.variance(), expected, rtol=RTOL)


@pytest.mark.parametrize("case", [c for c in CASES if c.grouping == "interleaved"], ids=str)
def test_a_prior_that_differs_between_units_is_refused(case):
    prior = case.prior
    with pytest.raises(ValueError, match="same for every unit of a layer") as caught:
        build(case, prior)
    for remedy in ("DensePosterior", "DiagonalPosterior", "layer", "layer_kind", "ard", "single"):
        assert remedy in str(caught.value)
    with pytest.raises(ValueError, match="same for every unit"):
        build(case, single(case.mlp)).with_hyperparameters(prior, 1.0)


def test_the_refusal_names_the_layer():
    case = CASES[5]
    groups = np.zeros(case.mlp.n_params, dtype=int)
    groups[-1] = 1
    prior = GaussianPrior(groups, np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="layer 1"):
        build(case, prior)
    assert np.ptp(interleaved(case.mlp).precision) == 0.0
    build(case, interleaved(case.mlp))  # groups may differ where their precisions do not


def test_a_negative_factor_is_refused():
    case = CASES[5]
    curvature = curvature_of(case)
    B, A = curvature._factors[0]
    curvature._factors[0] = (-B, A)
    posterior = KroneckerPosterior.from_curvature(case.theta, curvature, case.prior, 10.0)
    with pytest.raises(NotPositiveDefiniteError) as caught:
        posterior.variance()
    assert caught.value.smallest_eigenvalue < 0.0


def test_a_curvature_without_kronecker_factors_is_refused():
    case = CASES[4]
    H = GGN(case.mlp, case.theta, case.likelihood, case.rows)
    with pytest.raises(MissingCapabilityError, match="KroneckerPosterior needs kronecker"):
        KroneckerPosterior.from_curvature(case.theta, H, case.prior, 1.0)
