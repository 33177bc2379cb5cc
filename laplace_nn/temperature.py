"""How sharp class probabilities should be, from what the other rows say of each.

A prior that is strong enough for the boundary holds the logits too small: classes are told apart
better than the probabilities admit. One number makes up for it (Guo, Pleiss, Sun & Weinberger 2017,
"On calibration of modern neural networks"), and leave-one-out predictions stand for the validation
rows that it was invented for.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax

__all__ = ["FACTOR", "best_temperature", "tempered"]

#: Of the temperature either way, at one standard deviation of what is believed of it beforehand:
#: leave-one-out flatters an overfitted network, whose probabilities it would have sharper still.
FACTOR = 1.35
SHARPEST, FLATTEST = np.exp(-1.0), np.exp(1.0)  # more than three standard deviations from 1


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities made sharper (T < 1) or flatter (T > 1), p_k^(1/T) / Σ_j p_j^(1/T).

    Parameters
    ----------
    probabilities : ndarray of shape (n, C)
        Rows summing to 1.
    temperature : float
        T, positive; 1 leaves them as they are.

    Returns
    -------
    ndarray of shape (n, C)
        Rows summing to 1; the most probable class stays the same.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.temperature import tempered
    >>> tempered(np.array([[0.75, 0.25]]), 0.5).round(6)
    array([[0.9, 0.1]])
    """
    if temperature == 1.0:
        return probabilities
    return np.exp(log_softmax(_logs(probabilities) / temperature, axis=1))


def best_temperature(
    probabilities: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """The temperature under which held-out probabilities score best.

    argmax_T Σ_n s_n ln p_n^{(T)}(t_n) + ln N(ln T | 0, (ln 1.35)²), with p^{(T)} as in `tempered`.
    In 1/T the first part is concave and so is the second down to T = 1/e, so that the maximum
    between 1/e and e is where the derivative vanishes, or the end towards which it points.

    Parameters
    ----------
    probabilities : ndarray of shape (N, C)
        Of rows that have not been seen, or each by leave-one-out.
    codes : ndarray of int, shape (N,)
        The columns of their true classes.
    sample_weight : ndarray of shape (N,), optional
        Weight s_n of every row; 1 by default.

    Returns
    -------
    float
        T, between 1/e and e.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.temperature import best_temperature
    >>> timid = np.full((100, 2), 0.5) + [[0.1, -0.1]]  # right 90 times, and says 60 %
    >>> best_temperature(timid, np.repeat([0, 1], [90, 10])) < 0.5
    True
    """
    weights = np.ones(len(codes)) if sample_weight is None else sample_weight
    logs, rows = _logs(probabilities), np.arange(len(codes))
    spread = np.log(FACTOR)

    def slope(log_inverse: float) -> float:
        """d/d(1/T) of the data's part, and of the belief's."""
        inverse = np.exp(log_inverse)
        mean = np.einsum("nk,nk->n", np.exp(log_softmax(inverse * logs, axis=1)), logs)
        return float(weights @ (logs[rows, codes] - mean) - log_inverse / (spread**2 * inverse))

    low, high = -np.log(FLATTEST), -np.log(SHARPEST)
    if slope(low) <= 0.0:
        return float(FLATTEST)
    if slope(high) >= 0.0:
        return float(SHARPEST)
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12, rtol=1e-12)))


def _logs(probabilities: np.ndarray) -> np.ndarray:
    """Their logarithms; a probability of 0 is taken for the smallest number there is."""
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))
