"""Limited-memory BFGS with a fixed preconditioner, for the curved valleys of a network's energy.

Damped Gauss-Newton steps creep along a curved valley, a factorisation each. Steps that start
from the factor at hand and learn what it leaves out cost a gradient each.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["preconditioned_lbfgs"]

MEMORY = 20
ARMIJO, WOLFE = 1e-4, 0.9  # Nocedal & Wright, section 3.1
MAX_TRIALS = 10  # of step lengths

Energy = Callable[[np.ndarray], tuple[float, np.ndarray]]
Solve = Callable[[np.ndarray], np.ndarray]


def preconditioned_lbfgs(
    value_and_gradient: Energy,
    theta: np.ndarray,
    energy: float,
    gradient: np.ndarray,
    solve: Solve,
    max_iter: int,
    enough: float,
) -> tuple[np.ndarray, float, np.ndarray]:
    """Descend by L-BFGS (Nocedal & Wright, algorithm 7.5) with H₀ = A⁻¹.

    Parameters
    ----------
    value_and_gradient : callable
        E and ∇E at weights (P,).
    theta, energy, gradient : ndarray (P,), float, ndarray (P,)
        Where to start, with E and ∇E there.
    solve : callable
        v -> A⁻¹ v for a fixed positive definite A near the Hessian.
    max_iter : int
        Budget of steps.
    enough : float
        Ends where ½ gᵀA⁻¹g, about what could still be gained, is below it.

    Returns
    -------
    theta, energy, gradient
        Where it ended; never above the start.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.quasi_newton import preconditioned_lbfgs
    >>> H = np.array([[2.0, 0.5], [0.5, 1.0]])
    >>> fun = lambda w: (float(0.5 * w @ H @ w), H @ w)
    >>> start = np.ones(2)
    >>> end, _, _ = preconditioned_lbfgs(fun, start, *fun(start), lambda v: v / 2.0, 50, 1e-20)
    >>> bool(np.allclose(end, 0.0, atol=1e-8))
    True
    """
    pairs: deque[Pair] = deque(maxlen=MEMORY)
    solved = solve(gradient)
    for _ in range(max_iter):
        direction, gain = _direction(gradient, solved, pairs)
        slope = float(gradient @ direction)
        if gain <= enough or slope >= 0.0:
            break
        found = _search(value_and_gradient, theta, energy, direction, slope)
        if found is None:
            break
        new, energy, new_gradient = found
        new_solved = solve(new_gradient)
        s, y = new - theta, new_gradient - gradient
        if s @ y > 1e-12 * np.linalg.norm(s) * np.linalg.norm(y):
            pairs.append(Pair(s, y, new_solved - solved, float(s @ y)))
        theta, gradient, solved = new, new_gradient, new_solved
    return theta, energy, gradient


class Pair(NamedTuple):
    """A step s, the change y of the gradient along it, A⁻¹y and sᵀy."""

    s: np.ndarray
    y: np.ndarray
    solved: np.ndarray
    curvature: float


def _direction(
    gradient: np.ndarray, solved: np.ndarray, pairs: deque[Pair]
) -> tuple[np.ndarray, float]:
    """-H ∇E by the two-loop recursion from H₀ = c·A⁻¹, and about what it may gain.

    c = sᵀy / yᵀA⁻¹y of the last pair, as L-BFGS scales the identity.
    """
    q, r, shares = gradient.copy(), solved.copy(), []
    for s, y, z, sy in reversed(pairs):
        shares.append(float(s @ q) / sy)
        q -= shares[-1] * y
        r -= shares[-1] * z
    gain = 0.5 * max(float(q @ r), float(gradient @ solved))
    if pairs:
        r *= pairs[-1].curvature / float(pairs[-1].y @ pairs[-1].solved)
    for (s, y, _, sy), share in zip(pairs, reversed(shares), strict=True):
        r += (share - float(y @ r) / sy) * s
    return -r, gain


def _search(
    value_and_gradient: Energy,
    theta: np.ndarray,
    energy: float,
    direction: np.ndarray,
    slope: float,
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """A step that meets Wolfe's conditions, or the best Armijo point of the trials."""
    length, shortest, longest, best = 1.0, 0.0, np.inf, None
    for _ in range(MAX_TRIALS):
        new = theta + length * direction
        value, gradient = value_and_gradient(new)
        if not value <= energy + ARMIJO * length * slope:
            longest = length
            excess = value - energy - length * slope
            guess = -slope * length**2 / (2.0 * excess) if np.isfinite(excess) else 0.0
            low, high = shortest + 0.1 * (length - shortest), shortest + 0.5 * (length - shortest)
            length = float(np.clip(guess, low, high))
            if best is not None:
                break
            continue
        if best is None or value < best[1]:
            best = new, value, gradient
        if float(gradient @ direction) >= WOLFE * slope:
            break
        shortest = length
        length = 2.0 * length if longest == np.inf else 0.5 * (shortest + longest)
    return best
