"""Outer products of the rows' gradients at the targets themselves."""

import numpy as np

from laplace_nn.curvature.assembly import add_square, mirror, spread_diagonal
from laplace_nn.curvature.base import Curvature, stack_jacobians
from laplace_nn.network import LayerwiseJacobian, jacobian
from laplace_nn.rows import RowBlocks

__all__ = ["EmpiricalFisher"]


class EmpiricalFisher(Curvature):
    """Sum of the outer products of each row's gradient with itself.

    H = Σ_n w_n g_n g_nᵀ with g_n = ∂E_n/∂w at unit noise precision, so that C^{lm} = δ_l δ_mᵀ
    (Kunstner, Hennig & Balles 2019).

    It misleads, and is here for comparison. It holds no second derivative: H grows with the
    squared residuals and vanishes where the fit is perfect, where the data tell the most. It
    equals the outer products `GGN` only in expectation under labels that the model itself draws,
    at unit noise; under Gaussian labels of noise precision β that expectation is the outer
    products divided by β. Its rank is at most N, whatever the number of outputs.

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
    >>> from laplace_nn.curvature import EmpiricalFisher
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]]))
    >>> EmpiricalFisher(MLP((1, 1)), np.zeros(2), Gaussian(), rows).dense()
    array([[17.,  9.],
           [ 9.,  5.]])
    """

    capabilities = frozenset({"dense", "diagonal", "factor"})
    semidefinite = True

    def factor(self) -> LayerwiseJacobian:
        """F in layerwise form, (N, 1, P), with FᵀF = H: rows √w_n g_n."""
        return stack_jacobians(list(self.rows.map(self._factor_block, self._pass_row_bytes)))

    def _factor_block(self, block: RowBlocks) -> LayerwiseJacobian:
        tape = self._derivatives(block).tape
        signals = self.likelihood.gradient(block.targets, tape.outputs)  # (n, K)
        if block.sample_weight is not None:
            signals = signals * np.sqrt(block.sample_weight)[:, None]
        return jacobian(self.mlp, self.theta, tape, signals[:, None, :])

    def dense(self) -> np.ndarray:
        """H, (P, P)."""
        return mirror(self.rows.accumulate(self._add_square, self.shape, self._dense_row_bytes))

    @property
    def _dense_row_bytes(self) -> int:
        return 4 * 8 * self.mlp.n_params  # as that of the outer products

    def _add_square(self, block: RowBlocks, out: np.ndarray) -> None:
        add_square(out, self._factor_block(block).dense()[:, 0, :])

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        factor = self._factor_block(block)
        units = [S[:, 0, :] ** 2 for S in factor.signals]
        return spread_diagonal(self.mlp, factor.activations, units)

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        factor = self._factor_block(block)
        return factor.rmatvec(factor.matvec(v))
