"""The posterior by the leading eigenvectors of what the data add to the prior."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.posterior.base import GaussianPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["LowRankPosterior"]

DEFAULT_RANK = 100


@dataclass(frozen=True)
class LowRankPosterior(GaussianPosterior):
    """Gaussian posterior whose precision is the prior's plus a part of low rank.

    B = scale·Λ^-½ H Λ^-½ ≈ U diag(d) Uᵀ by Lanczos iterations on products H v; then A = Λ^½ (I +
    U diag(d) Uᵀ) Λ^½, its inverse by Woodbury's identity and its determinant Π(1 + d). The P x P
    matrix is never formed. What is left out of the determinant lies between `logdet_bounds`;
    variances are too large by it, never too small, where H ≥ 0.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    curvature : Curvature
        H; its products are asked for again when precisions change.
    prior : GaussianPrior
        Λ.
    scale : float
        Factor of the curvature.
    vectors : ndarray of shape (P, rank)
        U.
    values : ndarray of shape (rank,)
        d, by size.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import LowRankPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rows, mlp = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1))), MLP((1, 1))
    >>> H = GGN(mlp, np.zeros(2), Gaussian(), rows)
    >>> posterior = LowRankPosterior.from_curvature(np.zeros(2), H, single(mlp), 1.0, rank=1)
    >>> low, high = posterior.logdet_bounds()
    >>> bool(low - 1e-12 <= np.log(6 * 3 - 3 * 3) <= high + 1e-12)
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"diagonal"})

    theta_map: np.ndarray
    curvature: Curvature | PositivePart
    prior: GaussianPrior
    scale: float
    vectors: np.ndarray
    values: np.ndarray

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
        *,
        rank: int = DEFAULT_RANK,
    ) -> "LowRankPosterior":
        """Find the eigenpairs of largest size, as many as ``rank`` or as there are weights."""
        require(curvature, cls.needs, cls.__name__)
        if rank < 1:
            raise ValueError(f"LowRankPosterior needs a rank of at least 1; got {rank}.")
        values, vectors = _eigenpairs(_whitened(curvature, prior, scale), rank)
        if values.min() <= -1.0:
            raise NotPositiveDefiniteError(
                "The whitened precision I + scale*Lambda^-1/2 H Lambda^-1/2",
                float(1.0 + values.min()),
            )
        return cls(theta_map, curvature, prior, scale, vectors, values)

    @property
    def logdet_precision(self) -> float:
        """ln det A = ln det Λ + Σ ln(1 + d)."""
        return float(np.sum(np.log(self.prior.precision)) + np.sum(np.log1p(self.values)))

    def logdet_bounds(self) -> tuple[float, float]:
        """Where ln det of the whole A = scale·H + Λ lies: (lower, upper).

        With H ≥ 0 the m eigenvalues left out sum to t = tr B - Σd, known from H's diagonal, and
        none exceeds the smallest found, δ. ln(1 + x) is concave, so that their part is at most
        m ln(1 + t/m), all equal, and at least q ln(1 + δ) + ln(1 + t - qδ), q = ⌊t/δ⌋ of them at
        δ. Otherwise each lies within ±δ.
        """
        n_left = len(self.theta_map) - len(self.values)
        found, largest = self.logdet_precision, float(np.min(np.abs(self.values)))
        if n_left == 0:
            return found, found
        if not self.curvature.semidefinite:
            below = n_left * np.log1p(-largest) if largest < 1.0 else -np.inf
            return found + below, found + n_left * np.log1p(largest)
        whitened = self.scale * self.curvature.diagonal() / self.prior.precision
        left = max(float(whitened.sum() - self.values.sum()), 0.0)
        full = min(np.floor(left / largest), n_left) if largest > 0.0 else 0.0
        below = full * np.log1p(largest) + np.log1p(max(left - full * largest, 0.0))
        return found + below, found + n_left * np.log1p(left / n_left)

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "LowRankPosterior":
        """The posterior under other precisions and noise.

        Eigenvectors stay where all precisions change by the same factor; otherwise they are found
        anew from the curvature's products.
        """
        factor = prior.precision / self.prior.precision
        if np.ptp(factor) <= 1e-12 * factor[0]:
            values = self.values * scale / (self.scale * factor[0])
            return replace(self, prior=prior, scale=scale, values=values)
        rank = len(self.values)
        return self.from_curvature(self.theta_map, self.curvature, prior, scale, rank=rank)

    @property
    def _shrinkage(self) -> np.ndarray:
        """d / (1 + d): A⁻¹ = Λ^-½ (I - U diag(that) Uᵀ) Λ^-½."""
        return self.values / (1.0 + self.values)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        root = (1.0 / np.sqrt(self.prior.precision)).reshape(-1, *[1] * (V.ndim - 1))
        white = root * V
        inside = (self.vectors * self._shrinkage) @ (self.vectors.T @ white)
        return root * (white - inside)

    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""
        return (1.0 - self.vectors**2 @ self._shrinkage) / self.prior.precision

    def n_effective_params(self) -> np.ndarray:
        """γ_g of every prior group, (G,)."""
        prior = self.prior
        determined = self.vectors**2 @ self._shrinkage
        return np.bincount(prior.groups, weights=determined, minlength=prior.n_groups)

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        white = D * np.sqrt(self.prior.precision)
        inside = white @ self.vectors
        return np.sum(white * white, axis=1) + (inside * inside) @ self.values

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        variances = 1.0 / self.prior.precision
        if joint:
            inside = self._inside(jacobian).reshape(-1, len(self.values))
            return jacobian.gram(variances) - inside * self._shrinkage @ inside.T
        parts = []
        for block in in_blocks(jacobian, row_bytes=8 * jacobian.shape[1] * len(self.values)):
            inside = self._inside(block)
            prior_part = block.row_grams(variances)
            parts.append(prior_part - inside * self._shrinkage @ inside.mT)
        return np.concatenate(parts)

    def _inside(self, jacobian: LayerwiseJacobian) -> np.ndarray:
        """J Λ^-½ U, (n, K, rank)."""
        directions = (self.vectors / np.sqrt(self.prior.precision)[:, None]).T
        return np.moveaxis(jacobian.matvec(directions), 0, -1)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws θ = θ_map + Λ^-½ (I + U diag((1 + d)^-½ - 1) Uᵀ) ε, (n_samples, P)."""
        noise = rng.standard_normal((n_samples, len(self.theta_map)))
        shrink = 1.0 / np.sqrt(1.0 + self.values) - 1.0
        noise += (noise @ self.vectors * shrink) @ self.vectors.T
        return self.theta_map + noise / np.sqrt(self.prior.precision)


def _whitened(
    curvature: Curvature | PositivePart, prior: GaussianPrior, scale: float
) -> LinearOperator:
    """B = scale·Λ^-½ H Λ^-½."""
    root = 1.0 / np.sqrt(prior.precision)

    def matmat(V: np.ndarray) -> np.ndarray:
        weights = root.reshape(-1, *[1] * (V.ndim - 1))
        return scale * weights * (curvature @ (weights * V))

    return LinearOperator(curvature.shape, matvec=matmat, matmat=matmat, dtype=np.float64)


def _eigenpairs(operator: LinearOperator, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of largest size, largest first, with their vectors."""
    n_params = operator.shape[0]
    if rank >= n_params:
        # Nothing is left out, and Lanczos needs one dimension to spare.
        dense = operator @ np.eye(n_params)
        values, vectors = np.linalg.eigh(0.5 * (dense + dense.T))
    else:
        start = np.random.default_rng(0).standard_normal(n_params)
        values, vectors = eigsh(operator, k=rank, which="LM", v0=start)
    order = np.argsort(-np.abs(values))
    return values[order], vectors[:, order]
