"""The posterior in weight space: one P x P factor."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.curvature.regularised import WeightSpace
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.posterior.base import RegularisedPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["DensePosterior"]


@dataclass(frozen=True)
class DensePosterior(RegularisedPosterior):
    """Full-covariance Gaussian posterior held by a P x P Cholesky factor.

    A = scale·H + Λ, for any curvature that can be made dense. The choice for P ≤ N·K.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    regularised : WeightSpace
        A in factored form; `from_curvature` builds it.

    Raises
    ------
    NotPositiveDefiniteError
        When A is used and has an eigenvalue that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rows, mlp = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1))), MLP((1, 1))
    >>> H = GGN(mlp, np.zeros(2), Gaussian(), rows)
    >>> posterior = DensePosterior.from_curvature(np.zeros(2), H, single(mlp), 1.0)
    >>> bool(np.isclose(posterior.logdet_precision, np.log(6 * 3 - 3 * 3)))
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"dense"})

    theta_map: np.ndarray
    regularised: WeightSpace

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "DensePosterior":
        """Make the curvature dense and add the prior."""
        require(curvature, cls.needs, cls.__name__)
        return cls(theta_map, WeightSpace(curvature.dense(), prior, scale))

    def covariance(self) -> np.ndarray:
        """A⁻¹, (P, P)."""
        half = self.regularised.half_solve(np.eye(len(self.theta_map)))
        return half.T @ half

    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""
        return self.regularised.shrinkage / self.prior.precision

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        _, n_outputs, n_params = jacobian.shape
        if joint:
            half = self.regularised.half_solve(jacobian.dense().reshape(-1, n_params).T)
            return half.T @ half
        parts = []
        for block in in_blocks(jacobian, row_bytes=2 * 8 * n_params * n_outputs):
            half = self.regularised.half_solve(block.dense().reshape(-1, n_params).T)
            half = half.reshape(n_params, -1, n_outputs)
            parts.append(np.einsum("pnk,pnj->nkj", half, half))
        return np.concatenate(parts)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws θ = θ_map + Λ^-½ L⁻ᵀ ε, (n_samples, P)."""
        noise = rng.standard_normal((len(self.theta_map), n_samples))
        moved = solve_triangular(self.regularised.factor, noise, lower=True, trans="T")
        return self.theta_map + moved.T / np.sqrt(self.prior.precision)
