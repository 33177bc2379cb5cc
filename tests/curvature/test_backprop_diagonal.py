"""The diagonal recursion against loops over units, and where it is exact."""

import numpy as np
import pytest

from laplace_nn.curvature import ExactHessian
from laplace_nn.curvature.backprop_diagonal import BackpropDiagonal
from laplace_nn.network import MLP
from tests import reference
from tests.cases import CASES, Case
from tests.contracts import assert_close, check_curvature

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def build(case):
    return BackpropDiagonal(case.mlp, case.theta, case.likelihood, case.rows)


def complex_step(function, x):
    return np.imag(function(x + 1j * reference.COMPLEX_STEP)) / reference.COMPLEX_STEP


def layers_of(problem, theta):
    """Weights, biases and the place of every weight in theta, layer by layer."""
    start, layers = 0, []
    for n_in, n_out in zip(problem.layer_sizes, problem.layer_sizes[1:], strict=False):
        end = start + n_out * n_in
        W, b = theta[start:end].reshape(n_out, n_in), theta[end : end + n_out]
        layers.append((W, b, start))
        start = end + n_out
    return layers


def output_signals(problem, y, f):
    """∂E_n/∂f of one row by complex steps, (K,)."""
    steps = 1j * reference.COMPLEX_STEP * np.eye(len(f))
    energies = [reference.ENERGIES[problem.likelihood](y, f + step) for step in steps]
    return np.imag(energies) / reference.COMPLEX_STEP


def row_diagonal(problem, theta, x, y):
    """PRML 5.79 and 5.81 for one row, unit by unit, (P,)."""
    h = reference.ACTIVATIONS[problem.activation]
    layers, inputs, pre_activations = layers_of(problem, theta), [x], []
    for W, b, _ in layers:
        pre_activations.append(W @ inputs[-1] + b)
        inputs.append(h(pre_activations[-1]))
    f = pre_activations[-1]
    delta = output_signals(problem, y, f)
    second = np.diag(reference.output_hessian(problem.likelihood, f))
    result = np.empty(len(theta))
    for index in range(len(layers) - 1, -1, -1):
        W, _, start = layers[index]
        n_out, n_in = W.shape
        for j in range(n_out):
            for i in range(n_in):
                result[start + j * n_in + i] = inputs[index][i] ** 2 * second[j]
            result[start + n_out * n_in + j] = second[j]
        if index > 0:
            a = pre_activations[index - 1]
            slope = complex_step(h, a)
            bend = reference.five_point_scalar(lambda s: complex_step(h, s), a)
            second = np.array(
                [
                    slope[j] ** 2 * sum(W[k, j] ** 2 * second[k] for k in range(n_out))
                    + bend[j] * sum(W[k, j] * delta[k] for k in range(n_out))
                    for j in range(n_in)
                ]
            )
            delta = np.array(
                [slope[j] * sum(W[k, j] * delta[k] for k in range(n_out)) for j in range(n_in)]
            )
    return result


def diagonal_twin(problem, theta):
    """The recursion summed over rows, as a diagonal matrix (P, P)."""
    rows = zip(problem.X, problem.y, problem.weights, strict=True)
    return np.diag(sum(weight * row_diagonal(problem, theta, x, y) for x, y, weight in rows))


@EACH_CASE
def test_contract(case):
    check_curvature(build(case), diagonal_twin(case.problem, case.theta))


def is_exact(case):
    M = case.likelihood.hessian(case.rows.y, case.mlp.forward(case.theta, case.rows.X).outputs)
    diagonal_M = np.all(M == M * np.eye(case.mlp.n_outputs))
    narrow = all(size == 1 for size in case.layer_sizes[2:-1])
    return len(case.layer_sizes) == 2 or (diagonal_M and narrow)


NARROW = Case("narrow", (2, 3, 1, 1, 2), "tanh", "bernoulli", "single", weighted=True)


@pytest.mark.parametrize("case", [c for c in [*CASES, NARROW] if is_exact(c)], ids=str)
def test_exact_where_nothing_is_neglected(case):
    assert_close(build(case).diagonal(), np.diag(case.exact_twin))


# Rectified units can be dead on every row and leave nothing to neglect.
INEXACT = [c for c in CASES if not is_exact(c) and c.activation != "relu"]


@pytest.mark.parametrize("case", INEXACT, ids=str)
def test_elsewhere_it_differs_from_the_exact_diagonal(case):
    exact = np.diag(case.exact_twin)
    assert np.abs(build(case).diagonal() - exact).max() > 1e-3 * np.abs(exact).max()


@EACH_CASE
def test_the_last_layer_is_exact(case):
    start = case.mlp.slices[-1][0].start
    assert_close(build(case).diagonal()[start:], np.diag(case.exact_twin)[start:])


def test_its_diagonal_can_be_changed_without_changing_it():
    curvature = build(CASES[4])
    before = curvature.diagonal()
    curvature.diagonal()[:] = 0.0
    np.testing.assert_array_equal(curvature.diagonal(), before)


def test_a_linear_network_of_any_depth_is_a_sum_of_squared_paths():
    """With h = a and M = 1, 5.81 is Σ over paths of the product of squared weights."""
    case = Case("paths", (2, 3, 3, 1), "identity", "gaussian", "single")
    (_, _), (V, _), (U, _) = MLP(case.layer_sizes).unpack(case.theta)
    units = (U**2 @ V**2).ravel()
    biases = case.mlp.slices[0][1]
    assert_close(build(case).diagonal()[biases], case.n_rows * units)
    exact = ExactHessian(case.mlp, case.theta, case.likelihood, case.rows).diagonal()[biases]
    assert_close(exact, case.n_rows * (U @ V).ravel() ** 2)
