"""The posterior's covariance built up row by row, without ever inverting a matrix."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.blas import dsyrk

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.curvature.ggn import GGN
from laplace_nn.linalg import cholesky, invert_factor
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.posterior.base import GaussianPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["SequentialPosterior"]

BLOCK_SHARE = 8  # a block holds at most P / 8 rows, or so much would be spent on its own matrix
SMALLEST_BLOCK = 32


@dataclass(frozen=True)
class SequentialPosterior(GaussianPosterior):
    """Full-covariance Gaussian posterior by the sequential inverse.

    (A + g gᵀ)⁻¹ = A⁻¹ - (A⁻¹ g)(A⁻¹ g)ᵀ / (1 + gᵀA⁻¹g) from A = Λ on (PRML 5.87-5.89, whose αI it
    is with one precision), g a row of √scale·F; blocks of rows G by Woodbury's identity, A⁻¹ -
    A⁻¹Gᵀ (I + G A⁻¹ Gᵀ)⁻¹ G A⁻¹. The log determinant is carried along, ln det(A + GᵀG) =
    ln det A + ln det(I + G A⁻¹ Gᵀ). The same Gaussian as `DensePosterior` with the outer products,
    for rows that come in batches. It is held whitened by the prior, Λ^½ A⁻¹ Λ^½, which begins as I.

    Rounding: each update leaves an error of 1e-16 of the prior's variance, so that directions
    whose variance the data shrink below 1e-8 of that lose digits; `DensePosterior` keeps them.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    whitened : ndarray of shape (P, P)
        Λ^½ A⁻¹ Λ^½, symmetric.
    log_growth : float
        ln det A - ln det Λ.
    prior : GaussianPrior
        Λ.
    scale : float
        Factor of the curvature.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import SequentialPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, theta = MLP((1, 1)), np.zeros(2)
    >>> posterior = SequentialPosterior.from_prior(theta, single(mlp), 1.0)
    >>> for x in (1.0, 2.0):
    ...     row = RowBlocks(np.array([[x]]), np.zeros((1, 1)))
    ...     posterior = posterior.absorb(GGN(mlp, theta, Gaussian(), row))
    >>> bool(np.isclose(posterior.logdet_precision, np.log(6 * 3 - 3 * 3)))
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"factor"})

    theta_map: np.ndarray
    whitened: np.ndarray
    log_growth: float
    prior: GaussianPrior
    scale: float

    @classmethod
    def from_prior(
        cls, theta_map: np.ndarray, prior: GaussianPrior, scale: float
    ) -> "SequentialPosterior":
        """Before any row: A = Λ."""
        return cls(theta_map, np.eye(len(theta_map)), 0.0, prior, scale)

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "SequentialPosterior":
        """Absorb all rows of a curvature."""
        return cls.from_prior(theta_map, prior, scale).absorb(curvature)

    @classmethod
    def from_batches(
        cls,
        theta_map: np.ndarray,
        batches: Iterable[Curvature],
        prior: GaussianPrior,
        scale: float,
    ) -> "SequentialPosterior":
        """Absorb the curvatures of one batch of rows after the other, from any iterator."""
        posterior = cls.from_prior(theta_map, prior, scale)
        for batch in batches:
            posterior = posterior.absorb(batch)
        return posterior

    def absorb(self, curvature: Curvature | PositivePart) -> "SequentialPosterior":
        """The posterior after the rows of a curvature at the same weights.

        Parameters
        ----------
        curvature : Curvature
            Of the new rows, with a factor F, FᵀF = H.

        Raises
        ------
        MissingCapabilityError
            If it has no factor.
        """
        require(curvature, self.needs, type(self).__name__)
        factor = cast(GGN, curvature).factor()
        n_params, posterior = len(self.theta_map), self
        for piece in in_blocks(factor, row_bytes=8 * n_params * factor.shape[1]):
            posterior = posterior.absorb_factor(piece.dense().reshape(-1, n_params))
        return posterior

    def absorb_factor(self, F: np.ndarray) -> "SequentialPosterior":
        """The posterior after A ← A + scale·FᵀF, F (B, P) rows of any origin (PRML 5.88, 5.89)."""
        G = np.sqrt(self.scale / self.prior.precision) * np.atleast_2d(F)  # (B, P)
        most = max(SMALLEST_BLOCK, G.shape[1] // BLOCK_SHARE)
        posterior = self
        for start in range(0, len(G), most):
            posterior = posterior._absorb_block(G[start : start + most])
        return posterior

    def _absorb_block(self, G: np.ndarray) -> "SequentialPosterior":
        """Woodbury's identity with the whitened rows G (B, P)."""
        moved = G @ self.whitened  # G A⁻¹
        inner = moved @ G.T
        inner.flat[:: len(inner) + 1] += 1.0
        root = cholesky(inner, "The sequential update I + G A^-1 G^T")
        half = solve_triangular(root, moved, lower=True, check_finite=False)
        growth = 2.0 * float(np.sum(np.log(np.diag(root))))
        return replace(
            self, whitened=_minus_square(self.whitened, half), log_growth=self.log_growth + growth
        )

    @property
    def logdet_precision(self) -> float:
        """ln det A."""
        return float(np.sum(np.log(self.prior.precision)) + self.log_growth)

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "SequentialPosterior":
        """The posterior under other precisions and noise, at the cost of two inversions.

        The data's part is what the sequential inverse has gained over the prior.
        """
        data = _inverse(self.whitened)
        data.flat[:: len(data) + 1] -= 1.0
        shrink = np.sqrt(scale / self.scale * self.prior.precision / prior.precision)
        whitened = shrink[:, None] * data * shrink
        whitened.flat[:: len(whitened) + 1] += 1.0
        root = cholesky(whitened, "The precision A = scale*H + Lambda")
        growth = 2.0 * float(np.sum(np.log(np.diag(root))))
        return replace(
            self, whitened=_inverse(whitened), log_growth=growth, prior=prior, scale=scale
        )

    def covariance(self) -> np.ndarray:
        """A⁻¹, (P, P)."""
        root = 1.0 / np.sqrt(self.prior.precision)
        return root[:, None] * self.whitened * root

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        root = (1.0 / np.sqrt(self.prior.precision)).reshape(-1, *[1] * (V.ndim - 1))
        return root * (self.whitened @ (root * V))

    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""
        return np.diag(self.whitened) / self.prior.precision

    def n_effective_params(self) -> np.ndarray:
        """γ_g of every prior group, (G,)."""
        prior = self.prior
        gained = 1.0 - np.diag(self.whitened)
        return np.bincount(prior.groups, weights=gained, minlength=prior.n_groups)

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        _, n_outputs, n_params = jacobian.shape
        root = 1.0 / np.sqrt(self.prior.precision)
        if joint:
            J = jacobian.dense().reshape(-1, n_params) * root
            return J @ self.whitened @ J.T
        parts = []
        for block in in_blocks(jacobian, row_bytes=2 * 8 * n_params * n_outputs):
            J = block.dense() * root
            parts.append((J @ self.whitened) @ J.mT)
        return np.concatenate(parts)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws θ = θ_map + Λ^-½ C ε, C Cᵀ the whitened covariance, (n_samples, P)."""
        noise = rng.standard_normal((n_samples, len(self.theta_map)))
        root = cholesky(self.whitened, "The whitened covariance")
        return self.theta_map + noise @ root.T / np.sqrt(self.prior.precision)


def _minus_square(S: np.ndarray, half: np.ndarray) -> np.ndarray:
    """S - halfᵀ half, symmetric to the bit: one triangle is computed and mirrored."""
    # BLAS counts columns first: the upper triangle of S.T is the lower one of S.
    lower = dsyrk(-1.0, half.T, beta=1.0, c=S.T).T
    return np.tril(lower) + np.tril(lower, -1).T


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix, symmetric to the bit."""
    root = cholesky(matrix, "The whitened covariance")
    half = invert_factor(root)
    return half.T @ half
