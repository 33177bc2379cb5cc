"""The diagonal of the Hessian by a recursion that keeps nothing but diagonals."""

from functools import cached_property

import numpy as np

from laplace_nn.curvature.assembly import spread_diagonal
from laplace_nn.curvature.base import Curvature, OutputDerivatives
from laplace_nn.rows import RowBlocks

__all__ = ["BackpropDiagonal"]


class BackpropDiagonal(Curvature):
    """Diagonal approximation of the Hessian at the cost of a backward pass.

    ∂²E/∂a_j² = h'(a_j)² Σ_k w_kj² ∂²E/∂a_k² + h''(a_j) Σ_k w_kj ∂E/∂a_k (PRML 5.81), from
    the diagonal of the output Hessian M; ∂²E/∂w_ji² = z_i² ∂²E/∂a_j² (PRML 5.79). Becker & LeCun
    (1989).

    Off-diagonal second derivatives between units of a layer are neglected on the way. The result
    is the exact Hessian's diagonal without hidden layers; with one hidden layer where M is
    diagonal (Gaussian, Bernoulli, not softmax); and where every hidden layer but the first has one
    unit and M is diagonal. It can be negative.

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
    >>> from laplace_nn.curvature import BackpropDiagonal
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> BackpropDiagonal(MLP((1, 1)), np.zeros(2), Gaussian(), rows).diagonal()
    array([5., 2.])
    """

    capabilities = frozenset({"dense", "diagonal"})

    def dense(self) -> np.ndarray:
        """H, (P, P): zero off its diagonal."""
        return np.diag(self._summed)

    def diagonal(self) -> np.ndarray:
        """diag H, (P,)."""
        return self._summed.copy()

    def products(self, v: np.ndarray) -> np.ndarray:
        """H v for directions v (..., P)."""
        return self._summed * v

    @cached_property
    def _summed(self) -> np.ndarray:
        return super().diagonal()

    def _dense_block(self, block: RowBlocks) -> np.ndarray:
        return np.diag(self._diagonal_block(block))

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        at = self._derivatives(block)
        return spread_diagonal(self.mlp, at.tape.activations, self._recursion(at))

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        return self._diagonal_block(block) * v

    def _recursion(self, at: OutputDerivatives) -> list[np.ndarray]:
        """∂²E_n/∂a_l² (n, n_l) of every layer, backwards from the outputs."""
        layers, delta = self.mlp.unpack(self.theta), at.gradient
        units = [np.einsum("nkk->nk", at.hessian)]
        for index in range(self.mlp.n_layers - 1, 0, -1):
            W = layers[index][0]
            slope, bend = at.tape.slopes[index - 1], at.tape.bends[index - 1]
            back = delta @ W  # Wᵀ δ, (n, n_in)
            units.insert(0, slope * slope * (units[0] @ (W * W)) + bend * back)  # PRML 5.81
            delta = slope * back
        return units
