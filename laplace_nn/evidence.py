"""The Laplace evidence, term by term; pure functions of what has already been computed."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.rows import RowBlocks

__all__ = ["Evidence", "log_likelihood", "log_marginal_likelihood", "symmetry_term"]


@dataclass(frozen=True)
class Evidence:
    """The terms of ln p(D) under Laplace's approximation, in nats.

    ln p(D) ≈ ln p(D|w_MAP) + ln p(w_MAP) + P/2 ln 2π - ½ ln det A (PRML 4.137, 5.175).

    Parameters
    ----------
    log_likelihood : float
        ln p(D|w_MAP), normaliser included.
    log_prior : float
        ln p(w_MAP|α), normaliser included.
    log_volume : float
        P/2 ln 2π - ½ ln det A, the log volume of the posterior.
    """

    log_likelihood: float
    log_prior: float
    log_volume: float

    @property
    def total(self) -> float:
        """ln p(D)."""
        return self.log_likelihood + self.log_prior + self.log_volume


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

    nll = rows.sum(term, row_bytes=8 * 2 * sum(mlp.layer_sizes))
    normaliser = likelihood.log_normaliser(rows.total_weight, mlp.n_outputs)
    return float(normaliser - likelihood.scale * nll)


def log_marginal_likelihood(posterior: GaussianPosterior, log_likelihood_map: float) -> Evidence:
    """The complete Laplace log evidence at the posterior's mean.

    ln p(D|w_MAP) + ln p(w_MAP) + P/2 ln 2π - ½ ln det A (PRML 4.137; 5.175 for a Gaussian
    likelihood with one precision). No symmetry term; see `symmetry_term`.

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
    >>> from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
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
    >>> evidence = log_marginal_likelihood(posterior, fit).total
    >>> bool(np.isclose(evidence, norm.logpdf(1.0, scale=np.sqrt(2.0))))
    True
    """
    volume = 0.5 * (posterior.n_free * np.log(2.0 * np.pi) - posterior.logdet_precision)
    return Evidence(log_likelihood_map, posterior.log_prior, float(volume))


def symmetry_term(mlp: MLP) -> float:
    """Log of the number of equivalent modes of a network with distinct live hidden units.

    Σ over hidden layers of ln M! + M ln 2 for odd activations, ln M! otherwise (PRML 5.1.1, 5.7.2);
    to be added to the log evidence when networks of different widths are compared.
    """
    total = 0.0
    for n_units in mlp.layer_sizes[1:-1]:
        total += float(gammaln(n_units + 1.0))
        total += n_units * np.log(2.0) if mlp.activation.odd else 0.0
    return total
