"""Preconditioned L-BFGS against closed forms and SciPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize, rosen, rosen_der

from laplace_nn.quasi_newton import MEMORY, Pairs, preconditioned_lbfgs

EVERYTHING = 1e-24  # of what could still be gained


def rosenbrock(theta):
    return float(rosen(theta)), rosen_der(theta)


def quadratic(rng, size=12, spread=4.0):
    root = rng.normal(size=(size, size)) * np.logspace(0.0, spread, size)
    H = root.T @ root + np.eye(size)
    return H, lambda theta: (float(0.5 * theta @ H @ theta), H @ theta)


def run(function, start, solve, max_iter=500):
    return preconditioned_lbfgs(function, start, *function(start), solve, max_iter, EVERYTHING)


def test_the_exact_preconditioner_ends_a_quadratic_in_one_step(rng):
    H, function = quadratic(rng)
    end, energy, gradient = run(function, rng.normal(size=12), lambda v: np.linalg.solve(H, v), 1)
    start_gradient = np.abs(H).max()
    assert_allclose(end, 0.0, atol=1e-9)
    assert abs(energy) < 1e-10 * start_gradient
    assert np.max(np.abs(gradient)) < 1e-9 * start_gradient


def test_a_rough_preconditioner_ends_it_in_as_many_steps_as_eigenvalues(rng):
    """A = H without two directions: the whitened H has three eigenvalues, 1 among them."""
    H, function = quadratic(rng)
    U = np.linalg.qr(rng.normal(size=(12, 2)))[0]
    A = H + 50.0 * np.trace(H) * U @ U.T
    end, _, _ = run(function, rng.normal(size=12), lambda v: np.linalg.solve(A, v), 40)
    assert_allclose(H @ end, 0.0, atol=1e-6 * np.abs(H).max())


@pytest.mark.parametrize("size", [2, 10])
def test_a_curved_valley_ends_where_scipys_does(size):
    start = np.full(size, -1.2)
    end, energy, gradient = run(rosenbrock, start, lambda v: v / 100.0, 2000)
    assert_allclose(gradient, 0.0, atol=1e-8)
    reference = minimize(rosen, end, jac=rosen_der, method="BFGS", options={"gtol": 1e-10})
    assert_allclose(end, reference.x, atol=1e-6)
    assert energy <= reference.fun + 1e-12


def test_it_never_ends_above_its_start_nor_reports_another_point(rng):
    for seed in range(20):
        start = np.random.default_rng(seed).normal(size=4) * 3.0
        for budget in (1, 3, 10):
            end, energy, gradient = run(rosenbrock, start, lambda v: v, budget)
            assert energy <= rosen(start)
            assert energy == rosen(end)
            np.testing.assert_array_equal(gradient, rosen_der(end))


def test_a_step_into_overflow_is_shortened():
    def wall(theta):
        if theta[0] > 2.0:
            return np.inf, np.full(1, np.nan)
        return float((theta[0] - 1.5) ** 2), 2.0 * (theta - 1.5)

    end, _, _ = run(wall, np.array([-3.0]), lambda v: 4.0 * v)
    assert_allclose(end, [1.5], atol=1e-8)


def test_nothing_is_done_where_nothing_is_to_be_gained():
    start = np.ones(3)
    end, _, _ = run(rosenbrock, start, lambda v: v)
    np.testing.assert_array_equal(end, start)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_compact_form_is_that_of_the_updates_one_by_one(rng):
    """Nocedal & Wright 6.17, from c A⁻¹ with the last MEMORY pairs, twice as many being learnt."""
    n = 9
    root = rng.normal(size=(n, n))
    H, inverse = root @ root.T + np.eye(n), np.diag(rng.uniform(0.5, 2.0, size=n))
    pairs, learnt = Pairs(n), []
    for _ in range(2 * MEMORY):
        s = rng.normal(size=n)
        y = H @ s
        pairs.learn(s, y, inverse @ y)
        learnt.append((s, y))
    pairs.learn(s, -y, -inverse @ y)  # refused
    s, y = learnt[-1]
    B = inverse * (s @ y) / (y @ inverse @ y)
    for s, y in learnt[-MEMORY:]:
        V = np.eye(n) - np.outer(y, s) / (s @ y)
        B = V.T @ B @ V + np.outer(s, s) / (s @ y)
    gradient = rng.normal(size=n)
    direction, gain = pairs.direction(gradient, inverse @ gradient)
    assert_allclose(direction, -B @ gradient, rtol=1e-7, atol=1e-9)
    assert gain >= 0.5 * gradient @ inverse @ gradient
