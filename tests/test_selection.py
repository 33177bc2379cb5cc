"""What is climbed: evidence and leave-one-out, each as often as its name says."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from laplace_nn.curvature import GGN
from laplace_nn.leave_one_out import leave_one_out
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior
from laplace_nn.predictive import gaussian_log_density, gaussian_log_scores
from laplace_nn.priors import ard, by_layer
from laplace_nn.reestimation import reestimate
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import SELECTIONS, Selection, left_out
from laplace_nn.training import find_map


def sine(n_rows=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n_rows, 2))
    y = np.sin(2.0 * X[:, :1]) + 0.3 * rng.normal(size=(n_rows, 1))
    return RowBlocks(X, y, rng.uniform(0.5, 2.0, size=n_rows)), rng


def mode():
    rows, rng = sine()
    mlp, likelihood = MLP((2, 4, 1)), Gaussian(10.0)
    prior = by_layer(mlp, 1.0)
    objective = NegativeLogPosterior(mlp, likelihood, prior, rows)
    theta = find_map(objective, mlp.initialise(rng)).theta
    H = GGN(mlp, theta, likelihood, rows)
    return mlp, DensePosterior.from_curvature(theta, H, prior, likelihood.scale), likelihood, rows


def test_left_out_rows_are_scored_with_noise():
    parts = mode()
    held = left_out(*parts, gaussian_log_scores)
    out = leave_one_out(*parts, warn=False)
    expected = gaussian_log_density(parts[3].y, out.mean, out.covariance + 0.1)
    assert_allclose(held.log_scores, expected, rtol=1e-12)
    assert_allclose(held.out.mean, out.mean)


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_score_is_what_its_name_says(name):
    parts = mode()
    selection = Selection.named(name, gaussian_log_scores)
    held = selection.left_out(*parts)
    assert (held is None) == (name == "evidence")
    summed = 0.0 if held is None else np.sum(parts[3].sample_weight * held.log_scores)
    expected = {"evidence": -7.0, "loo": summed, "evidence+loo": -7.0 + 2.0 * summed}[name]
    assert_allclose(selection.score(-7.0, held, parts[3]), expected)


def test_leave_one_out_needs_log_scores():
    with pytest.raises(ValueError, match="needs log_scores"):
        Selection(None, 1.0, 2.0)


def climbed(selection, seed=0, **settings):
    rows, rng = sine(seed=seed)
    mlp = MLP((2, 10, 1))
    theta, prior = mlp.initialise(rng), ard(mlp, 3.0)
    return reestimate(
        mlp, Gaussian(3.0), prior, rows, theta, selection=selection, refine=False, **settings
    )


def merit(name, entry, seed):
    """From a line of the history, without a hyperprior."""
    evidence, loo = SELECTIONS[name]
    if name == "evidence":
        assert entry["loo_log_score"] is None
        return entry["log_marginal_likelihood"]
    summed = entry["loo_log_score"] * sine(seed=seed)[0].total_weight
    return evidence * entry["log_marginal_likelihood"] + loo * summed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SELECTIONS)
def test_what_is_climbed_ends_no_lower_than_it_began(name, seed):
    found = climbed(Selection.named(name, gaussian_log_scores), seed)
    start = [entry["event"] for entry in found.history].index("start")
    assert_allclose(found.state.merit, merit(name, found.history[-1], seed), rtol=1e-10)
    assert found.state.merit >= merit(name, found.history[start], seed)
    assert found.state.map.converged


def test_the_gradient_polishes_the_evidence_alone():
    """Where leave-one-out counts, ``refine`` changes nothing."""
    selection = Selection.named("evidence+loo", gaussian_log_scores)
    rows, rng = sine()
    mlp = MLP((2, 4, 1))
    theta, ends = mlp.initialise(rng), []
    for refine in (False, True):
        parts = mlp, Gaussian(3.0), by_layer(mlp, 3.0), rows, theta
        ends.append(reestimate(*parts, selection=selection, refine=refine).state.merit)
    assert ends[0] == ends[1]
