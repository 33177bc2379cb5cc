"""Starts, warm starts, and what a fit says while and after it runs."""

import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from laplace_nn import LaplaceMLPRegressor
from tests.estimators.problems import KINDS, build, fitted, outputs_of, table

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])


@EACH_KIND
def test_the_start_of_best_evidence_is_kept(kind):
    X, y = table(kind)
    model = build(kind, n_restarts=3).fit(X, y)
    ends = [entry for entry in model.history_ if entry["event"] == "end"]
    assert {entry["start"] for entry in ends} == {0, 1, 2}
    best = max(ends, key=lambda entry: entry["log_marginal_likelihood"])
    evidence = best["log_marginal_likelihood"]
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-12)
    if isinstance(model, LaplaceMLPRegressor):
        assert_allclose(best["noise_precision"], model.noise_precision_, rtol=1e-12)
    assert_array_equal(model.prior_precision_, best["prior_precision"])
    assert model.n_iter_ == sum(entry["n_iter"] for entry in model.history_)
    assert len({entry["log_marginal_likelihood"] for entry in ends}) >= 3


@BOTH
def test_without_a_hidden_layer_one_start_is_enough(kind):
    model = build(kind, hidden_layer_sizes=(), n_restarts=3).fit(*table(kind))
    assert {entry["start"] for entry in model.history_} == {0}


@EACH_KIND
def test_same_random_state_same_to_the_bit(kind):
    X, y = table(kind)
    again = build(kind).fit(X, y)
    assert_array_equal(again.theta_, fitted(kind).theta_)
    assert_array_equal(outputs_of(again, X), outputs_of(fitted(kind), X))
    from_state = build(kind, random_state=np.random.RandomState(0)).fit(X, y)
    assert_array_equal(from_state.theta_, fitted(kind).theta_)
    other = build(kind, random_state=1).fit(X, y)
    assert not np.array_equal(other.theta_, fitted(kind).theta_)


@BOTH
def test_warm_start_continues(kind):
    X, y = table(kind)
    model = build(kind, warm_start=True).fit(X, y)
    n_iter, evidence = model.n_iter_, model.log_marginal_likelihood_
    model.fit(X, y)
    assert model.n_iter_ < n_iter
    assert model.log_marginal_likelihood_ >= evidence - 1e-9 * abs(evidence)
    assert {entry["start"] for entry in model.history_} == {0}
    assert_allclose(model.history_[0]["prior_precision"], fitted(kind).prior_precision_)


@BOTH
def test_warm_start_with_precisions_that_are_given(kind):
    X, y = table(kind)
    model = build(kind, warm_start=True).fit(X, y).set_params(prior_precision=0.3).fit(X, y)
    assert_array_equal(model.prior_precision_, [0.3, 0.3])


@BOTH
def test_warm_start_needs_the_same_network(kind):
    X, y = table(kind)
    model = build(kind, warm_start=True).fit(X, y)
    sizes = r"\(2, 3, 1\).*\(2, 4, 1\).*set warm_start=False"
    with pytest.raises(ValueError, match=sizes):
        clone_with(model, hidden_layer_sizes=(4,)).fit(X, y)
    with pytest.raises(ValueError, match=r"\(3, 3, 1\)"):
        model.fit(np.column_stack([X, X[:, 0] ** 2]), y)


def test_warm_start_takes_a_changed_prior():
    X, y = table("regressor")
    model = build("regressor", warm_start=True).fit(X, y)
    before = model.prior_.precision
    model.set_params(prior="layer_kind").fit(X, y)
    assert model.prior_.names == ("weights_0", "biases_0", "weights_1", "biases_1")
    assert_allclose(model.history_[0]["prior_precision"][0], before[0])
    model.set_params(prior="single").fit(X, y)
    assert model.prior_.n_groups == 1


@BOTH
def test_the_best_start_alone_is_climbed_to_the_top(kind):
    """Its second end is its last entry; the other starts have one."""
    history = fitted(kind).history_
    starts = sorted({e["start"] for e in history})
    ends = {s: [e for e in history if e["start"] == s and e["event"] == "end"] for s in starts}
    firsts = [ends[start][0]["log_marginal_likelihood"] for start in ends]
    best = int(np.argmax(firsts))
    assert [len(ends[start]) for start in ends] == [1 + (start == best) for start in ends]
    final = ends[best][1]["log_marginal_likelihood"]
    assert final >= firsts[best] - 1e-9 * abs(firsts[best])
    assert_allclose(final, fitted(kind).log_marginal_likelihood_, rtol=1e-12)
    cycles = [e["cycle"] for e in history if e["start"] == best]
    assert cycles == list(range(len(cycles)))


def clone_with(model, **settings):
    """The fitted model with other parameters."""
    return pickle.loads(pickle.dumps(model)).set_params(**settings)


@BOTH
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_verbose_shows_a_bar_with_the_evidence(n_jobs, kind, capsys):
    X, y = table(kind)
    with joblib.parallel_config(backend="threading"):
        build(kind, verbose=1, n_jobs=n_jobs).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "log evidence" in shown.err
    assert "6/6" in shown.err  # two ways, their ends, and both of the better one to the top
    build(kind).fit(X, y)
    assert capsys.readouterr().err == ""


@BOTH
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_iter": 1}, r"max\|gradient\| = .* raise max_iter"),
        ({"max_cycles": 1}, "max_cycles = 1 cycles .* raise max_cycles or tol"),
    ],
)
def test_convergence_warnings_point_to_the_call(settings, sentence, kind):
    X, y = table(kind)
    with pytest.warns(ConvergenceWarning, match=sentence) as caught:
        build(kind, n_restarts=1, **settings).fit(X, y)
    assert {warning.filename for warning in caught} == {__file__}
