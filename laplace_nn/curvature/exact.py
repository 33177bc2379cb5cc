"""The exact Hessian at any depth, by a recursion over the layers' pre-activations."""

import numpy as np

from laplace_nn.curvature.assembly import (
    PairSums,
    append_one,
    mirror,
    outer,
    pair_row_bytes,
    pair_sums,
    pair_views,
    spread_diagonal,
    spread_sums,
)
from laplace_nn.curvature.base import Curvature, OutputDerivatives
from laplace_nn.network import MLP, Tape, rvjp
from laplace_nn.rows import RowBlocks

__all__ = ["ExactHessian"]


class ExactHessian(Curvature):
    """Exact second derivatives of the data term.

    H[W_l, W_m] = Σ_n C^{lm} ⊗ z_{l-1} z_{m-1}ᵀ + z_{l-1} ⊗ (∂z_{m-1}/∂a_l) ⊗ δ_m for l < m, with
    C^{LL} = M, C^{ll} = diag(h') Wᵀ C^{l+1,l+1} W diag(h') + diag(h'' ∘ Wᵀ δ_{l+1}) and
    C^{lm} = (∂a_m/∂a_l)ᵀ C^{mm}; for two layers these are PRML 5.93-5.95. Products are made by the
    R-operator (PRML 5.96-5.111) and never need the matrix.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Where the derivatives are taken.
    likelihood : Likelihood
        Its ``scale`` (noise precision) is left out.
    rows : RowBlocks
        Inputs, targets and sample weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import ExactHessian
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> H = ExactHessian(MLP((1, 1)), np.zeros(2), Gaussian(), rows)
    >>> H @ np.array([1.0, 0.0])
    array([5., 3.])
    """

    def dense(self) -> np.ndarray:
        """H, (P, P)."""
        sums: PairSums = self.rows.sum(self._pair_block, self._dense_row_bytes)
        H = spread_sums(self.mlp, sums)
        for (kind, first, second), summed in sums.items():
            if kind == "adjacent":
                _spread_adjacent(H, self.mlp, first, summed)
            elif kind == "distant":
                _spread_distant(H, self.mlp, first, second, summed)
        return mirror(H)

    def _pair_block(self, block: RowBlocks) -> PairSums:
        """Sums of the layer pairs and of the terms in δ."""
        at = self._derivatives(block)
        deltas, curvatures = self._recursion(at)
        sums = pair_sums(
            self.mlp, at.tape.activations, lambda first, second: curvatures[first, second]
        )
        curvatures.clear()
        for first in range(self.mlp.n_layers - 1):
            self._add_delta_terms(sums, first, at.tape, deltas)
        return sums

    def _add_delta_terms(
        self, sums: PairSums, first: int, tape: Tape, deltas: list[np.ndarray]
    ) -> None:
        """Σ_n z_{l-1} ⊗ (∂z_{m-1}/∂a_l) ⊗ δ_m for a layer l and every m > l."""
        layers, slopes = self.mlp.unpack(self.theta), tape.slopes
        z = append_one(tape.activations[first])
        sums["adjacent", first, first + 1] = outer(z, slopes[first]).T @ deltas[first + 1]
        moved = np.eye(slopes[first].shape[1]) * slopes[first][:, None, :]
        for second in range(first + 2, self.mlp.n_layers):
            # ∂z_{m-1}/∂a_l = diag(h'(a_{m-1})) W_{m-1} ∂z_{m-2}/∂a_l, (n, n_{m-1}, n_l).
            moved = (layers[second - 1][0] @ moved) * slopes[second - 1][:, :, None]
            flat = moved.reshape(len(z), -1)
            sums["distant", first, second] = flat.T @ outer(z, deltas[second])

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        at = self._derivatives(block)
        _, curvatures = self._recursion(at)
        units = [np.einsum("njj->nj", curvatures[i, i]) for i in range(self.mlp.n_layers)]
        return spread_diagonal(self.mlp, at.tape.activations, units)

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        at = self._derivatives(block)
        return rvjp(self.mlp, self.theta, at.tape, at.gradient, v, at.hessian)

    @property
    def _dense_row_bytes(self) -> int:
        """A pair at a time; the recursion keeps a C^{lm} for every pair."""
        sizes = self.mlp.layer_sizes[1:]
        kept = sum(n * m for index, n in enumerate(sizes) for m in sizes[: index + 1])
        return self._pass_row_bytes + pair_row_bytes(self.mlp) + 8 * kept

    def _recursion(
        self, at: OutputDerivatives
    ) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
        """δ_l (n, n_l) of every layer and C^{lm} (n, n_l, n_m) of every pair l ≤ m, backwards."""
        layers, last = self.mlp.unpack(self.theta), self.mlp.n_layers - 1
        deltas, curvatures = [at.gradient], {(last, last): at.hessian}
        for first in range(last - 1, -1, -1):
            W = layers[first + 1][0]
            slope, bend = at.tape.slopes[first], at.tape.bends[first]
            back = deltas[0] @ W  # Wᵀ δ, (n, n_l)
            for second in range(first + 1, self.mlp.n_layers):
                C = W.T @ curvatures[first + 1, second]
                curvatures[first, second] = slope[:, :, None] * C
            C = (curvatures[first, first + 1] @ W) * slope[:, None, :]
            units = np.arange(W.shape[1])
            C[:, units, units] += bend * back
            deltas.insert(0, slope * back)
            curvatures[first, first] = C
        return deltas, curvatures


def _spread_adjacent(H: np.ndarray, mlp: MLP, first: int, summed: np.ndarray) -> None:
    """Add Σ_n z[i] h'[j] δ[k] at (j, i, k, j): ∂z_l/∂a_l is diagonal (PRML 5.95, second term)."""
    n_units, n_in = mlp.layer_shapes[first]
    terms = summed.reshape(n_in + 1, n_units, -1).transpose(1, 0, 2)  # (j, i, k)
    units = np.arange(n_units)
    for view, columns, other_columns in pair_views(H, mlp, first, first + 1):
        if other_columns.start == 0:  # a weight, not a bias
            view[units, :, :, units] += terms[:, columns]


def _spread_distant(H: np.ndarray, mlp: MLP, first: int, second: int, summed: np.ndarray) -> None:
    """Add Σ_n (∂z_{m-1}[h]/∂a_l[j]) z[i] δ[k] at (j, i, k, h)."""
    (n_units, n_in), (n_out, n_in_second) = mlp.layer_shapes[first], mlp.layer_shapes[second]
    terms = summed.reshape(n_in_second, n_units, n_in + 1, n_out).transpose(1, 2, 3, 0)
    for view, columns, other_columns in pair_views(H, mlp, first, second):
        if other_columns.start == 0:
            view += terms[:, columns]
