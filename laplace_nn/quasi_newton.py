"""Limited-memory BFGS with a fixed preconditioner, for the curved valleys of a network's energy.

Damped Gauss-Newton steps creep along a curved valley, a factorisation each. Steps that start
from the factor at hand and learn what it leaves out cost a gradient each.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dtrtrs

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
    pairs = Pairs(len(theta))
    solved = solve(gradient)
    for _ in range(max_iter):
        direction, gain = pairs.direction(gradient, solved)
        slope = float(gradient @ direction)
        if gain <= enough or slope >= 0.0:
            break
        found = _search(value_and_gradient, theta, energy, direction, slope)
        if found is None:
            break
        new, energy, new_gradient = found
        new_solved = solve(new_gradient)
        pairs.learn(new - theta, new_gradient - gradient, new_solved - solved)
        theta, gradient, solved = new, new_gradient, new_solved
    return theta, energy, gradient


class Pairs:
    """The last steps s, and the changes y of the gradient along them as z = A⁻¹y.

    With the pairs' products the two loops become a few products of matrices (Byrd, Nocedal &
    Schnabel 1994, theorem 2.2): R is the upper triangle of SᵀY.
    """

    def __init__(self, size: int) -> None:
        self.n = 0
        self.steps, self.solved = np.zeros((2, MEMORY, size))
        self.R, self.YZ = np.zeros((2, MEMORY, MEMORY))

    def learn(self, s: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
        """Add a pair, the oldest making room, unless sᵀy is not positive."""
        if not s @ y > 1e-12 * np.linalg.norm(s) * np.linalg.norm(y):
            return
        if self.n == MEMORY:
            self.n -= 1
            for kept in (self.steps, self.solved):
                kept[:-1] = kept[1:]
            for products in (self.R, self.YZ):
                products[:-1, :-1] = products[1:, 1:]
        last, self.n = self.n, self.n + 1
        self.steps[last], self.solved[last] = s, z
        self.R[: self.n, last] = self.steps[: self.n] @ y
        self.YZ[: self.n, last] = self.YZ[last, : self.n] = self.solved[: self.n] @ y

    def direction(self, gradient: np.ndarray, solved: np.ndarray) -> tuple[np.ndarray, float]:
        """-H ∇E from H₀ = c·A⁻¹, and about what it may gain; ``solved`` is A⁻¹∇E.

        c = sᵀy / yᵀA⁻¹y of the last pair, as L-BFGS scales the identity.
        """
        gain = float(gradient @ solved)
        if self.n == 0:
            return -solved, 0.5 * gain
        n = self.n
        S, Z, R, YZ = self.steps[:n], self.solved[:n], self.R[:n, :n], self.YZ[:n, :n]
        Zg, c = Z @ gradient, R[-1, -1] / YZ[-1, -1]
        first, _ = dtrtrs(R, S @ gradient)  # the first loop's shares: q = ∇E - Y·first
        left = gain - first @ (2.0 * Zg - YZ @ first)  # qᵀA⁻¹q
        second, _ = dtrtrs(R, R.diagonal() * first + c * (YZ @ first - Zg), trans=1)
        direction = c * (first @ Z - solved) - second @ S
        return direction, 0.5 * max(float(left), gain)


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
