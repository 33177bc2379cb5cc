"""How far the posterior is from its Gaussian: importance ratios of draws, and their tail.

The Gaussian's draws, weighted by posterior / Gaussian, would be draws of the posterior; the shape
k of the largest weights' distribution says whether so many draws can be.
"""

import numpy as np

from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.posterior.base import fully_held

__all__ = ["importance_log_weights", "pareto_k"]

SHORTEST_TAIL = 5  # ratios, below which no shape can be fitted
PRIOR_RATIOS = 10  # that the prior of k, centred on 1/2, is worth
BATCH = 20  # draws at a time, so that what they pass through stays in the cache
SAME = 1e-6  # of the log ratios' spread, below which they are equal


def pareto_k(log_weights: np.ndarray) -> float:
    """Shape of the generalised Pareto distribution of the largest importance ratios.

    The k̂ of Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao & Gabry 2024): the
    min(S / 5, 3 √S) largest ratios, fitted by the quasi-Bayes estimate of Zhang & Stephens (2009),
    and drawn towards 1/2 by a prior worth ten ratios. Below 0.7 the weighted draws may be trusted;
    for k̂ ≥ 1 the ratios have no mean at all.

    Parameters
    ----------
    log_weights : ndarray of shape (S,)
        Logarithms of the ratios, up to a constant; -inf is a ratio of 0.

    Returns
    -------
    float
        k̂; inf where fewer than 5 ratios are in the tail, -inf where all of them are equal.

    Raises
    ------
    ValueError
        If a log ratio is NaN or +inf, or all of them are -inf.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.importance import pareto_k
    >>> uniform = np.random.default_rng(0).uniform(size=4000)
    >>> abs(pareto_k(-0.5 * np.log(uniform)) - 0.5) < 0.1  # P(ratio > r) = r⁻², k = 1/2
    True
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    if not np.isfinite(np.max(log_weights)):
        raise ValueError("log_weights must hold no NaN, no +inf and at least one finite number.")
    x = np.sort(log_weights - np.max(log_weights))
    if -x[0] <= SAME:
        return -np.inf
    n_tail = int(np.ceil(min(len(x) / 5.0, 3.0 * np.sqrt(len(x)))))
    cutoff = max(x[max(len(x) - n_tail - 1, 0)], np.log(np.finfo(float).tiny))
    tail = np.exp(x[x > cutoff]) - np.exp(cutoff)
    if len(tail) < SHORTEST_TAIL:
        return np.inf
    n = len(tail)
    return float((n * _pareto_shape(tail) + PRIOR_RATIOS * 0.5) / (n + PRIOR_RATIOS))


def _pareto_shape(excess: np.ndarray) -> float:
    """Zhang & Stephens' estimate of k from sorted excesses (n,) over the threshold.

    Their θ = -k / σ has the profile log likelihood n (ln(-θ / k) - k - 1), k = mean ln(1 - θ x),
    and is averaged over a grid that holds its prior.
    """
    n = len(excess)
    n_grid = 30 + int(np.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    grid = 1.0 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    theta = grid / (3.0 * quartile) + 1.0 / excess[-1]
    k = np.log1p(-theta[:, None] * excess).mean(axis=1)
    profile = n * (np.log(-theta / k) - k - 1.0)
    weights = np.exp(profile - profile.max())
    weights /= weights.sum()
    kept = weights >= 10.0 * np.finfo(float).eps
    mean = theta[kept] @ weights[kept] / weights[kept].sum()
    return float(np.log1p(-mean * excess).mean())


def importance_log_weights(
    objective: NegativeLogPosterior,
    posterior: GaussianPosterior,
    n_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Log ratios of the posterior to its Gaussian approximation at draws of the latter.

    ln p(D|w) p(w) - ln N(w; w_MAP, A⁻¹) = -E(w) + ½ (w - w_MAP)ᵀ A (w - w_MAP) + constant, for
    w ~ N(w_MAP, A⁻¹) (PRML 4.134 and 11.1.4); the same for all draws of a linear network with a
    Gaussian likelihood.

    Parameters
    ----------
    objective : NegativeLogPosterior
        E.
    posterior : DensePosterior or KernelPosterior
        At the minimum of E.
    n_samples : int
        Number of draws, S.
    rng : numpy.random.Generator
        Where they come from.

    Returns
    -------
    ndarray of shape (S,)
        Relative to the ratio at the mode; -inf where E has overflowed.

    Raises
    ------
    TypeError
        If the posterior is of another form.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.importance import importance_log_weights
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.array([[1.0]]))
    >>> theta = np.array([0.0, 0.5])
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> posterior = DensePosterior.from_curvature(theta, H, single(mlp), 1.0)
    >>> objective = NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows)
    >>> weights = importance_log_weights(objective, posterior, 9, np.random.default_rng(0))
    >>> bool(np.ptp(weights) < 1e-9)
    True
    """
    held = fully_held(posterior, "importance_log_weights")
    at_mode = objective.value(posterior.theta_map)
    ratios = []
    for start in range(0, n_samples, BATCH):
        draws = posterior.sample(min(BATCH, n_samples - start), rng)
        rise = np.array([objective.value(theta) for theta in draws]) - at_mode
        ratios.append(0.5 * held.squared_lengths(draws - posterior.theta_map) - rise)
    return np.concatenate(ratios)
