"""Damped Gauss-Newton descent (Levenberg 1944, Marquardt 1963), refined to Newton's method.

Steps come from the outer products, bent along the outputs' second derivative; where they
have become good they are refined to the exact Hessian by conjugate gradients, and where these
meet negative curvature it is followed downhill, so that a descent ends in a minimum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laplace_nn.curvature.regularised import Regularised
from laplace_nn.linalg import NotPositiveDefiniteError, conjugate_gradients
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.projection import Projection
from laplace_nn.quasi_newton import preconditioned_lbfgs

__all__ = ["ENOUGH_GRADIENT", "Descent", "Point", "Step"]

DAMPING_FLOOR = 1e-3  # of the smallest prior precision: below it the damping is as good as none
ENOUGH_GRADIENT = 1e-9  # of max(1, |E|): what the last Newton steps aim at
ESCAPE = 1e-10  # relative decrease that leaving a saddle must promise
HOPELESS_DAMPING = 1e16  # times the floor: not even the smallest step descends
MAX_BACKTRACKS = 8
MAX_DOUBLINGS = 8  # of a step along negative curvature
SWEEP_ITERATIONS = 30  # of L-BFGS on one factorisation
STEP_COST = 10  # of a factorisation and its step, in evaluations of energy and gradient
RETRY = 1.1  # growth of what the way not taken is thought to pay
LEAST_PAY = 0.9  # the least that it is thought to pay, as a part of what the way taken does
SWEPT = 1e-7  # relative gain of a sweep below which Newton steps are to end the descent
MOST_BEND = 0.75  # longest geodesic correction, as a part of the step (Transtrum & Sethna 2012)
ROUNDING = 1e-13  # relative size of an energy difference that says nothing

Callback = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class Step:
    """A path θ(t) = θ + t·direction + ½ t²·bend and the decrease promised at t = 1."""

    direction: np.ndarray
    decrease: float
    bend: np.ndarray | float = 0.0
    along_negative_curvature: bool = False

    def reach(self, theta: np.ndarray, length: float) -> np.ndarray:
        """θ(length)."""
        return theta + length * self.direction + 0.5 * length**2 * self.bend


@dataclass(frozen=True)
class Point:
    """Weights with their energy and gradient; the Gauss-Newton matrix when first needed."""

    objective: NegativeLogPosterior
    theta: np.ndarray
    energy: float
    gradient: np.ndarray
    known: Regularised | None = None

    @classmethod
    def at(
        cls, objective: NegativeLogPosterior, theta: np.ndarray, known: Regularised | None = None
    ) -> "Point":
        """Evaluate the objective; its Gauss-Newton matrix there may be known."""
        return cls(objective, theta, *objective.value_and_gradient(theta), known)

    @property
    def size(self) -> float:
        """max(1, |E|), what gradients and energy differences are measured by."""
        return max(1.0, abs(self.energy))

    @property
    def max_gradient(self) -> float:
        """max |∇E|, infinite where it has overflowed."""
        size = float(np.max(np.abs(self.gradient)))
        return size if np.isfinite(size) else np.inf

    @cached_property
    def model(self) -> Regularised:
        """scale·H + Λ with the outer products."""
        return self.known or self.objective.gauss_newton(self.theta)

    def step(self, damping: float, refine: bool) -> Step:
        """-(A + damping·I)⁻¹ ∇E, with the outer products or refined to the exact Hessian."""
        prior = self.objective.prior
        damped = prior.with_precisions(prior.precisions + damping)
        model = self.model.with_hyperparameters(damped, self.objective.likelihood.scale)
        if not refine:
            return self._gauss_newton_step(model)
        step = self._newton_step(model, damping)
        if not step.along_negative_curvature:
            return step
        other = self._gauss_newton_step(model)
        return step if step.decrease > other.decrease else other

    def _gauss_newton_step(self, model: Regularised) -> Step:
        """The damped step, bent by the outputs' second derivative along it."""
        direction = -model.solve(self.gradient)
        decrease = float(-0.5 * self.gradient @ direction)
        return Step(direction, decrease, self._bend(model, direction))

    def _bend(self, model: Regularised, direction: np.ndarray) -> np.ndarray:
        """The geodesic acceleration, where it is a correction."""
        bend = -model.solve(self.objective.pulled_curvature(self.theta, direction))
        if np.linalg.norm(bend) > MOST_BEND * np.linalg.norm(direction):
            return np.zeros_like(direction)
        return bend

    def _newton_step(self, model: Regularised, damping: float) -> Step:
        """The damped Newton step by CG, or a direction of negative curvature met on the way."""
        product = self.objective.hessian_products(self.theta)
        # Loose on the way, tight where a Newton step can end it.
        forcing = self.max_gradient / self.size
        forcing = forcing if forcing < 1e-6 else np.sqrt(forcing)
        direction, moved, convex = conjugate_gradients(
            lambda v: product(v) + damping * v,
            -self.gradient,
            model.solve,
            float(np.clip(forcing, 1e-9, 0.1)),
        )
        if not convex:
            return self._along(direction, moved)
        decrease = float(-self.gradient @ direction - 0.5 * direction @ moved)
        return Step(direction, decrease, self._bend(model, direction))

    def swept(self) -> "Point":
        """Where L-BFGS on the factor at hand leads."""
        theta, energy, gradient = preconditioned_lbfgs(
            self.objective.value_and_gradient,
            self.theta,
            self.energy,
            self.gradient,
            self.model.solve,
            SWEEP_ITERATIONS,
            ROUNDING * self.size,
        )
        return Point(self.objective, theta, energy, gradient)

    def swept_under(self, projection: Projection) -> "Point":
        """The same on the hidden layers, the last one being solved for.

        Their part of A⁻¹ is the inverse of the projected outer products (Kaufman 1975).
        """
        n_hidden, padded = projection.size, np.zeros_like(self.theta)

        def solve(gradient: np.ndarray) -> np.ndarray:
            padded[:n_hidden] = gradient
            return self.model.solve(padded)[:n_hidden]

        hidden = self.theta[:n_hidden]
        hidden, _, _ = preconditioned_lbfgs(
            projection.value_and_gradient,
            hidden,
            *projection.value_and_gradient(hidden),
            solve,
            SWEEP_ITERATIONS,
            ROUNDING * self.size,
        )
        return Point(self.objective, *projection.at(hidden))

    def negative_curvature(self) -> Step | None:
        """A downhill direction along which the exact Hessian is negative, if there is one.

        Conjugate gradients on a random right-hand side (the gradient vanishes here) meet it, if
        anything does: their directions are Lanczos's.
        """
        product = self.objective.hessian_products(self.theta)
        target = np.random.default_rng(0).standard_normal(len(self.theta))
        direction, moved, convex = conjugate_gradients(product, target, self.model.solve, 1e-6)
        return None if convex else self._along(direction, moved)

    def _along(self, direction: np.ndarray, moved: np.ndarray) -> Step:
        """The step along negative curvature, ``moved`` being the direction's image, downhill."""
        sign = -1.0 if self.gradient @ direction > 0.0 else 1.0
        decrease = abs(self.gradient @ direction) - 0.5 * direction @ moved
        return Step(sign * direction, float(decrease), along_negative_curvature=True)


class Descent:
    """A descent under way: where it is, its damping, and what its last steps taught.

    Parameters
    ----------
    objective : NegativeLogPosterior
        What to minimise.
    theta : ndarray of shape (P,)
        Where to start.
    tol : float
        Converged where max |∇E| ≤ tol·max(1, |E|).
    callback : callable, optional
        Called with the weights after every step.
    rough : bool, default=False
        Whether to end at the tolerance. Otherwise steps go on below it while they pay.
    known : Regularised, optional
        The Gauss-Newton matrix at the start.
    """

    def __init__(
        self,
        objective: NegativeLogPosterior,
        theta: np.ndarray,
        tol: float,
        callback: Callback | None = None,
        rough: bool = False,
        known: Regularised | None = None,
    ) -> None:
        self.objective, self.tol, self.callback = objective, tol, callback
        self.rough = rough
        self.point = Point.at(objective, theta, known)
        self.floor = DAMPING_FLOOR * float(objective.prior.precisions.min())
        self.projection = Projection(objective) if Projection.applies(objective) else None
        self.n_iter = 0
        self._forget()

    def _forget(self) -> None:
        """What a fresh start knows: nothing but a moderate damping."""
        self.damping, self.refine, self.failed, self.stalled = 1.0, False, False, 0
        self.finishing, self.pays = False, {"step": 0.0, "sweep": np.inf}

    @property
    def near(self) -> bool:
        """Whether the gradient is within the tolerance."""
        return self.point.max_gradient <= self.tol * self.point.size

    @property
    def near_to_rounding(self) -> bool:
        """Whether rounding the weights changes the gradient by as much as there is of it."""
        theta = self.point.theta
        moved = np.nextafter(theta, np.where(np.arange(len(theta)) % 2, np.inf, -np.inf))
        change = Point.at(self.objective, moved).gradient - self.point.gradient
        return bool(self.point.max_gradient <= np.max(np.abs(change)))

    def run(self, max_iter: int) -> None:
        """Descend until the gradient has vanished at a minimum, or the budget of steps ends."""
        while self.n_iter < max_iter:
            # A state that is only passed may be a saddle: the next one's steps leave it.
            at_end = self._finished()
            if at_end and self.rough:
                return
            going_on = self._leave_saddle() if at_end else self._advance()
            if not going_on:
                return
            self.n_iter += 1
            if self.callback is not None:
                self.callback(self.point.theta)

    def _finished(self) -> bool:
        """At 1e-9, or at the tolerance where two steps in a row no longer helped much."""
        if self.point.max_gradient <= ENOUGH_GRADIENT * self.point.size:
            return True
        return self.near and (self.rough or self.stalled >= 2)

    def _advance(self) -> bool:
        """A step or a sweep, or more damping where it led nowhere; False where that is no use."""
        sweeping = self.refine and not (self.near or self.failed or self.finishing)
        if sweeping and self.pays["sweep"] >= self.pays["step"]:
            return self._sweep()
        try:
            step = self._step(newton=(self.near or self.finishing) and not self.failed)
            new, length = self._search(step)
        except NotPositiveDefiniteError:
            # Outer products are never negative but by rounding, which damping drowns.
            return self._damp_more()
        if new is None:
            return self._damp_more()
        self._move_to(new, step, length)
        return True

    def _damp_more(self) -> bool:
        """After a step that led nowhere; False where damping is of no use any more."""
        self.stalled = self.stalled + 1 if self.near else 0
        hopeless = self.damping > HOPELESS_DAMPING * self.floor
        self.failed, self.refine, self.damping = True, False, 10.0 * self.damping
        return not hopeless

    def _move_to(self, new: Point, step: Step, length: float) -> None:
        """Go on from a better point, and learn from the step."""
        helped = new.max_gradient < 0.25 * self.point.max_gradient
        self.failed, self.stalled = False, self.stalled + 1 if self.near and not helped else 0
        if step.along_negative_curvature:
            self.finishing = False
        gained = self.point.energy - new.energy
        self._learn_pay("step", gained, STEP_COST)
        self._adapt(step, length, gained / max(step.decrease, np.finfo(float).tiny))
        self.point = new

    def _sweep(self) -> bool:
        """Many cheap steps on the factor at hand, where Gauss-Newton steps have become good."""
        point = self.point
        try:
            new = point.swept() if self.projection is None else point.swept_under(self.projection)
        except NotPositiveDefiniteError:
            self.failed = True
            return True
        if not new.energy <= point.energy:
            new = point
        gained = point.energy - new.energy
        self.point = new
        self._learn_pay("sweep", gained, SWEEP_ITERATIONS)
        self.finishing = gained <= SWEPT * point.size
        return True

    def _learn_pay(self, kind: str, gained: float, cost: int) -> None:
        """What a step or a sweep has gained by its cost; the other looks better in the meantime."""
        other = {"step": "sweep", "sweep": "step"}[kind]
        self.pays[kind] = gained / cost
        self.pays[other] = max(RETRY * self.pays[other], LEAST_PAY * self.pays[kind])

    def _step(self, newton: bool) -> Step:
        # Within the tolerance, and where the damping changes nothing any more, the steps are
        # Newton's: damped ones creep, and would look as if nothing more could be gained.
        damping = 0.0 if newton or self.damping <= self.floor else self.damping
        return self.point.step(damping, self.refine or newton)

    def _adapt(self, step: Step, length: float, agreement: float) -> None:
        """Damp more after a shortened step, less after one that kept what it promised."""
        self.refine = length > 0.25
        if step.along_negative_curvature:
            self.stalled = 0
        elif length < 1.0:
            self.damping *= 3.0 if length > 0.25 else 10.0
        elif agreement > 0.75:
            self.damping = max(0.2 * self.damping, self.floor)

    def _leave_saddle(self) -> bool:
        """Go on from a lower point along negative curvature; False at a minimum."""
        try:
            step = self.point.negative_curvature()
        except NotPositiveDefiniteError:
            # Rounding hides the prior in the preconditioner: nothing can be said of saddles.
            return False
        if step is None or step.decrease <= ESCAPE * self.point.size:
            return False
        lower, _ = self._search(step)
        if lower is None:
            return False
        self.point = lower
        self._forget()
        return True

    def _search(self, step: Step) -> tuple[Point | None, float]:
        """Backtrack along the step by quadratic interpolation until Armijo's condition holds."""
        point = self.point
        slope, length = float(point.gradient @ step.direction), 1.0
        if step.decrease <= ROUNDING * point.size:
            # Energies differ by rounding only: the gradients decide.
            new = Point.at(self.objective, step.reach(point.theta, 1.0))
            return (new, 1.0) if new.max_gradient < point.max_gradient else (None, 0.0)
        for _ in range(MAX_BACKTRACKS):
            new = Point.at(self.objective, step.reach(point.theta, length))
            if new.energy <= point.energy + 1e-4 * length * slope:
                return self._stretched(step, length, new)
            excess = new.energy - point.energy - length * slope
            best = -slope * length**2 / (2.0 * excess) if np.isfinite(excess) else 0.0
            length = float(np.clip(best, 0.1 * length, 0.5 * length))
        return None, 0.0

    def _stretched(self, step: Step, length: float, new: Point) -> tuple[Point, float]:
        """Along negative curvature double the length while the energy falls: no model bounds it."""
        if not step.along_negative_curvature:
            return new, length
        energy, reached = new.energy, length
        for _ in range(MAX_DOUBLINGS):
            further = self.objective.value(step.reach(self.point.theta, 2.0 * reached))
            if not further < energy:
                break
            reached, energy = 2.0 * reached, further
        if reached == length:
            return new, length
        return Point.at(self.objective, step.reach(self.point.theta, reached)), reached
