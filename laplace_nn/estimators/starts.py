"""What a fit's climb begins with."""

from dataclasses import dataclass

import numpy as np

from laplace_nn.evidence_surface import State
from laplace_nn.likelihoods import Likelihood
from laplace_nn.priors import GaussianPrior

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """Weights and hyperparameters that a climb of the evidence begins with."""

    theta: np.ndarray
    prior: GaussianPrior
    likelihood: Likelihood
    moving: np.ndarray  # the prior's groups whose precision is re-estimated, (G,)
    strength_ratio: float | None = None  # by which a walk through strengths begins

    def moved_to(self, state: State) -> "Start":
        """Where its climb has ended."""
        return Start(state.map.theta, state.prior, state.likelihood, self.moving)
