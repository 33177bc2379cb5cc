"""Training: the objective's derivatives, and minima that every way down agrees on."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from laplace_nn.curvature import GGN
from laplace_nn.curvature.regularised import FunctionSpace, WeightSpace
from laplace_nn.descent import Descent, Point
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.priors import by_kind, single
from laplace_nn.rows import RowBlocks
from laplace_nn.training import SOLVERS, NotStationaryWarning, find_map
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
NETWORKS = [case for case in CASES if len(case.layer_sizes) > 2]


@dataclass(frozen=True)
class InSpace(NegativeLogPosterior):
    """The objective with its steps solved in a given space, whichever is smaller."""

    space: type = WeightSpace

    def gauss_newton(self, theta):
        H = GGN(self.mlp, theta, self.likelihood, self.rows)
        if self.space is WeightSpace:
            return WeightSpace(H.dense(), self.prior, self.likelihood.scale)
        return FunctionSpace(H.factor(), self.prior, self.likelihood.scale)


def objective(case):
    return NegativeLogPosterior(case.mlp, case.likelihood, case.prior, case.rows)


def energy_twin(case, thetas):
    """E of a batch of weights (..., P)."""
    prior = 0.5 * np.sum(case.prior.precisions[case.prior.groups] * thetas**2, axis=-1)
    return case.likelihood.scale * reference.energy(case.problem, thetas) + prior


def gradient_twin(case, theta):
    """∇E by complex steps, exact to rounding."""
    data = case.likelihood.scale * reference.gradient(case.problem, theta)
    return data + case.prior.precisions[case.prior.groups] * theta


def linear_data(n_rows=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3))
    return X, X @ [1.0, -2.0, 0.0] + 0.5 + 0.3 * rng.normal(size=n_rows)


@EACH_CASE
def test_value_and_gradient(case):
    E = objective(case)
    value, gradient = E.value_and_gradient(case.theta)
    assert_allclose(value, energy_twin(case, case.theta), rtol=1e-12)
    assert_allclose(E.value(case.theta), value, rtol=1e-14)
    differences = reference.five_point(lambda thetas: energy_twin(case, thetas), case.theta)
    assert_close(gradient, differences)
    assert_close(gradient, gradient_twin(case, case.theta), rtol=1e-12)


@EACH_CASE
def test_hessian_products_and_gauss_newton_are_the_precision(case):
    E, v = objective(case), np.random.default_rng(0).normal(size=case.mlp.n_params)
    A = case.precision_twin(case.exact_twin)
    assert_close(E.hessian_products(case.theta)(v), A @ v)
    A = case.precision_twin(case.ggn_twin)
    assert_close(E.gauss_newton(case.theta).solve(v), np.linalg.solve(A, v))


@EACH_CASE
def test_hvp_of_blocks_of_vectors(case):
    V = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    assert_close(objective(case).hvp(case.theta, V), V @ case.precision_twin(case.exact_twin))


def test_scipy_minimises_with_hvp():
    (case,) = [case for case in CASES if case.name == "two-hidden"]
    E = objective(case)
    near = find_map(E, case.theta).theta + 1e-2
    found = minimize(
        E.value_and_gradient, near, jac=True, hessp=E.hvp, method="Newton-CG", tol=1e-10
    )
    assert np.max(np.abs(E.value_and_gradient(found.x)[1])) < 1e-5
    assert_allclose(found.fun, find_map(E, case.theta).energy, rtol=1e-9)


@EACH_CASE
def test_gauss_newton_is_held_in_the_smaller_space(case):
    in_weights = case.mlp.n_params <= case.n_rows * case.layer_sizes[-1]
    held = objective(case).gauss_newton(case.theta)
    assert isinstance(held, WeightSpace if in_weights else FunctionSpace)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_pulled_curvature_is_the_force_of_the_outputs_bend(case):
    v = np.random.default_rng(0).normal(size=case.mlp.n_params)

    def outputs(steps):
        return np.array(
            [reference.outputs(case.problem, case.theta + t * v, case.rows.X) for t in steps]
        )

    h = 3e-3
    weights = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
    bend = np.tensordot(weights, outputs(h * np.arange(-2.0, 3.0)), axes=1) / h**2
    J = reference.jacobian(case.problem, case.theta, case.rows.X)
    f = reference.outputs(case.problem, case.theta, case.rows.X)
    M = [reference.output_hessian(case.likelihood_name, f_n) for f_n in f]
    force = np.einsum("n,nkp,nkj,nj->p", case.problem.weights, J, M, bend)
    actual = objective(case).pulled_curvature(case.theta, v)
    # Second differences: rounding of 1e-16/h² beside truncation of h⁴.
    assert_close(actual, case.likelihood.scale * force, rtol=1e-7)


@EACH_CASE
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_reaches_a_stationary_point(solver, case):
    start = case.theta.copy()
    start.flags.writeable = False
    result = find_map(objective(case), start, solver=solver)
    assert_array_equal(start, case.theta)
    assert result.converged
    # A minimum of a relu network may lie on a kink, where the gradient jumps.
    tol = 1e-6 if case.activation == "relu" else 1e-9
    assert result.max_gradient <= tol * max(1.0, abs(result.energy))
    assert_allclose(result.energy, energy_twin(case, result.theta), rtol=1e-12)
    assert result.energy < energy_twin(case, case.theta)
    largest = np.max(np.abs(gradient_twin(case, result.theta)))
    assert_allclose(result.max_gradient, largest, atol=1e-13 * max(1.0, result.energy))


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_steps_in_weight_space_and_in_function_space_reach_the_same_minimum(case):
    parts = (case.mlp, case.likelihood, case.prior, case.rows)
    found = [
        find_map(InSpace(*parts, space=space), case.theta) for space in (WeightSpace, FunctionSpace)
    ]
    assert found[0].converged and found[1].converged
    assert_allclose(found[0].energy, found[1].energy, rtol=1e-12)
    # A gradient of 1e-9 leaves the weights of a flat direction this free.
    assert_close(found[0].theta, found[1].theta, rtol=1e-7)


@EACH_CASE
def test_damped_gauss_newton_only_descends(case):
    seen = [energy_twin(case, case.theta)]
    result = find_map(
        objective(case), case.theta, callback=lambda w: seen.append(energy_twin(case, w))
    )
    assert 1 < len(seen) <= result.n_iter + 1
    assert np.all(np.diff(seen) <= 1e-12 * max(1.0, seen[0]))
    assert_allclose(seen[-1], result.energy, rtol=1e-12)


@EACH_CASE
def test_block_size_changes_nothing(case):
    E, v = objective(case), np.random.default_rng(0).normal(size=case.mlp.n_params)
    by_row = replace(E, rows=replace(case.rows, memory_budget=1))
    for blocked, whole in zip(
        by_row.value_and_gradient(case.theta), E.value_and_gradient(case.theta), strict=True
    ):
        assert_close(blocked, whole, rtol=1e-12)
    assert_allclose(by_row.value(case.theta), E.value(case.theta), rtol=1e-12)
    products = by_row.hessian_products(case.theta)
    assert_close(products(v), E.hessian_products(case.theta)(v), rtol=1e-12)
    pulled = by_row.pulled_curvature(case.theta, v)
    assert_close(pulled, E.pulled_curvature(case.theta, v), rtol=1e-12)


@pytest.mark.parametrize("case", [CASES[1], CASES[6], CASES[15]], ids=str)
def test_training_by_single_rows_reaches_the_same_minimum(case):
    E = objective(case)
    by_row = replace(E, rows=replace(case.rows, memory_budget=1))
    assert_close(find_map(by_row, case.theta).theta, find_map(E, case.theta).theta, rtol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_a_hidden_layer_it_is_ridge_regression(solver):
    X, y = linear_data()
    mlp, rows = MLP((3, 1)), RowBlocks(X, y[:, None])
    prior = by_kind(mlp).with_precisions(np.array([0.7, 0.2]))
    E = NegativeLogPosterior(mlp, Gaussian(4.0), prior, rows)
    result = find_map(E, np.ones(mlp.n_params), solver=solver)
    assert_allclose(result.theta, reference.linear_gaussian_map(X, y, 0.7, 0.2, 4.0), rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_a_hidden_layer_it_is_logistic_regression(n_classes, solver):
    X, y = linear_data()
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    if n_classes == 2:
        likelihood, targets = Bernoulli(), labels[:, None].astype(float)
    else:
        likelihood, targets = Categorical(), np.eye(n_classes)[labels]
    mlp = MLP((3, targets.shape[1]))
    E = NegativeLogPosterior(mlp, likelihood, single(mlp, 0.5), RowBlocks(X, targets))
    ((W, b),) = mlp.unpack(find_map(E, np.ones(mlp.n_params), solver=solver).theta)
    design = np.column_stack([X, np.ones(len(X))])
    twin = LogisticRegression(C=2.0, fit_intercept=False, solver="newton-cg", tol=1e-10)
    assert_allclose(np.column_stack([W, b]), twin.fit(design, labels).coef_, atol=1e-6)


def test_warning_names_the_gradient_and_what_to_raise():
    (case,) = [case for case in CASES if case.name == "two-hidden"]
    E = objective(case)
    with pytest.warns(NotStationaryWarning, match=r"raise max_iter") as caught:
        result = find_map(E, case.theta, max_iter=1)
    assert not result.converged
    assert result.n_iter == 1
    _, gradient = E.value_and_gradient(result.theta)
    assert_allclose(result.max_gradient, np.max(np.abs(gradient)), rtol=1e-12)
    (message,) = [str(warning.message) for warning in caught]
    assert f"max|gradient| = {result.max_gradient:.3g}" in message
    assert "after 1 iterations" in message


def test_no_warning_where_none_is_wanted_or_due():
    (case,) = [case for case in CASES if case.name == "two-hidden"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not find_map(objective(case), case.theta, max_iter=1, warn=False).converged
        assert find_map(objective(case), case.theta, max_iter=1, tol=1e3).converged


def test_unknown_solver():
    (case,) = [case for case in CASES if case.name == "tanh"]
    with pytest.raises(ValueError, match=r"solver must be one of auto, lm, lbfgs, cg; got 'adam'"):
        find_map(objective(case), case.theta, solver="adam")


def test_training_leaves_a_saddle_where_the_gradient_vanishes():
    """The all-zero network is stationary for an odd target, and no minimum."""
    mlp = MLP((1, 2, 1))
    X = np.linspace(-2.0, 2.0, 15)[:, None]
    E = NegativeLogPosterior(mlp, Gaussian(10.0), single(mlp, 0.01), RowBlocks(X, np.sin(2 * X)))
    saddle = np.zeros(mlp.n_params)
    assert np.max(np.abs(E.value_and_gradient(saddle)[1])) < 1e-12
    result = find_map(E, saddle)
    A = np.array([E.hessian_products(result.theta)(v) for v in np.eye(mlp.n_params)])
    assert result.converged
    assert np.linalg.eigvalsh(A)[0] > 0
    assert result.energy < 0.5 * E.value(saddle)


def test_training_leaves_a_point_of_negative_curvature():
    """Near the all-zero network, where the exact Hessian is indefinite."""
    mlp, rng = MLP((1, 2, 1)), np.random.default_rng(0)
    X = np.linspace(-2.0, 2.0, 15)[:, None]
    E = NegativeLogPosterior(mlp, Gaussian(10.0), single(mlp, 0.01), RowBlocks(X, np.sin(2 * X)))
    saddle = 1e-4 * rng.normal(size=mlp.n_params)
    assert np.linalg.eigvalsh([E.hessian_products(saddle)(v) for v in np.eye(mlp.n_params)])[0] < 0
    result = find_map(E, saddle)
    A = np.array([E.hessian_products(result.theta)(v) for v in np.eye(mlp.n_params)])
    assert result.converged
    assert np.linalg.eigvalsh(A)[0] > 0
    assert result.energy < 0.5 * E.value(saddle)


def test_a_saddle_is_left_in_few_steps_however_close_to_it_the_start_lies():
    """Steps blind to negative curvature would grow from 1e-8 by a small factor each."""
    mlp, rng = MLP((1, 2, 1)), np.random.default_rng(0)
    X = np.linspace(-2.0, 2.0, 15)[:, None]
    rows = RowBlocks(X, np.tanh(X))
    E = NegativeLogPosterior(mlp, Gaussian(10.0), single(mlp, 3.0), rows)
    near = [find_map(E, size * rng.normal(size=mlp.n_params)) for size in (1e-8, 1e-5, 1e-2)]
    for result in near:
        assert result.converged
        assert result.energy < 0.9 * E.value(np.zeros(mlp.n_params))
        assert result.n_iter <= 2 * near[-1].n_iter + 10
    assert_allclose([result.energy for result in near], near[0].energy, rtol=1e-10)


def test_a_step_along_negative_curvature_is_stretched_and_goes_downhill():
    mlp = MLP((1, 2, 1))
    X = np.linspace(-2.0, 2.0, 15)[:, None]
    E = NegativeLogPosterior(mlp, Gaussian(10.0), single(mlp, 0.01), RowBlocks(X, np.sin(2 * X)))
    saddle = Point.at(E, np.zeros(mlp.n_params))
    step = saddle.negative_curvature()
    d = step.direction
    curvature = d @ E.hessian_products(saddle.theta)(d)
    assert step.along_negative_curvature
    assert curvature < 0.0
    assert_allclose(step.decrease, -0.5 * curvature - saddle.gradient @ d, rtol=1e-8)
    descent = Descent(E, saddle.theta, 1e-6)
    descent.run(1)
    lengths = (descent.point.theta - saddle.theta) / d
    moved = lengths[np.abs(d) > 1e-6]
    assert_allclose(moved, moved[0])
    assert descent.point.energy <= min(E.value(saddle.theta + t * d) for t in (0.5, 1.0, 2.0))
