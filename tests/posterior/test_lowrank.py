"""Low rank: exact where nothing is left out, bounded where something is."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.curvature import GGN
from laplace_nn.likelihoods import Gaussian
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.posterior import DensePosterior, LowRankPosterior
from laplace_nn.priors import by_layer, single
from laplace_nn.rows import RowBlocks
from tests.cases import CASES
from tests.contracts import check_posterior

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def wide(n_rows=300):
    """A network of some hundred weights whose spectrum falls off."""
    mlp, rng = MLP((3, 40, 1)), np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    theta = mlp.initialise(rng)
    return mlp, theta, GGN(mlp, theta, Gaussian(), RowBlocks(X, X[:, :1]))


@EACH_CASE
def test_contract_with_every_eigenpair(case):
    scale = case.likelihood.scale
    posterior = LowRankPosterior.from_curvature(
        case.theta, case.ggn, case.prior, scale, rank=case.mlp.n_params
    )
    check_posterior(posterior, case.precision_twin(case.ggn_twin), case.new_jacobian)
    assert_array_equal(posterior.logdet_bounds(), [posterior.logdet_precision] * 2)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.mlp.n_params > c.n_rows * c.mlp.n_outputs], ids=str
)
def test_as_many_eigenpairs_as_the_curvature_has_rank_are_enough(case):
    scale = case.likelihood.scale
    rank = case.n_rows * case.mlp.n_outputs
    low = LowRankPosterior.from_curvature(case.theta, case.ggn, case.prior, scale, rank=rank)
    dense = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, scale)
    assert_allclose(low.logdet_precision, dense.logdet_precision, rtol=1e-8)
    assert_allclose(low.variance(), dense.variance(), rtol=1e-8)


@pytest.mark.parametrize("rank", [1, 3, 10, 40, 120])
@pytest.mark.parametrize("grouping", [single, by_layer])
def test_the_whole_determinant_lies_within_the_bounds(grouping, rank):
    mlp, theta, H = wide()
    prior = grouping(mlp).with_precisions(np.linspace(0.5, 2.0, grouping(mlp).n_groups))
    low = LowRankPosterior.from_curvature(theta, H, prior, 20.0, rank=rank)
    whole = DensePosterior.from_curvature(theta, H, prior, 20.0).logdet_precision
    below, above = low.logdet_bounds()
    assert low.logdet_precision <= below <= above
    assert below - 1e-9 * abs(whole) <= whole <= above + 1e-9 * abs(whole)


def test_more_eigenpairs_tighten_the_bounds_and_lower_the_variance():
    mlp, theta, H = wide()
    prior = single(mlp)
    found = [LowRankPosterior.from_curvature(theta, H, prior, 20.0, rank=r) for r in (2, 8, 32)]
    widths = [np.ptp(posterior.logdet_bounds()) for posterior in found]
    assert widths[0] > widths[1] > widths[2] > 0.0
    dense = DensePosterior.from_curvature(theta, H, prior, 20.0).variance()
    for posterior in found:
        assert np.all(posterior.variance() >= dense * (1.0 - 1e-10))
    errors = [np.max(posterior.variance() / dense) for posterior in found]
    assert errors[0] > errors[1] > errors[2]


def test_the_bounds_of_an_indefinite_curvature_hold_too():
    held = 0
    for case in CASES:
        n_params = case.mlp.n_params
        spread = np.abs(np.linalg.eigvalsh(case.exact.dense())).max()
        scale = 0.5 * case.prior.precisions.min() / spread
        for rank in range(1, n_params):
            low = LowRankPosterior.from_curvature(
                case.theta, case.exact, case.prior, scale, rank=rank
            )
            below, above = low.logdet_bounds()
            whole = np.linalg.slogdet(case.precision_twin(case.exact_twin, scale))[1]
            assert below - 1e-9 <= whole <= above + 1e-9
            held += 1
    assert held > 50


def test_an_indefinite_precision_is_refused():
    refused = 0
    for case in CASES:
        A = case.precision_twin(case.exact_twin)
        root = np.sqrt(case.prior.precision)
        smallest = np.linalg.eigvalsh(A / root / root[:, None])[0]
        if smallest < 0.0:
            with pytest.raises(NotPositiveDefiniteError) as caught:
                LowRankPosterior.from_curvature(
                    case.theta, case.exact, case.prior, case.likelihood.scale
                )
            assert_allclose(caught.value.smallest_eigenvalue, smallest, rtol=1e-6)
            refused += 1
    assert refused > 3


def test_one_factor_for_all_precisions_keeps_the_eigenvectors():
    mlp, theta, H = wide(50)
    low = LowRankPosterior.from_curvature(theta, H, by_layer(mlp), 4.0, rank=20)
    moved = low.with_hyperparameters(by_layer(mlp, 3.0), 2.0)
    assert moved.vectors is low.vectors
    anew = LowRankPosterior.from_curvature(theta, H, by_layer(mlp, 3.0), 2.0, rank=20)
    assert_allclose(moved.values, anew.values, rtol=1e-8)
    assert_allclose(moved.variance(), anew.variance(), rtol=1e-8)


def test_a_rank_below_one_is_refused():
    case = CASES[4]
    with pytest.raises(ValueError, match="rank of at least 1; got 0"):
        LowRankPosterior.from_curvature(case.theta, case.ggn, case.prior, 1.0, rank=0)
