"""Yesterday's posterior as today's prior: a quadratic about its mean, and a curvature with it.

p(w|D₁, D₂) ∝ p(D₂|w) p(w|D₁), with Laplace's N(w | m, A₀⁻¹) for p(w|D₁) (PRML 3.3.1 for a linear
network, where it is exact; Ritter, Botev & Barber 2018, "Online structured Laplace
approximations"). Of A₀ = Q + Λ the diagonal Λ stays a `GaussianPrior` and the rest is an `Anchor`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.sparse.linalg import LinearOperator

from laplace_nn.curvature.assembly import spread_diagonal
from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.regularised import FunctionSpace, WeightSpace
from laplace_nn.linalg import cholesky
from laplace_nn.priors import GaussianPrior

__all__ = ["Anchor", "Anchored", "as_prior"]

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


class Posterior(Protocol):
    """What `as_prior` asks of a `GaussianPosterior`, which stands a floor above."""

    theta_map: np.ndarray

    @property
    def prior(self) -> GaussianPrior:
        """Λ."""

    @property
    def n_free(self) -> int:
        """How many weights the Gaussian is over."""

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V."""


def as_prior(posterior: Posterior, *, full: bool = True) -> tuple[GaussianPrior, Anchor | None]:
    """A posterior N(m, A₀⁻¹) as the prior of further rows.

    Full: its own Λ about m, and the anchor Q = A₀ - Λ, in which all the rows so far are; exactly
    that Gaussian. Diagonal: one precision a weight about m, the diagonal of A₀ and not
    1 / diag A₀⁻¹: of all q with independent weights it has the smallest KL(q‖p), whose only term
    in d, ½ Σ ((A₀)_ii / d_i + ln d_i), is least at d_i = (A₀)_ii (PRML 10.1.2, 10.12-10.15). The
    rows' diagonals then add up from day to day (Kirkpatrick et al. 2017 up to a factor), where
    those of inverses do not; variances are those with all other weights held, never too large.

    Parameters
    ----------
    posterior : GaussianPosterior
        Over all weights, at its mode. `DensePosterior` and `DiagonalPosterior` hand their precision
        on as it is, the others invert a P x P covariance.
    full : bool, default=True
        Whether correlations are kept, P x P numbers.

    Returns
    -------
    prior : GaussianPrior
        About m = ``posterior.theta_map``; for the diagonal every weight is its own group.
    anchor : Anchor or None
        None where the precision is diagonal.

    Raises
    ------
    ValueError
        If a posterior in function space is to be made full, or some weights are held constant.

    Notes
    -----
    For a linear network with Gaussian noise, one day after the other is all days at once. Otherwise
    each day's likelihood is replaced by its quadratic at that day's mode: the mean's error, in
    posterior standard deviations, falls with the number of rows N as 1/√N.

    The anchor belongs to ``NegativeLogPosterior(..., anchor=anchor)``, whose descent should start
    from m, and to ``Anchored(curvature, anchor, scale)`` for the next posterior. Today's noise
    precision may differ from yesterday's; the prior's precisions may not, since m is the mode under
    them. Inputs and targets must be in the same units on all days.

    ln p(D₂|D₁) ≈ ln p(D₂|w) + ln N(w | m, A₀⁻¹) + P/2 ln 2π - ½ ln det A: the middle term is
    ``anchor.log_density(w, prior)``, to be put in place of ``Evidence.log_prior``, which is Λ's
    alone; without an anchor nothing is to be replaced. Modes that were equivalent yesterday no
    longer are about m: a symmetry term belongs to the first day's evidence only.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN, Anchored, as_prior
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> from laplace_nn.training import find_map
    >>> mlp, prior, anchor, theta = MLP((1, 1)), single(MLP((1, 1))), None, np.zeros(2)
    >>> for x, y in ((1.0, 1.0), (2.0, 4.0)):  # two days of one row
    ...     rows = RowBlocks(np.array([[x]]), np.array([[y]]))
    ...     objective = NegativeLogPosterior(mlp, Gaussian(), prior, rows, anchor)
    ...     theta = find_map(objective, theta).theta
    ...     H = GGN(mlp, theta, Gaussian(), rows)
    ...     H = H if anchor is None else Anchored(H, anchor, 1.0)
    ...     posterior = DensePosterior.from_curvature(theta, H, prior, 1.0)
    ...     prior, anchor = as_prior(posterior)
    >>> bool(np.allclose(np.linalg.inv(posterior.covariance()), [[6.0, 3.0], [3.0, 3.0]]))
    True
    >>> both = np.linalg.solve([[6.0, 3.0], [3.0, 3.0]], [9.0, 5.0])
    >>> bool(np.allclose(theta, both))
    True
    """
    mean = posterior.theta_map
    if posterior.n_free != len(mean):
        raise ValueError(
            f"as_prior needs a Gaussian over all {len(mean)} weights; this one is over "
            f"{posterior.n_free} and holds the others constant."
        )
    own = _vector_precision(posterior)
    if own is None and full:
        prior = posterior.prior
        about = GaussianPrior(prior.groups, prior.precisions, prior.names, mean)
        return about, Anchor(mean, _beyond_prior(posterior))
    if own is None:
        own = _diagonal_precision(posterior)
    return GaussianPrior(np.arange(len(mean)), own, mean=mean), None


def _held(posterior: Posterior) -> Any:
    """A in factored form, where the posterior has one."""
    return getattr(posterior, "regularised", None)


def _vector_precision(posterior: Posterior) -> np.ndarray | None:
    """diag A₀, (P,), of a posterior whose weights are independent; None of any other."""
    precision = getattr(_held(posterior), "precision", None)
    return precision if isinstance(precision, np.ndarray) else None


def _beyond_prior(posterior: Posterior) -> np.ndarray:
    """Q = A₀ - Λ, (P, P)."""
    held = _held(posterior)
    if isinstance(held, WeightSpace):
        return held.scale * held.hessian
    if isinstance(held, FunctionSpace):
        raise ValueError(
            "as_prior cannot make a posterior in function space full, whose P x P precision is "
            "never formed; use full=False, or DensePosterior."
        )
    # Whitened by the prior: Λ^½ A₀⁻¹ Λ^½, whose inverse is I + Λ^-½ Q Λ^-½.
    root = np.sqrt(posterior.prior.precision)
    covariance = root[:, None] * posterior.solve(np.diag(root))
    factor = cholesky(0.5 * (covariance + covariance.T), "The whitened covariance")
    half = np.linalg.solve(factor, np.diag(root))
    Q = half.T @ half
    Q.flat[:: len(Q) + 1] -= posterior.prior.precision
    return Q


def _diagonal_precision(posterior: Posterior) -> np.ndarray:
    """diag A₀, (P,); from the rows' factor in function space, never P x P."""
    held, precision = _held(posterior), posterior.prior.precision
    if not isinstance(held, FunctionSpace):
        return np.diag(_beyond_prior(posterior)) + precision
    F = held.jacobian
    units = [np.einsum("nrj,nrj->nj", S, S) for S in F.signals]
    return held.scale * spread_diagonal(F.mlp, F.activations, units) + precision
