"""Hidden-unit activations h(a) with h'(a) and h''(a), as functions of the pre-activation.

Derivatives written in terms of the output z = h(a) (``1 - z**2`` for tanh) cannot express
h'' for every activation; in terms of a they always can (PRML 5.48, 5.59).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

__all__ = ["Activation", "gelu", "identity", "logistic", "relu", "silu", "softplus", "tanh"]

ArrayFunction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Activation:
    """An activation function and its first two derivatives.

    z = h(a), h'(a) and h''(a), each applied elementwise to the pre-activation a.

    Parameters
    ----------
    name : str
        What the activation is called in messages and tables.
    value, first, second : callable
        h, h' and h'': an array of any shape in, an array of that shape out.
    of_value : pair of callable, optional
        h' and h'' in terms of z = h(a), where that is cheaper and loses no digits.
    odd : bool, default=False
        Whether h(-a) = -h(a). A hidden unit of an odd activation can have the signs of all
        its weights flipped without changing the network (PRML 5.1.1).

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import tanh
    >>> tanh.first(np.array([0.0]))
    array([1.])
    """

    name: str
    value: ArrayFunction
    first: ArrayFunction
    second: ArrayFunction
    of_value: tuple[ArrayFunction, ArrayFunction] | None = None
    odd: bool = False

    def slopes(self, a: np.ndarray, z: np.ndarray) -> np.ndarray:
        """h'(a), given z = h(a) too."""
        return self.first(a) if self.of_value is None else self.of_value[0](z)

    def bends(self, a: np.ndarray, z: np.ndarray) -> np.ndarray:
        """h''(a), given z = h(a) too."""
        return self.second(a) if self.of_value is None else self.of_value[1](z)


TANH_STEPS = 64.0  # to 1, of a grid of tanh: entry k is tanh(k / 64), also for negative k
TANH_END = 20.0 * TANH_STEPS  # beyond 20 it is 1 in double precision
TANH_GRID = np.tanh(np.fft.fftfreq(4096, 1.0 / 64.0))
TO_INTEGER = 1.5 * 2.0**52  # a sum with it is rounded to an integer, which its last bits hold


def _tanh(a: np.ndarray) -> np.ndarray:
    # tanh(x + d) = (tanh x + tanh d) / (1 + tanh x tanh d), x on the grid and tanh d by its series,
    # |d| ≤ 1/128: a third of the time of np.tanh where that is not vectorised. It is odd to the
    # bit and right to 4e-16, and a tiny a keeps 14 digits of its own.
    t = a * TANH_STEPS
    np.clip(t, -TANH_END, TANH_END, out=t)
    nearest = t + TO_INTEGER
    index = nearest.view(np.int64) & (len(TANH_GRID) - 1)  # for a NaN any will do: t keeps it
    nearest -= TO_INTEGER
    t -= nearest  # 64 d
    z = TANH_GRID.take(index, mode="clip")
    squared = np.multiply(t, t, out=nearest)
    u = squared * (2.0 / 15.0 / TANH_STEPS**5)
    u -= 1.0 / 3.0 / TANH_STEPS**3
    u *= squared
    u += 1.0 / TANH_STEPS
    u *= t  # tanh d = d - d³/3 + 2d⁵/15
    both = np.multiply(z, u, out=squared)
    both += 1.0
    z += u
    z /= both
    return z


def _tanh_slope(z: np.ndarray) -> np.ndarray:
    squared = z * z
    return np.subtract(1.0, squared, out=squared)


def _tanh_bend(z: np.ndarray) -> np.ndarray:
    bend = _tanh_slope(z)
    bend *= z
    bend *= -2.0
    return bend


def _tanh_first(a: np.ndarray) -> np.ndarray:
    return _tanh_slope(_tanh(a))


def _tanh_second(a: np.ndarray) -> np.ndarray:
    return _tanh_bend(_tanh(a))


def _logistic_first(a: np.ndarray) -> np.ndarray:
    # s(a) s(-a) keeps its digits where 1 - s(a) would lose them.
    return expit(a) * expit(-a)


def _logistic_second(a: np.ndarray) -> np.ndarray:
    # s'(a) (1 - 2 s(a)) and 1 - 2 s(a) = -tanh(a / 2).
    return -_logistic_first(a) * np.tanh(0.5 * a)


def _relu(a: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0.0)


def _step(a: np.ndarray) -> np.ndarray:
    # The subgradient at the kink is taken as 0.
    return (a > 0.0).astype(np.float64)


def _softplus(a: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, a)


def _identity(a: np.ndarray) -> np.ndarray:
    return a


def _silu(a: np.ndarray) -> np.ndarray:
    return a * expit(a)


def _silu_first(a: np.ndarray) -> np.ndarray:
    # s(a) + a s'(a) with s' = s(a) s(-a).
    return expit(a) * (1.0 + a * expit(-a))


def _silu_second(a: np.ndarray) -> np.ndarray:
    # 2 s'(a) + a s''(a) with s'' = -s'(a) tanh(a / 2).
    return _logistic_first(a) * (2.0 - a * np.tanh(0.5 * a))


def _normal_density(a: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi)


def _within_normal(a: np.ndarray) -> np.ndarray:
    # φ(40) is 0 in double precision: an a moved to ±40 changes no product with φ(a), and its
    # square does not overflow.
    return np.clip(a, -40.0, 40.0)


def _gelu(a: np.ndarray) -> np.ndarray:
    return a * ndtr(a)


def _gelu_first(a: np.ndarray) -> np.ndarray:
    # Φ(a) + a φ(a).
    near = _within_normal(a)
    return ndtr(a) + near * _normal_density(near)


def _gelu_second(a: np.ndarray) -> np.ndarray:
    # 2 φ(a) + a φ'(a) with φ' = -a φ(a).
    near = _within_normal(a)
    return _normal_density(near) * (2.0 - near * near)


tanh = Activation(
    "tanh", _tanh, _tanh_first, _tanh_second, of_value=(_tanh_slope, _tanh_bend), odd=True
)
logistic = Activation("logistic", expit, _logistic_first, _logistic_second)
relu = Activation("relu", _relu, _step, np.zeros_like)
softplus = Activation("softplus", _softplus, expit, _logistic_first)
identity = Activation("identity", _identity, np.ones_like, np.zeros_like, odd=True)
silu = Activation("silu", _silu, _silu_first, _silu_second)
gelu = Activation("gelu", _gelu, _gelu_first, _gelu_second)
