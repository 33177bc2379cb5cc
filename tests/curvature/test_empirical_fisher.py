"""Outer products of the rows' gradients against single rows' twins, and what they expect."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from laplace_nn.curvature import GGN
from laplace_nn.curvature.empirical_fisher import EmpiricalFisher
from laplace_nn.likelihoods import Gaussian
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES, NOISE_PRECISION
from tests.contracts import (
    RTOL,
    assert_close,
    assert_covariances_close,
    check_curvature,
    check_posterior,
)

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
GAUSSIAN_CASES = [case for case in CASES if case.likelihood_name == "gaussian"]


def build(case, rows=None):
    return EmpiricalFisher(case.mlp, case.theta, case.likelihood, rows or case.rows)


def fisher_twin(problem, theta):
    """Σ_n w_n g_n g_nᵀ, (P, P), every g_n by complex steps of a problem of one row."""
    H = np.zeros((problem.n_params, problem.n_params))
    for n, weight in enumerate(problem.weights):
        here = slice(n, n + 1)
        row = replace(problem, X=problem.X[here], y=problem.y[here], weights=np.ones(1))
        g = reference.gradient(row, theta)
        H += weight * np.outer(g, g)
    return H


@EACH_CASE
def test_contract(case):
    check_curvature(build(case), fisher_twin(case.problem, case.theta))


@EACH_CASE
def test_factor_squares_to_it(case):
    for budget in (2**27, 1):
        rows = RowBlocks(case.rows.X, case.rows.y, case.rows.sample_weight, budget)
        factor = build(case, rows).factor()
        assert factor.shape == (case.n_rows, 1, case.mlp.n_params)
        F = factor.dense()[:, 0, :]
        assert_close(F.T @ F, fisher_twin(case.problem, case.theta))


def label_points(mean, variance):
    """2K equally likely labels with a given mean and independent variances, each (K,)."""
    steps = np.sqrt(len(mean)) * np.diag(np.sqrt(variance))
    return [(mean + step, 0.5 / len(mean)) for step in np.vstack([steps, -steps])]


def bernoulli_labels(f):
    p = 1.0 / (1.0 + np.exp(-f))
    labels = [np.array(label) for label in product((0.0, 1.0), repeat=len(f))]
    return [(y, np.prod(np.where(y > 0, p, 1.0 - p))) for y in labels]


#: Labels of a row with their probabilities, from its outputs: all that there are, or as many as
#: have the model's mean and variance. The gradient is linear in the label.
LABELS = {
    "gaussian": lambda f: label_points(f, np.ones(len(f))),
    "bernoulli": bernoulli_labels,
    "categorical": lambda f: list(zip(np.eye(len(f)), np.exp(f) / np.exp(f).sum(), strict=True)),
    "poisson": lambda f: label_points(np.exp(f), np.exp(f)),
}


def expected(case, labels):
    """The empirical Fisher under every possible label, weighted by its probability, (P, P)."""
    problem = case.problem
    X, y, weights = [], [], []
    outputs = reference.outputs(problem, case.theta, problem.X)
    for x, f, weight in zip(problem.X, outputs, problem.weights, strict=True):
        for label, probability in labels(f):
            X.append(x)
            y.append(label)
            weights.append(weight * probability)
    return build(case, RowBlocks(np.array(X), np.array(y), np.array(weights))).dense()


@pytest.mark.parametrize("case", [c for c in CASES if c.likelihood_name in LABELS], ids=str)
def test_expectation_under_the_models_own_labels_is_the_outer_products(case):
    assert_close(expected(case, LABELS[case.likelihood_name]), case.ggn_twin)


@pytest.mark.parametrize("case", GAUSSIAN_CASES, ids=str)
def test_under_noise_of_another_precision_it_is_divided_by_it(case):
    found = expected(case, lambda f: label_points(f, np.full(len(f), 1.0 / NOISE_PRECISION)))
    assert_close(NOISE_PRECISION * found, case.ggn_twin)


@pytest.mark.parametrize("case", GAUSSIAN_CASES, ids=str)
def test_it_vanishes_where_the_fit_is_perfect(case):
    outputs = case.mlp.forward(case.theta, case.rows.X).outputs
    rows = RowBlocks(case.rows.X, outputs)
    np.testing.assert_array_equal(build(case, rows).dense(), 0.0)
    assert np.abs(GGN(case.mlp, case.theta, case.likelihood, rows).dense()).max() > 0.1


@pytest.mark.parametrize("case", GAUSSIAN_CASES, ids=str)
def test_it_grows_with_the_squared_residuals(case):
    outputs = case.mlp.forward(case.theta, case.rows.X).outputs
    doubled = replace(case.rows, y=outputs + 2.0 * (case.rows.y - outputs))
    assert_close(build(case, doubled).dense(), 4.0 * build(case).dense())


def test_noise_precision_is_left_out():
    case = GAUSSIAN_CASES[0]
    quiet, loud = (
        EmpiricalFisher(case.mlp, case.theta, Gaussian(beta), case.rows) for beta in (1.0, 1e4)
    )
    np.testing.assert_array_equal(quiet.dense(), loud.dense())


@pytest.mark.parametrize("case", [CASES[5], CASES[8]], ids=str)
def test_weight_two_is_the_row_twice(case):
    X, y = case.rows.X, case.rows.y
    times = np.arange(len(X)) % 3
    repeated = RowBlocks(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0))
    weighted = RowBlocks(X, y, times.astype(float))
    assert_close(build(case, weighted).dense(), build(case, repeated).dense(), rtol=1e-13)


@EACH_CASE
@pytest.mark.parametrize("posterior", [DensePosterior, KernelPosterior])
def test_posteriors_pass_their_contract(posterior, case):
    held = posterior.from_curvature(case.theta, build(case), case.prior, case.likelihood.scale)
    A = case.precision_twin(fisher_twin(case.problem, case.theta))
    check_posterior(held, A, case.new_jacobian)


@EACH_CASE
def test_kernel_posterior_equals_dense_posterior(case):
    dense, kernel = (
        posterior.from_curvature(case.theta, build(case), case.prior, case.likelihood.scale)
        for posterior in (DensePosterior, KernelPosterior)
    )
    np.testing.assert_allclose(kernel.logdet_precision, dense.logdet_precision, rtol=RTOL)
    np.testing.assert_allclose(kernel.variance(), dense.variance(), rtol=RTOL)
    assert_covariances_close(kernel.solve(np.eye(case.mlp.n_params)), dense.covariance())
    for joint in (False, True):
        expected = dense.functional_covariance(case.new_jacobian, joint)
        assert_covariances_close(kernel.functional_covariance(case.new_jacobian, joint), expected)
