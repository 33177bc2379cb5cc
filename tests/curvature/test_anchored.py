"""Anchors and anchored curvatures against their twins, and posteriors made into them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from laplace_nn.curvature import GGN, KFAC, Anchor, Anchored, BackpropDiagonal
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    KernelPosterior,
    KroneckerPosterior,
    LowRankPosterior,
    SequentialPosterior,
    SubsetPosterior,
    as_prior,
    last_layer,
)
from laplace_nn.priors import GaussianPrior, by_layer, single
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close, assert_covariances_close, check_curvature, check_posterior

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
CASE = next(case for case in CASES if case.name == "tanh")
KINDS = {  # how the same precision is held, P x P or by its factors
    "dense": DensePosterior,
    "sequential": SequentialPosterior,
    "low-rank": lambda *parts: LowRankPosterior.from_curvature(*parts, rank=10**6),
    "kernel": KernelPosterior,
}


def anchor_of(case, seed=0):
    """A positive semidefinite Q of rank P/2 about some mean."""
    rng, n_params = np.random.default_rng(seed), case.mlp.n_params
    root = rng.normal(size=(n_params, max(1, n_params // 2)))
    return Anchor(rng.normal(size=n_params), root @ root.T)


def posterior_of(kind, case, curvature=None, prior=None):
    build = getattr(kind, "from_curvature", kind)
    prior = case.prior if prior is None else prior
    H = case.ggn if curvature is None else curvature
    return build(case.theta, H, prior, case.likelihood.scale)


@EACH_CASE
def test_energy_gradient_and_products(case):
    anchor, theta = anchor_of(case), case.theta
    moved = theta - anchor.mean

    def energies(points):
        deviations = points - anchor.mean
        return 0.5 * np.einsum("...i,ij,...j->...", deviations, anchor.matrix, deviations)

    assert_allclose(anchor.energy(theta), energies(theta), rtol=1e-12)
    assert_close(anchor.gradient(theta), reference.five_point(energies, theta))
    V = np.random.default_rng(1).normal(size=(2, 3, len(theta)))
    assert_close(anchor.products(V), V @ anchor.matrix, rtol=1e-13)
    assert_close(anchor.products(moved), anchor.gradient(theta), rtol=1e-13)


@EACH_CASE
def test_contract(case):
    anchor, scale = anchor_of(case), case.likelihood.scale
    check_curvature(Anchored(case.ggn, anchor, scale), case.ggn_twin + anchor.matrix / scale)


@pytest.mark.parametrize("kind", [DensePosterior, KINDS["low-rank"]], ids=["dense", "low-rank"])
@EACH_CASE
def test_posteriors_take_it(kind, case):
    anchor = anchor_of(case)
    anchored = Anchored(case.ggn, anchor, case.likelihood.scale)
    posterior = posterior_of(kind, case, anchored)
    A = case.precision_twin(case.ggn_twin) + anchor.matrix
    check_posterior(posterior, A, case.new_jacobian)


def test_diagonal_and_subset_posteriors_take_it():
    anchor, scale = anchor_of(CASE), CASE.likelihood.scale
    A = CASE.precision_twin(CASE.ggn_twin) + anchor.matrix
    anchored = Anchored(CASE.ggn, anchor, scale)
    diagonal = posterior_of(DiagonalPosterior, CASE, anchored)
    assert_close(diagonal.variance(), 1.0 / np.diag(A))
    subset, chosen = posterior_of(SubsetPosterior, CASE, anchored), last_layer(CASE.mlp)
    assert_close(subset.variance()[chosen], np.diag(np.linalg.inv(A[np.ix_(chosen, chosen)])))


def test_semidefinite_where_both_parts_are():
    anchor, scale = anchor_of(CASE), CASE.likelihood.scale
    negative = replace(anchor, matrix=-anchor.matrix)
    assert Anchored(CASE.ggn, anchor, scale).semidefinite
    assert not Anchored(CASE.ggn, negative, scale).semidefinite
    assert not Anchored(CASE.exact, anchor, scale).semidefinite


@EACH_CASE
def test_log_density_of_anchor_and_prior_is_that_of_one_gaussian(case):
    anchor = anchor_of(case)
    prior = replace(case.prior, mean=anchor.mean)
    covariance = np.linalg.inv(anchor.matrix + np.diag(prior.precision))
    expected = multivariate_normal.logpdf(
        case.theta, anchor.mean, 0.5 * (covariance + covariance.T)
    )
    assert_allclose(anchor.log_density(case.theta, prior), expected, rtol=1e-8)


def test_log_density_needs_one_mean_and_a_precision():
    anchor = anchor_of(CASE)
    with pytest.raises(ValueError, match="only about the same mean"):
        anchor.log_density(CASE.theta, CASE.prior)
    zero = replace(anchor, mean=np.zeros(len(anchor.mean)))
    assert np.isfinite(zero.log_density(CASE.theta, CASE.prior))
    negative = replace(zero, matrix=-1e3 * anchor.matrix)
    with pytest.raises(NotPositiveDefiniteError):
        negative.log_density(CASE.theta, CASE.prior)


@pytest.mark.parametrize(
    ("mean", "matrix", "sentence"),
    [
        (np.zeros(2), np.eye(3), r"got shapes \(2,\) and \(3, 3\)"),
        (np.zeros((2, 1)), np.eye(2), r"got shapes \(2, 1\) and \(2, 2\)"),
        (np.array([0.0, np.nan]), np.eye(2), "finite entries"),
        (np.zeros(2), np.full((2, 2), np.inf), "finite entries"),
        (np.zeros(2), np.array([[1.0, 0.5], [0.4, 1.0]]), "must be symmetric; .* up to 0.1"),
    ],
)
def test_what_is_no_anchor_is_refused(mean, matrix, sentence):
    with pytest.raises(ValueError, match=sentence):
        Anchor(mean, matrix)


def test_what_cannot_be_anchored_is_refused():
    anchor = anchor_of(CASE)
    with pytest.raises(ValueError, match="over 13 weights, the anchor over 2"):
        Anchored(CASE.ggn, Anchor(np.zeros(2), np.eye(2)), 1.0)
    for scale in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="positive finite number"):
            Anchored(CASE.ggn, anchor, scale)


def test_it_offers_no_more_than_its_curvature_and_no_factor():
    anchored = Anchored(CASE.ggn, anchor_of(CASE), CASE.likelihood.scale)
    with pytest.raises(MissingCapabilityError, match="KernelPosterior needs factor"):
        posterior_of(KernelPosterior, CASE, anchored)
    only_diagonal = BackpropDiagonal(CASE.mlp, CASE.theta, CASE.likelihood, CASE.rows)
    only_diagonal.capabilities = frozenset({"diagonal"})
    anchored = Anchored(only_diagonal, anchor_of(CASE), CASE.likelihood.scale)
    with pytest.raises(MissingCapabilityError, match="DensePosterior needs dense"):
        posterior_of(DensePosterior, CASE, anchored)


@pytest.mark.parametrize("name", ["dense", "sequential", "low-rank"])
@EACH_CASE
def test_full_is_the_posterior_itself(name, case):
    prior, anchor = as_prior(posterior_of(KINDS[name], case))
    A = case.precision_twin(case.ggn_twin)
    assert_covariances_close(anchor.matrix + np.diag(prior.precision), A)
    assert_array_equal(prior.mean, case.theta)
    assert_array_equal(anchor.mean, case.theta)
    assert_array_equal(prior.groups, case.prior.groups)
    assert prior.names == case.prior.names


def test_layers_that_are_independent_are_made_full_too():
    case, kfac = CASE, KFAC(CASE.mlp, CASE.theta, CASE.likelihood, CASE.rows)
    prior = by_layer(case.mlp, 0.7)
    _, anchor = as_prior(posterior_of(KroneckerPosterior, case, kfac, prior))
    assert_close(anchor.matrix, case.likelihood.scale * kfac.dense())


@pytest.mark.parametrize("name", KINDS)
@EACH_CASE
def test_diagonal_is_that_of_the_precision(name, case):
    prior, anchor = as_prior(posterior_of(KINDS[name], case), full=False)
    assert anchor is None
    assert_allclose(prior.precision, np.diag(case.precision_twin(case.ggn_twin)), rtol=1e-8)
    assert_array_equal(prior.mean, case.theta)
    assert prior.n_groups == prior.n_params == case.mlp.n_params


@pytest.mark.parametrize("full", [True, False])
def test_a_diagonal_posterior_needs_no_anchor(full):
    prior, anchor = as_prior(posterior_of(DiagonalPosterior, CASE), full=full)
    assert anchor is None
    assert_close(prior.precision, np.diag(CASE.precision_twin(CASE.ggn_twin)))


def test_diagonal_of_the_precision_is_the_nearest_of_independent_weights():
    """KL(q‖p) of N(m, D⁻¹) and N(m, A⁻¹) about its claimed minimum."""
    A = CASE.precision_twin(CASE.ggn_twin)

    def divergence(d):
        trace, (_, logdet) = np.sum(np.diag(A) / d), np.linalg.slogdet(A)
        return 0.5 * (trace - len(A) - logdet + np.sum(np.log(d)))

    prior, _ = as_prior(posterior_of(DensePosterior, CASE), full=False)
    best, rng = divergence(prior.precision), np.random.default_rng(0)
    for size in (1e-3, 0.1, 1.0):
        assert divergence(prior.precision * np.exp(size * rng.normal(size=len(A)))) > best
    assert divergence(1.0 / np.diag(np.linalg.inv(A))) > best


def test_function_space_is_not_made_full():
    with pytest.raises(ValueError, match=r"function space full, .* use full=False"):
        as_prior(posterior_of(KernelPosterior, CASE))


@pytest.mark.parametrize("full", [True, False])
def test_weights_that_are_held_are_refused(full):
    with pytest.raises(ValueError, match="over all 13 weights; this one is over 4"):
        as_prior(posterior_of(SubsetPosterior, CASE), full=full)


def test_another_scale_takes_another_curvature():
    anchor, prior = anchor_of(CASE), single(CASE.mlp)
    H = GGN(CASE.mlp, CASE.theta, CASE.likelihood, CASE.rows)
    for scale in (0.5, 4.0):
        anchored = Anchored(H, anchor, scale)
        posterior = DensePosterior.from_curvature(CASE.theta, anchored, prior, scale)
        A = scale * CASE.ggn_twin + anchor.matrix + np.eye(len(CASE.theta))
        assert_close(posterior.regularised.precision(), A)


def test_groups_stay_under_an_anchor():
    prior, anchor = as_prior(posterior_of(DensePosterior, CASE))
    anchored = Anchored(CASE.ggn, anchor, CASE.likelihood.scale)
    third, second_anchor = as_prior(posterior_of(DensePosterior, CASE, anchored, prior))
    assert_close(second_anchor.matrix, 2.0 * anchor.matrix, rtol=1e-13)
    assert isinstance(third, GaussianPrior)
    assert_array_equal(third.precisions, CASE.prior.precisions)
