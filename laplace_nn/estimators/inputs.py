"""What both estimators do to what they are given: weights checked, columns standardised."""

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

__all__ = ["checked_weights", "mean_and_scale"]


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
