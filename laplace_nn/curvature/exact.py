"""The exact Hessian at any depth, by a recursion over the layers' pre-activations."""

import numpy as np

from laplace_nn.curvature.assembly import add_pair, append_one, spread_dense, spread_diagonal
from laplace_nn.curvature.base import Curvature, OutputDerivatives
from laplace_nn.network import rvjp
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

    def _dense_block(self, block: RowBlocks) -> np.ndarray:
        at = self._derivatives(block)
        tape = at.tape
        deltas, unit_curvatures = self._recursion(at)
        sensitivities = self._sensitivities(at)

        def pair_curvature(first: int, second: int) -> np.ndarray:
            if first == second:
                return unit_curvatures[first]
            return sensitivities[first, second].mT @ unit_curvatures[second]

        H = spread_dense(self.mlp, tape.activations, pair_curvature)
        for first in range(self.mlp.n_layers):
            z = append_one(tape.activations[first])
            for second in range(first + 1, self.mlp.n_layers):
                # ∂z_{m-1}/∂a_l = diag(h'(a_{m-1})) ∂a_{m-1}/∂a_l, (n, n_{m-1}, n_l).
                slope = tape.slopes[second - 1]
                if second == first + 1:
                    pair = _adjacent_term(z, slope, deltas[second])
                else:
                    moved = slope[:, :, None] * sensitivities[first, second - 1]
                    pair = _distant_term(z, moved, deltas[second])
                add_pair(H, self.mlp, first, second, pair)
        return H

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        at = self._derivatives(block)
        _, unit_curvatures = self._recursion(at)
        units = [np.einsum("njj->nj", C) for C in unit_curvatures]
        return spread_diagonal(self.mlp, at.tape.activations, units)

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        at = self._derivatives(block)
        return rvjp(self.mlp, self.theta, at.tape, at.gradient, v, at.hessian)

    @property
    def _dense_row_bytes(self) -> int:
        """The recursion keeps a C^{ll} and a ∂a_m/∂a_l for every layer and pair."""
        sizes = self.mlp.layer_sizes[1:]
        kept = sum(n * m for index, n in enumerate(sizes) for m in sizes[: index + 1])
        return super()._dense_row_bytes + 8 * kept

    def _recursion(self, at: OutputDerivatives) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """δ_l (n, n_l) and C^{ll} (n, n_l, n_l) of every layer, backwards from the outputs."""
        layers = self.mlp.unpack(self.theta)
        deltas, curvatures = [at.gradient], [at.hessian]
        for index in range(self.mlp.n_layers - 1, 0, -1):
            W = layers[index][0]
            slope, bend = at.tape.slopes[index - 1], at.tape.bends[index - 1]
            back = deltas[0] @ W  # Wᵀ δ, (n, n_in)
            C = (W.T @ curvatures[0] @ W) * (slope[:, :, None] * slope[:, None, :])
            units = np.arange(W.shape[1])
            C[:, units, units] += bend * back
            deltas.insert(0, slope * back)
            curvatures.insert(0, C)
        return deltas, curvatures

    def _sensitivities(self, at: OutputDerivatives) -> dict[tuple[int, int], np.ndarray]:
        """∂a_m/∂a_l, (n, n_m, n_l), for every pair l < m."""
        layers, slopes = self.mlp.unpack(self.theta), at.tape.slopes
        result: dict[tuple[int, int], np.ndarray] = {}
        for first in range(self.mlp.n_layers - 1):
            moved = layers[first + 1][0] * slopes[first][:, None, :]
            result[first, first + 1] = moved
            for second in range(first + 2, self.mlp.n_layers):
                moved = (layers[second][0] * slopes[second - 1][:, None, :]) @ moved
                result[first, second] = moved
        return result


def _adjacent_term(z: np.ndarray, slope: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Σ_n z[i] h'[j] δ[k] at (j, i, k, j): ∂z_l/∂a_l is diagonal (second term of PRML 5.95)."""
    n_rows, n_units = slope.shape
    n_in, n_out = z.shape[1], delta.shape[1]
    outer = (z[:, :, None] * slope[:, None, :]).reshape(n_rows, -1)
    summed = (outer.T @ delta).reshape(n_in, n_units, n_out)
    pair = np.zeros((n_units, n_in, n_out, n_units + 1))
    units = np.arange(n_units)
    pair[units, :, :, units] = summed.transpose(1, 0, 2)
    return pair


def _distant_term(z: np.ndarray, moved: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Σ_n z[i] (∂z_{m-1}[h]/∂a_l[j]) δ[k] at (j, i, k, h)."""
    n_rows, n_in_second, n_units = moved.shape
    n_in, n_out = z.shape[1], delta.shape[1]
    outer = (z[:, :, None] * delta[:, None, :]).reshape(n_rows, -1)
    summed = (moved.reshape(n_rows, -1).T @ outer).reshape(n_in_second, n_units, n_in, n_out)
    pair = np.zeros((n_units, n_in, n_out, n_in_second + 1))
    pair[..., :n_in_second] = summed.transpose(1, 2, 3, 0)
    return pair
