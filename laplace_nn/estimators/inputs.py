"""What both estimators do to what they are given: weights checked, columns standardised."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

__all__ = ["checked_weights", "distinct_rows", "mean_and_scale", "seed_from"]


def seed_from(random_state: Any) -> int:
    """A seed for NumPy's generators from what scikit-learn calls a random state."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def mean_and_scale(
    values: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted column means and standard deviations, a constant column's scale being 1."""
    mean = np.average(values, axis=0, weights=sample_weight)
    scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=sample_weight))
    # Rounding leaves a constant column a scale of a few units in the last place, not 0.
    constant = scale <= 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    return mean, np.where(constant, 1.0, scale)


def checked_weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    """Sample weights (N,) that are finite, not negative and not all zero; None for none.

    Raises
    ------
    ValueError
        Otherwise, in one sentence.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if np.any(weights < 0):
        raise ValueError(f"sample_weight must not be negative; got {weights.min()}.")
    if not np.any(weights > 0):
        raise ValueError("sample_weight must have a positive entry; all weights are zero.")
    return weights


def distinct_rows(
    X: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Equal rows joined to one that carries their weight, in an order of their own.

    A row of weight 2 and the row twice, in whatever order, then give the same fit to the bit.

    Returns
    -------
    X, targets : ndarray of shape (M, D), ndarray of shape (M, K)
        The distinct rows, sorted.
    sample_weight : ndarray of shape (M,) or None
        Their weights, None if all of them are 1.
    places : ndarray of int, shape (N,)
        Which of them each row has become.
    """
    rows, places = np.unique(np.column_stack([X, targets]), axis=0, return_inverse=True)
    places = places.ravel()
    weights = np.bincount(places, weights=sample_weight).astype(np.float64)
    distinct, moved = rows[:, : X.shape[1]].copy(), rows[:, X.shape[1] :].copy()
    return distinct, moved, None if np.all(weights == 1.0) else weights, places
