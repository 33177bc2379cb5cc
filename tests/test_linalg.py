"""The Cholesky factor that explains itself, and conjugate gradients that notice."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.linalg import (
    NotPositiveDefiniteError,
    cholesky,
    conjugate_gradients,
    half_solve,
    inverse_from_factor,
    invert_factor,
    solve_from_factor,
)
from tests.contracts import assert_close


def rotated(eigenvalues):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues),) * 2))
    return rotation @ np.diag(eigenvalues) @ rotation.T


def test_factor_squares_to_the_matrix():
    matrix = rotated([0.5, 1.0, 3.0])
    factor = cholesky(matrix, "A")
    np.testing.assert_array_equal(np.triu(factor, 1), 0.0)
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-13)


def test_the_inverse_from_a_factor_is_the_inverse():
    root = np.random.default_rng(0).normal(size=(9, 9))
    A = root @ root.T + np.eye(9)
    inverse = inverse_from_factor(cholesky(A, "A"))
    assert_allclose(inverse @ A, np.eye(9), atol=1e-12)
    assert_array_equal(inverse, inverse.T)


def test_solves_from_a_factor_are_those_of_the_matrix():
    root = np.random.default_rng(0).normal(size=(9, 9))
    A = root @ root.T + np.eye(9)
    L, B = cholesky(A, "A"), np.random.default_rng(1).normal(size=(9, 4))
    assert_allclose(A @ solve_from_factor(L, B[:, 0]), B[:, 0], rtol=1e-12)
    assert_allclose(A @ solve_from_factor(L, B), B, rtol=1e-12)
    assert_allclose(invert_factor(L) @ L, np.eye(9), atol=1e-13)
    assert_array_equal(np.triu(invert_factor(L), 1), 0.0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_half_solve_writes_where_it_reads(order):
    root = np.random.default_rng(0).normal(size=(9, 9))
    L = cholesky(root @ root.T + np.eye(9), "A")
    B = np.array(np.random.default_rng(1).normal(size=(9, 4)), order=order)
    expected, half = np.linalg.solve(L, B), half_solve(L, B)
    assert_allclose(half, expected, rtol=1e-12)
    assert np.shares_memory(half, B)


def test_an_indefinite_matrix_is_refused_with_its_smallest_eigenvalue():
    with pytest.raises(NotPositiveDefiniteError, match="A is not positive definite") as caught:
        cholesky(rotated([-0.25, 1.0, 3.0]), "A")
    assert caught.value.smallest_eigenvalue == pytest.approx(-0.25, rel=1e-12)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    for word in ("-0.25", "minimum", "prior precision", "duplicates", "GGN", "PositivePart"):
        assert word in str(caught.value)


def test_the_eigenvalue_may_be_that_of_the_matrix_meant():
    with pytest.raises(NotPositiveDefiniteError) as caught:
        cholesky(rotated([-0.25, 1.0]), "A", refused=rotated([-7.0, 1.0]))
    assert caught.value.smallest_eigenvalue == pytest.approx(-7.0, rel=1e-12)


@pytest.mark.parametrize("entry", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_refused_as_such(entry):
    with pytest.raises(ValueError, match="A holds a NaN or an infinity"):
        cholesky(np.array([[1.0, 0.0], [0.0, entry]]), "A")


def test_the_error_survives_pickling():
    """Workers hand their exceptions back pickled."""
    error = NotPositiveDefiniteError("A", -0.5)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.smallest_eigenvalue == -0.5


def quadratic(eigenvalues, seed=0):
    """A symmetric A of these eigenvalues, a positive definite M and a vector b."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    root = rng.normal(size=(n, n))
    return (Q * eigenvalues) @ Q.T, root @ root.T + np.eye(n), rng.normal(size=n)


def solve_by_cg(A, M, b, rtol=1e-13, **settings):
    return conjugate_gradients(
        lambda v: A @ v, b, lambda v: np.linalg.solve(M, v), rtol, **settings
    )


@pytest.mark.parametrize("seed", range(5))
def test_conjugate_gradients_solve_a_system(seed):
    A, M, b = quadratic(np.linspace(0.5, 20.0, 8), seed)
    x, Ax, _ = solve_by_cg(A, M, b)
    assert_close(x, np.linalg.solve(A, b))
    assert_close(Ax, A @ x)


def test_conjugate_gradients_stop_at_the_tolerance():
    A, M, b = quadratic(np.linspace(0.5, 20.0, 8))
    x, _, _ = solve_by_cg(A, M, b, rtol=0.1)
    residual = b - A @ x
    ratio = (residual @ np.linalg.solve(M, residual)) / (b @ np.linalg.solve(M, b))
    assert 1e-6 < ratio <= 0.01


def test_conjugate_gradients_keep_to_their_budget():
    """Each of the first steps lowers the quadratic model, the last one not yet to its minimum."""
    A, M, b = quadratic(np.linspace(0.5, 20.0, 8))
    model = []
    for budget in range(1, 9):
        x, Ax, _ = solve_by_cg(A, M, b, max_iter=budget)
        assert_close(Ax, A @ x)
        model.append(0.5 * x @ Ax - b @ x)
    assert np.all(np.diff(model) < 0.0)
    assert_allclose(model[-1], -0.5 * b @ np.linalg.solve(A, b))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lowest", [-5.0, -0.3, -1e-6])
def test_conjugate_gradients_notice_negative_curvature(lowest, seed):
    A, M, b = quadratic(np.append(lowest, np.linspace(0.5, 20.0, 7)), seed)
    direction, image, convex = solve_by_cg(A, M, b)
    assert not convex
    assert direction @ A @ direction < 0.0
    assert_allclose(direction @ M @ direction, 1.0, rtol=1e-8)
    assert_allclose(image, A @ direction, atol=1e-8 * np.abs(A).max())
    A, M, b = quadratic(np.append(-lowest, np.linspace(0.5, 20.0, 7)), seed)
    assert solve_by_cg(A, M, b)[2]
