"""Checks of derivatives against central differences, for one's own likelihoods and activations.

Differences are taken with steps h and h/2 and extrapolated (Richardson): the two tell the
derivative and how well it is known. A derivative that disagrees is a `ValueError` that names its
worst entry.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import Activation

__all__ = ["Agreement", "check_activation", "check_gradient", "check_hessian", "check_likelihood"]

EPSILON = float(np.finfo(np.float64).eps)
STEP = EPSILON ** (1 / 5)  # balances the extrapolation's h⁴ with the rounding ε/h
ROOT_RTOL = 1e-10  # a root is compared with a matrix, not with differences


@dataclass(frozen=True)
class Agreement:
    """How well a derivative agreed with differences.

    Parameters
    ----------
    error : float
        The largest disagreement of an entry.
    uncertainty : float
        The largest estimated error of the differences themselves; a check tells nothing about
        disagreements that are smaller.
    """

    error: float
    uncertainty: float


def check_gradient(
    function: Callable[[np.ndarray], float],
    gradient: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    *,
    rtol: float = 1e-6,
    name: str = "gradient",
) -> Agreement:
    """Compare a gradient with central differences of its function.

    ∂f/∂x_i ≈ [f(x + h_i e_i) - f(x - h_i e_i)] / 2h_i (PRML 5.69), extrapolated from h and h/2.

    Parameters
    ----------
    function : callable
        x (D,) to a number.
    gradient : callable
        x (D,) to ∂f/∂x, (D,).
    x : ndarray of shape (D,)
        Where to compare.
    rtol : float, default=1e-6
        What an entry may differ by, relative to the largest entry of the differences; their own
        estimated error is added.
    name : str, default="gradient"
        What messages call it.

    Returns
    -------
    Agreement
        The largest error, and that of the differences.

    Raises
    ------
    ValueError
        If the shape is not x's, or an entry differs by more; names the worst.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.checks import check_gradient
    >>> x = np.array([1.0, 3.0])
    >>> check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, x).error < 1e-9
    True
    >>> check_gradient(lambda x: np.sum(x**2), lambda x: -2 * x, x)
    Traceback (most recent call last):
    ValueError: gradient[1] must be 6 by central differences; got -6.
    """
    differences, uncertainty = _differences(lambda point: np.asarray(function(point)), x)
    return _compare(name, np.asarray(gradient(x)), differences, uncertainty, rtol)


def check_hessian(
    gradient: Callable[[np.ndarray], np.ndarray],
    hessian: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    *,
    rtol: float = 1e-6,
    name: str = "hessian",
) -> Agreement:
    """Compare a Hessian with central differences of its gradient.

    H_ij ≈ [g_j(x + h_i e_i) - g_j(x - h_i e_i)] / 2h_i (PRML 5.91), extrapolated from h and h/2.

    Parameters
    ----------
    gradient : callable
        x (D,) to g, (D,); `check_gradient` checks it.
    hessian : callable
        x (D,) to H, (D, D).
    x : ndarray of shape (D,)
        Where to compare.
    rtol : float, default=1e-6
        What an entry may differ by, relative to the largest entry of the differences; their own
        estimated error is added.
    name : str, default="hessian"
        What messages call it.

    Returns
    -------
    Agreement
        The largest error, and that of the differences.

    Raises
    ------
    ValueError
        If the shape is not (D, D), or an entry differs by more; names the worst.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.checks import check_hessian
    >>> check_hessian(lambda x: 3 * x**2, lambda x: np.diag(6 * x), np.ones(2)).error < 1e-9
    True
    """
    differences, uncertainty = _differences(gradient, x)
    return _compare(name, np.asarray(hessian(x)), differences, uncertainty, rtol)


def check_likelihood(
    likelihood: Likelihood, y: np.ndarray, f: np.ndarray, *, rtol: float = 1e-6
) -> Agreement:
    """Check a likelihood's shapes, nll → gradient → Hessian by differences, and RᵀR = M.

    Rows are differenced one by one and compared with all rows at once, so that a function that
    mixes rows is found out, too.

    Parameters
    ----------
    likelihood : Likelihood
        To be checked.
    y : ndarray of shape (N, K)
        Targets as it takes them.
    f : ndarray of shape (N, K)
        Outputs of any sign and a size that does not overflow.
    rtol : float, default=1e-6
        As in `check_gradient`.

    Returns
    -------
    Agreement
        The largest of all rows.

    Raises
    ------
    ValueError
        If a shape or a derivative is wrong; names the method, the row and the worst entry.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.checks import check_likelihood
    >>> from laplace_nn.likelihoods import Bernoulli
    >>> y, f = np.array([[1.0], [0.0]]), np.array([[0.3], [-2.0]])
    >>> check_likelihood(Bernoulli(), y, f).error < 1e-9
    True
    """
    kind, (n_rows, n_outputs) = type(likelihood).__name__, f.shape
    nll, gradient = likelihood.nll(y, f), likelihood.gradient(y, f)
    hessian, root = likelihood.hessian(y, f), likelihood.root(y, f)
    _check_shape(f"{kind}.nll", nll, (n_rows,))
    _check_shape(f"{kind}.gradient", gradient, (n_rows, n_outputs))
    _check_shape(f"{kind}.hessian", hessian, (n_rows, n_outputs, n_outputs))
    _check_shape(f"{kind}.root", root, (n_rows, root.shape[1] if root.ndim > 1 else 0, n_outputs))
    found = []
    for n in range(n_rows):
        row = _Row(likelihood, y[n], f"row {n} of {kind}")
        found.append(row.check_gradient(gradient[n], f[n], rtol))
        found.append(row.check_hessian(hessian[n], f[n], rtol))
        found.append(row.check_root(root[n], hessian[n]))
    return _largest(found)


@dataclass(frozen=True)
class _Row:
    """A likelihood as functions of one row's outputs (K,)."""

    likelihood: Likelihood
    y: np.ndarray
    name: str

    def nll(self, f: np.ndarray) -> float:
        return float(self.likelihood.nll(self.y[None], f[None])[0])

    def gradient(self, f: np.ndarray) -> np.ndarray:
        return self.likelihood.gradient(self.y[None], f[None])[0]

    def check_gradient(self, claimed: np.ndarray, f: np.ndarray, rtol: float) -> Agreement:
        name = f"{self.name}.gradient"
        return check_gradient(self.nll, lambda _: claimed, f, rtol=rtol, name=name)

    def check_hessian(self, claimed: np.ndarray, f: np.ndarray, rtol: float) -> Agreement:
        name = f"{self.name}.hessian"
        return check_hessian(self.gradient, lambda _: claimed, f, rtol=rtol, name=name)

    def check_root(self, root: np.ndarray, M: np.ndarray) -> Agreement:
        name = f"rootᵀ root in {self.name}"
        return _compare(name, root.T @ root, M, np.zeros_like(M), ROOT_RTOL, "as its hessian")


def check_activation(
    activation: Activation, a: np.ndarray | None = None, *, rtol: float = 1e-6
) -> Agreement:
    """Check h → h' → h'' of an activation by differences, its shapes and its parity.

    Parameters
    ----------
    activation : Activation
        To be checked.
    a : ndarray of shape (n,), optional
        Pre-activations, away from kinks; 25 of them between -5.9 and 6.1 if not given.
    rtol : float, default=1e-6
        As in `check_gradient`, relative to the derivative at each a.

    Returns
    -------
    Agreement
        The largest of all points.

    Raises
    ------
    ValueError
        If a shape, a derivative or ``odd`` is wrong; names the function and the point.

    Examples
    --------
    >>> from laplace_nn.checks import check_activation
    >>> from laplace_nn.network import tanh
    >>> check_activation(tanh).error < 1e-9
    True
    """
    a = np.linspace(-5.9, 6.1, 25) if a is None else np.asarray(a, dtype=np.float64)
    name = activation.name
    for method in ("value", "first", "second"):
        _check_shape(f"{name}.{method}", getattr(activation, method)(a), a.shape)
    found = [
        _check_slope(f"{name}.{label}({point:g})", function, derivative, point, rtol)
        for label, function, derivative in (
            ("first", activation.value, activation.first),
            ("second", activation.first, activation.second),
        )
        for point in a
    ]
    odd = bool(np.allclose(activation.value(-a), -activation.value(a)))
    if activation.odd != odd:
        raise ValueError(f"{name}.odd must be {odd}, as its values are; got {activation.odd}.")
    return _largest(found)


def _check_slope(
    name: str, function: Callable, derivative: Callable, point: float, rtol: float
) -> Agreement:
    """An elementwise function's derivative at one point."""
    x = np.array([point])
    return check_gradient(lambda at: float(function(at)[0]), derivative, x, rtol=rtol, name=name)


def _differences(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivative (D, ...) of a function at x (D,), x's axis first, and its estimated error."""
    h = STEP * np.maximum(1.0, np.abs(x))
    coarse, size = _central(function, x, h)
    fine, _ = _central(function, x, 0.5 * h)
    # The fine differences' own error; that of the extrapolation is smaller.
    truncation = np.abs(coarse - fine) / 3.0
    rounding = 4.0 * EPSILON * size / h.reshape(-1, *[1] * (coarse.ndim - 1))
    return (4.0 * fine - coarse) / 3.0, truncation + rounding


def _central(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[f(x + h_i e_i) - f(x - h_i e_i)] / 2h_i, (D, ...), and the size of f."""
    ahead = np.array([function(x + move) for move in np.diag(h)])
    behind = np.array([function(x - move) for move in np.diag(h)])
    width = 2.0 * h.reshape(-1, *[1] * (ahead.ndim - 1))
    return (ahead - behind) / width, np.maximum(np.abs(ahead), np.abs(behind))


def _compare(
    name: str,
    claimed: np.ndarray,
    expected: np.ndarray,
    uncertainty: np.ndarray,
    rtol: float,
    source: str = "by central differences",
) -> Agreement:
    """Raise on the entry that exceeds what it may differ by, most of all."""
    _check_shape(name, claimed, expected.shape)
    error = np.abs(claimed - expected)
    excess = error - (rtol * np.max(np.abs(expected)) + uncertainty)
    excess = np.where(np.isnan(excess), np.inf, excess)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if excess[worst] > 0.0:
        entry = f"[{', '.join(map(str, worst))}]" if expected.size > 1 else ""
        raise ValueError(
            f"{name}{entry} must be {expected[worst]:.6g} {source}; got {claimed[worst]:.6g}."
        )
    return Agreement(float(error.max()), float(uncertainty.max()))


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {np.shape(array)}.")


def _largest(found: Iterable[Agreement]) -> Agreement:
    errors, uncertainties = zip(*((item.error, item.uncertainty) for item in found), strict=True)
    return Agreement(max(errors), max(uncertainties))
