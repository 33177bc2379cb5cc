"""A start of a fit, and the way from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from laplace_nn.estimators.machine import blas_threads
from laplace_nn.evidence_surface import State
from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP
from laplace_nn.objective import matrix_size
from laplace_nn.priors import GaussianPrior
from laplace_nn.reestimation import Reestimation, reestimate
from laplace_nn.rows import RowBlocks

__all__ = ["Start", "climb_one"]


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


def climb_one(
    mlp: MLP, rows: RowBlocks, start: Start, settings: dict[str, Any], callback: Any
) -> Reestimation:
    """Its climb of the evidence, or its walk."""
    settings = settings | {"fit_prior": start.moving, "strength_ratio": start.strength_ratio}
    with blas_threads(matrix_size(mlp, rows)):
        return reestimate(
            mlp, start.likelihood, start.prior, rows, start.theta, **settings, callback=callback
        )
