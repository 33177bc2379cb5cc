"""What displays ask of estimators and their rows."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier as sklearn_is_classifier
from sklearn.base import is_regressor as sklearn_is_regressor
from sklearn.utils.validation import check_is_fitted

from laplace_nn.estimators.base import BaseLaplaceMLP

__all__ = [
    "as_fitted",
    "feature_index",
    "is_classifier",
    "is_laplace",
    "is_regressor",
    "observed_targets",
    "wide_grid",
]


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


def is_laplace(estimator: Any, display: type) -> None:
    """Refuse what is no fitted estimator of this package.

    Raises
    ------
    ValueError
        If it is none.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    if not isinstance(estimator, BaseLaplaceMLP):
        inner = hasattr(estimator, "best_estimator_")
        remedy = "pass its best_estimator_" if inner else "fit one of these"
        raise ValueError(
            f"{display.__name__} needs a LaplaceMLPRegressor or a LaplaceMLPClassifier; got a "
            f"{type(estimator).__name__}: {remedy}."
        )
    check_is_fitted(estimator)


def as_fitted(estimator: Any, points: np.ndarray) -> Any:
    """Points (n, D) as the table that the estimator was fitted on, if it was one.

    An estimator that knows its inputs by their names warns of rows without.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return points
    import pandas as pd

    return pd.DataFrame(points, columns=names)


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


def observed_targets(y: Any, shape: tuple[int, int]) -> np.ndarray:
    """Targets (N,) or (N, K) as numbers, (N, K), of the shape that predictions have.

    Raises
    ------
    ValueError
        If the shape is another, or a target is not finite.
    """
    targets = np.asarray(y, dtype=float)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.shape != shape:
        raise ValueError(
            f"y must have shape {shape}, a row for each row of X and a column for each target; "
            f"got {np.shape(y)}."
        )
    if not np.all(np.isfinite(targets)):
        raise ValueError(
            f"y must hold finite numbers; {np.sum(~np.isfinite(targets))} are not: leave these "
            "rows out."
        )
    return targets
