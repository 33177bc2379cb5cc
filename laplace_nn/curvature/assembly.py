"""Spreads small curvatures in pre-activation space over the weights, a pair of layers at a time.

For layers l ≤ m, ∂²E_n/∂W_l ∂W_m = C_n^{lm} ⊗ z_{l-1} z_{m-1}ᵀ with C_n^{lm} = ∂²E_n/∂a_l ∂a_m
(PRML 5.79 is its diagonal). Summed over rows that is one matrix product of flattened C's with
flattened z zᵀ's, whatever the number of outputs; with l = m both are symmetric, so that only
their upper triangles are multiplied. Blocks of rows add such products (`PairSums`, at most half
the size of H); they are spread over H once, in its upper triangle, which is mirrored at the end.
A layer's bias is the weight of a constant input 1.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg.blas import dsyrk

from laplace_nn.network import MLP

__all__ = [
    "PairSums",
    "add_pair",
    "add_square",
    "append_one",
    "mirror",
    "outer",
    "pair_row_bytes",
    "pair_sums",
    "pair_views",
    "spread_diagonal",
    "spread_sums",
]

TILE = 128  # columns of H that are mirrored at a time


class PairSums(dict[tuple[str, int, int], np.ndarray]):
    """Sums over rows by (kind, l, m), which add up block by block in place.

    ("curvature", l, l) is Σ_n C z zᵀ over upper triangles, (n_l (n_l + 1)/2, triangle of z zᵀ);
    ("curvature", l, m) is (n_l n_m, (in_l + 1)(in_m + 1)). A curvature may add other kinds.
    """

    def __iadd__(self, other: "PairSums") -> "PairSums":
        for key, part in other.items():
            self[key] += part
        return self


def append_one(z: np.ndarray) -> np.ndarray:
    """Activations (n, n_in) with the bias's constant input 1 appended, (n, n_in + 1)."""
    return np.column_stack([z, np.ones(len(z))])


def pair_sums(
    mlp: MLP,
    activations: Sequence[np.ndarray],
    pair_curvature: Callable[[int, int], np.ndarray],
) -> PairSums:
    """The matrix products of every pair of layers, before they are spread.

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
    PairSums
        ("curvature", l, m) for every l ≤ m.
    """
    sums, inputs = PairSums(), [append_one(z) for z in activations]
    for first, z in enumerate(inputs):
        sums["curvature", first, first] = _symmetric_sum(pair_curvature(first, first), z)
        for second in range(first + 1, mlp.n_layers):
            C = pair_curvature(first, second)
            sums["curvature", first, second] = _general_sum(C, z, inputs[second])
    return sums


def pair_row_bytes(mlp: MLP) -> int:
    """Bytes a row takes while a pair is multiplied: C, its triangle, and z zᵀ with its factors."""
    same = [2 * n_out**2 + 2 * (n_in + 1) ** 2 for n_out, n_in in mlp.layer_shapes]
    other = [
        2 * n_first * n_second + (in_first + 1) * (in_second + 1)
        for index, (n_second, in_second) in enumerate(mlp.layer_shapes)
        for n_first, in_first in mlp.layer_shapes[:index]
    ]
    return 8 * max(same + other)


def spread_sums(mlp: MLP, sums: PairSums) -> np.ndarray:
    """H (P, P) of the ("curvature", l, m) sums, its upper triangle only."""
    H = np.zeros((mlp.n_params, mlp.n_params))
    for (kind, first, second), summed in sums.items():
        if kind == "curvature" and first == second:
            _spread_triangle(H, mlp, first, summed)
        elif kind == "curvature":
            _spread_pair(H, mlp, first, second, summed)
    return H


def spread_diagonal(
    mlp: MLP, activations: Sequence[np.ndarray], unit_curvatures: Sequence[np.ndarray]
) -> np.ndarray:
    """Σ_n diag(C_n^{ll}) ⊗ z_l², (P,), from the diagonals (n, n_l) of C (PRML 5.79)."""
    layers = [
        (C.T @ (z * z), C.sum(axis=0)) for C, z in zip(unit_curvatures, activations, strict=True)
    ]
    return mlp.pack(layers)


def pair_views(
    H: np.ndarray, mlp: MLP, first: int, second: int
) -> Iterator[tuple[np.ndarray, slice, slice]]:
    """H's part of a pair as views (n_l, columns, n_m, columns), with the columns they stand for.

    The last column of either layer is its bias, which stands after the weights in ``theta``.
    """
    for place, n_units, columns in _places(mlp, first):
        for other, n_others, other_columns in _places(mlp, second):
            view = H[place, other]
            shape = (n_units, len(view) // n_units, n_others, view.shape[1] // n_others)
            yield view.reshape(shape), columns, other_columns


def _places(mlp: MLP, layer: int) -> tuple[tuple[slice, int, slice], ...]:
    """Where a layer's weights and biases stand in theta, its units, and their columns."""
    (weights, biases), (n_out, n_in) = mlp.slices[layer], mlp.layer_shapes[layer]
    return (weights, n_out, slice(0, n_in)), (biases, n_out, slice(n_in, n_in + 1))


def add_pair(H: np.ndarray, mlp: MLP, first: int, second: int, pair: np.ndarray) -> None:
    """Add a pair's (n_l, in_l + 1, n_m, in_m + 1) block to H, and its mirror image for l ≠ m."""
    for target in (H,) if first == second else (H, H.T):
        for view, columns, other_columns in pair_views(target, mlp, first, second):
            view += pair[:, columns, :, other_columns]


def add_square(H: np.ndarray, F: np.ndarray) -> None:
    """Add FᵀF of F (n, P) to the upper triangle of H (P, P), C-contiguous, in place."""
    # To Fortran H is Hᵀ, whose lower triangle it writes.
    dsyrk(1.0, F, beta=1.0, c=H.T, trans=1, lower=1, overwrite_c=1)


def mirror(H: np.ndarray) -> np.ndarray:
    """H with its lower triangle overwritten by its upper one, in place."""
    for start in range(0, len(H), TILE):
        stop = start + TILE
        corner = H[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        H[stop:, start:stop] = H[start:stop, stop:].T
    return H


def _general_sum(C: np.ndarray, z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Σ_n C[j, k] z[i] w[h], as (n_l n_m, (in_l + 1)(in_m + 1))."""
    return C.reshape(len(C), -1).T @ outer(z, w)


def outer(z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Products z[i] w[h] of every row, (n, n_z n_w)."""
    return (z[:, :, None] * w[:, None, :]).reshape(len(z), -1)


def _symmetric_sum(C: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Σ_n C[j, k] z[i] z[h] for j ≤ k and i ≤ h: the triangle of C by that of z zᵀ."""
    return _triangles(C).T @ _triangles(z[:, :, None] * z[:, None, :])


def _triangles(matrices: np.ndarray) -> np.ndarray:
    """Upper triangles of (n, size, size), row after row, as (n, size (size + 1) / 2)."""
    n, size, _ = matrices.shape
    upper = np.flatnonzero(np.triu(np.ones((size, size))))
    return np.take(matrices.reshape(n, -1), upper, axis=1)


def _spread_pair(H: np.ndarray, mlp: MLP, first: int, second: int, summed: np.ndarray) -> None:
    """Write the pair of two layers: (j, k, i, h) goes to (j, i, k, h)."""
    (n_first, in_first), (n_second, in_second) = mlp.layer_shapes[first], mlp.layer_shapes[second]
    pair = summed.reshape(n_first, n_second, in_first + 1, in_second + 1)
    for view, columns, other_columns in pair_views(H, mlp, first, second):
        view[:] = pair[:, :, columns, other_columns].transpose(0, 2, 1, 3)


def _spread_triangle(H: np.ndarray, mlp: MLP, layer: int, summed: np.ndarray) -> None:
    """Write a layer's own pair, unit by unit: (j, i, k, h) is the same for (k, i, j, h)."""
    n_units, n_in = mlp.layer_shapes[layer]
    columns_of = _triangle_places(n_in + 1)
    views, start = list(pair_views(H, mlp, layer, layer)), 0
    for unit in range(n_units):
        stop = start + n_units - unit
        block = summed[start:stop][:, columns_of]  # (k ≥ j, i, h)
        for view, columns, other_columns in views:
            part = block[:, columns, other_columns]
            view[unit, :, unit:, :] = part.transpose(1, 0, 2)
            if columns != other_columns:
                view[unit:, :, unit, :] = part
        start = stop


def _triangle_places(size: int) -> np.ndarray:
    """For every entry (i, j) its place in an upper triangle, (size, size)."""
    upper = np.triu_indices(size)
    place = np.empty((size, size), dtype=np.intp)
    place[upper] = np.arange(len(upper[0]))
    place.T[upper] = place[upper]
    return place
