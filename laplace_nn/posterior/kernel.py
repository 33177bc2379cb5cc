"""The posterior in function space: one N·K x N·K factor, whatever the number of weights."""

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.curvature.ggn import GGN
from laplace_nn.curvature.regularised import FunctionSpace
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.posterior.base import RegularisedPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["KernelPosterior"]


@dataclass(frozen=True)
class KernelPosterior(RegularisedPosterior):
    """Full-covariance Gaussian posterior held by an N·K x N·K Cholesky factor.

    The same A = scale·FᵀF + Λ as `DensePosterior` with the outer products, by Woodbury's identity
    and the matrix determinant lemma: a Gaussian process whose kernel is the network's tangent
    kernel under the prior (Khan et al. 2019). The choice for P > N·K; the P x P matrix is never
    formed. It keeps the training rows' signals and activations, which new predictions need.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    regularised : FunctionSpace
        A in factored form; `from_curvature` builds it.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import KernelPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rows, mlp = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1))), MLP((1, 1))
    >>> H = GGN(mlp, np.zeros(2), Gaussian(), rows)
    >>> posterior = KernelPosterior.from_curvature(np.zeros(2), H, single(mlp), 1.0)
    >>> bool(np.isclose(posterior.logdet_precision, np.log(6 * 3 - 3 * 3)))
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"factor"})

    theta_map: np.ndarray
    regularised: FunctionSpace

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "KernelPosterior":
        """Take the curvature's factor F, FᵀF = H."""
        require(curvature, cls.needs, cls.__name__)
        factor = cast(GGN, curvature).factor()
        return cls(theta_map, FunctionSpace(factor, prior, scale))

    def variance(self) -> np.ndarray:
        """diag A⁻¹ = λ⁻¹ - scale·λ⁻² diag Fᵀ(L Lᵀ)⁻¹F, (P,), a slab of columns at a time."""
        factor, scale, jacobian = self.regularised.factor, self.scale, self.regularised.jacobian
        layers = []
        for S, z in zip(jacobian.signals, jacobian.activations, strict=True):
            inputs = np.column_stack([z, np.ones(len(z))])
            reduced = np.empty((S.shape[2], inputs.shape[1]))
            for unit in range(S.shape[2]):
                columns = (S[:, :, unit, None] * inputs[:, None, :]).reshape(len(factor), -1)
                half = solve_triangular(factor, columns, lower=True, check_finite=False)
                reduced[unit] = np.einsum("ni,ni->i", half, half)
            layers.append((reduced[:, :-1], reduced[:, -1]))
        precision = self.prior.precision
        return (1.0 - scale * jacobian.mlp.pack(layers) / precision) / precision

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        if joint:
            half = self._half(jacobian)
            prior_part = self._cross(jacobian, jacobian)
            return prior_part - half.T @ half
        n_outputs, n_train = jacobian.shape[1], len(self.regularised.factor)
        parts = []
        for block in in_blocks(jacobian, row_bytes=3 * 8 * n_outputs * n_train):
            half = self._half(block).T.reshape(-1, n_outputs, n_train)
            prior_part = block.row_grams(1.0 / self.prior.precision)
            parts.append(prior_part - half @ half.mT)
        return np.concatenate(parts)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws by Matheron's rule, (n_samples, P).

        w₀ ~ N(0, Λ⁻¹), ε ~ N(0, I): θ = θ_map + w₀ - √scale·Λ⁻¹Fᵀ(L Lᵀ)⁻¹(√scale·F w₀ + ε).
        """
        jacobian, precision = self.regularised.jacobian, self.prior.precision
        prior_draw = rng.standard_normal((n_samples, len(precision))) / np.sqrt(precision)
        data_draw = np.sqrt(self.scale) * jacobian.matvec(prior_draw)  # (S, N, R)
        data_draw += rng.standard_normal(data_draw.shape)
        flat = data_draw.reshape(n_samples, -1).T
        solved = cho_solve((self.regularised.factor, True), flat, check_finite=False).T
        pulled = jacobian.rmatvec(solved.reshape(data_draw.shape))
        return self.theta_map + prior_draw - np.sqrt(self.scale) * pulled / precision

    def _cross(self, left: LayerwiseJacobian, right: LayerwiseJacobian) -> np.ndarray:
        """J Λ⁻¹ J'ᵀ, (n·K, n'·K')."""
        return left.gram(1.0 / self.prior.precision, right)

    def _half(self, jacobian: LayerwiseJacobian) -> np.ndarray:
        """√scale·L⁻¹ F Λ⁻¹ Jᵀ, (N·R, n·K)."""
        return self.regularised.half_solve_gram(self._cross(self.regularised.jacobian, jacobian))
