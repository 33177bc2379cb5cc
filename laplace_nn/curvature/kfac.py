"""Kronecker factors: the outer products of a layer as one small matrix times another."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from laplace_nn.curvature.assembly import add_pair, append_one
from laplace_nn.curvature.base import Curvature, weighted_factor
from laplace_nn.network import MLP, jacobian
from laplace_nn.rows import RowBlocks

__all__ = ["KFAC", "join_layers", "split_layers"]


class KFAC(Curvature):
    """Kronecker-factored outer products, one block a layer.

    H[l, l] = B_l ⊗ A_l, B_l = Σ_n w_n S_lᵀ M_n S_l / Σ_n w_n and A_l = Σ_n w_n z zᵀ, with the
    bias's 1 in z (Martens & Grosse 2015, Ritter, Botev & Barber 2018). The expectation over
    labels is M itself, not a draw.

    Pairs of layers are neglected, and the sum of products is replaced by a product of sums. A
    layer's block is that of the outer products where C^{ll} = S_lᵀ M S_l or z is the same for every
    row: one row, or a linear network under Gaussian noise.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Where the derivatives are taken.
    likelihood : Likelihood
        Its ``scale`` (noise precision) is left out.
    rows : RowBlocks
        Inputs, targets and sample weights; the weights must not all be zero.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import KFAC
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> [(B, A)] = KFAC(MLP((1, 1)), np.zeros(2), Gaussian(), rows).kronecker()
    >>> B
    array([[1.]])
    >>> A
    array([[5., 3.],
           [3., 2.]])
    """

    capabilities = frozenset({"dense", "diagonal", "kronecker"})
    semidefinite = True

    def kronecker(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """B_l (n_out, n_out) and A_l (n_in + 1, n_in + 1) of every layer, the bias last in A_l."""
        return [(B.copy(), A.copy()) for B, A in self._factors]

    def dense(self) -> np.ndarray:
        """H, (P, P): zero between layers."""
        H = np.zeros(self.shape)
        for layer, (B, A) in enumerate(self._factors):
            pair = B[:, None, :, None] * A[None, :, None, :]  # (n_l, in_l + 1, n_l, in_l + 1)
            add_pair(H, self.mlp, layer, layer, pair)
        return H

    def diagonal(self) -> np.ndarray:
        """diag H, (P,)."""
        parts = [np.outer(np.diag(B), np.diag(A)) for B, A in self._factors]
        return split_layers(self.mlp, parts)

    def products(self, v: np.ndarray) -> np.ndarray:
        """H v for directions v (..., P): B V A a layer."""
        layers = zip(self._factors, join_layers(self.mlp, v), strict=True)
        return split_layers(self.mlp, [B @ V @ A for (B, A), V in layers])

    @cached_property
    def _factors(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(B_l, A_l) of every layer from their sums over rows."""
        flat = self.rows.sum(self._factors_block, row_bytes=self._pass_row_bytes)
        factors, start = [], 0
        for n_out, n_in in self.mlp.layer_shapes:
            middle = start + n_out * n_out
            end = middle + (n_in + 1) ** 2
            B = flat[start:middle].reshape(n_out, n_out) / self.rows.total_weight
            factors.append((B, flat[middle:end].reshape(n_in + 1, n_in + 1)))
            start = end
        return factors

    def _factors_block(self, block: RowBlocks) -> np.ndarray:
        """Σ_n w_n C^{ll} and Σ_n w_n z zᵀ of every layer, end to end in one flat array."""
        tape = self._derivatives(block).tape
        root = weighted_factor(self.likelihood, block, tape.outputs)
        factor, parts = jacobian(self.mlp, self.theta, tape, root), []
        for S, activations in zip(factor.signals, factor.activations, strict=True):
            rows, z = S.reshape(-1, S.shape[2]), append_one(activations)
            if block.sample_weight is not None:
                z *= np.sqrt(block.sample_weight)[:, None]
            parts += [(rows.T @ rows).ravel(), (z.T @ z).ravel()]
        return np.concatenate(parts)


def join_layers(mlp: MLP, v: np.ndarray) -> list[np.ndarray]:
    """Vectors (..., P) as one matrix a layer, (..., n_out, n_in + 1): the bias is last."""
    return [np.concatenate([W, b[..., None]], axis=-1) for W, b in mlp.unpack(v)]


def split_layers(mlp: MLP, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The inverse of `join_layers`, (..., P)."""
    return mlp.pack([(M[..., :-1], M[..., -1]) for M in matrices])
