"""Spreads small curvatures in pre-activation space over the weights, a pair of layers at a time.

For layers l ≤ m, ∂²E_n/∂W_l ∂W_m = C_n^{lm} ⊗ z_{l-1} z_{m-1}ᵀ with C_n^{lm} = ∂²E_n/∂a_l ∂a_m
(PRML 5.79 is its diagonal). Summed over rows that is one matrix product of flattened C's with
flattened z zᵀ's, whatever the number of outputs; with l = m both are symmetric, so that only
their upper triangles are multiplied. A layer's bias is the weight of a constant input 1.
"""

from collections.abc import Callable, Sequence

import numpy as np

from laplace_nn.network import MLP

__all__ = ["add_pair", "append_one", "spread_dense", "spread_diagonal", "symmetric_pair"]


def append_one(z: np.ndarray) -> np.ndarray:
    """Activations (n, n_in) with the bias's constant input 1 appended, (n, n_in + 1)."""
    return np.column_stack([z, np.ones(len(z))])


def spread_dense(
    mlp: MLP,
    activations: Sequence[np.ndarray],
    pair_curvature: Callable[[int, int], np.ndarray],
) -> np.ndarray:
    """Σ_n C_n^{lm} ⊗ z_l z_mᵀ for every pair of layers l ≤ m, mirrored.

    Parameters
    ----------
    mlp : MLP
        The network.
    activations : sequence of ndarray, each (n, n_in)
        The input of every layer.
    pair_curvature : callable
        ``pair_curvature(l, m)`` is C^{lm}, (n, n_l, n_m), for l ≤ m; symmetric for l = m.

    Returns
    -------
    ndarray of shape (P, P)
        Symmetric.
    """
    H = np.zeros((mlp.n_params, mlp.n_params))
    inputs = [append_one(z) for z in activations]
    for first in range(mlp.n_layers):
        C, z = pair_curvature(first, first), inputs[first]
        add_pair(H, mlp, first, first, symmetric_pair(C, z))
        for second in range(first + 1, mlp.n_layers):
            C = pair_curvature(first, second)
            add_pair(H, mlp, first, second, _general_pair(C, z, inputs[second]))
    return H


def spread_diagonal(
    mlp: MLP, activations: Sequence[np.ndarray], unit_curvatures: Sequence[np.ndarray]
) -> np.ndarray:
    """Σ_n diag(C_n^{ll}) ⊗ z_l², (P,), from the diagonals (n, n_l) of C (PRML 5.79)."""
    layers = [
        (C.T @ (z * z), C.sum(axis=0)) for C, z in zip(unit_curvatures, activations, strict=True)
    ]
    return mlp.pack(layers)


def _general_pair(C: np.ndarray, z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Σ_n C[j, k] z[i] w[h] as (n_l, in_l + 1, n_m, in_m + 1)."""
    n, n_first, n_second = C.shape
    outer = (z[:, :, None] * w[:, None, :]).reshape(n, -1)
    summed = C.reshape(n, -1).T @ outer  # (n_l n_m, (in_l + 1)(in_m + 1))
    return summed.reshape(n_first, n_second, z.shape[1], w.shape[1]).transpose(0, 2, 1, 3)


def symmetric_pair(C: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Σ_n C[j, k] z[i] z[h] for symmetric C, as (n_l, in_l + 1, n_l, in_l + 1)."""
    units, unit_index = _triangle(C.shape[1])
    columns, column_index = _triangle(z.shape[1])
    summed = C[:, units[0], units[1]].T @ (z[:, columns[0]] * z[:, columns[1]])
    return summed[unit_index[:, None, :, None], column_index[None, :, None, :]]


def _triangle(size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Indices of an upper triangle, and for every entry (i, j) its place among them."""
    upper = np.triu_indices(size)
    place = np.empty((size, size), dtype=np.intp)
    place[upper] = np.arange(len(upper[0]))
    place.T[upper] = place[upper]
    return upper, place


def add_pair(H: np.ndarray, mlp: MLP, first: int, second: int, pair: np.ndarray) -> None:
    """Add a pair's (n_l, in_l + 1, n_m, in_m + 1) block to H, and its mirror image for l ≠ m.

    The last column of either layer is its bias, which stands after the weights in ``theta``.
    """
    n_first, in_first, n_second, in_second = pair.shape
    (W_l, b_l), (W_m, b_m) = mlp.slices[first], mlp.slices[second]
    left = ((W_l, slice(0, in_first - 1)), (b_l, slice(in_first - 1, None)))
    right = ((W_m, slice(0, in_second - 1)), (b_m, slice(in_second - 1, None)))
    for place, columns in left:
        for other_place, other_columns in right:
            part = pair[:, columns, :, other_columns]
            block = part.reshape(n_first * part.shape[1], n_second * part.shape[3])
            H[place, other_place] += block
            if first != second:
                H[other_place, place] += block.T
