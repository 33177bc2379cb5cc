"""What the inputs and the outputs of a fitted estimator are called."""

from typing import Any

from sklearn.base import is_classifier

__all__ = ["feature_names", "names_of_long_tails", "names_of_targets", "output_names"]


def feature_names(estimator: Any, X: Any = None) -> list[str]:
    """Names of the inputs: the training table's, the given table's, or x0, x1, ..."""
    for names in (getattr(estimator, "feature_names_in_", None), getattr(X, "columns", None)):
        if names is not None:
            return [str(name) for name in names]
    return [f"x{index}" for index in range(estimator.n_features_in_)]


def names_of_long_tails(estimator: Any, X: Any = None) -> list[str]:
    """Names of the inputs whose long tails are drawn in."""
    names = feature_names(estimator, X)
    return [names[column] for column in estimator.long_tails_.columns]


def names_of_targets(n_targets: int) -> tuple[str, ...]:
    """What targets are called: y, or y0, y1, ... where there are several."""
    return ("y",) if n_targets == 1 else tuple(f"y{k}" for k in range(n_targets))


def output_names(estimator: Any, y: Any = None) -> list[str]:
    """Names of the network's outputs.

    The classes, of two the second, whose log odds the one output is; or the columns of y, or its
    name, or y, or y0, y1, ...
    """
    n_outputs = estimator.mlp_.n_outputs
    if is_classifier(estimator):
        return [str(label) for label in estimator.classes_[-n_outputs:]]
    if getattr(y, "columns", None) is not None:
        return [str(name) for name in y.columns]
    if n_outputs == 1 and getattr(y, "name", None) is not None:
        return [str(y.name)]
    return list(names_of_targets(n_outputs))
