"""Leave-one-out against refits without the row: exact where it is linear, one step otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from laplace_nn.curvature import GGN
from laplace_nn.leave_one_out import InfluentialRowWarning, leave_one_out
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from laplace_nn.network import MLP, jacobian
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import by_layer, single
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map
from tests.cases import CASES, draw_targets
from tests.contracts import assert_covariances_close


def without(rows, gone):
    """The rows but those."""
    kept = np.setdiff1d(np.arange(rows.n_rows), gone)
    weights = None if rows.sample_weight is None else rows.sample_weight[kept]
    return RowBlocks(rows.X[kept], rows.y[kept], weights)


def posterior_at_map(mlp, likelihood, prior, rows, start, form=DensePosterior):
    theta = find_map(NegativeLogPosterior(mlp, likelihood, prior, rows), start).theta
    H = GGN(mlp, theta, likelihood, rows)
    return form.from_curvature(theta, H, prior, likelihood.scale)


def outputs_at(mlp, posterior, X):
    """Mean and covariance of the outputs of new rows."""
    tape = mlp.forward(posterior.theta_map, X)
    J = jacobian(mlp, posterior.theta_map, tape)
    return tape.outputs, posterior.functional_covariance(J)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [DensePosterior, KernelPosterior])
def test_a_linear_network_with_gaussian_noise_is_exact(form, weighted, n_outputs):
    rng, mlp = np.random.default_rng(0), MLP((3, n_outputs))
    weights = rng.uniform(0.2, 3.0, size=12) if weighted else None
    rows = RowBlocks(rng.normal(size=(12, 3)), rng.normal(size=(12, n_outputs)), weights)
    prior, likelihood, start = single(mlp, 0.7), Gaussian(4.0), np.zeros(mlp.n_params)
    whole = posterior_at_map(mlp, likelihood, prior, rows, start, form)
    found = leave_one_out(mlp, whole, likelihood, rows)
    for n in range(12):
        rest = posterior_at_map(mlp, likelihood, prior, without(rows, n), start)
        mean, covariance = outputs_at(mlp, rest, rows.X[n : n + 1])
        assert_allclose(found.mean[n], mean[0], rtol=1e-8, atol=1e-8)
        assert_covariances_close(found.covariance[n], covariance[0])
        d = found.mean[n] - outputs_at(mlp, whole, rows.X[n : n + 1])[0][0]
        expected = np.sqrt(d @ np.linalg.solve(covariance[0], d))
        assert_allclose(found.step[n], expected, rtol=1e-6)
    assert np.all((found.leverage > 0.0) & (found.leverage < 1.0))


def noisy(name, likelihood, n_outputs, seed=0):
    """A network of moderate freedom at its MAP, and its rows."""
    mlp, rng = MLP((2, 4, n_outputs)), np.random.default_rng(seed)
    X = rng.normal(size=(40, 2))
    y = X[:, :1] + rng.normal(size=(40, n_outputs))
    if name != "gaussian":
        y = draw_targets(name, (40, n_outputs), rng)
    return mlp, likelihood, by_layer(mlp, 1.0), RowBlocks(X, y), mlp.initialise(rng)


@pytest.mark.parametrize(
    ("name", "likelihood", "n_outputs"),
    [
        ("gaussian", Gaussian(1.5), 1),
        ("gaussian", Gaussian(1.5), 2),
        ("bernoulli", Bernoulli(), 1),
        ("categorical", Categorical(), 3),
        ("poisson", Poisson(), 1),
    ],
)
def test_one_step_is_near_the_refit(name, likelihood, n_outputs):
    """Most of what a refit changes, the closed form changes too."""
    mlp, likelihood, prior, rows, start = noisy(name, likelihood, n_outputs)
    whole = posterior_at_map(mlp, likelihood, prior, rows, start)
    found = leave_one_out(mlp, whole, likelihood, rows)
    fitted = mlp.forward(whole.theta_map, rows.X).outputs
    refitted = np.array(
        [
            outputs_at(
                mlp,
                posterior_at_map(mlp, likelihood, prior, without(rows, n), whole.theta_map),
                rows.X[n : n + 1],
            )[0][0]
            for n in range(rows.n_rows)
        ]
    )
    missed = np.linalg.norm(refitted - found.mean) / np.linalg.norm(refitted - fitted)
    assert missed < 0.5  # measured: 0.43 and less
    scores = [-likelihood.nll(rows.y, f).mean() for f in (found.mean, refitted, fitted)]
    assert abs(scores[0] - scores[1]) < 0.4 * abs(scores[2] - scores[1])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_spaces_agree(case):
    parts = (case.theta, case.ggn, case.prior, case.likelihood.scale)
    dense, kernel = (
        leave_one_out(case.mlp, form.from_curvature(*parts), case.likelihood, case.rows, warn=False)
        for form in (DensePosterior, KernelPosterior)
    )
    # I - R V Rᵀ loses digits where a row determines its own fit.
    loss = 1e-8 / (1.0 - dense.leverage.max())
    assert_allclose(kernel.mean, dense.mean, rtol=loss, atol=loss * np.abs(dense.mean).max())
    assert_allclose(kernel.leverage, dense.leverage, atol=1e-8)
    assert np.all(dense.leverage < 1.0)


def test_a_row_of_no_weight_is_left_where_it_is():
    case = next(case for case in CASES if case.weighted)
    posterior = DensePosterior.from_curvature(
        case.theta, case.ggn, case.prior, case.likelihood.scale
    )
    found = leave_one_out(case.mlp, posterior, case.likelihood, case.rows)
    mean, covariance = outputs_at(case.mlp, posterior, case.rows.X[-1:])
    assert_allclose(found.mean[-1], mean[0])
    assert_allclose(found.covariance[-1], covariance[0])
    assert found.leverage[-1] == 0.0 and found.step[-1] == 0.0


def test_rows_that_are_the_same_are_left_out_together():
    rng, mlp = np.random.default_rng(0), MLP((2, 1))
    X, y = rng.normal(size=(9, 2)), rng.normal(size=(9, 1))
    twice = RowBlocks(np.vstack([X, X[:3]]), np.vstack([y, y[:3]]))
    prior, likelihood = single(mlp), Gaussian(2.0)
    whole = posterior_at_map(mlp, likelihood, prior, twice, np.zeros(3))
    found = leave_one_out(mlp, whole, likelihood, twice)
    for n in range(9):
        gone = [n, 9 + n] if n < 3 else [n]
        rest = posterior_at_map(mlp, likelihood, prior, without(twice, gone), np.zeros(3))
        mean, covariance = outputs_at(mlp, rest, X[n : n + 1])
        assert_allclose(found.mean[n], mean[0], rtol=1e-8)
        assert_covariances_close(found.covariance[n], covariance[0])
    assert_allclose(found.mean[9:], found.mean[:3], rtol=1e-10)
    weighted = RowBlocks(X, y, np.array([2.0] * 3 + [1.0] * 6))
    same = posterior_at_map(mlp, likelihood, prior, weighted, np.zeros(3))
    assert_allclose(leave_one_out(mlp, same, likelihood, weighted).mean, found.mean[:9], rtol=1e-8)


def test_a_row_that_determines_its_own_fit_is_warned_of():
    mlp, rows = MLP((1, 1)), RowBlocks(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
    prior, likelihood = single(mlp, 1e-6), Gaussian(1e6)
    whole = posterior_at_map(mlp, likelihood, prior, rows, np.zeros(2))
    with pytest.warns(InfluentialRowWarning, match=r"2 of the 2 rows.*stronger prior"):
        found = leave_one_out(mlp, whole, likelihood, rows)
    assert np.all(np.isfinite(found.mean)) and np.all(found.covariance > 0.0)
    leave_one_out(mlp, whole, likelihood, rows, warn=False)
