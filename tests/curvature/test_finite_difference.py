"""Central differences against the exact twins, their order, and what they say of their errors."""

from dataclasses import replace

import numpy as np
import pytest

from laplace_nn.curvature import PositivePart
from laplace_nn.curvature.finite_difference import FiniteDifferences
from laplace_nn.likelihoods import Gaussian
from laplace_nn.posterior import DensePosterior
from tests.cases import CASES
from tests.contracts import assert_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
EACH_KIND = pytest.mark.parametrize("of", ["gradients", "errors"])
(CURVED,) = [case for case in CASES if case.name == "two-hidden-softmax"]

# With h = ε^(1/3) truncation h² and rounding ε/h are 4e-11, with h = ε^(1/4) truncation h² and
# rounding ε/h² are 1.5e-8; both times fourth derivatives and sums of up to 30 times the entries.
RTOL = {"gradients": 2e-9, "errors": 1e-6}


def differences(case, of, step=None, rows=None, theta=None):
    theta = case.theta if theta is None else theta
    rows = case.rows if rows is None else rows
    return FiniteDifferences(case.mlp, theta, case.likelihood, rows, of=of, step=step)


@EACH_CASE
@EACH_KIND
def test_matrix_diagonal_and_products_are_the_exact_hessians(case, of):
    H = differences(case, of)
    V = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    dense = H.dense()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(H.diagonal(), np.diag(dense))
    assert_close(dense, case.exact_twin, RTOL[of])
    assert_close(H.products(V), V @ case.exact_twin, RTOL[of])
    assert_close(H @ V[0, 0], case.exact_twin @ V[0, 0], RTOL[of])


@EACH_CASE
@EACH_KIND
def test_error_estimate_bounds_the_error(case, of):
    H = differences(case, of)
    estimate = H.error_estimate()
    error = np.abs(H.dense() - case.exact.dense())
    assert np.all(error <= 2.0 * estimate)
    # And says something: it stays within two digits of the largest error.
    assert estimate.max() < 100.0 * error.max()


@EACH_KIND
def test_error_estimate_follows_truncation(of):
    """With a coarse step the error is c h² and nothing else, and the estimate is the error."""
    H = differences(CURVED, of, step=1e-2)
    error = np.abs(H.dense() - CURVED.exact.dense())
    np.testing.assert_allclose(H.error_estimate(), error, rtol=0, atol=0.01 * error.max())


@EACH_KIND
def test_errors_are_of_second_order(of):
    exact = CURVED.exact.dense()
    coarse, fine = (
        np.linalg.norm(differences(CURVED, of, step).dense() - exact) for step in (2e-2, 1e-2)
    )
    assert 3.95 < coarse / fine < 4.05


@EACH_KIND
def test_default_step_is_near_the_best(of):
    exact = CURVED.exact.dense()
    default = differences(CURVED, of).step
    best, coarse, fine = (
        np.abs(differences(CURVED, of, step).dense() - exact).max()
        for step in (default, 30.0 * default, default / 30.0)
    )
    assert best < 0.3 * coarse and best < 0.3 * fine


@EACH_KIND
def test_large_weights_have_large_steps(of):
    """A fixed step of 6e-6 at weights of 1e6 would leave four digits."""
    (case,) = [case for case in CASES if case.name == "linear-two-outputs"]
    H = differences(case, of, theta=1e6 * case.theta)
    assert_close(H.dense(), case.exact_twin, RTOL[of])


@EACH_KIND
def test_step_of_a_product_is_that_of_the_weight(of):
    H = differences(CURVED, of)
    for size in (1e-6, 1.0, 1e6):
        direction = np.zeros(CURVED.mlp.n_params)
        direction[3] = size
        assert_close(H @ direction, size * CURVED.exact_twin[3], RTOL[of])
    np.testing.assert_array_equal(H @ np.zeros(CURVED.mlp.n_params), 0.0)


@EACH_KIND
@pytest.mark.parametrize("case", [CASES[5], CASES[6]], ids=str)
def test_blocks_of_rows_change_nothing_beyond_rounding(of, case):
    # The rounding of a sum, amplified by 1/h or 1/h² as in the differences themselves.
    whole = differences(case, of)
    by_row = differences(case, of, rows=replace(case.rows, memory_budget=1))
    v = np.random.default_rng(1).normal(size=case.mlp.n_params)
    assert_close(by_row.dense(), whole.dense(), RTOL[of])
    assert_close(by_row.diagonal(), whole.diagonal(), RTOL[of])
    assert_close(by_row @ v, whole @ v, RTOL[of])
    assert_close(by_row.error_estimate(), whole.error_estimate(), rtol=2.0)


@EACH_KIND
def test_noise_precision_is_left_out(of):
    case = CASES[4]
    quiet, loud = (
        FiniteDifferences(case.mlp, case.theta, Gaussian(beta), case.rows, of=of).dense()
        for beta in (1.0, 1e4)
    )
    np.testing.assert_array_equal(quiet, loud)


def test_it_carries_a_posterior_like_any_curvature():
    (case,) = [case for case in CASES if case.name == "linear-poisson"]
    by_differences, exact = (
        DensePosterior.from_curvature(case.theta, H, case.prior, case.likelihood.scale)
        for H in (differences(case, "gradients"), PositivePart(case.exact))
    )
    assert_close(by_differences.covariance(), exact.covariance(), 1e-8)


def test_something_else_to_difference_is_refused():
    with pytest.raises(ValueError, match="of must be one of gradients, errors; got 'losses'"):
        differences(CASES[0], "losses")


@pytest.mark.parametrize("step", [0.0, -1e-5, np.nan, np.inf])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="step must be a positive finite number, or None"):
        differences(CASES[0], "gradients", step)
