"""Linear algebra that says what it met: matrices that are not positive definite."""

from collections.abc import Callable

import numpy as np
from scipy import linalg
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotri, dtrtri, dtrtrs

__all__ = [
    "NotPositiveDefiniteError",
    "cholesky",
    "conjugate_gradients",
    "half_solve",
    "inverse_from_factor",
    "invert_factor",
    "solve_from_factor",
]

CG_ITERATIONS = 40  # at most, unless told otherwise


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """A precision matrix has an eigenvalue that is not positive, so it is no precision.

    Attributes
    ----------
    smallest_eigenvalue : float
        The smallest eigenvalue of the matrix that was refused.
    """

    def __init__(self, name: str, smallest_eigenvalue: float) -> None:
        self.smallest_eigenvalue = smallest_eigenvalue
        super().__init__(
            f"{name} is not positive definite: its smallest eigenvalue is "
            f"{smallest_eigenvalue:.6g}. Usual causes: the weights are not at a minimum (train "
            "on: see the gradient norm of the MAPResult), the prior precision is too small for "
            "directions that the data leave free, or two hidden units are duplicates. Use the "
            "outer products (GGN), which are never negative, or PositivePart(curvature), which "
            "drops the negative eigenvalues in the open."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (str(self), self.smallest_eigenvalue)


def _rebuild_error(message: str, smallest_eigenvalue: float) -> NotPositiveDefiniteError:
    error = NotPositiveDefiniteError.__new__(NotPositiveDefiniteError)
    np.linalg.LinAlgError.__init__(error, message)
    error.smallest_eigenvalue = smallest_eigenvalue
    return error


def cholesky(matrix: np.ndarray, name: str, refused: np.ndarray | None = None) -> np.ndarray:
    """Lower Cholesky factor L of a symmetric matrix, L Lᵀ = matrix.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric; its lower triangle is read.
    name : str
        What the matrix is called in the error.
    refused : ndarray of shape (n, n), optional
        The matrix whose smallest eigenvalue the error shall carry, where ``matrix`` is a scaled
        form of it.

    Returns
    -------
    ndarray of shape (n, n)
        Lower triangular.

    Raises
    ------
    ValueError
        If the matrix holds a NaN or an infinity.
    NotPositiveDefiniteError
        If it is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.linalg import cholesky
    >>> cholesky(np.array([[4.0]]), "A")
    array([[2.]])
    """
    if not np.isfinite(matrix).all():
        raise ValueError(
            f"{name} holds a NaN or an infinity: the weights or the inputs have overflowed."
        )
    try:
        return linalg.cholesky(matrix, lower=True, check_finite=False)
    except linalg.LinAlgError:
        eigenvalues = np.linalg.eigvalsh(matrix if refused is None else refused)
        raise NotPositiveDefiniteError(name, float(eigenvalues[0])) from None


def inverse_from_factor(factor: np.ndarray) -> np.ndarray:
    """(L Lᵀ)⁻¹, symmetric to the bit, for lower triangular L (n, n): a third of the two solves."""
    inverse, _ = dpotri(factor, lower=1)
    return np.tril(inverse) + np.tril(inverse, -1).T


def invert_factor(factor: np.ndarray) -> np.ndarray:
    """L⁻¹, lower triangular (n, n): half the work of solving for the identity."""
    inverse, _ = dtrtri(factor, lower=1)
    return inverse


def half_solve(factor: np.ndarray, B: np.ndarray) -> np.ndarray:
    """L⁻¹ B for lower triangular L (n, n), in the memory of B (n, S) and in either order of it."""
    if B.flags.f_contiguous:
        return dtrsm(1.0, factor, B, lower=1, overwrite_b=1)
    return dtrsm(1.0, factor, B.T, side=1, lower=1, trans_a=1, overwrite_b=1).T


def solve_from_factor(factor: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(L Lᵀ)⁻¹ b for lower triangular L (n, n) and b (n,) or (n, S).

    LAPACK solves for one vector as if it were a matrix; two triangular solves take half the time.
    """
    if b.ndim > 1:
        return linalg.cho_solve((factor, True), b, check_finite=False)
    half, _ = dtrtrs(factor, b, lower=1)
    solved, _ = dtrtrs(factor, half, lower=1, trans=1)
    return solved


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    precondition: Callable[[np.ndarray], np.ndarray],
    rtol: float,
    max_iter: int = CG_ITERATIONS,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Preconditioned conjugate gradients that notice a direction of negative curvature.

    Nocedal & Wright algorithm 5.3; SciPy's ``cg`` would go on without a word.

    Parameters
    ----------
    product : callable
        v -> A v.
    target : ndarray of shape (P,)
        b.
    precondition : callable
        v -> M⁻¹ v.
    rtol : float
        Stop where the residual has shrunk by this factor in the norm of M⁻¹.
    max_iter : int, default=40
        Or after so many products.

    Returns
    -------
    x : ndarray of shape (P,)
        The approximate solution of A x = b; or a direction with xᵀA x ≤ 0 and xᵀM x = 1, where one
        was met.
    Ax : ndarray of shape (P,)
        Its image.
    convex : bool
        Whether no such direction was met.
    """
    x, Ax, residual = np.zeros_like(target), np.zeros_like(target), target
    direction = precondition(residual)
    size = first_size = norm = residual @ direction  # norm = directionᵀ M direction
    for _ in range(max_iter):
        moved = product(direction)
        curvature = direction @ moved
        if not curvature > 0.0:
            unit = np.sqrt(norm)
            return direction / unit, moved / unit, False
        length = size / curvature
        x, Ax, residual = x + length * direction, Ax + length * moved, residual - length * moved
        solved = precondition(residual)
        new_size = residual @ solved
        if new_size <= rtol**2 * first_size:
            break
        direction = solved + (new_size / size) * direction
        norm = new_size + (new_size / size) ** 2 * norm
        size = new_size
    return x, Ax, True
