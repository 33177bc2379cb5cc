"""The multilayer perceptron as a frozen value: its shape, never its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laplace_nn.network.activations import Activation, tanh

__all__ = ["MLP", "Tape"]

Layer = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class MLP:
    """A fully connected feed-forward network with linear outputs.

    a_l = W_l z_{l-1} + b_l, z_l = h(a_l), outputs = a_L (PRML 5.2-5.9, any depth).

    The outputs are the linear a_L; the inverse link (logistic, softmax) belongs to the
    likelihood. In code layer ``l`` counts from 0 and maps ``activations[l]`` to
    ``pre_activations[l]``.

    Parameters
    ----------
    layer_sizes : sequence of int
        (n_inputs, hidden sizes..., n_outputs); two entries mean no hidden layer.
    activation : Activation, default=tanh
        The activation of every hidden layer.

    Raises
    ------
    ValueError
        If there are fewer than two sizes or one of them is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP
    >>> mlp = MLP((2, 3, 1))
    >>> mlp.n_params
    13
    >>> theta = mlp.initialise(np.random.default_rng(0))
    >>> mlp.forward(theta, np.zeros((5, 2))).outputs.shape
    (5, 1)
    """

    layer_sizes: tuple[int, ...]
    activation: Activation = tanh

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_sizes", tuple(self.layer_sizes))
        if len(self.layer_sizes) < 2 or any(size < 1 for size in self.layer_sizes):
            raise ValueError(
                "MLP.layer_sizes must hold at least the number of inputs and of outputs, all "
                f"positive integers; got {self.layer_sizes!r}."
            )

    @property
    def n_layers(self) -> int:
        """Number of weight layers, L."""
        return len(self.layer_sizes) - 1

    @property
    def n_inputs(self) -> int:
        """Number of inputs, D."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs, K."""
        return self.layer_sizes[-1]

    @cached_property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of every layer's weight matrix."""
        return tuple(zip(self.layer_sizes[1:], self.layer_sizes[:-1], strict=True))

    @cached_property
    def slices(self) -> tuple[tuple[slice, slice], ...]:
        """Where each layer's weights and biases stand in ``theta``."""
        result, start = [], 0
        for n_out, n_in in self.layer_shapes:
            middle, end = start + n_out * n_in, start + n_out * (n_in + 1)
            result.append((slice(start, middle), slice(middle, end)))
            start = end
        return tuple(result)

    @cached_property
    def n_params(self) -> int:
        """Number of weights and biases, P."""
        return self.slices[-1][1].stop

    def unpack(self, theta: np.ndarray) -> list[Layer]:
        """Views of ``theta`` (..., P) as [(W (..., out, in), b (..., out))], layer by layer."""
        if theta.shape[-1:] != (self.n_params,):
            raise ValueError(
                f"theta must have {self.n_params} entries in its last axis for layer sizes "
                f"{self.layer_sizes}; got an array of shape {theta.shape}."
            )
        lead = theta.shape[:-1]
        return [
            (theta[..., weights].reshape(*lead, *shape), theta[..., biases])
            for (weights, biases), shape in zip(self.slices, self.layer_shapes, strict=True)
        ]

    def pack(self, layers: Sequence[Layer]) -> np.ndarray:
        """The inverse of `unpack`: layers [(W (..., out, in), b (..., out))] to (..., P)."""
        lead = layers[0][1].shape[:-1]
        parts = [part.reshape(*lead, -1) for layer in layers for part in layer]
        return np.concatenate(parts, axis=-1)

    def initialise(self, rng: np.random.Generator, gain: float = 1.0) -> np.ndarray:
        """Random start weights (P,): N(0, gain² / (fan-in + 1)), biases included."""
        layers = []
        for n_out, n_in in self.layer_shapes:
            draw = rng.standard_normal((n_out, n_in + 1)) * (gain / np.sqrt(n_in + 1.0))
            layers.append((draw[:, :-1], draw[:, -1]))
        return self.pack(layers)

    def forward(self, theta: np.ndarray, X: np.ndarray) -> "Tape":
        """Forward propagation of the rows X (N, D), kept for the derivative passes."""
        activations, pre_activations = [X], []
        layers = self.unpack(theta)
        for index, (W, b) in enumerate(layers):
            a = activations[-1] @ W.T
            a += b
            pre_activations.append(a)
            if index + 1 < len(layers):
                activations.append(self.activation.value(pre_activations[-1]))
        return Tape(tuple(activations), tuple(pre_activations), self.activation)


@dataclass(frozen=True)
class Tape:
    """What a forward pass leaves behind for the derivative passes.

    Parameters
    ----------
    activations : tuple of ndarray
        The input z of every layer, (N, n_in): the rows themselves first.
    pre_activations : tuple of ndarray
        The a of every layer, (N, n_out): the outputs last.
    activation : Activation
        The hidden units' activation.
    """

    activations: tuple[np.ndarray, ...]
    pre_activations: tuple[np.ndarray, ...]
    activation: Activation

    @property
    def outputs(self) -> np.ndarray:
        """Network outputs a_L, (N, K)."""
        return self.pre_activations[-1]

    @cached_property
    def slopes(self) -> tuple[np.ndarray, ...]:
        """h'(a) of every hidden layer, (N, n_l)."""
        return tuple(self.activation.slopes(a, z) for a, z in self._hidden)

    @cached_property
    def bends(self) -> tuple[np.ndarray, ...]:
        """h''(a) of every hidden layer, (N, n_l)."""
        return tuple(self.activation.bends(a, z) for a, z in self._hidden)

    @property
    def _hidden(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """a and z = h(a) of every hidden layer."""
        return zip(self.pre_activations[:-1], self.activations[1:], strict=True)
