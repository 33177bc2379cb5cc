"""Leave-one-out predictions of the linearised network, from one factorisation.

Without row n the Gaussian approximation loses that row's Hessian and gains its gradient: one small
solve a row, no refit.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from laplace_nn.curvature.base import weighted_factor
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks

__all__ = ["InfluentialRowWarning", "LeaveOneOut", "leave_one_out"]

#: Beyond it rounding hides what the other rows say; such rows are treated as if they were at it.
MAX_LEVERAGE = 1.0 - 1e-10
#: Leave-one-out standard deviations, beyond which one Newton step is no longer a small one.
LARGE_STEP = 3.0


class InfluentialRowWarning(UserWarning):
    """Without some rows the fit would be another, farther off than one Newton step reaches."""


@dataclass(frozen=True)
class LeaveOneOut:
    """What the other rows say about the outputs of each row.

    Parameters
    ----------
    mean : ndarray of shape (N, K)
        Of the outputs, row n left out.
    covariance : ndarray of shape (N, K, K)
        Of the outputs, without noise.
    leverage : ndarray of shape (N,)
        Largest eigenvalue of the row's output Hessian times its variance, in [0, 1): how far the
        row determines its own fit.
    step : ndarray of shape (N,)
        How far the outputs move when the row is left out, in leave-one-out standard deviations.
    influential : ndarray of bool, shape (N,)
        Rows whose prediction is not to be trusted: their leverage exceeds `MAX_LEVERAGE`, or, where
        one step is not exact, their step exceeds `LARGE_STEP`.
    """

    mean: np.ndarray
    covariance: np.ndarray
    leverage: np.ndarray
    step: np.ndarray
    influential: np.ndarray


def leave_one_out(
    mlp: MLP,
    posterior: GaussianPosterior,
    likelihood: Likelihood,
    rows: RowBlocks,
    *,
    warn: bool = True,
) -> LeaveOneOut:
    """Approximate leave-one-out outputs of every row.

    With V = J A⁻¹ Jᵀ, M = Rᵀ R and g the row's output variance, Hessian and gradient, V₋ = V + V Rᵀ
    (I - R V Rᵀ)⁻¹ R V and f₋ = f + V₋ g: exact for a linear network with a Gaussian likelihood, and
    one Newton step from the mode otherwise (Opper & Winther 2000; Rasmussen & Williams 5.4.2).
    Rows that are the same in X and y are left out together, as one.

    Parameters
    ----------
    mlp : MLP
        The network.
    posterior : GaussianPosterior
        At the mode of all rows, with the outer products.
    likelihood : Likelihood
        With its noise precision, if it has one.
    rows : RowBlocks
        The training rows, targets and weights.
    warn : bool, default=True
        Whether to warn of influential rows.

    Returns
    -------
    LeaveOneOut
        Means, covariances, leverages and steps.

    Warns
    -----
    InfluentialRowWarning
        If a row's leverage exceeds `MAX_LEVERAGE`, so that its covariance is too small, or its step
        `LARGE_STEP`.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.leave_one_out import leave_one_out
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((2, 1)), np.array([[1.0], [2.0]]))
    >>> theta = np.array([0.0, 1.0])  # the bias: 3 / (2 + 1)
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> posterior = DensePosterior.from_curvature(theta, H, single(mlp), 1.0)
    >>> leave_one_out(mlp, posterior, Gaussian(), rows).mean.round(6).tolist()
    [[1.0], [0.5]]
    """
    outputs, variance = linearised(mlp, posterior, rows)
    root = np.sqrt(likelihood.scale) * weighted_factor(likelihood, rows, outputs)  # (N, R, K)
    gradient = likelihood.scale * rows.weigh(likelihood.gradient(rows.targets, outputs))
    counts = rows.copies
    root, gradient = root * np.sqrt(counts)[:, None, None], gradient * counts[:, None]
    moved = root @ variance  # R V
    leverages, axes = np.linalg.eigh(moved @ root.mT)  # of R V Rᵀ, (N, R)
    half = axes.mT @ moved / np.sqrt(1.0 - np.minimum(leverages, MAX_LEVERAGE))[..., None]
    covariance = variance + half.mT @ half
    change = np.einsum("nkj,nj->nk", covariance, gradient)
    step = np.sqrt(np.maximum(np.einsum("nk,nk->n", gradient, change), 0.0))
    exact = mlp.n_layers == 1 and isinstance(likelihood, Gaussian)
    influential = (leverages[:, -1] > MAX_LEVERAGE) | ((step > LARGE_STEP) & (not exact))
    found = LeaveOneOut(outputs + change, covariance, leverages[:, -1], step, influential)
    if warn and np.any(influential):
        warnings.warn(
            f"Without one of {int(influential.sum())} of the {rows.n_rows} rows the fit would "
            f"be another: the row determines its own fit, or its outputs move by more than "
            f"{LARGE_STEP:g} standard deviations. One Newton step says little of them: use a "
            "stronger prior or fewer hidden units.",
            InfluentialRowWarning,
            stacklevel=2,
        )
    return found
