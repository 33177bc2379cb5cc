"""Slow twins of what the package computes: loops and closed forms, none of the package's code.

Networks are evaluated weight by weight and row by row; only a batch of weight vectors, (..., P),
is carried along. First derivatives are complex steps, ∂f/∂w = Im f(w + iε)/ε, exact to rounding;
second derivatives are five-point differences of those.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.special import erfc, expit
from scipy.stats import multivariate_normal

OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
COEFFICIENTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0
STEP = 1e-3  # error of five points: STEP⁴ f⁽⁵⁾/30 of truncation, 1e-16/STEP of rounding
COMPLEX_STEP = 1e-30

#: Hidden-unit functions that accept complex numbers.
ACTIVATIONS: dict[str, Callable] = {
    "tanh": np.tanh,
    "logistic": lambda a: 1.0 / (1.0 + np.exp(-a)),
    "relu": lambda a: np.where(np.real(a) > 0.0, a, 0.0),
    "softplus": lambda a: np.log(1.0 + np.exp(a)),
    "identity": lambda a: a,
    "silu": lambda a: a / (1.0 + np.exp(-a)),
    "gelu": lambda a: 0.5 * a * erfc(-a / np.sqrt(2.0)),
}


@dataclass(frozen=True)
class Problem:
    """A network and its data, as plain numbers and names."""

    layer_sizes: tuple[int, ...]
    activation: str
    likelihood: str
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    @property
    def n_params(self) -> int:
        return sum(n_out * (n_in + 1) for n_in, n_out in pairwise(self.layer_sizes))


def row_outputs(problem: Problem, thetas: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    """The K outputs for one row, each of the batch's shape; thetas (..., P)."""
    h, z, start = ACTIVATIONS[problem.activation], list(x), 0
    for layer, (n_in, n_out) in enumerate(pairwise(problem.layer_sizes)):
        a = []
        for j in range(n_out):
            unit = thetas[..., start + n_out * n_in + j]
            for i in range(n_in):
                unit = unit + thetas[..., start + j * n_in + i] * z[i]
            a.append(unit)
        start += n_out * (n_in + 1)
        is_last = layer + 2 == len(problem.layer_sizes)
        z = a if is_last else [h(unit) for unit in a]
    return z


def outputs(problem: Problem, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
    """(N, K)."""
    return np.array([row_outputs(problem, theta, x) for x in X])


def _gaussian(y, f):
    return sum(0.5 * (f_k - y_k) ** 2 for y_k, f_k in zip(y, f, strict=True))


def _bernoulli(y, f):
    return sum(np.log(1.0 + np.exp(f_k)) - y_k * f_k for y_k, f_k in zip(y, f, strict=True))


def _categorical(y, f):
    partition = sum(np.exp(f_k) for f_k in f)
    return np.log(partition) - sum(y_k * f_k for y_k, f_k in zip(y, f, strict=True))


def _poisson(y, f):
    log_factorials = sum(np.log(np.arange(1.0, y_k + 1.0)).sum() for y_k in y)
    return log_factorials + sum(np.exp(f_k) - y_k * f_k for y_k, f_k in zip(y, f, strict=True))


#: Energy of one row: K targets and K outputs, the outputs possibly complex batches.
ENERGIES: dict[str, Callable] = {
    "gaussian": _gaussian,
    "bernoulli": _bernoulli,
    "categorical": _categorical,
    "poisson": _poisson,
}

#: Sizes of outputs at which energies and derivatives must be finite.
EXTREME_OUTPUTS: dict[str, tuple[float, ...]] = {
    "gaussian": (40.0, 800.0, 1e8),
    "bernoulli": (40.0, 800.0, 1e8),
    "categorical": (40.0, 800.0, 1e8),
    # The rate e^f is itself a derivative, and is no double beyond f = 709.
    "poisson": (40.0, 700.0),
}


def energy(problem: Problem, thetas: np.ndarray) -> np.ndarray:
    """Σ_n w_n E_n for a batch of weights (..., P), of the batch's shape."""
    row_energy = ENERGIES[problem.likelihood]
    total = 0.0
    for x, y, weight in zip(problem.X, problem.y, problem.weights, strict=True):
        total = total + weight * row_energy(y, row_outputs(problem, thetas, x))
    return total


def gradient(problem: Problem, thetas: np.ndarray) -> np.ndarray:
    """∂E/∂w by complex steps, for a batch (..., P)."""
    moved = thetas[..., None, :] + 1j * COMPLEX_STEP * np.eye(problem.n_params)
    return energy(problem, moved).imag / COMPLEX_STEP


def hessian(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Exact Hessian (P, P): five-point differences of the gradient, not symmetrised."""
    return five_point(partial(gradient, problem), theta)


def jacobian(problem: Problem, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
    """∂outputs/∂w by complex steps, (N, K, P)."""
    moved = theta + 1j * COMPLEX_STEP * np.eye(problem.n_params)
    rows = [row_outputs(problem, moved, x) for x in X]
    return np.array(rows).imag / COMPLEX_STEP


def output_hessian(name: str, f: np.ndarray) -> np.ndarray:
    """M = ∂²E_n/∂f² of one row, (K, K), entry by entry."""
    M = np.zeros((len(f), len(f)))
    p = np.exp(f) / np.sum(np.exp(f))
    for k in range(len(f)):
        for j in range(len(f)):
            same = float(k == j)
            M[k, j] = {
                "gaussian": same,
                "bernoulli": same / ((1.0 + np.exp(-f[k])) * (1.0 + np.exp(f[k]))),
                "categorical": p[k] * (same - p[j]),
                "poisson": same * np.exp(f[k]),
            }[name]
    return M


def outer_products(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Σ_n w_n J_nᵀ M_n J_n, (P, P), an outer product of gradients at a time."""
    H = np.zeros((problem.n_params, problem.n_params))
    J = jacobian(problem, theta, problem.X)
    f = outputs(problem, theta, problem.X)
    for n, weight in enumerate(problem.weights):
        M = output_hessian(problem.likelihood, f[n])
        for k in range(len(M)):
            for j in range(len(M)):
                H += weight * M[k, j] * np.outer(J[n, k], J[n, j])
    return H


def positive_part(H: np.ndarray) -> np.ndarray:
    """(H + |H|) / 2, with |H| from the singular value decomposition."""
    _, values, right = np.linalg.svd(0.5 * (H + H.T))
    return 0.5 * (0.5 * (H + H.T) + right.T @ (values[:, None] * right))


def five_point(function: Callable, x: np.ndarray) -> np.ndarray:
    """Derivative of a function of (..., D) batches at x (D,): the direction is the first axis."""
    points = x + STEP * OFFSETS[:, None, None] * np.eye(len(x))  # (4, D, D)
    return np.tensordot(COEFFICIENTS, function(points), axes=1) / STEP


def five_point_scalar(function: Callable, x: np.ndarray) -> np.ndarray:
    """Derivative of an elementwise function at every entry of x."""
    terms = [c * function(x + STEP * s) for c, s in zip(COEFFICIENTS, OFFSETS, strict=True)]
    return sum(terms) / STEP


def gaussian_average(function: Callable, mean: float, sd: float) -> float:
    """E[function(a)], a ~ N(mean, sd²), by adaptive quadrature in pieces about a = 0."""
    turn = -mean / sd + np.array([-30.0, -10.0, -3.0, 0.0, 3.0, 10.0, 30.0]) / sd
    inner = np.concatenate([turn, [-4.0, -1.0, 0.0, 1.0, 4.0]])
    edges = np.unique(np.concatenate([[-9.5, 9.5], inner[np.abs(inner) < 9.5]]))

    def integrand(e: float) -> float:
        return function(mean + sd * e) * np.exp(-0.5 * e * e) / np.sqrt(2.0 * np.pi)

    return sum(quad(integrand, a, b, epsabs=1e-13)[0] for a, b in pairwise(edges))


def linear_gaussian_map(
    X: np.ndarray, y: np.ndarray, weight_precision: float, bias_precision: float, beta: float
) -> np.ndarray:
    """MAP of a network without hidden layers and Gaussian noise, one output: ridge regression."""
    design = np.column_stack([X, np.ones(len(X))])
    prior = np.diag([weight_precision] * X.shape[1] + [bias_precision])
    return np.linalg.solve(beta * design.T @ design + prior, beta * design.T @ y)


def logistic_map(X: np.ndarray, y: np.ndarray, precision: float) -> np.ndarray:
    """MAP of logistic regression under a N(0, 1/precision) prior, by Newton's method."""
    design = np.column_stack([X, np.ones(len(X))])
    w = np.zeros(design.shape[1])
    for _ in range(50):
        p = expit(design @ w)
        A = design.T @ ((p * (1.0 - p))[:, None] * design) + precision * np.eye(len(w))
        w = w - np.linalg.solve(A, design.T @ (p - y) + precision * w)
    return w


def linear_gaussian_log_evidence(
    X: np.ndarray, y: np.ndarray, weight_precision: float, bias_precision: float, beta: float
) -> float:
    """ln N(y | 0, I/β + 1/α_b + X Xᵀ/α_w): the weights integrated out by hand."""
    K = X @ X.T / weight_precision + 1.0 / bias_precision + np.eye(len(X)) / beta
    return float(multivariate_normal.logpdf(y, np.zeros(len(X)), K))
