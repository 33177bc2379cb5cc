"""What displays ask of estimators and their rows."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier as sklearn_is_classifier
from sklearn.base import is_regressor as sklearn_is_regressor

__all__ = ["feature_index", "feature_names", "is_classifier", "is_regressor", "wide_grid"]


def is_regressor(estimator: Any, display: type) -> None:
    """Refuse what is no regressor.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not sklearn_is_regressor(estimator):
        raise ValueError(
            f"{display.__name__} shows a regression; got a {type(estimator).__name__}, which is no "
            "regressor."
        )


def is_classifier(estimator: Any, display: type) -> None:
    """Refuse what is no classifier.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not sklearn_is_classifier(estimator):
        raise ValueError(
            f"{display.__name__} shows a classification; got a {type(estimator).__name__}, which "
            "is no classifier."
        )


def feature_names(estimator: Any, X: Any = None) -> list[str]:
    """Names of the inputs: the training table's, the given table's, or x0, x1, ..."""
    for names in (getattr(estimator, "feature_names_in_", None), getattr(X, "columns", None)):
        if names is not None:
            return [str(name) for name in names]
    return [f"x{index}" for index in range(estimator.n_features_in_)]


def feature_index(names: list[str], feature: int | str) -> int:
    """The place of an input that is called by its name or its place.

    Raises
    ------
    ValueError
        If there is no such input.
    """
    if isinstance(feature, str) and feature in names:
        return names.index(feature)
    if isinstance(feature, int | np.integer) and 0 <= feature < len(names):
        return int(feature)
    raise ValueError(
        f"feature must be the place of an input, 0 to {len(names) - 1}, or one of the names "
        f"{', '.join(names)}; got {feature!r}."
    )


def wide_grid(values: np.ndarray, n_points: int, margin: float) -> np.ndarray:
    """Equally spaced points over the range of some values and a share beyond it, (n_points,)."""
    low, high = np.min(values), np.max(values)
    beyond = margin * (high - low or 1.0)
    return np.linspace(low - beyond, high + beyond, n_points)
