"""Leave-one-out behind the estimators: predictions, score, and what starts are ranked by."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from tests.estimators.problems import KINDS, build, fitted, table

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
REGRESSORS = pytest.mark.parametrize("kind", ["regressor", "two-targets"])
CLASSIFIERS = pytest.mark.parametrize("kind", ["classifier", "three-classes"])
SELECTIONS = ["evidence", "loo", "evidence+loo"]


@REGRESSORS
def test_score_is_the_density_of_the_predictions(kind):
    model, (X, y) = fitted(kind), table(kind)
    mean, std = model.loo_predictions()
    assert mean.shape == std.shape == y.shape
    if kind == "regressor":
        expected = stats.norm.logpdf(y, mean, std).mean()
        assert_allclose(model.loo_log_score_, expected, rtol=1e-10)
    assert np.mean((y - mean) ** 2) > np.mean((y - model.predict(X)) ** 2)


@CLASSIFIERS
def test_score_is_the_log_probability_of_the_labels(kind):
    model, (_, y) = fitted(kind), table(kind)
    p = model.loo_predictions()
    assert_allclose(p.sum(axis=1), 1.0)
    own = p[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    assert_allclose(model.loo_log_score_, np.log(own).mean(), rtol=1e-10)


@EACH_KIND
def test_rows_are_harder_to_predict_without_themselves(kind):
    X, y = table(kind)
    assert fitted(kind).loo_log_score_ < fitted(kind).log_predictive_density(X, y).mean()


def test_score_is_in_the_units_of_the_targets():
    """At fixed hyperparameters: a thousandth of the unit costs ln 1000 a row."""
    X, y = table("regressor")
    settings = {"prior_precision": 1.0, "n_restarts": 1}
    metres = build("regressor", noise_precision=25.0, **settings).fit(X, y)
    millimetres = build("regressor", noise_precision=25e-6, **settings).fit(X, 1e3 * y)
    change = metres.loo_log_score_ - millimetres.loo_log_score_
    assert_allclose(change, np.log(1e3), rtol=1e-8)


@CLASSIFIERS
def test_weight_two_is_the_row_twice(kind):
    X, y = table(kind)
    settings = {"prior_precision": 1.0, "n_restarts": 1}
    times = np.arange(len(X)) % 3
    weighted = build(kind, **settings).fit(X, y, times.astype(float))
    repeated = build(kind, **settings).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_allclose(weighted.loo_log_score_, repeated.loo_log_score_, rtol=1e-6)


@EACH_KIND
@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_start_of_best_score_is_kept(selection, kind):
    """At fixed precisions the three ways to rank see the same starts."""
    X, y = table(kind)
    settings = {"prior_precision": 1.0, "n_restarts": 3}
    if "noise_precision" in build(kind).get_params():
        settings["noise_precision"] = 25.0

    def score(model):
        summed, evidence = len(X) * model.loo_log_score_, model.log_marginal_likelihood_
        scores = {"evidence": evidence, "loo": summed, "evidence+loo": evidence + 2.0 * summed}
        return scores[selection]

    models = {s: build(kind, selection=s, **settings).fit(X, y) for s in SELECTIONS}
    assert score(models[selection]) >= max(map(score, models.values())) - 1e-6


@pytest.mark.parametrize("selection", ["loss", None])
def test_a_selection_that_is_none(selection):
    sentence = f"selection must be one of .*'evidence.loo'; got {selection!r}"
    with pytest.raises(ValueError, match=sentence):
        build("regressor", selection=selection).fit(*table("regressor"))


def test_predictions_are_those_of_the_rows_that_carry_weight():
    X, y = table("regressor")
    weights = np.ones(len(X))
    weights[3] = 0.0
    settings = {"prior_precision": 1.0, "noise_precision": 100.0, "n_restarts": 1}
    model = build("regressor", **settings).fit(X, y, weights)
    kept = weights > 0
    without = build("regressor", **settings).fit(X[kept], y[kept])
    assert_allclose(model.loo_predictions()[0], without.loo_predictions()[0], rtol=1e-6)
