"""Outer products: the generalised Gauss-Newton matrix."""

import numpy as np

from laplace_nn.curvature.assembly import (
    PairSums,
    add_square,
    mirror,
    pair_row_bytes,
    pair_sums,
    spread_diagonal,
    spread_sums,
)
from laplace_nn.curvature.base import Curvature, stack_jacobians, weighted_factor
from laplace_nn.network import LayerwiseJacobian, jacobian, jvp, vjp
from laplace_nn.rows import RowBlocks

__all__ = ["GGN"]


class GGN(Curvature):
    """Outer-product approximation of the Hessian (generalised Gauss-Newton matrix).

    H = Σ_n w_n J_nᵀ M_n J_n: M = 1 is PRML 5.84, M = y(1 - y) PRML 5.85, M = diag(p) - p pᵀ
    the softmax analogue (PRML exercise 5.20). Never negative; equal to the exact Hessian for a
    network without hidden layers.

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
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> GGN(MLP((1, 1)), np.zeros(2), Gaussian(), rows).dense()
    array([[5., 3.],
           [3., 2.]])
    """

    capabilities = frozenset({"dense", "diagonal", "factor"})
    semidefinite = True

    def factor(self) -> LayerwiseJacobian:
        """F in layerwise form, (N, R, P), with FᵀF = H: rows √w_n R_n J_n, R_nᵀ R_n = M_n."""
        return stack_jacobians(list(self.rows.map(self._factor_block, self._pass_row_bytes)))

    def _factor_block(self, block: RowBlocks) -> LayerwiseJacobian:
        tape = self._derivatives(block).tape
        root = weighted_factor(self.likelihood, block, tape.outputs)
        return jacobian(self.mlp, self.theta, tape, root)

    @property
    def by_rows(self) -> bool:
        """Whether H is made of Jacobian rows; layer pairs cost less for several outputs."""
        return self.mlp.n_outputs == 1

    def dense(self) -> np.ndarray:
        """H, (P, P)."""
        if self.by_rows:
            return mirror(self.rows.accumulate(self._add_square, self.shape, self._dense_row_bytes))
        sums: PairSums = self.rows.sum(self._pair_block, self._dense_row_bytes)
        return mirror(spread_sums(self.mlp, sums))

    @property
    def _dense_row_bytes(self) -> int:
        if self.by_rows:
            # F takes a quarter of the budget, a panel of the product less; larger arrays are no
            # faster, since the system hands out their pages anew every time.
            return 4 * 8 * self.mlp.n_params * self.mlp.n_outputs
        return self._pass_row_bytes + pair_row_bytes(self.mlp)

    def _add_square(self, block: RowBlocks, out: np.ndarray) -> None:
        factor = self._factor_block(block)
        add_square(out, factor.dense().reshape(-1, self.mlp.n_params))

    def _pair_block(self, block: RowBlocks) -> PairSums:
        """Sums of the layer pairs."""
        factor = self._factor_block(block)
        S = factor.signals
        return pair_sums(
            self.mlp, factor.activations, lambda first, second: S[first].mT @ S[second]
        )

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        factor = self._factor_block(block)
        units = [np.einsum("nrj,nrj->nj", S, S) for S in factor.signals]
        return spread_diagonal(self.mlp, factor.activations, units)

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        at = self._derivatives(block)
        moved = jvp(self.mlp, self.theta, at.tape, v)  # (..., N, K)
        pulled = np.einsum("nkj,...nj->...nk", at.hessian, moved)
        return vjp(self.mlp, self.theta, at.tape, pulled)
