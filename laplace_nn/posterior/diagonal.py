"""The posterior with independent weights: one variance a weight."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.posterior.base import RegularisedPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["DiagonalPosterior", "DiagonalPrecision"]


@dataclass(frozen=True)
class DiagonalPrecision:
    """A = diag(scale·h + λ), with h the diagonal of H.

    Parameters
    ----------
    diagonal_curvature : ndarray of shape (P,)
        h.
    prior : GaussianPrior
        Λ = diag λ.
    scale : float
        Noise precision, or 1.
    """

    diagonal_curvature: np.ndarray
    prior: GaussianPrior
    scale: float

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "DiagonalPrecision":
        """Other hyperparameters, h as it is."""
        return replace(self, prior=prior, scale=scale)

    @cached_property
    def precision(self) -> np.ndarray:
        """a = scale·h + λ, (P,).

        Raises
        ------
        ValueError
            If an entry is a NaN or an infinity.
        NotPositiveDefiniteError
            If an entry is not positive.
        """
        a = self.scale * self.diagonal_curvature + self.prior.precision
        name = "The precision A = diag(scale*h + lambda)"
        if not np.isfinite(a).all():
            raise ValueError(
                f"{name} holds a NaN or an infinity: the weights or the inputs have overflowed."
            )
        if not a.min() > 0.0:
            raise NotPositiveDefiniteError(name, float(a.min()))
        return a

    @cached_property
    def logdet(self) -> float:
        """ln det A = Σ ln a."""
        return float(np.sum(np.log(self.precision)))

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        return (V.T / self.precision).T

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        return (D * D) @ self.precision

    def n_effective_params(self) -> np.ndarray:
        """γ_g = Σ_{i∈g} scale·h_i / a_i, (G,)."""
        share = self.scale * self.diagonal_curvature / self.precision
        return np.bincount(self.prior.groups, weights=share, minlength=self.prior.n_groups)


@dataclass(frozen=True)
class DiagonalPosterior(RegularisedPosterior):
    """Gaussian posterior whose weights are independent of each other.

    A = scale·diag H + Λ (MacKay 1992, the diagonal of PRML 5.166). P numbers, whatever the size;
    it leaves out that weights make up for each other, so that its variances are those of each
    weight with all others held fixed, never larger than those of the same curvature's full inverse.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    regularised : DiagonalPrecision
        A; `from_curvature` builds it.

    Raises
    ------
    NotPositiveDefiniteError
        When A is used and has an entry that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DiagonalPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rows, mlp = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1))), MLP((1, 1))
    >>> H = GGN(mlp, np.zeros(2), Gaussian(), rows)
    >>> posterior = DiagonalPosterior.from_curvature(np.zeros(2), H, single(mlp), 1.0)
    >>> bool(np.isclose(posterior.logdet_precision, np.log(6 * 3)))
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"diagonal"})

    theta_map: np.ndarray
    regularised: DiagonalPrecision

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "DiagonalPosterior":
        """Take the curvature's diagonal and add the prior."""
        require(curvature, cls.needs, cls.__name__)
        return cls(theta_map, DiagonalPrecision(curvature.diagonal(), prior, scale))

    def variance(self) -> np.ndarray:
        """diag A⁻¹ = 1/a, (P,)."""
        return 1.0 / self.regularised.precision

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        _, n_outputs, n_params = jacobian.shape
        if joint:
            half = jacobian.dense().reshape(-1, n_params) * np.sqrt(self.variance())
            return half @ half.T
        widest = max(jacobian.mlp.layer_sizes)
        blocks = in_blocks(jacobian, row_bytes=2 * 8 * n_outputs * widest)
        return np.concatenate([self._row_covariances(block) for block in blocks])

    def _row_covariances(self, jacobian: LayerwiseJacobian) -> np.ndarray:
        """Σ_l S_l diag(Σ_i v_ji z_i²) S_lᵀ, (n, K, K): dense rows are not formed."""
        n_rows, n_outputs, _ = jacobian.shape
        result = np.zeros((n_rows, n_outputs, n_outputs))
        variances = jacobian.mlp.unpack(self.variance())
        layers = zip(jacobian.signals, jacobian.activations, variances, strict=True)
        for S, z, (weights, biases) in layers:
            unit_variance = (z * z) @ weights.T + biases  # (n, n_out)
            half = S * np.sqrt(unit_variance)[:, None, :]
            result += half @ half.mT
        return result

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws θ = θ_map + a^-½ ε, (n_samples, P)."""
        noise = rng.standard_normal((n_samples, len(self.theta_map)))
        return self.theta_map + noise / np.sqrt(self.regularised.precision)
