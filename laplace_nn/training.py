"""Training to a MAP solution: the ways down to a minimum of the negative log posterior.

Laplace's approximation only holds at a stationary point, so every solver ends with damped
Gauss-Newton steps, refined to Newton steps, until the gradient vanishes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from laplace_nn.curvature.regularised import Regularised
from laplace_nn.descent import Descent
from laplace_nn.linalg import CG_ITERATIONS
from laplace_nn.objective import NegativeLogPosterior

__all__ = [
    "SOLVERS",
    "MAPResult",
    "NotStationaryWarning",
    "find_map",
    "not_stationary",
    "step_cost",
]

SOLVERS = ("auto", "lm", "lbfgs", "cg")

# A damped Gauss-Newton step above this many multiplications starts to cost seconds: "auto" then
# lets L-BFGS do the first part of the way.
AUTO_STEP_COST = 2e10

Callback = Callable[[np.ndarray], None]


class NotStationaryWarning(UserWarning):
    """Training stopped before the gradient vanished."""


@dataclass(frozen=True)
class MAPResult:
    """Where training ended.

    Parameters
    ----------
    theta : ndarray of shape (P,)
        The weights.
    energy : float
        E at them, in nats.
    max_gradient : float
        max |∇E|.
    n_iter : int
        Iterations of all phases.
    converged : bool
        Whether max |∇E| ≤ tol·max(1, |E|), or is no larger than what the rounding of the weights
        changes it by.
    """

    theta: np.ndarray = field(repr=False)
    energy: float
    max_gradient: float
    n_iter: int
    converged: bool


def find_map(
    objective: NegativeLogPosterior,
    theta: np.ndarray,
    *,
    solver: str = "auto",
    tol: float = 1e-6,
    rough: bool = False,
    max_iter: int = 1000,
    callback: Callback | None = None,
    warn: bool = True,
    known: Regularised | None = None,
) -> MAPResult:
    """Minimise the negative log posterior from a start.

    Solver "lm" is the damped Gauss-Newton method (Levenberg 1944, Marquardt 1963) on the outer
    products, its step solved in weight space or, where N·K < P, in function space; "lbfgs" and
    "cg" are SciPy's; "auto" is "lm" unless a step is so large that L-BFGS had better go first.
    All of them end with damped Gauss-Newton steps refined to Newton steps.

    Parameters
    ----------
    objective : NegativeLogPosterior
        What to minimise.
    theta : ndarray of shape (P,)
        Where to start; not written to.
    solver : {"auto", "lm", "lbfgs", "cg"}, default="auto"
        How to get near the minimum.
    tol : float, default=1e-6
        Converged where max |∇E| ≤ tol·max(1, |E|).
    rough : bool, default=False
        Whether to end as soon as the gradient is within ``tol``, be it at a saddle. Otherwise steps
        go on below it while they pay, and away from saddles.
    max_iter : int, default=1000
        Budget of damped Gauss-Newton steps; L-BFGS and CG have ten times as many iterations.
    callback : callable, optional
        Called with the weights after every iteration.
    warn : bool, default=True
        Whether to warn if the budget ends first.
    known : Regularised, optional
        `NegativeLogPosterior.gauss_newton` at the start, where somebody has it already.

    Returns
    -------
    MAPResult
        Weights, energy, gradient and whether it converged.

    Warns
    -----
    NotStationaryWarning
        If the budget ended first.

    Raises
    ------
    ValueError
        If the solver is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.training import find_map
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.array([[2.0]]))
    >>> result = find_map(NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows), np.zeros(2))
    >>> result.theta.round(6).tolist(), result.converged
    ([0.0, 1.0], True)
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}.")
    if solver == "auto":
        solver = "lm" if step_cost(objective) <= AUTO_STEP_COST else "lbfgs"
    n_iter = 0
    if solver != "lm":
        known = None
        theta, n_iter = _scipy_minimise(objective, theta, solver, tol, 10 * max_iter, callback)
    descent = Descent(objective, theta, tol, callback, rough, known)
    descent.run(max_iter)
    point, n_iter = descent.point, n_iter + descent.n_iter
    converged = descent.near or descent.near_to_rounding
    result = MAPResult(point.theta, point.energy, point.max_gradient, n_iter, converged)
    if warn and not result.converged:
        warnings.warn(not_stationary(result, tol), NotStationaryWarning, stacklevel=2)
    return result


def not_stationary(result: MAPResult, tol: float) -> str:
    """The sentence that says how far from stationary training stopped and what to raise."""
    limit = tol * max(1.0, abs(result.energy))
    return (
        f"Training stopped after {result.n_iter} iterations with max|gradient| = "
        f"{result.max_gradient:.3g}, above {tol:g} * max(1, |E|) = {limit:.3g}; Laplace's "
        "approximation holds at a stationary point only: raise max_iter."
    )


def step_cost(objective: NegativeLogPosterior) -> float:
    """Multiplications of one Gauss-Newton step and the passes that refine it."""
    n_params, n_rows = objective.mlp.n_params, objective.rows.n_rows
    passes = 2.0 * CG_ITERATIONS * n_rows * n_params
    if objective.in_weight_space:
        return passes + n_rows * n_params**2 + n_params**3 / 3
    n_values = n_rows * objective.mlp.n_outputs
    return passes + n_values**2 * sum(objective.mlp.layer_sizes) + n_values**3 / 3


def _scipy_minimise(
    objective: NegativeLogPosterior,
    theta: np.ndarray,
    solver: str,
    tol: float,
    max_iter: int,
    callback: Callback | None,
) -> tuple[np.ndarray, int]:
    """SciPy's L-BFGS-B or CG down to the tolerance or as near as it gets."""
    # The tolerance scales with the energy, which is far smaller at the minimum than at the start.
    options = {"maxiter": max_iter, "gtol": tol}
    if solver == "lbfgs":
        options |= {"maxcor": 20, "ftol": 1e-12, "maxfun": 2 * max_iter}
    result = minimize(
        objective.value_and_gradient,
        theta,
        jac=True,
        method={"lbfgs": "L-BFGS-B", "cg": "CG"}[solver],
        callback=callback,
        options=options,
    )
    return result.x, int(result.nit)
