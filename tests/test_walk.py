"""A walk goes on past worse states, keeps the best that it has seen, and knows when to end."""

from functools import cache, partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.ascent import OUT_OF_CYCLES
from laplace_nn.evidence_surface import LONGEST_STEP, EvidenceSurface
from laplace_nn.hyperpriors import HalfNormal
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP
from laplace_nn.predictive import class_log_scores, gaussian_log_scores
from laplace_nn.priors import ard, by_layer, single
from laplace_nn.reestimation import reestimate
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import Selection
from laplace_nn.walk import MACKAY, PATIENCE, STRIDE, Walk

BOTH = Selection.named("evidence+loo", gaussian_log_scores)
CLASSES = Selection.named("evidence+loo", partial(class_log_scores, link="auto", seed=0))


def numbers(n_rows=40):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, size=(n_rows, 2))
    return RowBlocks(X, np.sin(2.0 * X[:, :1]) + 0.2 * rng.normal(size=(n_rows, 1)))


def labels(n_rows=60):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_rows, 3))
    bent = X[:, :1] + 0.5 * X[:, 1:2] ** 2 + 0.5 * rng.normal(size=(n_rows, 1))
    return RowBlocks(X, (bent > 0.3).astype(float))


@cache
def along_mackay(**settings):
    mlp = MLP((2, 5, 1))
    theta = mlp.initialise(np.random.default_rng(0))
    settings = {"selection": BOTH, "hyperprior": HalfNormal(), **settings}
    return reestimate(mlp, Gaussian(10.0), ard(mlp, 4.0), numbers(), theta, **settings)


@cache
def through_strengths(ratio, grouping=single, share=0.3, **settings):
    mlp, rows = MLP((3, 4, 1)), labels()
    theta = mlp.initialise(np.random.default_rng(0))
    settings = {"selection": CLASSES, "hyperprior": HalfNormal(), **settings}
    prior = grouping(mlp, share * rows.n_rows)
    return reestimate(mlp, Bernoulli(), prior, rows, theta, strength_ratio=ratio, **settings)


WALKS = {
    "mackay": along_mackay,
    "weaker": lambda: through_strengths(1.0 / 3.0),
    "stronger": lambda: through_strengths(3.0, share=0.001),
    "groups": lambda: through_strengths(1.0 / 3.0, by_layer),
}
EACH_WALK = pytest.mark.parametrize("name", WALKS)


def score(entry, n_rows):
    """The selection's score and what the hyperprior adds, from a line of the history."""
    both = entry["log_marginal_likelihood"] + 2.0 * n_rows * entry["loo_log_score"]
    return both + HalfNormal().log_density(entry["prior_precision"])


def scores(name):
    n_rows = 40 if name == "mackay" else 60
    return [score(entry, n_rows) for entry in WALKS[name]().history]


@EACH_WALK
def test_the_end_is_the_best_state_trained(name):
    found, merits = WALKS[name](), scores(name)
    assert {entry["event"] for entry in found.history[1:-1]} == {"step"}
    best = found.history[int(np.argmax(merits[:-1]))]
    assert_array_equal(found.history[-1]["prior_precision"], best["prior_precision"])
    assert found.history[-1]["noise_precision"] == best["noise_precision"]
    assert_allclose(found.state.merit, merits[-1], rtol=1e-10)
    assert found.state.map.converged


@EACH_WALK
def test_it_goes_on_past_worse_states_until_its_patience_ends(name):
    found, merits = WALKS[name](), scores(name)
    walked, n_rows = merits[:-1], 40 if name == "mackay" else 60
    best = np.maximum.accumulate(walked)[:-1]
    better = np.diff(best, append=max(walked)) > 1e-3 * n_rows
    assert found.converged
    assert found.reason == f"no better state in {PATIENCE} cycles"
    assert len(better) >= PATIENCE and not np.any(better[-PATIENCE:])
    if name != "groups":  # which walks twice, the second time from the best state of the first
        idle = [not np.any(better[i : i + PATIENCE]) for i in range(len(better) - PATIENCE)]
        assert not any(idle)


@pytest.mark.parametrize(("name", "ratio"), [("weaker", 1.0 / 3.0), ("stronger", 3.0)])
def test_one_precision_without_noise_goes_through_strengths_alone(name, ratio):
    walked = [entry["prior_precision"][0] for entry in WALKS[name]().history[:-1]]
    assert len(walked) > PATIENCE + 1
    assert_allclose(np.divide(walked[1:], walked[:-1]), ratio)


def test_where_the_start_stays_the_best_the_walk_turns_round_once():
    """From a start that is too strong a way up finds nothing, and one from there down does."""
    found = through_strengths.__wrapped__(3.0)
    walked = np.array([entry["prior_precision"][0] for entry in found.history[:-1]])
    up = PATIENCE
    assert_allclose(walked[1 : up + 1], walked[0] * 3.0 ** np.arange(1, up + 1))
    down = walked[up + 1 :]
    assert len(down) > PATIENCE
    assert_allclose(down, walked[0] / 3.0 ** np.arange(1, len(down) + 1))
    assert found.state.prior.precisions[0] < walked[0]


def test_several_precisions_go_through_strengths_together_and_then_each_for_itself():
    walked = np.array([entry["prior_precision"] for entry in WALKS["groups"]().history[:-1]])
    together = np.ptp(walked, axis=1) < 1e-12 * walked[:, 0]
    n = int(np.argmin(together))  # the first apart
    assert n > PATIENCE
    assert not np.any(together[n:])
    assert_allclose(walked[1:n] / walked[: n - 1], 1.0 / 3.0)


def test_states_that_are_passed_on_a_long_way_are_trained_for_less():
    mlp, start = MLP((2, 8, 1)), Gaussian(10.0)
    theta = mlp.initialise(np.random.default_rng(0))
    walked = reestimate(mlp, start, single(mlp, 8.0), numbers(80), theta, selection=BOTH).history
    walked = [entry for entry in walked if entry["event"] in ("start", "step")]
    at = np.log([[*entry["prior_precision"], entry["noise_precision"]] for entry in walked])
    far = np.abs(np.diff(at, axis=0)).max(axis=1) > 0.99 * LONGEST_STEP
    n_iter = np.array([entry["n_iter"] for entry in walked[1:]])
    assert max(n_iter[far]) == MACKAY.n_iter_far < max(n_iter[~far]) == MACKAY.n_iter


def test_updates_that_keep_their_direction_are_lengthened():
    """Asked twice of one state they do; once they turn round, or at first, they are MacKay's."""
    mlp, rows = MLP((2, 5, 1)), numbers()
    surface = EvidenceSurface(mlp, rows, True, True, "auto", 1e-6, HalfNormal(), BOTH)
    theta = mlp.initialise(np.random.default_rng(0))
    state = surface.evaluate(ard(mlp, 4.0), Gaussian(10.0), theta, 50)
    walk = Walk(surface, state, theta, lambda state, event: None, 1e-3, 100)
    update = surface.mackay(state) - state.log_hyperparameters
    assert_array_equal(walk._along_mackay(state), surface.along_mackay(state))
    longer = walk._along_mackay(state) - state.log_hyperparameters
    assert_array_equal(longer + state.log_hyperparameters, surface.along_mackay(state, STRIDE))
    once = surface.along_mackay(state) - state.log_hyperparameters
    assert np.any(np.abs(longer) > 1.2 * np.abs(once))
    assert np.all(np.abs(longer) <= np.log(3.0) + 1e-12)
    assert np.all(longer * update >= 0.0)
    walk.last_update = -update
    assert_array_equal(walk._along_mackay(state), surface.along_mackay(state))


def test_fixed_precisions_stay_where_they_are():
    free = np.array([True, False])
    found = through_strengths.__wrapped__(1.0 / 3.0, by_layer, fit_prior=free)
    walked = np.array([entry["prior_precision"] for entry in found.history])
    assert_array_equal(walked[:, 1], walked[0, 1])
    assert np.all(walked[1:-1, 0] < walked[0, 0])


@pytest.mark.parametrize(
    "walk", [along_mackay, partial(through_strengths, 3.0, share=0.001)], ids=["noise", "classes"]
)
def test_a_mode_of_stronger_priors_is_found_beside_the_best(walk):
    found, alone = walk(stronger=8.0), walk()
    assert alone.stronger is None
    best, other = found.state, found.stronger
    assert_array_equal(best.map.theta, alone.state.map.theta)
    assert_allclose(other.prior.precisions, 8.0 * best.prior.precisions)
    assert other.map.converged and not np.allclose(other.map.theta, best.map.theta)
    assert other.n_effective_params.sum() < best.n_effective_params.sum()
    assert [entry["event"] for entry in found.history[-2:]] == ["stronger", "end"]
    if isinstance(other.likelihood, Gaussian):  # PRML 3.95, to what a second update moves it by
        assert_allclose(other.likelihood.scale, noise_precision(other), rtol=5e-2)
        assert other.likelihood.scale < best.likelihood.scale


def noise_precision(state):
    rows, mlp = numbers(), MLP((2, 5, 1))
    residuals = mlp.forward(state.map.theta, rows.X).outputs - rows.y
    return (rows.n_rows - state.n_effective_params.sum()) / np.sum(residuals**2)


def test_there_is_no_stronger_mode_where_it_would_be_dead_or_nothing_moves():
    assert through_strengths(3.0, share=0.001, stronger=1e5).stronger is None
    fixed = along_mackay(fit_prior=False, stronger=8.0)
    assert fixed.stronger is None


def test_a_dead_network_comes_to_life_from_the_start_weights():
    """The strongest prior switches every unit off; the walk does not train on from zeros."""
    found = through_strengths.__wrapped__(1.0 / 3.0, share=100.0)
    gamma = [entry["n_effective_params"].sum() for entry in found.history]
    assert gamma[0] < 1.0
    mlp = MLP((3, 4, 1))
    assert np.ptp(mlp.forward(found.state.map.theta, labels().X).outputs) > 1.0


def wave(n_rows=60):
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=(n_rows, 1))
    return RowBlocks(x, np.sin(4.0 * x) + 0.2 * rng.normal(size=(n_rows, 1)))


def test_a_walk_that_ends_in_a_straight_line_is_taken_again_from_a_weak_start():
    """From a strong prior no update leads to the wave; from a weak one some do."""
    mlp, rows = MLP((1, 8, 1)), wave()
    theta = mlp.initialise(np.random.default_rng(0))
    settings = {"selection": BOTH, "hyperprior": HalfNormal()}
    found = reestimate(mlp, Gaussian(10.0), by_layer(mlp, 12.0), rows, theta, **settings)
    events = [entry["event"] for entry in found.history]
    assert events.count("straight") == 1
    again = found.history[events.index("straight")]
    assert_allclose(again["prior_precision"], 0.3)
    straight = found.history[events.index("straight") - 1]
    assert straight["noise_precision"] < 3.0 < 10.0 < found.state.likelihood.scale
    bent = reestimate(mlp, Gaussian(10.0), by_layer(mlp, 0.3), rows, theta, **settings)
    assert "straight" not in [entry["event"] for entry in bent.history]


def test_a_line_stays_a_line():
    """Where rows are on a line a second walk bends nothing either."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=(60, 1))
    rows = RowBlocks(x, x + 0.2 * rng.normal(size=(60, 1)))
    mlp = MLP((1, 8, 1))
    theta = mlp.initialise(np.random.default_rng(0))
    found = reestimate(mlp, Gaussian(10.0), by_layer(mlp, 6.0), rows, theta, selection=BOTH)
    assert 15.0 < found.state.likelihood.scale < 40.0
    assert found.state.n_effective_params.sum() < 6.0


def test_out_of_cycles():
    found = along_mackay(max_cycles=2)
    assert not found.converged
    assert found.reason == OUT_OF_CYCLES
    assert [entry["event"] for entry in found.history] == ["start", "step", "step", "end"]


def test_the_turn_and_the_updates_share_one_budget_of_cycles():
    found = through_strengths.__wrapped__(3.0, by_layer, max_cycles=PATIENCE + 1)
    assert found.reason == OUT_OF_CYCLES
    events = [entry["event"] for entry in found.history]
    assert events == ["start", *["step"] * (PATIENCE + 1), "end"]


@pytest.mark.parametrize("name", ["mackay", "groups"])
def test_twice_the_same_is_the_same_to_the_bit(name):
    again = {
        "mackay": along_mackay.__wrapped__,
        "groups": lambda: through_strengths.__wrapped__(1.0 / 3.0, by_layer),
    }[name]()
    assert_array_equal(again.state.map.theta, WALKS[name]().state.map.theta)
    assert again.state.merit == WALKS[name]().state.merit
