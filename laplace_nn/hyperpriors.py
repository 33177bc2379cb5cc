"""A prior over the prior: what is believed of a precision before the data speak.

Where the evidence is flat in ln α, as along the direction in which one layer's weights grow and
the next one's shrink, nothing stops MacKay's updates from drifting; a wide hyperprior does.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import wrightomega

__all__ = ["LogNormal"]


@dataclass(frozen=True)
class LogNormal:
    """A log-normal hyperprior, ln α_g ~ N(ln center, (ln factor)²), each group for itself.

    Parameters
    ----------
    factor : float, default=10.0
        By which a precision is off its centre at one standard deviation.
    center : float, default=1.0
        The precision believed in, for weights that see standardised inputs.

    Raises
    ------
    ValueError
        If the factor does not exceed 1 or the centre is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.hyperpriors import LogNormal
    >>> wide = LogNormal(factor=1e6)
    >>> wide.update(np.array([4.0]), np.array([2.0])).round(2)  # MacKay's γ / Σw²
    array([2.])
    """

    factor: float = 10.0
    center: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 < self.factor < np.inf:
            raise ValueError(
                f"LogNormal.factor must be a finite number above 1; got {self.factor!r}."
            )
        if not 0.0 < self.center < np.inf:
            raise ValueError(f"LogNormal.center must be positive and finite; got {self.center!r}.")

    def log_density(self, precisions: np.ndarray) -> float:
        """Σ_g ln p(ln α_g), normalised as a density of ln α."""
        z = self._standardised(precisions)
        normaliser = np.log(np.sqrt(2.0 * np.pi) * np.log(self.factor))
        return float(-0.5 * z @ z - len(z) * normaliser)

    def gradient(self, precisions: np.ndarray) -> np.ndarray:
        """d ln p / d ln α_g, (G,)."""
        return -self._standardised(precisions) / np.log(self.factor)

    def update(self, n_effective_params: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
        """The precisions at which ½(γ_g - α_g Σw²) and the hyperprior's pull balance, (G,).

        MacKay's update (PRML 3.92) with a prior: with c = ½ (ln factor)², ln α = k - ω(k + ln cΣw²)
        where k = ln center + c γ and ω is Wright's function, ω + ln ω = z.

        Parameters
        ----------
        n_effective_params, squared_norms : ndarray of shape (G,)
            γ_g, and Σ w² of the group's weights about the prior's mean.
        """
        c = 0.5 * np.log(self.factor) ** 2
        k = np.log(self.center) + c * np.maximum(n_effective_params, 0.0)
        norms = np.maximum(squared_norms, np.finfo(float).tiny)
        return np.exp(k - wrightomega(k + np.log(c * norms)))

    def _standardised(self, precisions: np.ndarray) -> np.ndarray:
        return np.log(np.asarray(precisions) / self.center) / np.log(self.factor)
