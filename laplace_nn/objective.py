"""The MAP objective: the negative log posterior, its derivatives and its Gauss-Newton matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.curvature.anchored import Anchor, Anchored
from laplace_nn.curvature.regularised import FunctionSpace, Regularised, WeightSpace
from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP, second_jvp, vjp
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks

__all__ = ["NegativeLogPosterior", "in_weight_space", "matrix_size"]


@dataclass(frozen=True)
class NegativeLogPosterior:
    """The MAP objective: negative log posterior up to constants.

    E(w) = scale·Σ_n w_n nll_n(w) + ½ Σ_g α_g Σ_{i∈g} (w_i - m_i)² (PRML 5.112 and 5.166), and
    ½ (w - m)ᵀQ(w - m) of an anchor.

    Parameters
    ----------
    mlp : MLP
        The network.
    likelihood : Likelihood
        Its ``scale`` is the noise precision of a Gaussian.
    prior : GaussianPrior
        Over the weights.
    rows : RowBlocks
        Inputs, targets and sample weights.
    anchor : Anchor, optional
        What a prior has beyond independent weights; from `as_prior`.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.ones((1, 1)), np.array([[2.0]]))
    >>> NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows).value(np.zeros(2))
    2.0
    """

    mlp: MLP
    likelihood: Likelihood
    prior: GaussianPrior
    rows: RowBlocks
    anchor: Anchor | None = None

    def value(self, theta: np.ndarray) -> float:
        """E(w)."""

        def term(block: RowBlocks) -> float:
            outputs = self.mlp.forward(theta, block.X).outputs
            return float(block.weigh(self.likelihood.nll(block.targets, outputs)).sum())

        data = self.rows.sum_passes(term, self._row_bytes)
        energy = self.likelihood.scale * data + self.prior.energy(theta)
        return energy if self.anchor is None else energy + self.anchor.energy(theta)

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """E(w) and ∇E(w), (P,)."""

        def term(block: RowBlocks) -> np.ndarray:
            tape = self.mlp.forward(theta, block.X)
            y, f = block.targets, tape.outputs
            nll = block.weigh(self.likelihood.nll(y, f)).sum()
            signal = block.weigh(self.likelihood.gradient(y, f))
            return np.append(vjp(self.mlp, theta, tape, signal), nll)

        total = self.likelihood.scale * self.rows.sum_passes(term, self._row_bytes)
        energy = float(total[-1]) + self.prior.energy(theta)
        gradient = total[:-1] + self.prior.gradient(theta)
        if self.anchor is None:
            return energy, gradient
        return energy + self.anchor.energy(theta), gradient + self.anchor.gradient(theta)

    @property
    def in_weight_space(self) -> bool:
        """Whether a regularised inverse is held P x P: where that is smaller, or Q is."""
        return self.anchor is not None or in_weight_space(self.mlp, self.rows)

    def gauss_newton(self, theta: np.ndarray) -> Regularised:
        """scale·H + Q + Λ with the outer products H, in whichever space is smaller."""
        curvature, scale = GGN(self.mlp, theta, self.likelihood, self.rows), self.likelihood.scale
        if not self.in_weight_space:
            return FunctionSpace(curvature.factor(), self.prior, scale)
        H = curvature if self.anchor is None else Anchored(curvature, self.anchor, scale)
        return WeightSpace(H.dense(), self.prior, scale)

    def hessian_products(self, theta: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """The map v -> (scale·H + Q + Λ) v with the exact Hessian."""
        exact = ExactHessian(self.mlp, theta, self.likelihood, self.rows)
        scale, precision, anchor = self.likelihood.scale, self.prior.precision, self.anchor
        if anchor is None:
            return lambda v: scale * exact.products(v) + precision * v
        return lambda v: scale * exact.products(v) + precision * v + anchor.products(v)

    def hvp(self, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(scale·H + Q + Λ) v with the exact Hessian, for v (..., P) (PRML 5.96-5.111).

        What SciPy's ``minimize`` takes as ``hessp``. For many products at the same weights
        `hessian_products` keeps the forward pass.
        """
        return self.hessian_products(theta)(v)

    def pulled_curvature(self, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
        """scale·Σ_n J_nᵀ M_n R²{f_n}, the outputs' curvature along v as a force on the weights."""

        def term(block: RowBlocks) -> np.ndarray:
            tape = self.mlp.forward(theta, block.X)
            M = block.weigh(self.likelihood.hessian(block.targets, tape.outputs))
            curved = second_jvp(self.mlp, theta, tape, v)
            return vjp(self.mlp, theta, tape, np.einsum("nkj,nj->nk", M, curved))

        return self.likelihood.scale * self.rows.sum_passes(term, self._row_bytes)

    @property
    def _row_bytes(self) -> int:
        return 8 * 3 * sum(self.mlp.layer_sizes)


def in_weight_space(mlp: MLP, rows: RowBlocks) -> bool:
    """Whether P ≤ N·K, so that the P x P form of a regularised inverse is the smaller one."""
    return mlp.n_params <= rows.n_rows * mlp.n_outputs


def matrix_size(mlp: MLP, rows: RowBlocks) -> int:
    """Of the square matrix by which a regularised inverse is held, P or N·K."""
    return min(mlp.n_params, rows.n_rows * mlp.n_outputs)
