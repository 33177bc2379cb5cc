"""The modes that a fit keeps, and how much each of them is listened to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from laplace_nn.evidence_surface import State
from laplace_nn.leave_one_out import LeaveOneOut
from laplace_nn.mixture import evidence_weights, stacking_weights
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.priors import GaussianPrior

__all__ = ["WEIGHTS", "Member", "elect", "one_of"]

NEGLIGIBLE = 1e-3  # weight below which a mode is not worth its predictions
EQUAL_SHARE = 0.5  # of the weight, whatever stacking says: leave-one-out flatters overfitting


@dataclass(frozen=True)
class Member:
    """A mode of the posterior with its hyperparameters and Gaussian approximation.

    Parameters
    ----------
    start : int
        The number of the start that led to it.
    state : State
        Weights, hyperparameters and evidence of the outer products.
    posterior : GaussianPosterior
        Under the curvature that was asked for.
    log_evidence : float
        Under it, in the units of the targets.
    loo : LeaveOneOut
        Of the outputs inside.
    loo_log_scores : ndarray of shape (N,)
        Leave-one-out log score of every training row, in the units of the targets.
    loo_log_score : float
        Their mean, sample weights counted.
    score : float
        What members are ranked by.
    converged : bool
        Whether the climb of the evidence ended by itself.
    stronger : bool
        Whether it is the start's mode of stronger priors than the best.
    weight : float
        Share of the mixture.
    """

    start: int
    state: State
    posterior: GaussianPosterior = field(repr=False)
    log_evidence: float
    loo: LeaveOneOut = field(repr=False)
    loo_log_scores: np.ndarray = field(repr=False)
    loo_log_score: float
    score: float
    converged: bool
    stronger: bool = False
    weight: float = 1.0

    @property
    def prior(self) -> GaussianPrior:
        """That of all rows that the mode has seen."""
        return self.state.prior

    @property
    def theta(self) -> np.ndarray:
        """The mode's weights, (P,)."""
        return self.state.map.theta


def one_of(committee: Sequence[Member], number: int) -> Member:
    """The mode of a number, the best being 0.

    Raises
    ------
    ValueError
        If there is no such mode.
    """
    if not isinstance(number, int | np.integer) or number not in range(len(committee)):
        raise ValueError(
            f"member must be the number of one of the committee's {len(committee)} modes, 0 (the "
            f"best) to {len(committee) - 1}; got {number!r}."
        )
    return committee[number]


def _equal(members: list[Member], sample_weight: np.ndarray | None) -> np.ndarray:
    return np.full(len(members), 1.0 / len(members))


def _evidence(members: list[Member], sample_weight: np.ndarray | None) -> np.ndarray:
    return evidence_weights(np.array([member.log_evidence for member in members]))


def _stacking(members: list[Member], sample_weight: np.ndarray | None) -> np.ndarray:
    scores = np.column_stack([member.loo_log_scores for member in members])
    stacked = stacking_weights(scores, sample_weight)
    return EQUAL_SHARE * _equal(members, sample_weight) + (1.0 - EQUAL_SHARE) * stacked


WEIGHTS: dict[str, Callable[[list[Member], np.ndarray | None], np.ndarray]] = {
    "stacking": _stacking,
    "evidence": _evidence,
    "equal": _equal,
}


def elect(
    candidates: list[Member], size: int | str, weights: str, sample_weight: np.ndarray | None
) -> tuple[Member, ...]:
    """The members of best score, weighted; those whose weight is negligible stay out.

    Parameters
    ----------
    candidates : list of Member
        Of all starts.
    size : int, "all" or "auto"
        How many to keep at most; all where it is a word.
    weights : str
        A key of `WEIGHTS`.
    sample_weight : ndarray of shape (N,), optional
        Of the training rows.

    Returns
    -------
    tuple of Member
        Best score first, weights summing to 1.
    """
    ranked = sorted(candidates, key=lambda member: -member.score)
    kept = ranked if isinstance(size, str) else ranked[: int(size)]
    shares = WEIGHTS[weights](kept, sample_weight)
    # The best by score speaks for the committee, so it stays.
    listened = [i for i, share in enumerate(shares) if share > NEGLIGIBLE or i == 0]
    total = sum(shares[i] for i in listened)
    return tuple(replace(kept[i], weight=float(shares[i] / total)) for i in listened)
