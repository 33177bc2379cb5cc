"""From Gaussian outputs to predictions: noise added, or the inverse link averaged.

Regression adds the noise; classification averages the inverse link over the Gaussian of the
logits, which has no closed form. MacKay's probit formula is the cheap approximation; for one logit
quadrature is exact, for several there is Monte Carlo.
"""

import numpy as np
from scipy.special import expit, logsumexp, ndtr, softmax

from laplace_nn.likelihoods import Likelihood

__all__ = [
    "class_codes",
    "class_log_scores",
    "class_probabilities",
    "gaussian_log_density",
    "gaussian_log_scores",
    "logistic_gauss_hermite",
    "logistic_probit",
    "softmax_monte_carlo",
    "softmax_probit",
]

N_NODES = 64
N_PAIRS = 512  # antithetic pairs of the Monte Carlo link
STEP = 0.25  # of the trapezoid rule over the logistic density


def logistic_probit(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """MacKay's approximation of E[σ(a)], a ~ N(mean, variance).

    σ(κ a), κ = (1 + π s² / 8)^-½ (PRML 4.153, 4.154, 5.190).

    Parameters
    ----------
    mean, variance : ndarray of any one shape
        Of the logit.

    Returns
    -------
    ndarray of that shape
        Probabilities of class 1; off by at most 0.018.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.predictive import logistic_probit
    >>> logistic_probit(np.array([0.0, 2.0]), np.array([1.0, 0.0])).round(4)
    array([0.5   , 0.8808])
    """
    return expit(mean / np.sqrt(1.0 + np.pi * variance / 8.0))


def logistic_gauss_hermite(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E[σ(a)], a ~ N(mean, variance), by quadrature to about 1e-10.

    Up to a standard deviation of 1, Gauss-Hermite quadrature with 64 nodes. Beyond, σ is too
    steep for it, and the same integral is taken over the logistic density instead:
    σ(a) = P(t < a) for logistic t, so E[σ(a)] = ∫ σ'(t) Φ((mean - t) / s) dt, by the trapezoid
    rule, which converges geometrically here.

    Parameters
    ----------
    mean, variance : ndarray of any one shape
        Of the logit.

    Returns
    -------
    ndarray of that shape
        Probabilities of class 1.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.predictive import logistic_gauss_hermite
    >>> logistic_gauss_hermite(np.array([0.0, 1.0]), np.array([1.0, 4.0])).round(4)
    array([0.5   , 0.6477])
    """
    mean, variance = np.broadcast_arrays(np.asarray(mean, float), np.asarray(variance, float))
    sd = np.sqrt(variance)
    result = np.empty(mean.shape)
    narrow = sd <= 1.0
    nodes, weights = np.polynomial.hermite.hermgauss(N_NODES)
    moved = mean[narrow][..., None] + np.sqrt(2.0) * sd[narrow][..., None] * nodes
    result[narrow] = expit(moved) @ (weights / np.sqrt(np.pi))
    t = np.arange(-160, 161) * STEP
    density = STEP * expit(t) * expit(-t)
    wide = ~narrow
    result[wide] = ndtr((mean[wide][..., None] - t) / sd[wide][..., None]) @ density
    return result


def softmax_probit(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """MacKay's approximation for several classes, by pairs of logits.

    p_k = 1 / Σ_j exp(-κ_kj (f_k - f_j)), κ_kj = (1 + π var(f_k - f_j) / 8)^-½, normalised to sum
    to 1: softmax written with differences of logits, each moderated as one logit is (PRML 4.153);
    the second mean-field formula of Lu, Ie & Sha (2020). Only differences enter, so that adding a
    random constant to every logit changes nothing, and for two classes it is `logistic_probit`.

    Parameters
    ----------
    mean : ndarray of shape (n, K)
        Of the logits.
    covariance : ndarray of shape (n, K, K)
        Of each row's logits.

    Returns
    -------
    ndarray of shape (n, K)
        Class probabilities, rows summing to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.predictive import softmax_probit
    >>> softmax_probit(np.zeros((1, 2)), np.eye(2)[None])
    array([[0.5, 0.5]])
    """
    variance = np.einsum("nkk->nk", covariance)
    spread = variance[:, :, None] + variance[:, None, :] - covariance - covariance.mT  # (n, K, K)
    difference = mean[:, :, None] - mean[:, None, :]
    moderated = difference / np.sqrt(1.0 + np.pi * spread / 8.0)
    return softmax(-logsumexp(-moderated, axis=2), axis=1)


def softmax_monte_carlo(
    mean: np.ndarray, covariance: np.ndarray, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """E[softmax(f)], f ~ N(mean, covariance), by antithetic Monte Carlo.

    (1/S) Σ_s softmax(mean ± C^½ ε_s), with the symmetric root of the covariance.

    Parameters
    ----------
    mean : ndarray of shape (n, K)
        Of the logits.
    covariance : ndarray of shape (n, K, K)
        Of each row's logits.
    n_samples : int
        Pairs ±ε of draws.
    rng : numpy.random.Generator
        Where the draws come from.

    Returns
    -------
    ndarray of shape (n, K)
        Class probabilities, with a standard error below 0.5 / √n_samples.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.predictive import softmax_monte_carlo
    >>> rng = np.random.default_rng(0)
    >>> softmax_monte_carlo(np.zeros((1, 2)), np.eye(2)[None], 100, rng)
    array([[0.5, 0.5]])
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # Covariances are positive semidefinite up to rounding, and rounding has no root.
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))[:, None, :]  # (n, K, K)
    total = np.zeros_like(mean)
    for _ in range(n_samples):
        step = (root @ rng.standard_normal((*mean.shape, 1)))[..., 0]
        total += softmax(mean + step, axis=1) + softmax(mean - step, axis=1)
    return total / (2.0 * n_samples)


def gaussian_log_density(y: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """ln N(y_n | mean_n, covariance_n) of every row, (n,), for y (n, K) in its units."""
    factor = np.linalg.cholesky(covariance)  # (n, K, K)
    scaled = np.linalg.solve(factor, (y - mean)[..., None])[..., 0]
    logdet = np.log(np.einsum("nkk->nk", factor)).sum(axis=1)
    return -0.5 * np.sum(scaled**2, axis=1) - logdet - 0.5 * y.shape[1] * np.log(2.0 * np.pi)


def gaussian_log_scores(
    mean: np.ndarray, covariance: np.ndarray, targets: np.ndarray, likelihood: Likelihood
) -> np.ndarray:
    """ln p of targets (n, K) with noise under Gaussian outputs, (n,)."""
    noisy = covariance + np.eye(mean.shape[1]) / likelihood.scale
    return gaussian_log_density(targets, mean, noisy)


def class_log_scores(
    mean: np.ndarray,
    covariance: np.ndarray,
    targets: np.ndarray,
    likelihood: Likelihood,
    link: str,
    seed: int,
) -> np.ndarray:
    """ln p of targets (n, K) as the likelihood takes them under Gaussian logits, (n,)."""
    codes = class_codes(targets)
    probabilities = class_probabilities(mean, covariance, link, seed)
    return np.log(probabilities[np.arange(len(codes)), codes])


def class_codes(targets: np.ndarray) -> np.ndarray:
    """The class's column of every row, (n,), of targets (n, K) as the likelihood takes them."""
    return targets[:, 0].astype(int) if targets.shape[1] == 1 else targets.argmax(axis=1)


def class_probabilities(
    mean: np.ndarray, covariance: np.ndarray, link: str = "auto", seed: int = 0
) -> np.ndarray:
    """E[link(f)] for Gaussian logits, mean (n, K) and covariance (n, K, K).

    Parameters
    ----------
    mean : ndarray of shape (n, K)
        Of the logits; K = 1 for two classes.
    covariance : ndarray of shape (n, K, K)
        Of each row's logits.
    link : {"auto", "probit", "gauss_hermite", "monte_carlo"}, default="auto"
        How the average is taken; "auto" is quadrature for two classes and probit for more.
    seed : int, default=0
        Of the draws of "monte_carlo", the same at every call: equal rows get equal answers.

    Returns
    -------
    ndarray of shape (n, C)
        Rows summing to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.predictive import class_probabilities
    >>> class_probabilities(np.zeros((1, 1)), np.ones((1, 1, 1))).round(6)
    array([[0.5, 0.5]])
    """
    if mean.shape[1] == 1:
        average = logistic_probit if link == "probit" else logistic_gauss_hermite
        positive = average(mean[:, 0], covariance[:, 0, 0])
        return np.column_stack([1.0 - positive, positive])
    if link == "monte_carlo":
        return softmax_monte_carlo(mean, covariance, N_PAIRS, np.random.default_rng(seed))
    return softmax_probit(mean, covariance)
