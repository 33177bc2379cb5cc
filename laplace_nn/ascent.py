"""The climb of the log evidence: MacKay's updates while they lead up, then its gradient.

Every cycle proposes hyperparameters, fits the MAP solution there and keeps it if the evidence has
risen; otherwise the step is shortened from the best state seen.
"""

from collections.abc import Callable

import numpy as np

from laplace_nn.descent import ENOUGH_GRADIENT
from laplace_nn.evidence_surface import LONGEST_STEP, EvidenceSurface, State
from laplace_nn.linalg import NotPositiveDefiniteError

__all__ = ["OUT_OF_CYCLES", "Ascent"]

SHORTENING = 0.25  # of a step that lowered the evidence
MAX_SHORTENINGS = 1
# The gradient polishes: it may move each hyperparameter so far from where MacKay's updates end.
# Farther off, the evidence gains by units that saturate, whose weights Laplace's approximation
# takes to be free of charge.
FARTHEST = np.log(3.0)
MAX_GRADIENT_GROUPS = 10  # above which the gradient, a solve a group, costs too much
LARGE_RISE = 0.2  # of the evidence, relative: below it a step counts only once it is stationary
FLAT_CYCLES = 3  # in a row, with hardly any rise, that end the climb
ROUNDING = 1e-10  # relative fall of the evidence that is none
OUT_OF_CYCLES = "the cycles ran out"
# MAP iterations in a cycle: few while hyperparameters still take their longest steps, more when
# they settle or the evidence falls, and most once the gradient asks for a true mode.
FAR_ITERATIONS, NEAR_ITERATIONS, SETTLING_ITERATIONS = 2, 3, 6
MODE_ITERATIONS = 200


class Ascent:
    """A climb under way: the best state, and what its last cycles taught.

    Parameters
    ----------
    surface : EvidenceSurface
        What is climbed.
    best : State
        Where the climb starts.
    note : callable
        Called with every state that is looked at, and what became of it.
    tol : float
        See `laplace_nn.reestimation.reestimate`.
    max_iter : int
        Largest budget of a MAP fit.
    refine : bool
        Whether the gradient takes over where MacKay's direction no longer leads up.
    """

    def __init__(
        self,
        surface: EvidenceSurface,
        best: State,
        note: Callable[[State, str], None],
        tol: float,
        max_iter: int,
        refine: bool,
    ) -> None:
        self.surface, self.best, self.note = surface, best, note
        self.tol, self.max_iter = tol, max_iter
        self.refine = refine and best.prior.n_groups <= MAX_GRADIENT_GROUPS
        self.secants: Secants | None = None  # of the gradient, once MacKay's direction has failed
        self.mackays_end = best.log_hyperparameters  # where it has
        self.n_cycles, self.shortenings, self.flat, self.trained = 0, 0, 0, False
        self.mode = best if best.map.converged else None  # the best state that is a true mode
        self.returned = False
        self.proposal = self._proposal()

    @property
    def size(self) -> float:
        """max(1, |ln evidence|), what its changes are measured by."""
        return max(1.0, abs(self.best.merit))

    @property
    def _settling(self) -> int:
        """MAP iterations where the evidence of a state is to be trusted."""
        budget = SETTLING_ITERATIONS if self.secants is None else MODE_ITERATIONS
        return min(budget, self.max_iter)

    def run(self, max_cycles: int) -> str:
        """Climb, and say why the climb ended; the gradient has a budget of its own."""
        while self.n_cycles < max_cycles:
            self.n_cycles += 1
            state = self._try()
            rises = self._rises(state)
            fresh = not rises and self._train_best()
            if fresh and state is not None and state.map.converged:
                rises = self._rises(state)
            reason = (
                self._accept(state)
                if state is not None and rises
                else self._take_back(state, fresh)
            )
            if reason:
                return reason
        return OUT_OF_CYCLES

    def _rises(self, state: State | None) -> bool:
        return state is not None and self._rise(state) >= -ROUNDING * self.size

    def _rise(self, state: State) -> float:
        return state.merit - self.best.merit

    def _try(self) -> State | None:
        """The state at the proposal; None where rounding hides the data or the prior."""
        log_hyperparameters = self.best.log_hyperparameters
        prior, likelihood = self.surface.moved(self.best, self.proposal)
        longest = np.max(np.abs(self.proposal - log_hyperparameters))
        n_iter = FAR_ITERATIONS if longest > 0.9 * LONGEST_STEP else NEAR_ITERATIONS
        budget, theta = min(n_iter, self.max_iter), self.best.map.theta
        try:
            state = self.surface.evaluate(prior, likelihood, theta, budget)
            # Where the budget is spent nobody has looked whether the gradient vanishes at a saddle.
            unfinished = not state.map.converged or state.map.n_iter >= budget
            if unfinished and 0.0 <= self._rise(state) < LARGE_RISE * self.size:
                # The slow part of training often leaves a saddle, whose evidence flatters.
                state = self.surface.evaluate(prior, likelihood, state.map.theta, self._settling)
        except NotPositiveDefiniteError:
            return None
        return state

    def _train_best(self) -> bool:
        """Train the best state to the end before something is judged by it; once.

        Where rounding keeps the gradient up, a second time would end like the first.
        """
        best = self.best
        enough = ENOUGH_GRADIENT * max(1.0, abs(best.map.energy))
        if self.trained or best.map.max_gradient <= enough:
            return False
        self.trained = True
        self.best = self.surface.evaluate(
            best.prior, best.likelihood, best.map.theta, self._settling
        )
        self.note(self.best, "trained on")
        self._remember(self.best)
        return True

    def _remember(self, state: State) -> None:
        """Keep the best true mode: untrained states flatter, and may lead away from it."""
        if state.map.converged and (self.mode is None or state.merit >= self.mode.merit):
            self.mode, self.returned = state, False

    def _accept(self, state: State) -> str:
        """Go on from a higher state, unless nothing has changed."""
        self.note(state, "step")
        rise, size, old = self._rise(state), self.size, self.best.log_hyperparameters
        self.best, self.shortenings, self.trained = state, 0, False
        self._remember(state)
        change = np.abs(state.log_hyperparameters - old) / np.maximum(1.0, np.abs(old))
        if rise <= self.tol * size and np.all(change <= self.tol):
            return "hyperparameters and evidence stopped changing"
        self.flat = self.flat + 1 if rise <= self.tol**2 * size else 0
        if self.flat >= FLAT_CYCLES:
            return "the evidence stopped rising"
        self.proposal = self._proposal()
        return ""

    def _take_back(self, state: State | None, fresh: bool) -> str:
        """Stay, with a shorter step, or in another direction, or at the end."""
        self.note(
            self.best if state is None else state, "refused" if state is None else "taken back"
        )
        if fresh and self.mode is not None:
            fallen = self.mode.merit - self.best.merit
            if fallen > self.tol**2 * self.size:
                return self._return()
        if fresh:
            self.proposal = self._proposal()
        elif self.shortenings < MAX_SHORTENINGS:
            self.shortenings += 1
            current = self.best.log_hyperparameters
            self.proposal = current + SHORTENING * (self.proposal - current)
        elif self.refine and self.secants is None:
            self.secants, self.shortenings = Secants(), 0
            self.mackays_end, self.n_cycles = self.best.log_hyperparameters, 0
            self.proposal = self._proposal()
        else:
            return "no step raises the evidence"
        return ""

    def _return(self) -> str:
        """Back to the best mode, with a shorter step than the one that led astray; once a mode."""
        assert self.mode is not None
        self.best = self.mode
        if self.returned:
            return "no step raises the evidence"
        self.note(self.best, "gone back")
        self.returned, self.shortenings, self.trained = True, MAX_SHORTENINGS, True
        current = self.best.log_hyperparameters
        self.proposal = current + SHORTENING * (self._proposal() - current)
        return ""

    def _proposal(self) -> np.ndarray:
        """Hyperparameters a bounded step away from the best ones."""
        if self.secants is None:
            return self.surface.along_mackay(self.best)
        step = self.secants.step(self.surface, self.best)
        longest = np.max(np.abs(step), initial=LONGEST_STEP)
        target = self.best.log_hyperparameters + LONGEST_STEP / longest * step
        near = np.clip(target, self.mackays_end - FARTHEST, self.mackays_end + FARTHEST)
        return self.surface.bounded(near)


class Secants:
    """Quasi-Newton steps up the evidence (BFGS; Nocedal & Wright 6.17)."""

    def __init__(self) -> None:
        self.inverse: np.ndarray | None = None
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, surface: EvidenceSurface, state: State) -> np.ndarray:
        """The step to the top of the quadratic that the gradients so far suggest."""
        here, gradient = state.log_hyperparameters, surface.gradient(state)
        if self.inverse is None:
            # To leading order MacKay's update: ½γ is the evidence's curvature in ln α.
            curvature = np.maximum(np.append(state.n_effective_params, surface.n_free(state)), 1.0)
            self.inverse = np.diag(2.0 / curvature)
        if self.last is not None:
            self._learn(here - self.last[0], self.last[1] - gradient)
        self.last = here, gradient
        return np.where(surface.moves(state), self.inverse @ gradient, 0.0)

    def _learn(self, s: np.ndarray, y: np.ndarray) -> None:
        """H ← (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ, where the evidence curves down along s."""
        if s @ y > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
            rho = 1.0 / (s @ y)
            V = np.eye(len(s)) - rho * np.outer(y, s)
            self.inverse = V.T @ self.inverse @ V + rho * np.outer(s, s)
