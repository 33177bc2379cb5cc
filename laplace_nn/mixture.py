"""The predictions of a committee of modes: their weights, and the mixture of what they say.

Every mode of the posterior has its own Gaussian approximation. Their evidences, or how well they
predict rows they have not seen, weigh them; the committee predicts the weighted mixture.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri, softmax

from laplace_nn.predictive import gaussian_log_density

__all__ = [
    "GaussianMixture",
    "evidence_weights",
    "joint_moments",
    "mixed_probabilities",
    "stacking_weights",
]

BARRIERS = np.geomspace(0.1, 1e-11, 11)  # the last bounds what stacking loses: C·1e-11 a row
CENTRED = 1e-6  # squared Newton decrement, in units of the barrier
MAX_STEPS = 100  # of Newton at one barrier; about three are taken
SHORTEST = 1e-6  # of Newton's steps, where rounding would halve on
RESOLUTION = 1e-14  # of quantiles, in the smallest standard deviation of the components
EPS = np.finfo(float).eps


def evidence_weights(log_evidences: np.ndarray) -> np.ndarray:
    """Posterior probabilities of the modes, equally probable a priori.

    w_c = Z_c / Σ_j Z_j (PRML 3.66; the mixture they weigh is 3.67).

    Parameters
    ----------
    log_evidences : ndarray of shape (C,)
        ln Z of every mode.

    Returns
    -------
    ndarray of shape (C,)
        Weights, summing to 1.

    Raises
    ------
    ValueError
        If the largest log evidence is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.mixture import evidence_weights
    >>> evidence_weights(np.log([3.0, 1.0])).round(4)
    array([0.75, 0.25])
    """
    if np.ndim(log_evidences) != 1 or not np.isfinite(np.max(log_evidences, initial=-np.inf)):
        raise ValueError(
            "log_evidences must be a vector whose largest entry is finite; "
            f"got {log_evidences!r}: leave out the modes that have no evidence."
        )
    return softmax(log_evidences)


def stacking_weights(log_scores: np.ndarray, sample_weight: np.ndarray | None = None) -> np.ndarray:
    """Weights under which the mixture predicts held-out rows best.

    argmax_w Σ_n s_n ln Σ_c w_c exp(l_nc) over the simplex (Wolpert 1992; Yao, Vehtari, Simpson &
    Gelman 2018), a concave problem: Newton's method along the central path of the logarithmic
    barrier (Boyd & Vandenberghe 11.3). Columns that are equal share their weight equally.

    Parameters
    ----------
    log_scores : ndarray of shape (N, C)
        Log predictive density of every held-out row under every mode.
    sample_weight : ndarray of shape (N,), optional
        Weight s_n of every row; 1 by default.

    Returns
    -------
    ndarray of shape (C,)
        Weights, all positive and summing to 1; those of useless modes are of order 1e-11.

    Raises
    ------
    ValueError
        If the largest score of a row is not finite, or the sample weights are no weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.mixture import stacking_weights
    >>> stacking_weights(np.array([[0.0, -50.0], [0.0, -50.0], [-50.0, 0.0]])).round(4)
    array([0.6667, 0.3333])
    """
    top = np.max(log_scores, axis=-1, keepdims=True)
    if np.ndim(log_scores) != 2 or not np.all(np.isfinite(top)):
        raise ValueError(
            "log_scores must have shape (N, C), with the largest of every row finite; got shape "
            f"{np.shape(log_scores)}, largest {top.ravel()}: leave out the other rows."
        )
    shares = _shares(sample_weight, len(log_scores))
    densities = np.exp(log_scores - top)
    weights = np.full(densities.shape[1], 1.0 / densities.shape[1])
    for barrier in BARRIERS:
        weights = _centre(weights, densities, shares, barrier)
    same = np.array([np.all(densities.T == column, axis=1) for column in densities.T])
    weights = same @ weights / same.sum(axis=1)
    return weights / weights.sum()


def _shares(sample_weight: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Every row's share of the total weight, (N,)."""
    weights = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, float)
    valid = weights.shape == (n_rows,) and np.all((weights >= 0.0) & (weights < np.inf))
    if not (valid and np.any(weights)):
        raise ValueError(
            f"sample_weight must be {n_rows} finite weights, none negative and not all zero; got "
            f"{sample_weight!r}: pass one weight per row, or None."
        )
    weights = weights / weights.max()  # the sum of huge ones may overflow
    return weights / weights.sum()


def _centre(
    weights: np.ndarray, densities: np.ndarray, shares: np.ndarray, barrier: float
) -> np.ndarray:
    """Maximiser of Σ_n s_n ln (P w)_n - Σ_c w_c + μ Σ_c ln w_c over w > 0, (C,).

    At μ = 0 it sums to 1 by itself: along t·w the objective is ln t - t Σ_c w_c. Newton is run in
    units of w, where the curvature Rᵀ S R + μ I (R: responsibilities) has eigenvalues in
    [μ, 1 + μ] however small a weight.
    """
    for _ in range(MAX_STEPS):
        responsibilities = densities * weights / (densities @ weights)[:, None]  # (N, C)
        slope = shares @ responsibilities - weights + barrier
        curvature = (responsibilities.T * shares) @ responsibilities
        step = np.linalg.solve(curvature + barrier * np.eye(len(weights)), slope)
        decrement = step @ slope
        if decrement <= CENTRED * barrier:
            return weights * (1.0 + step)  # no entry of which is below -CENTRED^½
        t = _step_length(step, responsibilities @ step, shares, float(weights @ step), barrier)
        weights = weights * (1.0 + t * step)
    return weights


def _step_length(
    step: np.ndarray, change: np.ndarray, shares: np.ndarray, growth: float, barrier: float
) -> float:
    """How far to go: inside w > 0, and not far beyond the maximum along the step.

    Of P w (1 + t·step), `change` is the relative derivative. Slopes are compared, not values: the
    gain of the last steps is below the rounding of the objective.
    """

    def slope(t: float) -> float:
        inner = shares @ (change / (1.0 + t * change))
        return float(inner - growth + barrier * np.sum(step / (1.0 + t * step)))

    t = min(1.0, 0.9 / np.max(-step, initial=0.9))
    while t > SHORTEST and slope(t) < -0.5 * slope(0.0):
        t *= 0.5
    return t


def mixed_probabilities(weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Class probabilities of the committee, Σ_c w_c p_c (PRML 3.67).

    Parameters
    ----------
    weights : ndarray of shape (C,)
        Of the modes, summing to 1.
    probabilities : ndarray of shape (C, n, K)
        Every mode's.

    Returns
    -------
    ndarray of shape (n, K)
        Probabilities, rows summing to 1 as those of the modes do.

    Raises
    ------
    ValueError
        If the weights are not C weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.mixture import mixed_probabilities
    >>> mixed_probabilities(np.array([0.5, 0.5]), np.array([[[1.0, 0.0]], [[0.5, 0.5]]]))
    array([[0.75, 0.25]])
    """
    _check_weights(weights, len(probabilities))
    return np.tensordot(weights, probabilities, 1)


def joint_moments(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a mixture, by the law of total covariance.

    m = Σ_c w_c m_c, V = Σ_c w_c (V_c + (m_c - m)(m_c - m)ᵀ).

    Parameters
    ----------
    weights : ndarray of shape (C,)
        Of the components, summing to 1.
    means : ndarray of shape (C, ..., m)
        Of the components.
    covariances : ndarray of shape (C, ..., m, m)
        Of the components.

    Returns
    -------
    mean : ndarray of shape (..., m)
    covariance : ndarray of shape (..., m, m)

    Raises
    ------
    ValueError
        If the shapes do not belong together, or the weights are not C weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.mixture import joint_moments
    >>> means, covariances = np.array([[1.0, 2.0], [-1.0, -2.0]]), np.ones((2, 2, 2))
    >>> joint_moments(np.array([0.5, 0.5]), means, covariances)[1].round(6).tolist()
    [[2.0, 3.0], [3.0, 5.0]]
    """
    _check_weights(weights, len(means))
    _check_covariances(means, covariances)
    mean = np.tensordot(weights, means, 1)
    scaled = np.sqrt(weights).reshape(-1, *[1] * mean.ndim) * (means - mean)
    between = np.einsum("c...i,c...j->...ij", scaled, scaled)
    return mean, np.tensordot(weights, covariances, 1) + between


def _check_weights(weights: np.ndarray, n_modes: int) -> None:
    valid = np.shape(weights) == (n_modes,) and np.all(weights >= 0.0)
    if not (valid and abs(np.sum(weights) - 1.0) <= 1e-9):
        raise ValueError(
            f"weights must be {n_modes} weights, none negative and summing to 1; got {weights!r}: "
            "divide them by their sum."
        )


def _check_covariances(means: np.ndarray, covariances: np.ndarray) -> None:
    expected = (*np.shape(means), np.shape(means)[-1])
    if np.shape(covariances) != expected:
        raise ValueError(
            f"covariances must have shape {expected}, one matrix per mean; got "
            f"{np.shape(covariances)}: pass the covariances of the same components and rows."
        )


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of Gaussians for every row.

    Parameters
    ----------
    weights : ndarray of shape (C,)
        Of the components, summing to 1.
    means : ndarray of shape (C, n, K)
        Of every component and row.
    covariances : ndarray of shape (C, n, K, K)
        Of the K values of a row, with the noise if there is any.

    Raises
    ------
    ValueError
        If the shapes do not belong together, the weights are none or a variance is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.mixture import GaussianMixture
    >>> means = np.array([[[-1.0]], [[1.0]]])
    >>> mixture = GaussianMixture(np.array([0.5, 0.5]), means, np.ones((2, 1, 1, 1)))
    >>> mixture.std().round(4), mixture.interval(0.9).round(4)
    (array([[1.4142]]), array([[[-2.2845,  2.2845]]]))
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __post_init__(self) -> None:
        if np.ndim(self.means) != 3:
            raise ValueError(
                f"means must have shape (C, n, K); got {np.shape(self.means)}: stack the means of "
                "the components, each (n, K)."
            )
        _check_weights(self.weights, len(self.means))
        _check_covariances(self.means, self.covariances)
        variance = np.einsum("cnkk->cnk", self.covariances)
        if not np.all(variance > 0.0):
            raise ValueError(
                f"every variance must be positive; the smallest is {variance.min()}: add the noise."
            )

    def mean(self) -> np.ndarray:
        """Mean of every row, (n, K)."""
        return np.tensordot(self.weights, self.means, 1)

    def covariance(self) -> np.ndarray:
        """Covariance of every row, (n, K, K), by the law of total variance."""
        return joint_moments(self.weights, self.means, self.covariances)[1]

    def std(self) -> np.ndarray:
        """Standard deviation of every row, (n, K)."""
        return np.sqrt(np.einsum("nkk->nk", self.covariance()))

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """ln Σ_c w_c N(y_n | m_cn, V_cn) of every row, (n,), for y (n, K)."""
        components = zip(self.means, self.covariances, strict=True)
        logs = np.array([gaussian_log_density(y, *component) for component in components])
        return logsumexp(logs, axis=0, b=self.weights[:, None])

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Marginal P(Y <= y), (n, K), for y (n, K)."""
        below = ndtr((y - self.means) / self._component_std())
        # Weights sum to 1 but for rounding, and no probability exceeds 1.
        return np.minimum(np.tensordot(self.weights, below, 1), 1.0)

    def quantile(self, p: float) -> np.ndarray:
        """Marginal quantiles, (n, K): where the cdf is p, to the rounding of p and the result.

        Newton's method, between the smallest and the largest quantile of the components; it bisects
        wherever Newton leaves the bracket or does not halve its step (as Press et al. 9.4).
        """
        if not 0.0 < p < 1.0:
            raise ValueError(f"p must lie strictly between 0 and 1; got {p!r}.")
        sd, present = self._component_std(), self.weights > 0.0
        ends = (self.means + ndtri(p) * sd)[present]
        low, high = ends.min(axis=0), ends.max(axis=0)
        x, last = low + 0.5 * (high - low), high - low
        moving = low < high
        while np.any(moving):
            excess, density = self._excess(x, p)
            low, high = np.where(excess <= 0.0, x, low), np.where(excess >= 0.0, x, high)
            newton = -np.divide(
                excess, density, out=np.full_like(x, np.inf), where=density > 1e-300
            )
            fast = (x + newton >= low) & (x + newton <= high) & (2.0 * np.abs(newton) <= last)
            step = np.where(fast, newton, low - x + 0.5 * (high - low))
            x, last = np.where(moving, x + step, x), np.abs(step)
            moving &= last > RESOLUTION * sd.min(axis=0) + 2.0 * EPS * np.abs(x)
        return x

    def interval(self, coverage: float = 0.95) -> np.ndarray:
        """Central interval, (n, K, 2): the quantiles of (1 ± coverage) / 2."""
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage must lie strictly between 0 and 1; got {coverage!r}.")
        upper = 0.5 * (1.0 + coverage)
        return np.stack([self.quantile(1.0 - upper), self.quantile(upper)], axis=-1)

    def _component_std(self) -> np.ndarray:
        return np.sqrt(np.einsum("cnkk->cnk", self.covariances))

    def _excess(self, x: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
        """Marginal cdf - p and density at x, (n, K) each.

        Φ(z) = 1 - Φ(-z) where z > 0, and the ones are summed with p: tails keep their digits, and
        so does the gap between components far apart.
        """
        sd = self._component_std()
        z = (x - self.means) / sd
        above = z > 0.0
        whole = np.tensordot(self.weights, np.where(above, 1.0 - p, -p), 1)
        tails = np.tensordot(self.weights, np.where(above, -1.0, 1.0) * ndtr(-np.abs(z)), 1)
        heights = np.exp(-0.5 * z**2) / (np.sqrt(2.0 * np.pi) * sd)
        return whole + tails, np.tensordot(self.weights, heights, 1)
