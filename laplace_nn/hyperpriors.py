"""A prior over the prior: what is believed of a precision before the data speak.

Where the evidence is flat in ln α, as along the direction in which one layer's weights grow and
the next one's shrink, nothing stops MacKay's updates from drifting; a hyperprior does. And a
criterion that looks at the training rows alone does not see how wildly a network with very large
weights goes on between them and beyond; a hyperprior that rules these weights out does.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import wrightomega

__all__ = ["HalfNormal", "Hyperprior", "LogNormal"]


class Hyperprior(ABC):
    """A density of ln α_g, the same for each group, and MacKay's update under it."""

    @abstractmethod
    def log_density(self, precisions: np.ndarray) -> float:
        """Σ_g ln p(ln α_g), normalised as a density of ln α."""

    @abstractmethod
    def gradient(self, precisions: np.ndarray) -> np.ndarray:
        """d ln p / d ln α_g, (G,)."""

    @abstractmethod
    def update(self, n_effective_params: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
        """The precisions at which ½(γ_g - α_g Σw²) and the hyperprior's pull balance, (G,).

        MacKay's update (PRML 3.92) with a prior.

        Parameters
        ----------
        n_effective_params, squared_norms : ndarray of shape (G,)
            γ_g, and Σ w² of the group's weights about the prior's mean.
        """


@dataclass(frozen=True)
class HalfNormal(Hyperprior):
    """A half-normal hyperprior on the weights' standard deviation, α_g^-½ ~ |N(0, scale²)|.

    Weights much larger than the scale are all but ruled out, and small ones are not: a group that
    does not matter may shrink (Gelman 2006, Bayesian Analysis 1, 515-534).

    Parameters
    ----------
    scale : float, default=1.0
        Of weights that see standardised inputs.

    Raises
    ------
    ValueError
        If the scale is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.hyperpriors import HalfNormal
    >>> HalfNormal(scale=1.0).update(np.array([4.0]), np.array([400.0])).round(3)
    array([0.054])
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < np.inf:
            raise ValueError(f"HalfNormal.scale must be positive and finite; got {self.scale!r}.")

    def log_density(self, precisions: np.ndarray) -> float:
        """Σ_g ln p(ln α_g); p(ln α) = σ/√(2π)/scale · exp(-σ²/2scale²) with σ = α^-½."""
        ratios = self._squared_ratios(precisions)
        normaliser = 0.5 * np.log(2.0 * np.pi)
        return float(np.sum(0.5 * np.log(ratios) - 0.5 * ratios - normaliser))

    def gradient(self, precisions: np.ndarray) -> np.ndarray:
        """d ln p / d ln α_g = ½(σ²/scale² - 1), (G,)."""
        return 0.5 * (self._squared_ratios(precisions) - 1.0)

    def update(self, n_effective_params: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
        """The positive root of α² Σw² + (1 - γ) α - scale⁻² = 0, (G,).

        See `Hyperprior.update`.
        """
        excess = np.maximum(n_effective_params, 0.0) - 1.0
        norms = np.maximum(squared_norms, np.finfo(float).tiny)
        root = np.hypot(excess, 2.0 * np.sqrt(norms) / self.scale)
        # Either form of the root cancels where the other one does not.
        small = 2.0 / (self.scale**2 * np.where(excess < 0.0, root - excess, np.inf))
        return np.where(excess < 0.0, small, (root + excess) / (2.0 * norms))

    def _squared_ratios(self, precisions: np.ndarray) -> np.ndarray:
        return 1.0 / (np.asarray(precisions) * self.scale**2)


@dataclass(frozen=True)
class LogNormal(Hyperprior):
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
        """With c = ½ (ln factor)², ln α = k - ω(k + ln cΣw²), (G,).

        k = ln center + c γ, and ω is Wright's function, ω + ln ω = z. See `Hyperprior.update`.
        """
        c = 0.5 * np.log(self.factor) ** 2
        k = np.log(self.center) + c * np.maximum(n_effective_params, 0.0)
        norms = np.maximum(squared_norms, np.finfo(float).tiny)
        return np.exp(k - wrightomega(k + np.log(c * norms)))

    def _standardised(self, precisions: np.ndarray) -> np.ndarray:
        return np.log(np.asarray(precisions) / self.center) / np.log(self.factor)
