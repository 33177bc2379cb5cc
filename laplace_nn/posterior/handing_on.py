"""Yesterday's posterior as today's prior.

p(w|D₁, D₂) ∝ p(D₂|w) p(w|D₁), with Laplace's N(w | m, A₀⁻¹) for p(w|D₁) (PRML 3.3.1 for a linear
network, where it is exact; Ritter, Botev & Barber 2018, "Online structured Laplace
approximations").
"""

from dataclasses import replace

import numpy as np

from laplace_nn.curvature import Anchor
from laplace_nn.curvature.assembly import spread_diagonal
from laplace_nn.linalg import cholesky
from laplace_nn.posterior.base import GaussianPosterior
from laplace_nn.posterior.dense import DensePosterior
from laplace_nn.posterior.diagonal import DiagonalPosterior
from laplace_nn.posterior.kernel import KernelPosterior
from laplace_nn.priors import GaussianPrior

__all__ = ["as_prior"]


def as_prior(
    posterior: GaussianPosterior, *, full: bool = True
) -> tuple[GaussianPrior, Anchor | None]:
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
    >>> from laplace_nn.curvature import GGN, Anchored
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.posterior import DensePosterior, as_prior
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
    if full and not isinstance(posterior, DiagonalPosterior):
        about = replace(posterior.prior, mean=mean)
        return about, Anchor(mean, _beyond_prior(posterior))
    return GaussianPrior(np.arange(len(mean)), _diagonal_precision(posterior), mean=mean), None


def _beyond_prior(posterior: GaussianPosterior) -> np.ndarray:
    """Q = A₀ - Λ, (P, P)."""
    if isinstance(posterior, DensePosterior):
        return posterior.scale * posterior.regularised.hessian
    if isinstance(posterior, KernelPosterior):
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


def _diagonal_precision(posterior: GaussianPosterior) -> np.ndarray:
    """diag A₀, (P,); from the rows' factor in function space, never P x P."""
    if isinstance(posterior, DiagonalPosterior):
        return posterior.regularised.precision
    precision = posterior.prior.precision
    if not isinstance(posterior, KernelPosterior):
        return np.diag(_beyond_prior(posterior)) + precision
    F = posterior.regularised.jacobian
    units = [np.einsum("nrj,nrj->nj", S, S) for S in F.signals]
    return posterior.scale * spread_diagonal(F.mlp, F.activations, units) + precision
