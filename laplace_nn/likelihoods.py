"""Likelihoods in output space: energies, gradients, Hessians and their roots, a row at a time.

A likelihood sees targets and network outputs (the pre-link a of PRML 4.3 and 5.2), never
weights. Its energy is written at unit noise precision: the negative log likelihood of a row is
``scale * nll(y, f) - log normaliser``, and only `Gaussian` has a scale other than 1.

Conventions: y and f are (N, K) float arrays; ``nll`` returns (N,), ``gradient`` (N, K),
``hessian`` (N, K, K), ``root`` (N, R, K) with rootᵀ root = hessian.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln, log_softmax, softmax

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Likelihood", "Poisson"]


class Likelihood(ABC):
    """What curvatures, training and the evidence ask of a likelihood."""

    @property
    def scale(self) -> float:
        """Factor of the unit-noise energy, β for a Gaussian, otherwise 1."""
        return 1.0

    @abstractmethod
    def nll(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Energy of every row at unit noise precision, (N,)."""

    @abstractmethod
    def gradient(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """∂nll/∂f, (N, K)."""

    @abstractmethod
    def hessian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """M = ∂²nll/∂f², (N, K, K)."""

    @abstractmethod
    def root(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """R with Rᵀ R = M, (N, R, K)."""

    def log_normaliser(self, n_rows: float, n_outputs: int) -> float:
        """What is added to ``-scale * Σ nll`` to make it a log likelihood of n_rows rows."""
        return 0.0


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Gaussian noise of precision β on every output, independent and shared.

    p(t|x, w, β) = N(t | y(x, w), β⁻¹ I) (PRML 5.8, 5.12); nll = ½‖f - y‖².

    Parameters
    ----------
    noise_precision : float, default=1.0
        β > 0, in units of 1 / y².

    Raises
    ------
    ValueError
        If the noise precision is not a positive finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> Gaussian().nll(np.array([[1.0]]), np.array([[3.0]]))
    array([2.])
    """

    noise_precision: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.noise_precision) and self.noise_precision > 0):
            raise ValueError(
                "Gaussian.noise_precision must be a positive finite number; "
                f"got {self.noise_precision!r}."
            )

    @property
    def scale(self) -> float:
        """The noise precision β."""
        return self.noise_precision

    def nll(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """½ Σ_k (f_k - y_k)² (PRML 5.11)."""
        return 0.5 * np.sum((f - y) ** 2, axis=1)

    def gradient(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """δ = f - y (PRML 5.18)."""
        return f - y

    def hessian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """The identity."""
        n_rows, n_outputs = f.shape
        return np.broadcast_to(np.eye(n_outputs), (n_rows, n_outputs, n_outputs))

    def root(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """The identity, its own root."""
        return self.hessian(y, f)

    def log_normaliser(self, n_rows: float, n_outputs: int) -> float:
        """N K / 2 ln(β / 2π)."""
        return 0.5 * n_rows * n_outputs * np.log(self.noise_precision / (2.0 * np.pi))


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent binary targets, y in {0, 1}, with logistic output units.

    p(t = 1|x, w) = σ(f) (PRML 5.20); nll = ln(1 + eᶠ) - y f, the cross-entropy (PRML 5.21, 5.22).

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Bernoulli
    >>> Bernoulli().gradient(np.array([[1.0]]), np.array([[0.0]]))
    array([[-0.5]])
    """

    def nll(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Cross-entropy, written so that no logit over- or underflows."""
        return np.sum(np.logaddexp(0.0, f) - y * f, axis=1)

    def gradient(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """δ = σ(f) - y."""
        return expit(f) - y

    def hessian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """diag(σ(f) (1 - σ(f))) (PRML 5.85)."""
        return _diagonals(expit(f) * expit(-f))

    def root(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """diag(√(σ(f) (1 - σ(f))))."""
        return _diagonals(np.sqrt(expit(f) * expit(-f)))


@dataclass(frozen=True)
class Categorical(Likelihood):
    """One of K classes, targets one-hot (N, K), with softmax output units.

    p(t_k = 1|x, w) = softmax(f)_k (PRML 5.25); nll = ln Σ eᶠ - Σ_k y_k f_k (PRML 5.24).

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Categorical
    >>> Categorical().gradient(np.array([[1.0, 0.0]]), np.zeros((1, 2)))
    array([[-0.5,  0.5]])
    """

    def nll(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Cross-entropy."""
        return -np.sum(y * log_softmax(f, axis=1), axis=1)

    def gradient(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """δ = softmax(f) - y."""
        return softmax(f, axis=1) - y

    def hessian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """M = diag(p) - p pᵀ (PRML 4.110)."""
        p = softmax(f, axis=1)
        return _diagonals(p) - p[:, :, None] * p[:, None, :]

    def root(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Qᵀ diag(√p), (N, K - 1, K), with Q an orthonormal basis of what is orthogonal to √p.

        Its square is diag(√p) (I - √p √pᵀ) diag(√p) = diag(p) - p pᵀ. A shift of all outputs
        changes nothing, and no row is spent on it. Q is all but the last column of Householder's
        I - v vᵀ / v_K, v = √p + e_K, which maps √p to -e_K (Golub & Van Loan 5.1).
        """
        root_p = np.sqrt(softmax(f, axis=1))
        v = root_p.copy()
        v[:, -1] += 1.0  # vᵀv = 2 v_K ≥ 2
        Q = np.eye(f.shape[1])[:-1] - v[:, :-1, None] * (v / v[:, -1:])[:, None, :]
        return Q * root_p[:, None, :]


@dataclass(frozen=True)
class Poisson(Likelihood):
    """Independent counts, y in {0, 1, 2, ...}, whose log rates are the outputs.

    p(t|x, w) = λᵗ e^{-λ} / t! with λ = eᶠ; nll = eᶠ - y f + ln y!, minus the log mass. The link is
    canonical (PRML 4.3.6), so the gradient is mean minus target as in PRML 5.18.

    The rate overflows beyond f = 709: the energy is then infinite, without a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Poisson
    >>> Poisson().gradient(np.array([[3.0]]), np.array([[0.0]]))
    array([[-2.]])
    """

    def nll(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Σ_k e^{f_k} - y_k f_k + ln y_k!."""
        with np.errstate(over="ignore"):  # an infinite energy: line searches turn back from it
            rate = np.exp(f)
        return np.sum(rate - y * f + gammaln(y + 1.0), axis=1)

    def gradient(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """δ = eᶠ - y."""
        return np.exp(f) - y

    def hessian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """diag(eᶠ), the variances."""
        return _diagonals(np.exp(f))

    def root(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """diag(e^{f/2})."""
        return _diagonals(np.exp(0.5 * f))


def _diagonals(values: np.ndarray) -> np.ndarray:
    """(N, K) values as N diagonal matrices (N, K, K)."""
    return values[:, :, None] * np.eye(values.shape[1])
