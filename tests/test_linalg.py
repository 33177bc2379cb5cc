"""The Cholesky factor that explains itself."""

import pickle

import numpy as np
import pytest

from laplace_nn.linalg import NotPositiveDefiniteError, cholesky


def rotated(eigenvalues):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues),) * 2))
    return rotation @ np.diag(eigenvalues) @ rotation.T


def test_factor_squares_to_the_matrix():
    matrix = rotated([0.5, 1.0, 3.0])
    factor = cholesky(matrix, "A")
    np.testing.assert_array_equal(np.triu(factor, 1), 0.0)
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-13)


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
