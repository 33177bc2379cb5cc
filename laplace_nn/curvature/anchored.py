"""A quadratic term besides the rows', about the prior's mean, and a curvature with it.

Of a prior N(w | m, A₀⁻¹), A₀ = Q + Λ, the diagonal Λ is a `GaussianPrior` and the rest an `Anchor`:
yesterday's posterior as today's prior (`laplace_nn.posterior.as_prior`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator

from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.regularised import WeightSpace
from laplace_nn.priors import GaussianPrior

__all__ = ["Anchor", "Anchored"]

ASYMMETRY = 1e-10  # relative to the largest entry, beyond which a matrix is not symmetric


@dataclass(frozen=True)
class Anchor:
    """What a prior has beyond independent weights: a quadratic about its mean, ½ (w - m)ᵀQ(w - m).

    With a `GaussianPrior` about the same mean it is the prior N(w | m, (Q + Λ)⁻¹) (PRML 3.48-3.51).

    Parameters
    ----------
    mean : ndarray of shape (P,)
        m.
    matrix : ndarray of shape (P, P)
        Q, symmetric; Q + Λ must be positive definite, which is checked where it is factored.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, an entry is not finite, or Q is not symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import Anchor
    >>> anchor = Anchor(np.ones(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> anchor.energy(np.array([2.0, 2.0])), anchor.gradient(np.array([2.0, 2.0])).tolist()
    (3.0, [3.0, 3.0])
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __post_init__(self) -> None:
        mean, matrix = np.asarray(self.mean, float), np.asarray(self.matrix, float)
        if mean.ndim != 1 or matrix.shape != (len(mean), len(mean)):
            raise ValueError(
                "Anchor needs a mean of shape (P,) and a matrix of shape (P, P); got shapes "
                f"{mean.shape} and {matrix.shape}."
            )
        if not (np.isfinite(mean).all() and np.isfinite(matrix).all()):
            raise ValueError("Anchor needs finite entries; its mean or matrix holds others.")
        difference = float(np.max(np.abs(matrix - matrix.T), initial=0.0))
        if difference > ASYMMETRY * np.max(np.abs(matrix), initial=0.0):
            raise ValueError(
                "Anchor.matrix must be symmetric; entries differ from those across the diagonal by "
                f"up to {difference:.3g}."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "matrix", 0.5 * (matrix + matrix.T))

    def energy(self, theta: np.ndarray) -> float:
        """½ (w - m)ᵀQ(w - m)."""
        return float(0.5 * (theta - self.mean) @ self.gradient(theta))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Q (w - m), (P,)."""
        return self.products(theta - self.mean)

    def products(self, v: np.ndarray) -> np.ndarray:
        """Q v for directions v (..., P)."""
        return v @ self.matrix

    def log_density(self, theta: np.ndarray, prior: GaussianPrior) -> float:
        """ln N(w | m, (Q + Λ)⁻¹), the log density of the anchor and the prior as one.

        ½ ln det(Q + Λ) - P/2 ln 2π - ½ (w - m)ᵀ(Q + Λ)(w - m) (PRML 2.43).

        Parameters
        ----------
        theta : ndarray of shape (P,)
            w.
        prior : GaussianPrior
            Λ and the same mean.

        Raises
        ------
        ValueError
            If the prior has another mean.
        NotPositiveDefiniteError
            If Q + Λ has an eigenvalue that is not positive.
        """
        self._check_mean(prior)
        logdet = WeightSpace(self.matrix, prior, 1.0).logdet
        normaliser = 0.5 * (logdet - len(self.mean) * np.log(2.0 * np.pi))
        return float(normaliser - self.energy(theta) - prior.energy(theta))

    def _check_mean(self, prior: GaussianPrior) -> None:
        mean = np.zeros(prior.n_params) if prior.mean is None else prior.mean
        if not np.array_equal(mean, self.mean):
            raise ValueError(
                "An anchor and a prior make one Gaussian only about the same mean, which theirs is "
                "not; use both as as_prior returns them."
            )


class Anchored(LinearOperator):
    """A curvature with an anchor's matrix: H + Q/scale.

    A posterior with it has the precision scale·H + Q + Λ. Q is no data term and has no noise, so
    that it is divided by the scale with which the posterior will multiply: with another scale, a
    noise precision that has moved, build it anew from the same curvature and anchor;
    ``posterior.with_hyperparameters`` with another scale would scale Q as well. γ then counts the
    weights that the data of all days determine beyond Λ.

    Parameters
    ----------
    curvature : Curvature or PositivePart
        H.
    anchor : Anchor
        Q.
    scale : float
        The noise precision β of a Gaussian likelihood, otherwise 1.

    Raises
    ------
    ValueError
        If the sizes differ, or the scale is not a positive finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN, Anchor, Anchored
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> H = GGN(MLP((1, 1)), np.zeros(2), Gaussian(2.0), rows)
    >>> Anchored(H, Anchor(np.zeros(2), 2.0 * np.eye(2)), 2.0).dense()
    array([[6., 3.],
           [3., 3.]])
    """

    #: At most; less where the curvature offers less.
    capabilities: frozenset[str] = frozenset({"dense", "diagonal"})

    def __init__(self, curvature: Curvature | PositivePart, anchor: Anchor, scale: float) -> None:
        if curvature.shape != anchor.matrix.shape:
            raise ValueError(
                f"The curvature is over {curvature.shape[0]} weights, the anchor over "
                f"{len(anchor.mean)}: both must be of the same network."
            )
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"Anchored.scale must be a positive finite number; got {scale!r}.")
        super().__init__(np.dtype(np.float64), curvature.shape)
        self.curvature, self.anchor, self.scale = curvature, anchor, scale
        self.mlp, self.capabilities = curvature.mlp, self.capabilities & curvature.capabilities

    @cached_property
    def semidefinite(self) -> bool:
        """Whether H ≥ 0 by construction and Q ≥ 0 to rounding."""
        if not self.curvature.semidefinite:
            return False
        eigenvalues = np.linalg.eigvalsh(self.anchor.matrix)
        return bool(eigenvalues[0] >= -1e-12 * abs(eigenvalues[-1]))

    def dense(self) -> np.ndarray:
        """H + Q/scale, (P, P)."""
        return self.curvature.dense() + self.anchor.matrix / self.scale

    def diagonal(self) -> np.ndarray:
        """Its diagonal, (P,)."""
        return self.curvature.diagonal() + np.diag(self.anchor.matrix) / self.scale

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        return self.curvature @ X + self.anchor.matrix @ X / self.scale

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _adjoint(self) -> "Anchored":
        return self
