"""A walk through hyperparameters, past worse states too; the best that it has seen is kept.

Where leave-one-out has a say nothing proposes steps that climb: MacKay's updates lead up the
evidence, and fits that are not finished make the score rough. So the walk goes on past worse
states, and ends where several in a row are no better. The updates move many precisions but are
blind to the score, which so chooses between few states and cannot be fitted by many parameters
(Cawley & Talbot 2010).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from laplace_nn.ascent import OUT_OF_CYCLES
from laplace_nn.evidence_surface import LONGEST_STEP, EvidenceSurface, State
from laplace_nn.linalg import NotPositiveDefiniteError

__all__ = ["MACKAY", "PATIENCE", "STRENGTHS", "Pace", "Walk"]


class Pace(NamedTuple):
    """How well the states of a walk are trained."""

    n_iter: int  # of a MAP fit
    n_iter_far: int  # the same as long as precisions take the longest step, in passing
    gradient: float  # max |∇E| / max(1, |E|) at which it ends before


MACKAY = Pace(3, 2, 1e-5)  # hyperparameters follow each other closely
STRENGTHS = Pace(8, 8, 1e-3)  # a step is long, and each state is to be near a mode
# By how much a MacKay's update is lengthened that goes on in the direction of the last one. A fixed
# point that is neared from one side, by a part of the way each time, is neared twice as fast.
STRIDE = 2.0
NEARLY = 0.99  # of the longest step, which is as good as it
PATIENCE = 2  # states in a row that are no better, with which a walk ends


class Walk:
    """A walk under way: where it is, the best state, and how long ago that was.

    Parameters
    ----------
    surface : EvidenceSurface
        What is walked on; its merit says which state is the best.
    start : State
        Where the walk begins.
    theta : ndarray of shape (P,)
        Weights to train from as long as the prior has switched every hidden unit off.
    note : callable
        Called with every state that is looked at, and what became of it.
    tol : float
        Rise of the merit, in nats a row, below which a state is no better.
    max_iter : int
        Largest budget of a MAP fit.
    strength_ratio : float, optional
        By which all precisions are multiplied from state to state, or divided, where the start
        has stayed the best, before MacKay's updates move each for itself.
    """

    def __init__(
        self,
        surface: EvidenceSurface,
        start: State,
        theta: np.ndarray,
        note: Callable[[State, str], None],
        tol: float,
        max_iter: int,
        strength_ratio: float | None = None,
    ) -> None:
        self.surface, self.note, self.tol, self.max_iter = surface, note, tol, max_iter
        self.strength_ratio = strength_ratio
        self.here = self.best = start
        self.theta = theta if surface.is_dead(start.map.theta) else start.map.theta
        self.mode = start if start.map.converged else None  # the best state that is a true mode
        self.last_update = np.zeros_like(start.log_hyperparameters)
        self.idle = self.left = 0

    def run(self, max_cycles: int) -> str:
        """Walk, and say why the walk ended."""
        self.left = max_cycles
        if self.strength_ratio is not None:
            reason = self._through_strengths(self.strength_ratio)
            if not self.surface.fit_noise and np.sum(self.surface.moving(self.best.prior)) == 1:
                return reason  # one precision without noise has nothing but its strength
            self._return_to(self.best)
        return self._go(self._along_mackay, MACKAY)

    def _through_strengths(self, ratio: float) -> str:
        """One way, and where the start has stayed the best, from there the other way."""
        start = self.best
        reason = self._go(partial(self.surface.scaled, ratio=ratio), STRENGTHS)
        if self.best is start:
            self._return_to(start)
            reason = self._go(partial(self.surface.scaled, ratio=1.0 / ratio), STRENGTHS)
        return reason

    def _along_mackay(self, state: State) -> np.ndarray:
        """MacKay's (ln α, ln β), over-relaxed where they keep their direction."""
        update = self.surface.mackay(state) - state.log_hyperparameters
        stride = np.where(update * self.last_update > 0.0, STRIDE, 1.0)
        self.last_update = update
        return self.surface.along_mackay(state, stride)

    def _return_to(self, state: State) -> None:
        """Go on from an earlier state."""
        self.here, self.idle = state, 0
        if not self.surface.is_dead(state.map.theta):
            self.theta = state.map.theta

    def _go(self, propose: Callable[[State], np.ndarray], pace: Pace) -> str:
        while self.left > 0:
            self.left -= 1
            target = propose(self.here)
            prior, likelihood = self.surface.moved(self.here, target)
            n_iter = self._budget(target, pace)
            try:
                state = self.surface.evaluate(
                    prior, likelihood, self.theta, n_iter, pace.gradient, near=self.here
                )
            except NotPositiveDefiniteError:
                self.note(self.here, "refused")
                return "rounding hides the data or the prior"
            self._see(state)
            if self.idle >= PATIENCE:
                return f"no better state in {PATIENCE} cycles"
        return OUT_OF_CYCLES

    def _budget(self, target: np.ndarray, pace: Pace) -> int:
        """Of the MAP fit at the next (ln α, ln β), which a state may only pass."""
        step = np.max(np.abs(target - self.here.log_hyperparameters))
        far = step > NEARLY * LONGEST_STEP
        return min(pace.n_iter_far if far else pace.n_iter, self.max_iter)

    def _see(self, state: State) -> None:
        """Go on from a state, better or not."""
        self.note(state, "step")
        self.here = state
        if not self.surface.is_dead(state.map.theta):
            self.theta = state.map.theta
        enough = self.tol * self.surface.rows.total_weight
        self.idle = 0 if state.merit > self.best.merit + enough else self.idle + 1
        if state.merit > self.best.merit:
            self.best = state
        if state.map.converged and (self.mode is None or state.merit > self.mode.merit):
            self.mode = state
