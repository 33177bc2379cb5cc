"""What chooses between hyperparameters, and between modes: the evidence, leave-one-out, or both.

Laplace's evidence of a network errs on the side of strong priors and simple modes where rows are
many and noise is small; leave-one-out from an overfitted mode errs on the other. Their sum says
where a walk through hyperparameters has been best, and ranks what walks have found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from laplace_nn.leave_one_out import LeaveOneOut, leave_one_out
from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.rows import RowBlocks

__all__ = ["SELECTIONS", "Held", "LogScores", "Selection", "left_out"]

#: ln p of targets (N, K) under Gaussian outputs, mean (N, K) and covariance (N, K, K): (N,).
LogScores = Callable[[np.ndarray, np.ndarray, np.ndarray, Likelihood], np.ndarray]

#: By name, how often the log evidence counts, and the summed leave-one-out log score.
SELECTIONS = {"evidence": (1.0, 0.0), "loo": (0.0, 1.0), "evidence+loo": (1.0, 2.0)}


@dataclass(frozen=True)
class Held:
    """Leave-one-out outputs at a mode and the log scores of the rows' targets under them, (N,)."""

    out: LeaveOneOut
    log_scores: np.ndarray


@dataclass(frozen=True)
class Selection:
    """A score of modes: evidence·ln p(D) + loo·Σ_n ln p(t_n | the other rows).

    Parameters
    ----------
    log_scores : callable, optional
        (mean, covariance, targets, likelihood) -> ln p of every row's targets under Gaussian
        outputs; needed where leave-one-out counts.
    evidence, loo : float
        How often each counts.

    Raises
    ------
    ValueError
        If leave-one-out counts and there are no log scores.
    """

    log_scores: LogScores | None = None
    evidence: float = 1.0
    loo: float = 0.0

    def __post_init__(self) -> None:
        if self.loo > 0.0 and self.log_scores is None:
            raise ValueError(
                "A Selection in which leave-one-out counts needs log_scores, a function of mean, "
                "covariance, targets and likelihood; got None: pass one, or loo=0."
            )

    @classmethod
    def named(cls, name: str, log_scores: LogScores) -> "Selection":
        """One of `SELECTIONS`."""
        return cls(log_scores, *SELECTIONS[name])

    def left_out(
        self, mlp: MLP, posterior: GaussianPosterior, likelihood: Likelihood, rows: RowBlocks
    ) -> Held | None:
        """What the other rows say of each, where it counts."""
        if self.loo == 0.0 or self.log_scores is None:
            return None
        return left_out(mlp, posterior, likelihood, rows, self.log_scores)

    def score(self, log_evidence: float, held: Held | None, rows: RowBlocks) -> float:
        """The score of a mode, in nats."""
        summed = 0.0 if held is None else float(np.sum(rows.weigh(held.log_scores)))
        return self.evidence * log_evidence + self.loo * summed


def left_out(
    mlp: MLP,
    posterior: GaussianPosterior,
    likelihood: Likelihood,
    rows: RowBlocks,
    log_scores: LogScores,
) -> Held:
    """Leave-one-out at a mode, scored."""
    out = leave_one_out(mlp, posterior, likelihood, rows, warn=False)
    return Held(out, log_scores(out.mean, out.covariance, rows.targets, likelihood))
