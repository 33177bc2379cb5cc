"""The sequential inverse: whatever comes in whatever order, the same Gaussian."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.posterior import DensePosterior, SequentialPosterior
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from tests.cases import CASES
from tests.contracts import assert_close, assert_covariances_close, check_posterior

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def batches(case, order, size):
    """The case's rows in an order, cut into batches, as curvatures."""
    rows = case.rows
    for start in range(0, len(order), size):
        part = order[start : start + size]
        weights = None if rows.sample_weight is None else rows.sample_weight[part]
        batch = RowBlocks(rows.X[part], rows.y[part], weights)
        yield GGN(case.mlp, case.theta, case.likelihood, batch)


@EACH_CASE
def test_contract(case):
    scale = case.likelihood.scale
    posterior = SequentialPosterior.from_curvature(case.theta, case.ggn, case.prior, scale)
    check_posterior(posterior, case.precision_twin(case.ggn_twin), case.new_jacobian)


@EACH_CASE
def test_order_and_size_of_the_batches_change_nothing(case):
    scale, n = case.likelihood.scale, case.n_rows
    dense = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, scale)
    for seed, size in enumerate((1, 2, 4, n)):
        order = np.random.default_rng(seed).permutation(n)
        posterior = SequentialPosterior.from_batches(
            case.theta, batches(case, order, size), case.prior, scale
        )
        assert_covariances_close(posterior.covariance(), dense.covariance())
        assert_allclose(posterior.logdet_precision, dense.logdet_precision, rtol=1e-8)


def test_before_any_row_it_is_the_prior():
    case = CASES[4]
    posterior = SequentialPosterior.from_prior(case.theta, case.prior, 2.0)
    assert_allclose(posterior.variance(), 1.0 / case.prior.precision)
    assert_allclose(posterior.logdet_precision, np.sum(np.log(case.prior.precision)))
    assert_array_equal(posterior.n_effective_params(), np.zeros(case.prior.n_groups))


def test_a_hundred_thousand_updates_leave_it_symmetric_and_positive_definite():
    """One by one, against one inversion of their sum."""
    rng, n_params, n_rows = np.random.default_rng(0), 12, 100_000
    F = rng.normal(size=(n_rows, n_params)) @ np.diag(np.geomspace(0.01, 3.0, n_params))
    prior = GaussianPrior(np.zeros(n_params, dtype=int), np.array([0.1]))
    posterior = SequentialPosterior.from_prior(np.zeros(n_params), prior, 0.5)
    for row in F:
        posterior = posterior.absorb_factor(row)
    A = 0.5 * F.T @ F + 0.1 * np.eye(n_params)
    covariance = posterior.covariance()
    assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance)[0] > 0.0
    assert_covariances_close(covariance, np.linalg.inv(A))
    assert_allclose(posterior.logdet_precision, np.linalg.slogdet(A)[1], rtol=1e-8)
    in_blocks = SequentialPosterior.from_prior(np.zeros(n_params), prior, 0.5)
    for start in range(0, n_rows, 1000):
        in_blocks = in_blocks.absorb_factor(F[start : start + 1000])
    assert_covariances_close(in_blocks.covariance(), covariance)
    assert_allclose(in_blocks.logdet_precision, posterior.logdet_precision, rtol=1e-8)


def test_a_curvature_without_a_factor_is_refused_and_nothing_is_lost():
    case = CASES[4]
    posterior = SequentialPosterior.from_prior(case.theta, case.prior, 1.0)
    before = posterior.covariance()
    exact = ExactHessian(case.mlp, case.theta, case.likelihood, case.rows)
    with pytest.raises(MissingCapabilityError, match="SequentialPosterior needs factor"):
        posterior.absorb(exact)
    assert_array_equal(posterior.covariance(), before)


def test_a_row_of_zeros_adds_nothing():
    case = CASES[4]
    posterior = SequentialPosterior.from_curvature(case.theta, case.ggn, case.prior, 1.0)
    after = posterior.absorb_factor(np.zeros(case.mlp.n_params))
    assert_close(after.covariance(), posterior.covariance(), rtol=1e-15)
    assert after.logdet_precision == posterior.logdet_precision
