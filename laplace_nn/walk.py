"""A walk through hyperparameters that does not turn back; the best state it has seen is kept.

Where leave-one-out has a say nothing proposes steps that climb: MacKay's updates lead up the
evidence, and fits that are not finished make the score rough. So the walk goes on past worse
states, and ends where several in a row are no better. The updates move many precisions but are
blind to the score, which so chooses between few states and cannot be fitted by many parameters
(Cawley & Talbot 2010).
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from laplace_nn.ascent import OUT_OF_CYCLES
from laplace_nn.evidence_surface import EvidenceSurface, State
from laplace_nn.linalg import NotPositiveDefiniteError

__all__ = ["Walk"]

MACKAY_ITERATIONS = 4  # of a MAP fit, while hyperparameters follow each other closely
MACKAY_PATIENCE = 4  # states in a row that are no better
STRENGTH_ITERATIONS = 8  # where a step is long, and each state is to be a mode
STRENGTH_PATIENCE = 2


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
        Relative rise of the merit below which a state is no better.
    max_iter : int
        Largest budget of a MAP fit.
    strength_ratio : float, optional
        By which all precisions are multiplied from state to state, before MacKay's updates move
        each for itself.
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
        self.idle = 0

    def run(self, max_cycles: int) -> str:
        """Walk, and say why the walk ended."""
        if self.strength_ratio is not None:
            stronger = partial(self._scaled, self.strength_ratio)
            reason = self._go(stronger, STRENGTH_ITERATIONS, STRENGTH_PATIENCE, max_cycles)
            if not self.surface.fit_noise and np.sum(self.surface.moving(self.best.prior)) == 1:
                return reason  # one precision without noise has nothing but its strength
            self.here, self.theta, self.idle = self.best, self.best.map.theta, 0
        return self._go(self.surface.along_mackay, MACKAY_ITERATIONS, MACKAY_PATIENCE, max_cycles)

    def _scaled(self, ratio: float, state: State) -> np.ndarray:
        """Every moving precision multiplied by the same ratio."""
        moving = np.append(self.surface.moving(state.prior), False)
        step = np.where(moving, np.log(ratio), 0.0)
        return self.surface.bounded(state.log_hyperparameters + step)

    def _go(
        self, propose: Callable[[State], np.ndarray], n_iter: int, patience: int, max_cycles: int
    ) -> str:
        for _ in range(max_cycles):
            prior, likelihood = self.surface.moved(self.here, propose(self.here))
            try:
                state = self.surface.evaluate(
                    prior, likelihood, self.theta, min(n_iter, self.max_iter), rough=True
                )
            except NotPositiveDefiniteError:
                self.note(self.here, "refused")
                return "rounding hides the data or the prior"
            self._see(state)
            if self.idle >= patience:
                return f"no better state in {patience} cycles"
        return OUT_OF_CYCLES

    def _see(self, state: State) -> None:
        """Go on from a state, better or not."""
        self.note(state, "step")
        self.here = state
        if not self.surface.is_dead(state.map.theta):
            self.theta = state.map.theta
        enough = self.tol * max(1.0, abs(self.best.merit))
        self.idle = 0 if state.merit > self.best.merit + enough else self.idle + 1
        if state.merit > self.best.merit:
            self.best = state
        if state.map.converged and (self.mode is None or state.merit > self.mode.merit):
            self.mode = state
