"""What the weights of a network, its inputs and its outputs are called."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from laplace_nn.network import MLP

__all__ = ["dimensions", "input_names", "output_names", "variables", "weight_labels"]


def input_names(estimator: Any) -> list[str]:
    """Names of the inputs: the training table's, or x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    return [f"x{index}" for index in range(estimator.n_features_in_)]


def output_names(estimator: Any, y: Any) -> list[str]:
    """Names of the network's outputs.

    The classes, of two the second, whose log odds the one output is; or the columns of y, or its
    name, or y, or y0, y1, ...
    """
    n_outputs = estimator.mlp_.n_outputs
    if is_classifier(estimator):
        return [str(label) for label in estimator.classes_[-n_outputs:]]
    columns = getattr(y, "columns", None)
    if columns is not None:
        return [str(name) for name in columns]
    if n_outputs == 1:
        name = getattr(y, "name", None)
        return ["y" if name is None else str(name)]
    return [f"y{index}" for index in range(n_outputs)]


def dimensions(mlp: MLP) -> list[str]:
    """Names of the layers' ends, inputs first: "input", "hidden_0", ..., "output"."""
    return ["input", *(f"hidden_{index}" for index in range(mlp.n_layers - 1)), "output"]


def variables(mlp: MLP, theta: np.ndarray) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Weights (..., P) as named arrays with the names of their last dimensions.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (..., P)
        Its weights, or anything of their shape.

    Returns
    -------
    dict of str to (tuple of str, ndarray)
        ``weights_l`` (..., out, in) and ``biases_l`` (..., out), in the order of ``theta``.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.inference_data.names import variables
    >>> from laplace_nn.network import MLP
    >>> [(name, dims) for name, (dims, _) in variables(MLP((1, 1)), np.zeros(2)).items()]
    [('weights_0', ('output', 'input')), ('biases_0', ('output',))]
    """
    ends = dimensions(mlp)
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for layer, (W, b) in enumerate(mlp.unpack(theta)):
        found[f"weights_{layer}"] = ((ends[layer + 1], ends[layer]), W)
        found[f"biases_{layer}"] = ((ends[layer + 1],), b)
    return found


def weight_labels(mlp: MLP, coords: dict[str, list[Any]]) -> np.ndarray:
    """What ArviZ calls every weight, "weights_0[3, age]", in the order of theta, (P,)."""
    labels: list[str] = []
    for name, (dims, places) in variables(mlp, np.arange(mlp.n_params)).items():
        for index in np.ndindex(places.shape):
            ends = ", ".join(str(coords[dim][i]) for dim, i in zip(dims, index, strict=True))
            labels.append(f"{name}[{ends}]")
    return np.array(labels)
