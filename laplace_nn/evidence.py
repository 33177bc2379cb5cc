"""The Laplace evidence, term by term; pure functions of what has already been computed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import gammaln

from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior, SubsetPosterior
from laplace_nn.rows import RowBlocks

__all__ = [
    "Evidence",
    "hyperparameter_widths",
    "log_likelihood",
    "log_marginal_likelihood",
    "log_width_term",
    "normalisers_apart",
    "symmetry_term",
]

# Of γ_g or N·K - γ: √(2π)·√(2/0.01) = 35 nats, wider than a precision's whole range (1e-6 to 1e8).
LEAST_DETERMINED = 0.01


@dataclass(frozen=True)
class Evidence:
    """The terms of ln p(D) under Laplace's approximation, in nats.

    ln p(D) ≈ ln p(D|w_MAP) + ln p(w_MAP) + P/2 ln 2π - ½ ln det A (PRML 4.137, 5.175), and where
    asked for the number of equivalent modes (PRML 5.7.2) and the integral over the
    hyperparameters (MacKay 1992, "Bayesian interpolation").

    Parameters
    ----------
    log_likelihood : float
        ln p(D|w_MAP), normaliser included.
    log_prior : float
        ln p(w_MAP|α), normaliser included.
    log_volume : float
        P/2 ln 2π - ½ ln det A, the log volume of the posterior.
    log_symmetry : float, default=0.0
        Log number of equivalent modes, from `symmetry_term`.
    log_hyperparameter_widths : float, default=0.0
        Log volume of the posterior over ln α and ln β, from `log_width_term`.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from laplace_nn.evidence import Evidence, symmetry_term
    >>> from laplace_nn.network import MLP
    >>> evidence = replace(Evidence(-10.0, -3.0, -2.0), log_symmetry=symmetry_term(MLP((1, 1, 1))))
    >>> round(evidence.terms()["log_symmetry"], 3), round(evidence.total, 3)
    (0.693, -14.307)
    """

    log_likelihood: float
    log_prior: float
    log_volume: float
    log_symmetry: float = 0.0
    log_hyperparameter_widths: float = 0.0

    @property
    def total(self) -> float:
        """ln p(D), the sum of all terms."""
        return sum(self.terms().values())

    def terms(self) -> dict[str, float]:
        """Every term under its name; see `normalisers_apart` for a finer list."""
        return asdict(self)


def log_likelihood(mlp: MLP, theta: np.ndarray, likelihood: Likelihood, rows: RowBlocks) -> float:
    """ln p(D|w) = ln normaliser - scale·Σ_n w_n nll_n.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    likelihood : Likelihood
        With its noise precision, if it has one.
    rows : RowBlocks
        The data; a row of weight 2 counts as two.

    Returns
    -------
    float
        In nats; for densities in units of the targets in ``rows``.
    """

    def term(block: RowBlocks) -> float:
        outputs = mlp.forward(theta, block.X).outputs
        return float(block.weigh(likelihood.nll(block.targets, outputs)).sum())

    nll = rows.sum_passes(term, row_bytes=8 * 2 * sum(mlp.layer_sizes))
    normaliser = likelihood.log_normaliser(rows.total_weight, mlp.n_outputs)
    return float(normaliser - likelihood.scale * nll)


def log_marginal_likelihood(posterior: GaussianPosterior, log_likelihood_map: float) -> Evidence:
    """The complete Laplace log evidence at the posterior's mean.

    ln p(D|w_MAP) + ln p(w_MAP) + P/2 ln 2π - ½ ln det A (PRML 4.137; 5.175 for a Gaussian
    likelihood with one precision). The two terms that only may be there are left at zero.

    Parameters
    ----------
    posterior : GaussianPosterior
        Its prior and scale must be those under which ``theta_map`` is the mode.
    log_likelihood_map : float
        ln p(D|w_MAP) with its normaliser, from `log_likelihood`.

    Returns
    -------
    Evidence
        The terms and their total; exact for a linear network with a Gaussian likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.evidence import log_likelihood, log_marginal_likelihood, normalisers_apart
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.array([[1.0]]))
    >>> theta = np.array([0.0, 0.5])  # the MAP: target 1 shrunk half-way to 0
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> posterior = DensePosterior.from_curvature(theta, H, single(mlp), 1.0)
    >>> fit = log_likelihood(mlp, theta, Gaussian(), rows)
    >>> evidence = log_marginal_likelihood(posterior, fit)
    >>> bool(np.isclose(evidence.total, norm.logpdf(1.0, scale=np.sqrt(2.0))))
    True
    >>> round(normalisers_apart(evidence, posterior, Gaussian(), 1, 1)["prior_energy"], 3)
    -0.125
    """
    volume = 0.5 * (posterior.n_free * np.log(2.0 * np.pi) - posterior.logdet_precision)
    return Evidence(log_likelihood_map, posterior.log_prior, float(volume))


def normalisers_apart(
    evidence: Evidence,
    posterior: GaussianPosterior,
    likelihood: Likelihood,
    n_rows: float,
    n_outputs: int,
) -> dict[str, float]:
    """The log evidence with normalisers, energies and determinant as terms of their own.

    -βE_D - αE_W - ½ ln det A + P/2 ln α + NK/2 ln β - NK/2 ln 2π (PRML 5.175), where the prior's
    -P/2 ln 2π and the volume's P/2 ln 2π have cancelled; `log_marginal_likelihood` has an example.

    Parameters
    ----------
    evidence : Evidence
        From `log_marginal_likelihood`.
    posterior, likelihood
        What it was made with.
    n_rows, n_outputs
        N, the total weight where rows are weighted, and K.

    Returns
    -------
    dict of str to float
        Summands of ``evidence.total``.
    """
    free = posterior.inner if isinstance(posterior, SubsetPosterior) else posterior
    energy = free.prior.energy(free.theta_map)
    normaliser = float(likelihood.log_normaliser(n_rows, n_outputs))
    return {
        "likelihood_normaliser": normaliser,
        "likelihood_energy": evidence.log_likelihood - normaliser,
        "prior_normaliser": evidence.log_prior + energy,
        "prior_energy": -energy,
        "volume_normaliser": 0.5 * posterior.n_free * float(np.log(2.0 * np.pi)),
        "determinant": -0.5 * posterior.logdet_precision,
        "symmetry": evidence.log_symmetry,
        "hyperparameter_widths": evidence.log_hyperparameter_widths,
    }


def symmetry_term(mlp: MLP, n_units: Sequence[int] | None = None) -> float:
    """Log of the number of equivalent modes of a network with distinct live hidden units.

    Σ over hidden layers of ln M! + M ln 2 for odd activations, ln M! otherwise (PRML 5.1.1, 5.7.2);
    to be added to the log evidence when networks of different widths are compared.

    Parameters
    ----------
    mlp : MLP
        The network.
    n_units : sequence of int, optional
        M of every hidden layer: its units that are alive and unlike each other; all if not given.

    Raises
    ------
    ValueError
        If there is not one number for every hidden layer, between 0 and its width.

    Examples
    --------
    >>> from laplace_nn.evidence import symmetry_term
    >>> from laplace_nn.network import MLP
    >>> mlp = MLP((2, 5, 1))
    >>> round(symmetry_term(mlp), 2), round(symmetry_term(mlp, n_units=[2]), 2)  # of 3840 and 8
    (8.25, 2.08)
    """
    widths = mlp.layer_sizes[1:-1]
    counts = widths if n_units is None else tuple(n_units)
    within = [m in range(width + 1) for m, width in zip(counts, widths, strict=False)]
    if len(counts) != len(widths) or not all(within):
        raise ValueError(
            "symmetry_term's n_units must hold a whole number of units for each hidden layer, at "
            f"most its width {widths}; got {counts}."
        )
    signs = np.log(2.0) if mlp.activation.odd else 0.0
    return float(sum(gammaln(m + 1.0) + m * signs for m in counts))


def hyperparameter_widths(
    n_effective_params: np.ndarray, n_values: float, fit_noise: bool
) -> np.ndarray:
    """Standard deviations of ln α_g and ln β given the data, at the evidence's maximum.

    σ²(ln α_g) ≈ 2/γ_g and σ²(ln β) ≈ 2/(N·K - γ) (MacKay 1992, "Bayesian interpolation").

    Parameters
    ----------
    n_effective_params : ndarray of shape (G,)
        γ_g; a single γ counts as one group.
    n_values : float
        N·K, rows by their weights.
    fit_noise : bool
        Whether β was fitted too.

    Returns
    -------
    ndarray of shape (G,), or (G + 1,) where fit_noise
        Of (ln α_1, …, ln α_G, ln β). Infinite for a group with γ_g < 0.01, which is pruned.

    Raises
    ------
    ValueError
        If β was fitted and N·K - γ < 0.01, so that nothing is left to the noise.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.evidence import hyperparameter_widths
    >>> hyperparameter_widths(np.array([2.0, 8.0, 0.0]), 60.0, fit_noise=True)
    array([1. , 0.5, inf, 0.2])
    """
    gamma = np.atleast_1d(np.asarray(n_effective_params, dtype=np.float64))
    determined = np.append(gamma, n_values - gamma.sum()) if fit_noise else gamma
    if fit_noise and not determined[-1] >= LEAST_DETERMINED:
        raise ValueError(
            "hyperparameter_widths needs data that are left to the noise, N*K - gamma > 0; got "
            f"N*K = {n_values:g} and gamma = {gamma.sum():g}."
        )
    wide = determined < LEAST_DETERMINED
    return np.where(wide, np.inf, np.sqrt(2.0 / np.where(wide, 1.0, determined)))


def log_width_term(widths: np.ndarray, log_range: float = 1.0) -> float:
    """Log evidence gained by integrating over the hyperparameters instead of fixing them.

    Σ ½ ln 2πσ² - ln(ln Ω): Gaussians over ln α_g and ln β under flat priors p(ln α) = 1/ln Ω
    (MacKay 1992, "Bayesian interpolation"). Infinite widths, of pruned groups, are left out.

    Parameters
    ----------
    widths : ndarray of shape (H,)
        From `hyperparameter_widths`.
    log_range : float, default=1.0
        ln Ω, the length of the priors' interval in nats. It cancels between models with equally
        many finite widths; otherwise it matters and must be chosen.

    Raises
    ------
    ValueError
        If the range is not a positive finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.evidence import log_width_term
    >>> round(log_width_term(np.array([1.0, np.inf]), log_range=np.log(1e6)), 3)
    -1.707
    """
    if not (np.isfinite(log_range) and log_range > 0):
        raise ValueError(f"log_width_term's log_range must be positive; got {log_range!r}.")
    finite = np.asarray(widths)[np.isfinite(widths)]
    return float(np.sum(np.log(np.sqrt(2.0 * np.pi) * finite / log_range)))
