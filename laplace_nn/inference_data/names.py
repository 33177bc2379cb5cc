"""What the weights of a network are called."""

from typing import Any

import numpy as np

from laplace_nn.network import MLP

__all__ = ["dimensions", "variables", "weight_labels"]


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
