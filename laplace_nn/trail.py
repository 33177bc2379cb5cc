"""Where a climb or a walk has led, and the trainings from there that end it.

They do not depend on each other, so that they can be made side by side, or left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from laplace_nn.evidence_surface import EvidenceSurface, State
from laplace_nn.likelihoods import Likelihood
from laplace_nn.priors import GaussianPrior
from laplace_nn.walk import STRENGTHS

__all__ = ["History", "Note", "Trail", "finish", "strengthen"]

NOISE_ITERATIONS = 12  # under a stronger prior, before the noise follows it

Note = Callable[[State, str], None]


@dataclass(frozen=True)
class Trail:
    """Where a climb of the evidence or a walk has led.

    Parameters
    ----------
    best : State
        The best state, on a walk not yet trained to the end.
    mode : State, optional
        The best that is a true mode.
    last_theta : ndarray of shape (P,)
        The weights where the way ended.
    walked : bool
        Whether it was a walk.
    converged : bool
        Whether it ended by itself.
    reason : str
        Why it ended.
    """

    best: State
    mode: State | None
    last_theta: np.ndarray = field(repr=False)
    walked: bool
    converged: bool
    reason: str

    def nearer(
        self, surface: EvidenceSurface, prior: GaussianPrior, likelihood: Likelihood
    ) -> np.ndarray:
        """The best state's weights or the last ones, whichever are the more probable.

        A walk has trained on past its best state, and often much of what that one lacks.
        """
        energy = surface.objective(prior, likelihood).value
        return min(self.best.map.theta, self.last_theta, key=energy)


def finish(surface: EvidenceSurface, trail: Trail, max_iter: int) -> State:
    """The best state of the way, trained to the end, or a better mode that it has passed."""
    if not surface.moves_anything:
        return trail.best

    def trained(state: State, theta: np.ndarray) -> State:
        return surface.evaluate(state.prior, state.likelihood, theta, max_iter)

    best, mode = trail.best, trail.mode
    theta = best.map.theta
    if trail.walked:
        theta = trail.nearer(surface, best.prior, best.likelihood)
    end = trained(best, theta)
    if mode is None or mode is best or mode.merit <= end.merit:
        return end
    other = trained(mode, mode.map.theta)
    return other if other.merit > end.merit else end


def strengthen(surface: EvidenceSurface, trail: Trail, ratio: float, max_iter: int) -> State | None:
    """A mode under as many times the best precisions of a walk, unless its network is dead.

    Residuals are larger under a stronger prior, so that the noise follows once on the way.
    """
    best = trail.best
    if not (trail.walked and np.any(surface.fit_prior)):
        return None
    prior, likelihood = surface.moved(best, surface.scaled(best, ratio))
    theta = trail.nearer(surface, prior, likelihood)
    if surface.fit_noise:
        near = surface.evaluate(
            prior, likelihood, theta, min(NOISE_ITERATIONS, max_iter), STRENGTHS.gradient
        )
        theta = near.map.theta
        prior, likelihood = surface.moved(near, surface.with_own_noise(near))
    state = surface.evaluate(prior, likelihood, theta, max_iter)
    return None if surface.is_dead(state.map.theta) else state


class History(list[dict[str, Any]]):
    """A record of every state that was looked at; ``note`` adds one and tells the callback."""

    def __init__(
        self,
        sample_weight: np.ndarray | None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__()
        self.sample_weight, self.callback = sample_weight, callback

    def note(self, state: State, event: str) -> None:
        """Plain numbers only; no leave-one-out score where none counts."""
        held = state.held
        score = None
        if held is not None:
            score = np.average(held.log_scores, weights=self.sample_weight)
        entry = {
            "cycle": len(self),
            "event": event,
            "log_marginal_likelihood": state.evidence.total,
            "log_likelihood": state.evidence.log_likelihood,
            "loo_log_score": score,
            "prior_precision": state.prior.precisions.copy(),
            "noise_precision": state.likelihood.scale,
            "n_effective_params": state.n_effective_params.copy(),
            "max_gradient": state.map.max_gradient,
            "n_iter": state.map.n_iter,
            "stationary": state.map.converged,
        }
        self.append(entry)
        if self.callback is not None:
            self.callback(entry)

    def note_ends(self, mode: State | None, stronger: State | None) -> None:
        """The modes that a way has come to, the best precisions' last."""
        for state, event in ((stronger, "stronger"), (mode, "end")):
            if state is not None:
                self.note(state, event)
