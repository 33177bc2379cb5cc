"""Variable projection against solving for the last layer by lstsq, differences and the whole E."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.curvature import Anchor
from laplace_nn.descent import Descent
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP, relu
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.priors import GaussianPrior, by_unit
from laplace_nn.projection import Projection
from laplace_nn.rows import RowBlocks

LAYERS = pytest.mark.parametrize("layer_sizes", [(2, 5, 1), (3, 4, 3, 2)], ids=str)


def problem(layer_sizes, weighted=False, memory_budget=2**27, n_rows=30):
    """A prior with a precision and a mean of its own for every weight."""
    rng, mlp = np.random.default_rng(0), MLP(layer_sizes)
    X, Y = rng.normal(size=(n_rows, mlp.n_inputs)), rng.normal(size=(n_rows, mlp.n_outputs))
    weights = rng.uniform(0.2, 3.0, size=n_rows) if weighted else None
    precisions = np.exp(rng.normal(size=mlp.n_params))
    mean = rng.normal(size=mlp.n_params)
    prior = GaussianPrior(np.arange(mlp.n_params), precisions, mean=mean)
    rows = RowBlocks(X, Y, weights, memory_budget)
    return NegativeLogPosterior(mlp, Gaussian(4.0), prior, rows), mlp.initialise(rng)


def solved_by_lstsq(objective, theta):
    """The last layer by least squares on rows and prior stacked, an output at a time."""
    mlp, rows = objective.mlp, objective.rows
    Z = np.column_stack([mlp.forward(theta, rows.X).activations[-1], np.ones(rows.n_rows)])
    weights = np.ones(rows.n_rows) if rows.sample_weight is None else rows.sample_weight
    root = np.sqrt(objective.likelihood.scale * weights)
    precision, mean = (mlp.unpack(x)[-1] for x in (objective.prior.precision, objective.prior.mean))
    found = []
    for k in range(mlp.n_outputs):
        own, center = (np.append(W[k], b[k]) for W, b in (precision, mean))
        A = np.vstack([root[:, None] * Z, np.diag(np.sqrt(own))])
        target = np.concatenate([root * rows.y[:, k], np.sqrt(own) * center])
        found.append(np.linalg.lstsq(A, target)[0])
    return np.array(found)


@LAYERS
@pytest.mark.parametrize("weighted", [False, True])
def test_the_last_layer_is_the_least_squares_solution(layer_sizes, weighted):
    objective, theta = problem(layer_sizes, weighted)
    projection = Projection(objective)
    completed = projection.at(theta[: projection.size])[0]
    assert_array_equal(completed[: projection.size], theta[: projection.size])
    W, b = objective.mlp.unpack(completed)[-1]
    assert_allclose(np.column_stack([W, b]), solved_by_lstsq(objective, theta), rtol=1e-9)


@LAYERS
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_are_those_of_the_whole_at_the_best_last_layer(layer_sizes, weighted):
    objective, theta = problem(layer_sizes, weighted)
    projection = Projection(objective)
    hidden = theta[: projection.size]
    energy, gradient = projection.value_and_gradient(hidden)
    expected, whole = objective.value_and_gradient(projection.at(hidden)[0])
    assert_allclose(energy, expected, rtol=1e-12)
    assert_allclose(gradient, whole[: projection.size], rtol=1e-9, atol=1e-9)
    assert_allclose(whole[projection.size :], 0.0, atol=1e-9)
    assert energy < objective.value(theta)


@LAYERS
def test_gradient_is_that_of_the_projected_energy(layer_sizes):
    """By central differences, which solve for the last layer anew on both sides."""
    objective, theta = problem(layer_sizes)
    projection = Projection(objective)
    hidden, h = theta[: projection.size], 1e-5
    _, gradient = projection.value_and_gradient(hidden)
    for i in range(0, len(hidden), 3):
        moved = [hidden.copy(), hidden.copy()]
        moved[0][i] += h
        moved[1][i] -= h
        above, below = (projection.value_and_gradient(u)[0] for u in moved)
        assert_allclose(gradient[i], (above - below) / (2.0 * h), rtol=1e-6, atol=1e-7)


def test_rows_that_do_not_fit_the_budget_are_passed_twice_with_the_same_result():
    kept, theta = problem((2, 5, 1), weighted=True, n_rows=50)
    twice = replace(kept, rows=replace(kept.rows, memory_budget=2000))
    hidden = theta[: Projection(kept).size]
    energy, gradient = Projection(kept).value_and_gradient(hidden)
    other, its_gradient = Projection(twice).value_and_gradient(hidden)
    assert_allclose(energy, other, rtol=1e-13)
    assert_allclose(gradient, its_gradient, rtol=1e-10, atol=1e-10)


def test_where_the_hidden_units_overflow_the_energy_is_no_number():
    objective, _ = problem((2, 5, 1))
    objective = replace(objective, mlp=MLP((2, 5, 1), relu))
    hidden = np.full(Projection(objective).size, 1e200)
    with np.errstate(over="ignore", invalid="ignore"):
        energy, _ = Projection(objective).value_and_gradient(hidden)
    assert np.isnan(energy)


def test_it_applies_to_gaussian_noise_and_hidden_layers_alone():
    objective, theta = problem((2, 5, 1))
    assert Projection.applies(objective)
    assert not Projection.applies(replace(objective, likelihood=Bernoulli()))
    assert not Projection.applies(problem((2, 1))[0])
    anchor = Anchor(theta, np.eye(len(theta)))
    assert not Projection.applies(replace(objective, anchor=anchor))


def test_the_hidden_part_of_the_inverse_is_the_inverse_of_the_projected_outer_products():
    """Kaufman (1975): the Schur complement of the last layer's block."""
    objective, theta = problem((2, 5, 1))
    n = Projection(objective).size
    A = objective.gauss_newton(theta).precision()
    schur = A[:n, :n] - A[:n, n:] @ np.linalg.solve(A[n:, n:], A[n:, :n])
    assert_allclose(np.linalg.inv(A)[:n, :n], np.linalg.inv(schur), rtol=1e-8)


def test_a_descent_ends_at_a_minimum_of_the_whole():
    rng, mlp = np.random.default_rng(1), MLP((2, 6, 2))
    X = rng.uniform(-2.0, 2.0, size=(80, 2))
    Y = np.column_stack([np.sin(2.0 * X[:, 0]), X[:, 0] * X[:, 1]])
    rows = RowBlocks(X, Y + 0.05 * rng.normal(size=Y.shape))
    objective = NegativeLogPosterior(mlp, Gaussian(100.0), by_unit(mlp, 0.1), rows)
    descent = Descent(objective, mlp.initialise(rng), 1e-8)
    descent.run(500)
    assert descent.near
    A = objective.hvp(descent.point.theta, np.eye(mlp.n_params))
    assert np.linalg.eigvalsh(0.5 * (A + A.T)).min() > 0.0
