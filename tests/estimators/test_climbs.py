"""Which starts get the training that ends their way, and that it is the same training."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor

N_RESTARTS = 3


def table():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, size=(60, 2))
    return X, np.sin(2.0 * X[:, 0]) + 0.2 * rng.normal(size=60)


@cache
def model(kind, **settings):
    """Not to be changed."""
    X, y = table()
    settings = {"n_restarts": N_RESTARTS, "random_state": 0, **settings}
    if kind == "regressor":
        return LaplaceMLPRegressor((4,), **settings).fit(X, y)
    return LaplaceMLPClassifier((4,), **settings).fit(X, y > 0.0)


EACH_KIND = pytest.mark.parametrize("kind", ["regressor", "classifier"])
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")


def modes(fitted):
    return {(member.start, member.stronger): member.theta for member in fitted.committee_}


def seen(fitted, start):
    """The best score on a start's way, in nats, up to what all starts have in common."""
    n_rows = len(table()[0])
    way = [
        entry["log_marginal_likelihood"] + 2.0 * n_rows * entry["loo_log_score"]
        for entry in fitted.history_
        if entry["start"] == start and entry["event"] not in ("stronger", "end")
    ]
    return max(way)


@EACH_KIND
def test_all_starts_have_two_modes_and_by_default_only_the_best_has_its_own(kind):
    settings = {"hyperprior": None, "committee_weights": "equal"}
    every, fewer = model(kind, committee="all", **settings), model(kind, **settings)
    assert modes(every).keys() == set(product(range(N_RESTARTS), (False, True)))
    best = max(range(N_RESTARTS), key=lambda start: seen(fewer, start))
    assert modes(fewer).keys() == {(best, False)} | {(i, True) for i in range(N_RESTARTS)}
    for mode, theta in modes(fewer).items():
        assert_array_equal(theta, modes(every)[mode])


@EACH_KIND
def test_a_way_that_is_not_ended_is_in_the_history_and_ends_with_its_second_mode(kind):
    fitted = model(kind)
    for start in range(N_RESTARTS):
        events = [e["event"] for e in fitted.history_ if e["start"] == start]
        own = (start, False) in modes(fitted)
        assert events[-1] == ("end" if own else "stronger")
        assert events.count("step") > 1


@EACH_KIND
def test_where_the_evidence_is_climbed_all_are_kept(kind):
    """A climb is one of trained states: nothing is saved by leaving its end out."""
    settings = {"selection": "evidence", "committee_weights": "equal"}
    every, default = model(kind, committee="all", **settings), model(kind, **settings)
    assert modes(every).keys() == {(start, False) for start in range(N_RESTARTS)}
    for mode, theta in modes(default).items():
        assert_array_equal(theta, modes(every)[mode])


@EACH_KIND
def test_a_committee_of_one_is_the_best_of_all_ends(kind):
    alone, every = model(kind, committee=1), model(kind, committee="all")
    own = [member for member in every.committee_ if not member.stronger]
    assert modes(alone).keys() == {(own[0].start, False)}
    assert_array_equal(alone.theta_, own[0].theta)
