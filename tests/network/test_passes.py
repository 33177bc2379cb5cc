"""Derivative passes against complex steps and differences."""

import numpy as np
import pytest

from laplace_nn.network import jvp, rvjp, second_jvp, vjp
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close


@pytest.mark.parametrize("case", CASES, ids=str)
def test_jvp_is_the_jacobian_times_a_direction(case):
    tape = case.mlp.forward(case.theta, case.rows.X)
    J = reference.jacobian(case.problem, case.theta, case.rows.X)
    v = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    expected = np.einsum("nkp,abp->abnk", J, v)
    assert_close(jvp(case.mlp, case.theta, tape, v), expected, rtol=1e-12)
    assert_close(jvp(case.mlp, case.theta, tape, v[0, 0]), expected[0, 0], rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vjp_is_the_transposed_jacobian_times_signals(case):
    tape = case.mlp.forward(case.theta, case.rows.X)
    J = reference.jacobian(case.problem, case.theta, case.rows.X)
    u = np.random.default_rng(0).normal(size=(2, 3, *tape.outputs.shape))
    expected = np.einsum("nkp,abnk->abp", J, u)
    assert_close(vjp(case.mlp, case.theta, tape, u), expected, rtol=1e-12)
    assert_close(vjp(case.mlp, case.theta, tape, u[0, 0]), expected[0, 0], rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vjp_of_the_energy_is_its_gradient(case):
    tape = case.mlp.forward(case.theta, case.rows.X)
    signals = case.rows.weigh(case.likelihood.gradient(case.rows.y, tape.outputs))
    twin = reference.gradient(case.problem, case.theta)
    assert_close(vjp(case.mlp, case.theta, tape, signals), twin, rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rvjp_is_the_exact_hessian_times_a_direction(case):
    tape = case.mlp.forward(case.theta, case.rows.X)
    y = case.rows.y
    signals = case.rows.weigh(case.likelihood.gradient(y, tape.outputs))
    M = case.rows.weigh(case.likelihood.hessian(y, tape.outputs))
    v = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    expected = v @ case.exact_twin
    assert_close(rvjp(case.mlp, case.theta, tape, signals, v, M), expected)
    assert_close(rvjp(case.mlp, case.theta, tape, signals, v[1, 2], M), expected[1, 2])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_jvp_is_the_slope_of_jvp_along_its_direction(case):
    v = np.random.default_rng(0).normal(size=case.mlp.n_params)
    v /= np.max(np.abs(v))  # as far as a relu network stays away from its kinks

    def slope(t):
        theta = case.theta + t * v
        return np.sum(reference.jacobian(case.problem, theta, case.rows.X) * v, axis=-1)

    steps = reference.STEP * reference.OFFSETS
    expected = np.tensordot(reference.COEFFICIENTS, [slope(t) for t in steps], axes=1)
    tape = case.mlp.forward(case.theta, case.rows.X)
    actual = second_jvp(case.mlp, case.theta, tape, v)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected / reference.STEP, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("case", [case for case in CASES if "relu" in case.name], ids=str)
def test_relu_cases_stay_away_from_the_kink(case):
    """Differences of a step of 2·STEP in one weight must not cross it."""
    tape = case.mlp.forward(case.theta, case.rows.X)
    largest_input = max(1.0, *(np.abs(z).max() for z in tape.activations))
    nearest = min(np.abs(a).min() for a in tape.pre_activations[:-1])
    assert nearest > 4 * reference.STEP * largest_input
