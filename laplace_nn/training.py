"""Training to a MAP solution: the negative log posterior and the ways down to its minimum.

Laplace's approximation only holds at a stationary point, so every solver ends with damped
Gauss-Newton steps, refined to Newton steps, until the gradient vanishes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.curvature.regularised import FunctionSpace, Regularised, WeightSpace
from laplace_nn.likelihoods import Likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP, second_jvp, vjp
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks

__all__ = [
    "SOLVERS",
    "MAPResult",
    "NegativeLogPosterior",
    "NotStationaryWarning",
    "find_map",
    "in_weight_space",
]

SOLVERS = ("auto", "lm", "lbfgs", "cg")

# A damped Gauss-Newton step above this many multiplications starts to cost seconds: "auto" then
# lets L-BFGS do the first part of the way.
AUTO_STEP_COST = 2e10
CG_ITERATIONS = 40  # at most, in refining a step to the exact Hessian
DAMPING_FLOOR = 1e-3  # of the smallest prior precision: below it the damping is as good as none
ESCAPE = 1e-10  # relative decrease that leaving a saddle must promise
HOPELESS_DAMPING = 1e16  # times the floor: not even the smallest step descends
MAX_BACKTRACKS = 8
MOST_BEND = 0.75  # longest geodesic correction, as a part of the step (Transtrum & Sethna 2012)
ROUNDING = 1e-13  # relative size of an energy difference that says nothing
ENOUGH_GRADIENT = 1e-9  # of max(1, |E|): what the last Newton steps aim at

Callback = Callable[[np.ndarray], None]


class NotStationaryWarning(UserWarning):
    """Training stopped before the gradient vanished."""


@dataclass(frozen=True)
class NegativeLogPosterior:
    """The MAP objective: negative log posterior up to constants.

    E(w) = scale·Σ_n w_n nll_n(w) + ½ Σ_g α_g Σ_{i∈g} w_i² (PRML 5.112 and 5.166).

    Parameters
    ----------
    mlp : MLP
        The network.
    likelihood : Likelihood
        Its ``scale`` is the noise precision of a Gaussian.
    prior : GaussianPrior
        Over the weights.
    rows : RowBlocks
        Inputs, targets and sample weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> from laplace_nn.training import NegativeLogPosterior
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.ones((1, 1)), np.array([[2.0]]))
    >>> NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows).value(np.zeros(2))
    2.0
    """

    mlp: MLP
    likelihood: Likelihood
    prior: GaussianPrior
    rows: RowBlocks

    def value(self, theta: np.ndarray) -> float:
        """E(w)."""

        def term(block: RowBlocks) -> float:
            outputs = self.mlp.forward(theta, block.X).outputs
            return float(block.weigh(self.likelihood.nll(block.targets, outputs)).sum())

        data = self.rows.sum(term, self._row_bytes)
        return self.likelihood.scale * data + self.prior.energy(theta)

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """E(w) and ∇E(w), (P,)."""

        def term(block: RowBlocks) -> np.ndarray:
            tape = self.mlp.forward(theta, block.X)
            y, f = block.targets, tape.outputs
            nll = block.weigh(self.likelihood.nll(y, f)).sum()
            signal = block.weigh(self.likelihood.gradient(y, f))
            return np.append(vjp(self.mlp, theta, tape, signal), nll)

        total = self.likelihood.scale * self.rows.sum(term, self._row_bytes)
        energy = float(total[-1]) + self.prior.energy(theta)
        return energy, total[:-1] + self.prior.gradient(theta)

    def gauss_newton(self, theta: np.ndarray) -> Regularised:
        """scale·H + Λ with the outer products H, in whichever space is smaller."""
        curvature = GGN(self.mlp, theta, self.likelihood, self.rows)
        if in_weight_space(self.mlp, self.rows):
            return WeightSpace(curvature.dense(), self.prior, self.likelihood.scale)
        return FunctionSpace.from_factor(curvature.factor(), self.prior, self.likelihood.scale)

    def hessian_products(self, theta: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """The map v -> (scale·H + Λ) v with the exact Hessian."""
        exact = ExactHessian(self.mlp, theta, self.likelihood, self.rows)
        scale, precision = self.likelihood.scale, self.prior.precision
        return lambda v: scale * exact.products(v) + precision * v

    def pulled_curvature(self, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
        """scale·Σ_n J_nᵀ M_n R²{f_n}, the outputs' curvature along v as a force on the weights."""

        def term(block: RowBlocks) -> np.ndarray:
            tape = self.mlp.forward(theta, block.X)
            M = block.weigh(self.likelihood.hessian(block.targets, tape.outputs))
            curved = second_jvp(self.mlp, theta, tape, v)
            return vjp(self.mlp, theta, tape, np.einsum("nkj,nj->nk", M, curved))

        return self.likelihood.scale * self.rows.sum(term, self._row_bytes)

    @property
    def _row_bytes(self) -> int:
        return 8 * 3 * sum(self.mlp.layer_sizes)


def in_weight_space(mlp: MLP, rows: RowBlocks) -> bool:
    """Whether P ≤ N·K, so that the P x P form of a regularised inverse is the smaller one."""
    return mlp.n_params <= rows.n_rows * mlp.n_outputs


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
        Whether max |∇E| ≤ tol·max(1, |E|).
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
    max_iter: int = 1000,
    callback: Callback | None = None,
    warn: bool = True,
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
        Converged where max |∇E| ≤ tol·max(1, |E|). While they still pay, further steps reach for
        1e-9.
    max_iter : int, default=1000
        Budget of damped Gauss-Newton steps; L-BFGS and CG have ten times as many iterations.
    callback : callable, optional
        Called with the weights after every iteration.
    warn : bool, default=True
        Whether to warn if the budget ends first.

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
    >>> from laplace_nn.training import NegativeLogPosterior, find_map
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.array([[2.0]]))
    >>> result = find_map(NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows), np.zeros(2))
    >>> result.theta.round(6).tolist(), result.converged
    ([0.0, 1.0], True)
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}.")
    if solver == "auto":
        solver = "lm" if _step_cost(objective) <= AUTO_STEP_COST else "lbfgs"
    n_iter = 0
    if solver != "lm":
        theta, n_iter = _scipy_minimise(objective, theta, solver, tol, 10 * max_iter, callback)
    result = _Descent(objective, tol, callback).run(theta, max_iter)
    result = replace(result, n_iter=result.n_iter + n_iter)
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


def _step_cost(objective: NegativeLogPosterior) -> float:
    """Multiplications of one Gauss-Newton step and the passes that refine it."""
    n_params, n_rows = objective.mlp.n_params, objective.rows.n_rows
    passes = 2.0 * CG_ITERATIONS * n_rows * n_params
    if in_weight_space(objective.mlp, objective.rows):
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


@dataclass
class _Descent:
    """Damped Gauss-Newton (Levenberg-Marquardt) steps, refined to Newton steps by CG."""

    objective: NegativeLogPosterior
    tol: float
    callback: Callback | None

    def run(self, theta: np.ndarray, max_iter: int) -> MAPResult:
        """Descend from theta with a budget of steps."""
        point = _Point.at(self.objective, theta)
        floor = DAMPING_FLOOR * float(self.objective.prior.precisions.min())
        damping, refine, failed, stalled, n_iter = 1.0, False, False, 0, 0
        while n_iter < max_iter:
            if self._finished(point, stalled):
                lower = self._escape(point)
                if lower is None:
                    break
                point, damping, failed, stalled, n_iter = lower, 1.0, False, 0, n_iter + 1
                continue
            n_iter += 1
            # Within the tolerance, and where the damping changes nothing any more, the steps are
            # Newton's: damped ones creep, and would look as if nothing more could be gained.
            near = point.max_gradient <= self._limit(point)
            newton = near and not failed
            try:
                step = point.step(0.0 if newton or damping <= floor else damping, refine or newton)
                new, length = self._search(point, step)
            except NotPositiveDefiniteError:
                # Outer products are never negative but by rounding, which damping drowns.
                new, length = None, 0.0
            if new is None:
                if damping > HOPELESS_DAMPING * floor:
                    break
                stalled = stalled + 1 if near else 0
                failed, refine, damping = True, False, 10.0 * damping
                continue
            helped = new.max_gradient < 0.25 * point.max_gradient
            failed, stalled = False, stalled + 1 if near and not helped else 0
            agreement = (point.energy - new.energy) / max(step.decrease, np.finfo(float).tiny)
            refine = length > 0.25
            if length < 1.0:
                damping *= 3.0 if length > 0.25 else 10.0
            elif agreement > 0.75:
                damping = max(0.2 * damping, floor)
            point = new
            if self.callback is not None:
                self.callback(point.theta)
        converged = point.max_gradient <= self._limit(point)
        return MAPResult(point.theta, point.energy, point.max_gradient, n_iter, converged)

    def _escape(self, point: "_Point") -> "_Point | None":
        """A lower point along negative curvature, where this one is a saddle; None at a minimum."""
        try:
            step = point.negative_curvature()
        except NotPositiveDefiniteError:
            # Rounding hides the prior in the preconditioner: nothing can be said of saddles.
            return None
        if step is None or step.decrease <= ESCAPE * max(1.0, abs(point.energy)):
            return None
        return self._search(point, step)[0]

    def _search(self, point: "_Point", step: "_Step") -> tuple["_Point | None", float]:
        """Backtrack along the step by quadratic interpolation until Armijo's condition holds."""
        slope, length = float(point.gradient @ step.direction), 1.0
        if step.decrease <= ROUNDING * max(1.0, abs(point.energy)):
            # Energies differ by rounding only: the gradients decide.
            new = _Point.at(self.objective, step.reach(point.theta, 1.0))
            return (new, 1.0) if new.max_gradient < point.max_gradient else (None, 0.0)
        for _ in range(MAX_BACKTRACKS):
            theta = step.reach(point.theta, length)
            energy = self.objective.value(theta)
            if energy <= point.energy + 1e-4 * length * slope:
                return _Point.at(self.objective, theta), length
            excess = energy - point.energy - length * slope
            best = -slope * length**2 / (2.0 * excess) if np.isfinite(excess) else 0.0
            length = float(np.clip(best, 0.1 * length, 0.5 * length))
        return None, 0.0

    def _finished(self, point: "_Point", stalled: int) -> bool:
        """At 1e-9, or at the tolerance where two steps in a row no longer helped much."""
        if point.max_gradient <= ENOUGH_GRADIENT * max(1.0, abs(point.energy)):
            return True
        return point.max_gradient <= self._limit(point) and stalled >= 2

    def _limit(self, point: "_Point") -> float:
        """The gradient at which training has converged."""
        return self.tol * max(1.0, abs(point.energy))


@dataclass(frozen=True)
class _Step:
    """A path θ(t) = θ + t·direction + ½ t²·bend and the decrease promised at t = 1."""

    direction: np.ndarray
    decrease: float
    bend: np.ndarray | float = 0.0

    def reach(self, theta: np.ndarray, length: float) -> np.ndarray:
        """θ(length)."""
        return theta + length * self.direction + 0.5 * length**2 * self.bend


@dataclass(frozen=True)
class _Point:
    """Weights with their energy and gradient; the Gauss-Newton matrix when first needed."""

    objective: NegativeLogPosterior
    theta: np.ndarray
    energy: float
    gradient: np.ndarray

    @classmethod
    def at(cls, objective: NegativeLogPosterior, theta: np.ndarray) -> "_Point":
        """Evaluate the objective."""
        return cls(objective, theta, *objective.value_and_gradient(theta))

    @property
    def max_gradient(self) -> float:
        """max |∇E|, infinite where it has overflowed."""
        size = float(np.max(np.abs(self.gradient)))
        return size if np.isfinite(size) else np.inf

    @cached_property
    def model(self) -> Regularised:
        """scale·H + Λ with the outer products."""
        return self.objective.gauss_newton(self.theta)

    def step(self, damping: float, refine: bool) -> _Step:
        """-(A + damping·I)⁻¹ ∇E, with the outer products or refined to the exact Hessian."""
        prior = self.objective.prior
        damped = prior.with_precisions(prior.precisions + damping)
        model = self.model.with_hyperparameters(damped, self.objective.likelihood.scale)
        if not refine:
            direction = -model.solve(self.gradient)
            bend = -model.solve(self.objective.pulled_curvature(self.theta, direction))
            if np.linalg.norm(bend) > MOST_BEND * np.linalg.norm(direction):
                bend = np.zeros_like(direction)
            return _Step(direction, float(-0.5 * self.gradient @ direction), bend)
        product = self.objective.hessian_products(self.theta)
        # Loose on the way, tight where a Newton step can end it.
        forcing = self.max_gradient / max(1.0, abs(self.energy))
        forcing = forcing if forcing < 1e-6 else np.sqrt(forcing)
        direction, moved, convex = conjugate_gradients(
            lambda v: product(v) + damping * v,
            -self.gradient,
            model.solve,
            float(np.clip(forcing, 1e-9, 0.1)),
        )
        if not convex:
            return self.step(damping, refine=False)
        return _Step(direction, float(-self.gradient @ direction - 0.5 * direction @ moved))

    def negative_curvature(self) -> "_Step | None":
        """A downhill direction along which the exact Hessian is negative, if there is one.

        Conjugate gradients on a random right-hand side (the gradient vanishes here) meet it, if
        anything does: their directions are Lanczos's.
        """
        product = self.objective.hessian_products(self.theta)
        target = np.random.default_rng(0).standard_normal(len(self.theta))
        direction, moved, convex = conjugate_gradients(product, target, self.model.solve, 1e-6)
        if convex:
            return None
        sign = -1.0 if self.gradient @ direction > 0.0 else 1.0
        decrease = abs(self.gradient @ direction) - 0.5 * direction @ moved
        return _Step(sign * direction, float(decrease))


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
