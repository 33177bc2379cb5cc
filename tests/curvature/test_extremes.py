"""Extreme eigenvalues from products and solves beside those of dense matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from laplace_nn.curvature.extremes import dense_extremes, iterated_extremes


def drawn(size, saddle=False, pruned=False, seed=0):
    """A positive definite A, a symmetric R and the prior's precision in A."""
    rng = np.random.default_rng(seed)
    precision = rng.uniform(0.5, 2.0, size)
    if pruned:
        precision[: size // 4] = 1e8
    F, G = rng.normal(size=(size, size)), rng.normal(size=(size, size))
    F, G = (M / np.where(precision > 1e4, 1e3, 1.0) for M in (F, G))
    strength = 2.0 if saddle else 0.1
    return F.T @ F + np.diag(precision), strength * 0.5 * (G + G.T), precision


def iterated(A, R, precision):
    return iterated_extremes(
        lambda V: V @ (A + R), lambda v: R @ v, lambda V: np.linalg.solve(A, V), precision
    )


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("saddle", [False, True])
@pytest.mark.parametrize("size", [4, 30, 120])
def test_both_ways_agree_with_numpy(size, saddle, pruned):
    A, R, precision = drawn(size, saddle, pruned)
    half = np.linalg.inv(np.linalg.cholesky(A))
    relative = np.linalg.eigvalsh(half @ R @ half.T)[[0, -1]]
    dense, found = dense_extremes(A, R, precision), iterated(A, R, precision)
    assert_allclose([dense.lowest, dense.highest], relative, rtol=1e-7)
    assert_allclose([found.lowest, found.highest], relative, atol=0.02 * np.abs(relative).max())
    assert relative[0] - 1e-9 <= found.lowest and found.highest <= relative[1] + 1e-9
    smallest = np.linalg.eigvalsh(A + R)[0]
    rounding = 1e-14 * np.abs(A).max()
    assert_allclose(dense.smallest, smallest, rtol=1e-7, atol=rounding)
    assert found.smallest >= smallest - rounding - 1e-9
    assert (found.smallest <= 0.0) == (found.lowest <= -1.0) == (smallest <= 0.0)


def test_nothing_left_out():
    A, R, precision = drawn(20)
    for found in (dense_extremes(A, 0.0 * R, precision), iterated(A, 0.0 * R, precision)):
        assert (found.lowest, found.highest) == (0.0, 0.0)
        assert found.smallest >= np.linalg.eigvalsh(A)[0] - 1e-9


def test_the_same_every_time():
    assert iterated(*drawn(50)) == iterated(*drawn(50))
