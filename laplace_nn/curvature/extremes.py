"""Extreme eigenvalues of the exact A = A_outer + R, and of R relative to the outer products' A.

R is what the outer products leave out; the mode is a saddle where A_outer + R is not positive.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, lobpcg

__all__ = ["Extremes", "dense_extremes", "iterated_extremes"]

LANCZOS_STEPS = 200  # at most
LANCZOS_TOL = 1e-2  # of the extreme Ritz vectors' residuals, relative to the eigenvalues
LEAST_STEPS = 5  # before the residuals are believed
DESCENT_STEPS = 20  # of the smallest eigenvalue's search, at most
DESCENT_TOL = 1e-2  # of its residual, relative to the prior's smallest precision

Operator = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Extremes:
    """Eigenvalues of the exact A = A_outer + R.

    Parameters
    ----------
    smallest : float
        Of A_outer + R.
    lowest, highest : float
        Of R x = λ A_outer x; -1 and below is where A_outer + R is not positive.
    """

    smallest: float
    lowest: float
    highest: float


def dense_extremes(A: np.ndarray, residual: np.ndarray, precision: np.ndarray) -> Extremes:
    """The eigenvalues from dense matrices.

    Parameters
    ----------
    A : ndarray of shape (P, P)
        With the outer products, positive definite.
    residual : ndarray of shape (P, P)
        R.
    precision : ndarray of shape (P,)
        The prior's.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature.extremes import dense_extremes
    >>> found = dense_extremes(np.diag([2.0, 4.0]), np.diag([1.0, -3.0]), np.ones(2))
    >>> round(found.smallest, 6), round(found.lowest, 6), round(found.highest, 6)
    (1.0, -0.75, 0.5)
    """
    root = 1.0 / np.sqrt(precision)  # pruned groups then cost no digits
    unit = root[:, None] * root
    relative = linalg.eigh(unit * residual, unit * A, eigvals_only=True, check_finite=False)
    smallest = linalg.eigvalsh(A + residual, subset_by_index=[0, 0], check_finite=False)
    return Extremes(float(smallest[0]), float(relative[0]), float(relative[-1]))


def iterated_extremes(
    exact: Operator, residual: Operator, solve: Operator, precision: np.ndarray
) -> Extremes:
    """The eigenvalues from products and solves, from a fixed start.

    Parameters
    ----------
    exact : callable
        V -> (A + R) V for V (..., P).
    residual : callable
        v -> R v for v (P,).
    solve : callable
        V -> A⁻¹ V for V (P,) or (P, S).
    precision : ndarray of shape (P,)
        The prior's.

    Returns
    -------
    Extremes
        ``lowest`` and ``highest`` to LANCZOS_TOL, ``smallest`` from above.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature.extremes import iterated_extremes
    >>> A, R = np.arange(2.0, 12.0), np.linspace(-1.0, 3.0, 10)  # both diagonal
    >>> found = iterated_extremes(
    ...     lambda V: V * (A + R), lambda v: v * R, lambda V: (V.T / A).T, np.ones(10)
    ... )
    >>> round(found.smallest, 2), round(found.lowest, 2), round(found.highest, 2)  # of 3/11
    (1.0, -0.5, 0.27)
    """
    start = np.random.default_rng(0).standard_normal(len(precision)) * np.sqrt(precision)
    ends, vector = _lanczos(residual, solve, start)
    return Extremes(_smallest(exact, solve, vector, precision), float(ends[0]), float(ends[1]))


def _lanczos(
    product: Operator, solve: Operator, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Extreme eigenvalues (2,) of R x = λ A x and the lowest one's vector (P,).

    Lanczos' method for A⁻¹R in the inner product of A, with full reorthogonalisation (Parlett 1998,
    chapters 13 and 15); no products with A are needed, since A q is what was solved for.

    Parameters
    ----------
    product, solve : callable
        v -> R v and v -> A⁻¹ v.
    start : ndarray of shape (P,)
        A q_1, up to its length.
    """
    n_steps = min(LANCZOS_STEPS, len(start))
    Q, AQ = np.empty((2, n_steps, len(start)))
    diagonal, off = np.empty((2, n_steps))
    image, vector = start, solve(start)
    size = np.sqrt(vector @ image)
    for m in range(1, n_steps + 1):
        Q[m - 1], AQ[m - 1] = vector / size, image / size
        image = product(Q[m - 1])
        diagonal[m - 1] = Q[m - 1] @ image
        for _ in range(2):
            image = image - (Q[:m] @ image) @ AQ[:m]
        vector = solve(image)
        off[m - 1] = size = np.sqrt(max(vector @ image, 0.0))
        values, S = linalg.eigh_tridiagonal(diagonal[:m], off[: m - 1])
        if _settled(values, size * np.abs(S[-1, [0, -1]]), LANCZOS_TOL if m >= LEAST_STEPS else 0):
            break
    return values[[0, -1]], S[:, 0] @ Q[:m]


def _settled(values: np.ndarray, residuals: np.ndarray, tol: float) -> bool:
    """Whether the extreme Ritz values' residuals (2,) are small enough.

    A saddle begins at -1: the lower end is held to its own size, however large the upper one is.
    """
    largest = np.max(np.abs(values))
    return bool(np.all(residuals <= tol * np.array([min(largest, max(1.0, -values[0])), largest])))


def _smallest(exact: Operator, solve: Operator, start: np.ndarray, precision: np.ndarray) -> float:
    """Smallest eigenvalue of the exact A, from above, by LOBPCG (Knyazev 2001) with A⁻¹.

    It starts from the lowest relative eigenvector, along which the exact A is negative if it is so
    anywhere, and from the weight that the prior holds least.
    """
    n, least = len(precision), int(np.argmin(precision))
    X = np.column_stack([start / np.linalg.norm(start), np.arange(n) == least])
    kind = np.dtype(np.float64)
    operator, inverse = (
        LinearOperator((n, n), matvec=f, matmat=f, dtype=kind)
        for f in (lambda V: exact(np.ascontiguousarray(V.T)).T, solve)
    )
    tol = DESCENT_TOL * float(precision[least])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the search is short on purpose
        values, _ = lobpcg(operator, X, M=inverse, largest=False, maxiter=DESCENT_STEPS, tol=tol)
    return float(np.min(values))
