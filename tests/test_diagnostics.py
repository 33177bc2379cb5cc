"""Diagnostics: eigenvalues against dense NumPy twins, findings provoked by small real problems."""

import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from laplace_nn import diagnostics
from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.diagnostics import UntrustworthyFitWarning, diagnose
from laplace_nn.leave_one_out import leave_one_out
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, DiagonalPosterior, KernelPosterior
from laplace_nn.priors import by_kind, by_layer, single
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map
from tests.cases import CASES

FORMS = [DensePosterior, KernelPosterior]


def diagnosed(objective, theta, form=DensePosterior, **given):
    """Diagnostics at some weights, with a plug-in leave-one-out score."""
    mlp, likelihood, rows = objective.mlp, objective.likelihood, objective.rows
    H = GGN(mlp, theta, likelihood, rows)
    posterior = form.from_curvature(theta, H, objective.prior, likelihood.scale)
    loo = leave_one_out(mlp, posterior, likelihood, rows, warn=False)
    losses = rows.weigh(likelihood.nll(rows.targets, loo.mean))
    given = {"log_evidence": -50.0, "loo_score": -float(losses.sum()), **given}
    rng = np.random.default_rng(0)
    return diagnose(objective, posterior, loo=loo, rng=rng, **given)


def at_case(case):
    return NegativeLogPosterior(case.mlp, case.likelihood, case.prior, case.rows)


def sine(n_rows=60, sizes=(1, 4, 1), precision=0.3, noise=0.1, seed=0):
    """A sine with noise, the objective of a network for it, and its mode."""
    mlp, rng = MLP(sizes), np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n_rows, sizes[0]))
    y = np.sin(2.0 * X[:, :1]) + noise * rng.normal(size=(n_rows, sizes[-1]))
    prior = by_layer(mlp, precision)
    objective = NegativeLogPosterior(mlp, Gaussian(noise**-2), prior, RowBlocks(X, y))
    return objective, find_map(objective, mlp.initialise(rng)).theta


def saddle(n_outputs=1):
    """Weights of zero and targets of mean zero: stationary, and the units free to grow."""
    mlp, rng = MLP((2, 3, n_outputs)), np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    y = np.tile(X[:, :1], n_outputs)
    y = y - y.mean(axis=0)
    objective = NegativeLogPosterior(mlp, Gaussian(10.0), single(mlp, 0.1), RowBlocks(X, y))
    return objective, np.zeros(mlp.n_params)


def twins(objective, theta):
    """Eigenvalues of the exact A, and of what it has over A relative to A, by NumPy."""
    scale, Lambda = objective.likelihood.scale, np.diag(objective.prior.precision)
    parts = (objective.mlp, theta, objective.likelihood, objective.rows)
    A, exact = (scale * H(*parts).dense() + Lambda for H in (GGN, ExactHessian))
    half = np.linalg.inv(np.linalg.cholesky(A))
    return np.linalg.eigvalsh(exact), np.linalg.eigvalsh(half @ (exact - A) @ half.T)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_eigenvalues_are_those_of_the_dense_matrices(form, case):
    found = diagnosed(at_case(case), case.theta, form)
    exact, relative = twins(at_case(case), case.theta)
    size = np.abs(exact).max()
    assert_allclose(found.smallest_eigenvalue, exact[0], rtol=1e-6, atol=1e-10 * size)
    assert_allclose(found.residual_curvature, np.abs(relative).max(), rtol=1e-6, atol=1e-8)
    assert_allclose(found.smallest_relative_eigenvalue, 1.0 + relative[0], rtol=1e-6, atol=1e-8)
    assert found.is_saddle == (exact[0] <= 0.0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_spaces_agree(case):
    dense, kernel = (diagnosed(at_case(case), case.theta, form) for form in FORMS)
    for field in fields(dense):
        if field.name in {"group_names", "units", "pareto_k", "loo_skill", "loo_score"}:
            continue  # the draws differ; leave-one-out is compared where it is made
        one, other = getattr(dense, field.name), getattr(kernel, field.name)
        assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=field.name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("sizes", [(2, 12, 1), (2, 8, 6, 1)])
def test_iterated_eigenvalues_are_near_the_dense_ones(form, trained, sizes, monkeypatch):
    objective, theta = sine(80, sizes)
    theta = theta if trained else objective.mlp.initialise(np.random.default_rng(5))
    dense = diagnosed(objective, theta, form)
    monkeypatch.setattr(diagnostics, "DENSE_SIZE", 0)
    found = diagnosed(objective, theta, form)
    assert_allclose(found.residual_curvature, dense.residual_curvature, rtol=1e-2)
    low, lowest = found.smallest_relative_eigenvalue, dense.smallest_relative_eigenvalue
    assert_allclose(low, lowest, rtol=1e-2, atol=1e-3)
    assert low >= lowest - 1e-9
    rtol = 0.05 if trained else 0.2  # far from a mode the outer products are no guide
    assert_allclose(found.smallest_eigenvalue, dense.smallest_eigenvalue, rtol=rtol)
    assert found.smallest_eigenvalue >= dense.smallest_eigenvalue * (1.0 - 1e-6) - 1e-9
    assert found.is_saddle == dense.is_saddle


@pytest.mark.parametrize("form", FORMS)
def test_a_large_network_is_diagnosed_without_its_matrices(form):
    objective, theta = sine(40, (3, 40, 12, 1), precision=1.0)
    assert objective.mlp.n_params > diagnostics.DENSE_SIZE
    found, again = (diagnosed(objective, theta, form) for _ in range(2))
    assert str(found) == str(again)
    exact, relative = twins(objective, theta)
    assert_allclose(found.residual_curvature, np.abs(relative).max(), rtol=1e-2)
    assert_allclose(found.smallest_relative_eigenvalue, 1.0 + relative[0], atol=1e-2)
    assert_allclose(found.smallest_eigenvalue, exact[0], rtol=0.05)
    assert found.is_saddle == (exact[0] <= 0.0)


@pytest.mark.parametrize("dense_size", [0, 600])
def test_nothing_is_left_out_of_a_linear_network(dense_size, monkeypatch):
    monkeypatch.setattr(diagnostics, "DENSE_SIZE", dense_size)
    objective, theta = sine(30, (12, 1))
    found = diagnosed(objective, theta)
    assert found.residual_curvature == 0.0 and found.smallest_relative_eigenvalue == 1.0
    exact, _ = twins(objective, theta)
    assert_allclose(found.smallest_eigenvalue, exact[0], rtol=0.02)
    assert found.units == [] and found.n_dead_units == 0
    assert found.pareto_k == -np.inf


@pytest.mark.parametrize("form", FORMS)
def test_a_healthy_fit_has_no_findings(form):
    objective, theta = sine()
    found = diagnosed(objective, theta, form)
    assert found.findings == []
    assert found.relative_gradient < 1e-6 and found.max_gradient < 1e-3
    assert found.smallest_eigenvalue > 0.0 and found.smallest_relative_eigenvalue > 0.0
    assert 0.0 < found.residual_curvature
    assert found.loo_skill > 0.9
    assert found.n_influential_rows < 5
    assert (found.n_rows, found.n_values) == (60.0, 60.0)


@pytest.mark.parametrize("dense_size", [0, 600])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_saddle_is_found(form, n_outputs, dense_size, monkeypatch):
    monkeypatch.setattr(diagnostics, "DENSE_SIZE", dense_size)
    objective, theta = saddle(n_outputs)
    found = diagnosed(objective, theta, form)
    assert found.relative_gradient < 1e-12
    assert found.is_saddle and found.smallest_eigenvalue < 0.0
    (sentence,) = found.findings
    assert sentence.startswith("The mode is a saddle") and "more random starts" in sentence
    assert str(found).count("a saddle, no minimum") == 2
    assert found.n_dead_units == 3
    sentence = diagnosed(objective, theta + 1e-3, form).findings[0]
    assert sentence.startswith("Training stopped at a saddle") and "more iterations" in sentence


def test_a_fit_that_uses_up_its_data_is_found():
    objective, theta = sine(10, (1, 12, 1), precision=1e-4, noise=0.01)
    found = diagnosed(objective, theta)
    assert found.n_effective_params.sum() > 9.0
    assert any("of at most 10, and leave" in sentence for sentence in found.findings)
    assert "nearly all data used up" in str(found)
    tamed = diagnosed(*sine(10, (1, 12, 1), precision=3.0, noise=0.5))
    assert not any("at most" in sentence for sentence in tamed.findings)


def test_predictions_worse_than_a_constant_are_found():
    """Noise, fitted closely by sixteen units."""
    mlp, rng = MLP((2, 16, 1)), np.random.default_rng(0)
    rows = RowBlocks(rng.normal(size=(50, 2)), rng.normal(size=(50, 1)))
    objective = NegativeLogPosterior(mlp, Gaussian(20.0), single(mlp, 0.1), rows)
    theta = find_map(objective, mlp.initialise(rng)).theta
    found = diagnosed(objective, theta)
    assert found.loo_skill < -0.1
    assert any("worse than a constant's" in sentence for sentence in found.findings)
    honest = NegativeLogPosterior(mlp, Gaussian(1.0), single(mlp, 1e3), rows)
    quiet = diagnosed(honest, find_map(honest, mlp.initialise(rng)).theta)
    assert quiet.findings == [] and abs(quiet.loo_skill) < 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_skill_is_measured_against_the_other_rows_mean(weighted):
    rng, mlp = np.random.default_rng(0), MLP((2, 1))
    X, weights = rng.normal(size=(12, 2)), rng.uniform(0.5, 2.0, size=12) if weighted else None
    rows = RowBlocks(X, X[:, :1] + rng.normal(size=(12, 1)), weights)
    objective = NegativeLogPosterior(mlp, Gaussian(1.0), single(mlp), rows)
    theta = find_map(objective, np.zeros(3)).theta
    posterior = DensePosterior.from_curvature(
        theta, GGN(mlp, theta, Gaussian(1.0), rows), single(mlp), 1.0
    )
    loo = leave_one_out(mlp, posterior, Gaussian(1.0), rows)
    w = np.ones(12) if weights is None else weights
    others = [np.average(np.delete(rows.y, n), weights=np.delete(w, n)) for n in range(12)]
    errors = [w @ np.ravel(rows.y - f.reshape(12, 1)) ** 2 for f in (loo.mean, np.array(others))]
    assert_allclose(diagnosed(objective, theta).loo_skill, 1.0 - errors[0] / errors[1])


@pytest.mark.parametrize(
    ("likelihood", "y", "constant"),
    [
        (Bernoulli(), [[0.0], [1.0], [1.0], [1.0]], [3.5 / 4, 2.5 / 4, 2.5 / 4, 2.5 / 4]),
        (Poisson(), [[0.0], [3.0], [5.0], [1.0]], [9.5 / 3.5, 6.5 / 3.5, 4.5 / 3.5, 8.5 / 3.5]),
    ],
)
def test_skill_of_other_likelihoods_is_that_of_log_scores(likelihood, y, constant):
    mlp, y = MLP((1, 1)), np.array(y)
    rows = RowBlocks(np.arange(4.0)[:, None], y)
    objective = NegativeLogPosterior(mlp, likelihood, single(mlp), rows)
    p = np.array(constant)[:, None]
    f = np.log(p) - np.log1p(-p) if isinstance(likelihood, Bernoulli) else np.log(p)
    expected = 1.0 - 2.0 / likelihood.nll(y, f).sum()
    assert_allclose(diagnosed(objective, np.zeros(2), loo_score=-2.0).loo_skill, expected)


def test_classes_leave_one_degree_of_freedom_less_than_outputs():
    mlp, rng = MLP((2, 3)), np.random.default_rng(0)
    y, weights = np.eye(3)[rng.integers(0, 3, size=8)], np.r_[0.0, np.full(7, 3.0)]
    rows = RowBlocks(rng.normal(size=(8, 2)), y, weights)
    objective = NegativeLogPosterior(mlp, Categorical(), single(mlp), rows)
    counts = weights @ y - weights[:, None] * y + 0.5
    expected = -(weights * np.log((counts / counts.sum(axis=1, keepdims=True))[y == 1.0])).sum()
    found = diagnosed(objective, np.zeros(9), loo_score=-5.0)
    assert (found.n_values, found.n_rows) == (14.0, 21.0)
    assert_allclose(found.loo_skill, 1.0 - 5.0 / expected)


def test_influential_rows_lie_far_off_or_fit_themselves():
    objective, theta = sine()
    calm = diagnosed(objective, theta).n_influential_rows
    y = objective.rows.targets.copy()
    y[7] += 5.0
    moved = replace(objective, rows=RowBlocks(objective.rows.X, y))
    assert diagnosed(moved, find_map(moved, theta).theta).n_influential_rows > calm
    mlp, rows = MLP((1, 1)), RowBlocks(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
    tight = NegativeLogPosterior(mlp, Gaussian(1e6), single(mlp, 1e-6), rows)
    assert diagnosed(tight, find_map(tight, np.zeros(2)).theta).n_influential_rows == 2


def test_one_row_has_no_skill_and_no_finding():
    mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.zeros((1, 1)))
    objective = NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows)
    found = diagnosed(objective, np.zeros(2))
    assert np.isnan(found.loo_skill) and found.findings == []


def test_precisions_at_their_cap_cost_no_digits():
    objective, theta = sine()
    prior = by_kind(objective.mlp, 0.3)
    capped = replace(objective, prior=prior.with_precisions(np.array([1e-6, 0.3, 0.3, 1e8])))
    for form in FORMS:
        found = diagnosed(capped, theta, form)
        _, relative = twins(capped, theta)
        assert_allclose(found.residual_curvature, np.abs(relative).max(), rtol=1e-5)


def test_the_table_has_one_aligned_line_an_entry():
    objective, theta = sine(sizes=(1, 4, 3, 1))
    found = diagnosed(objective, theta, log_evidence=12.0, loo_score=6.0)
    assert_allclose(found.evidence_minus_loo, 0.1)
    lines = str(found).splitlines()
    assert len(lines) == 6 + 1 + 3 + 2 * 2 + 5
    for name in ("max |gradient|", "effective weights", "  layer_2", "distinct units of layer 1"):
        assert sum(line.startswith(name) for line in lines) == 1
    assert all(line == line.rstrip() for line in lines)
    good = replace(found, residual_curvature=0.1, pareto_k=0.1, n_influential_rows=0)
    good = replace(good, units=[], n_separated_units=[])
    assert len({len(line) for line in str(good).splitlines()}) == 1  # no verdict, values in line
    assert "not stationary" not in str(found)
    assert "not stationary" in str(diagnosed(objective, theta + 0.1))


def test_the_census_is_in_the_table():
    objective, theta = sine()
    layers = [(W.copy(), b.copy()) for W, b in objective.mlp.unpack(theta)]
    layers[0][0][1], layers[0][1][1] = layers[0][0][0], layers[0][1][0]
    layers[1][0][:, :2], layers[1][0][:, 3] = 1.0, 0.0
    found = diagnosed(objective, objective.mlp.pack(layers))
    assert (found.n_dead_units, found.n_duplicate_units) == (1, 1)
    (line,) = (line for line in str(found).splitlines() if "distinct units" in line)
    assert line.split()[-7:] == ["2", "of", "4", "1", "dead,", "1", "duplicate"]
    (line,) = (line for line in str(found).splitlines() if "told apart" in line)
    assert line.split()[-3:] == ["2", "of", "4"] and found.n_separated_units == [2]


def test_other_posteriors_are_refused():
    objective, theta = sine()
    with pytest.raises(TypeError, match="diagnose needs a DensePosterior or a KernelPosterior"):
        diagnosed(objective, theta, DiagonalPosterior)


def test_the_warning_is_one_of_users():
    with pytest.warns(UserWarning, match="a saddle"):
        warnings.warn("a saddle", UntrustworthyFitWarning, stacklevel=1)
