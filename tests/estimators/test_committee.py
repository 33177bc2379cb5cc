"""The committee behind the estimators: its mixture, its weights, and who is elected."""

import copy
from dataclasses import replace
from functools import cache

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr, softmax

from laplace_nn.estimators.committee import EQUAL_SHARE, NEGLIGIBLE
from laplace_nn.estimators.inputs import distinct_rows
from laplace_nn.mixture import stacking_weights
from laplace_nn.predictive import class_probabilities
from laplace_nn.temperature import tempered
from tests.estimators.committees import BOTH, EACH_KIND, KINDS, build, climbed, table
from tests.estimators.problems import outputs_of

# Overfitted on purpose, so that modes differ: the warning that says so is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")

REGRESSORS = pytest.mark.parametrize("kind", ["regressor", "two-targets"])
CLASSIFIERS = pytest.mark.parametrize("kind", ["classifier", "three-classes"])
WEIGHTINGS = ["stacking", "evidence", "equal"]
SELECTIONS = ["evidence", "loo", "evidence+loo"]


@cache
def mixed(kind, **settings):
    """All of three starts' modes, at a weak given prior under which they differ.

    Not to be changed.
    """
    weak = 0.01 if kind == "two-targets" else 0.1
    fixed = {"hidden_layer_sizes": (3,), "n_restarts": 3, "prior_precision": weak}
    return build(kind, **{**fixed, **settings}).fit(*table(kind))


@cache
def candidates(kind):
    """Every start's mode with an equal weight: none is left out for being negligible."""
    members = mixed(kind, committee_weights="equal").committee_
    assert [member.weight for member in members] == [1.0 / 3.0] * 3
    return members


def alone(model):
    """A model for each of the committee's members, that knows of no other."""
    models = [copy.copy(model) for _ in model.committee_]
    for one, member in zip(models, model.committee_, strict=True):
        one.committee_ = (replace(member, weight=1.0),)
        one.temperature_ = 1.0  # which comes after the mixture
    return models


def weights_of(model):
    return np.array([member.weight for member in model.committee_])


def new_rows(kind):
    """Inputs around the table's, and half a table's width beyond."""
    X, _ = table(kind)
    return np.vstack([X[:10] + 0.1, 1.5 * X[:10]])


def spread_out(values, like):
    """Weights (C,) against members' arrays (C, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


@EACH_KIND
def test_a_committee_has_several_members_that_differ(kind):
    """Without which the tests of the mixture would say nothing."""
    model = mixed(kind, committee_weights="equal")
    each = np.array([outputs_of(one, new_rows(kind)) for one in alone(model)])
    assert len(each) == 3
    assert np.max(np.ptp(each, axis=0)) > 1e-3


@REGRESSORS
def test_mean_and_std_are_those_of_the_mixture_of_the_members(kind):
    """Law of total variance: std² = Σ w (s² + m²) - (Σ w m)²."""
    model, X = mixed(kind), new_rows(kind)
    each = np.array([outputs_of(one, X) for one in alone(model)])  # (C, 2, n[, K])
    m, s = each[:, 0], each[:, 1]
    w = spread_out(weights_of(model), m)
    mean = np.sum(w * m, axis=0)
    got_mean, got_std = model.predict(X, return_std=True)
    assert_allclose(got_mean, mean, rtol=1e-8, atol=1e-8)
    assert_allclose(got_std**2, np.sum(w * (s**2 + m**2), axis=0) - mean**2, rtol=1e-8)
    assert_allclose(model.predict(X), mean, rtol=1e-8, atol=1e-8)


@REGRESSORS
def test_the_joint_covariance_is_that_of_the_mixture_of_the_members(kind):
    model, X = mixed(kind), new_rows(kind)
    pairs = [one.predict(X, return_cov=True) for one in alone(model)]
    m, V = (np.array(part) for part in zip(*pairs, strict=True))
    w, n_values = weights_of(model), m[0].size
    m, V = m.reshape(-1, n_values), V.reshape(-1, n_values, n_values)
    mean = w @ m
    covariance = sum(
        share * (matrix + np.outer(d, d)) for share, matrix, d in zip(w, V, m - mean, strict=True)
    )
    got_mean, got = model.predict(X, return_cov=True)
    assert_allclose(got_mean.ravel(), mean, rtol=1e-8, atol=1e-8)
    got = got.reshape(n_values, n_values)
    assert_allclose(got, covariance, atol=1e-8 * covariance.max())
    std = model.predict(X, return_std=True)[1]
    assert_allclose(np.sqrt(np.diag(got)), std.ravel(), rtol=1e-8)


@REGRESSORS
@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_interval_ends_are_where_the_mixed_distribution_function_says(coverage, kind):
    model, X = mixed(kind), new_rows(kind)
    each = np.array([outputs_of(one, X) for one in alone(model)])
    w, m, s = weights_of(model), each[:, 0].reshape(len(each), -1), each[:, 1]
    s = s.reshape(len(each), -1)
    got = model.predict_interval(X, coverage).reshape(-1, 2)
    for value in range(m.shape[1]):
        for end, p in enumerate([0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage]):
            low = np.min(m[:, value] - 10.0 * s[:, value])
            high = np.max(m[:, value] + 10.0 * s[:, value])
            quantile = brentq(
                lambda x, v=value, p=p: w @ ndtr((x - m[:, v]) / s[:, v]) - p, low, high, xtol=1e-13
            )
            assert_allclose(got[value, end], quantile, rtol=1e-8, atol=1e-8)


@REGRESSORS
def test_log_density_is_that_of_the_mixture_of_the_members(kind):
    model, (X, y) = mixed(kind), table(kind)
    each = np.array([one.log_predictive_density(X, y) for one in alone(model)])
    expected = logsumexp(each, axis=0, b=weights_of(model)[:, None])
    assert_allclose(model.log_predictive_density(X, y), expected, rtol=1e-8, atol=1e-8)


@CLASSIFIERS
def test_probabilities_are_those_of_the_mixture_of_the_members(kind):
    model, (X, y) = mixed(kind), table(kind)
    each = np.array([one.predict_proba(X) for one in alone(model)])
    average = np.sum(spread_out(weights_of(model), each) * each, axis=0)
    expected = tempered(average, model.temperature_)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-8)
    own = expected[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    assert_allclose(model.log_predictive_density(X, y), np.log(own), rtol=1e-8, atol=1e-8)
    assert_array_equal(model.predict(X), model.classes_[expected.argmax(axis=1)])


@CLASSIFIERS
def test_the_leave_one_out_score_of_classes_is_that_of_the_predictions(kind):
    model, (_, y) = mixed(kind), table(kind)
    own = model.loo_predictions()[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    assert_allclose(model.loo_log_score_, np.log(own).mean(), rtol=1e-10)
    scores = np.array([member.loo_log_scores for member in model.committee_])
    untempered = logsumexp(scores, axis=0, b=weights_of(model)[:, None]).mean()
    assert model.loo_log_score_ > untempered  # which is what the temperature is for


@REGRESSORS
def test_the_leave_one_out_score_is_that_of_the_mixture(kind):
    model = mixed(kind)
    scores = np.array([member.loo_log_scores for member in model.committee_])
    expected = logsumexp(scores, axis=0, b=weights_of(model)[:, None]).mean()
    assert_allclose(model.loo_log_score_, expected, rtol=1e-10)


@EACH_KIND
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_sum_to_one_and_the_best_score_comes_first(weighting, kind):
    model = mixed(kind, committee_weights=weighting)
    scores = [member.score for member in model.committee_]
    assert_allclose(weights_of(model).sum(), 1.0, rtol=1e-12)
    assert np.all(weights_of(model) > 0.0)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == max(member.score for member in candidates(kind))
    best = model.committee_[0]
    assert_array_equal(model.theta_, best.theta)
    assert_array_equal(model.prior_precision_, best.state.prior.precisions)
    assert model.log_marginal_likelihood_ == best.log_evidence


def documented_weights(weighting, members):
    if weighting == "equal":
        return np.full(len(members), 1.0 / len(members))
    if weighting == "evidence":
        return softmax([member.log_evidence for member in members])
    stacked = stacking_weights(np.column_stack([member.loo_log_scores for member in members]))
    return EQUAL_SHARE / len(members) + (1.0 - EQUAL_SHARE) * stacked


@EACH_KIND
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_are_the_documented_ones(weighting, kind):
    """Of every mode, the negligible ones then left out, but for the best by score."""
    assert EQUAL_SHARE == 0.5
    expected = documented_weights(weighting, candidates(kind))
    kept = expected > NEGLIGIBLE
    kept[0] = True
    expected = np.where(kept, expected, 0.0) / expected[kept].sum()
    got = {m.start: m.weight for m in mixed(kind, committee_weights=weighting).committee_}
    assert_allclose([got.get(m.start, 0.0) for m in candidates(kind)], expected, rtol=1e-10)


def test_stacking_counts_rows_by_their_weight():
    kind = "regressor"
    X, y = table(kind)
    weights = np.random.default_rng(0).uniform(0.2, 3.0, size=len(X))
    model = build(kind, hidden_layer_sizes=(3,), n_restarts=3, prior_precision=0.1)
    model.fit(X, y, weights)
    weights = distinct_rows(X, y.reshape(len(X), -1), weights)[2]  # in the order of the scores
    scores = np.column_stack([member.loo_log_scores for member in model.committee_])
    assert scores.shape == (len(X), 3)  # half of the weight is equal: all three stay
    expected = 1.0 / 6.0 + 0.5 * stacking_weights(scores, weights)
    assert_allclose(weights_of(model), expected, rtol=1e-10)
    assert np.max(np.abs(expected - 1.0 / 6.0 - 0.5 * stacking_weights(scores))) > 1e-6


@EACH_KIND
def test_a_committee_of_one_is_one_gaussian(kind):
    model, X = mixed(kind, committee=1), new_rows(kind)
    (member,) = model.committee_
    assert member.weight == 1.0
    assert_array_equal(member.theta, model.theta_)
    rows = model._rows(X)
    (mean,), (covariance,) = model._linearised(X)
    assert_allclose(mean, model.mlp_.forward(model.theta_, rows.X).outputs, rtol=1e-12)
    if hasattr(model, "classes_"):
        expected = tempered(class_probabilities(mean, covariance), model.temperature_)
        assert_array_equal(model.predict_proba(X), expected)
        return
    scale = model.target_scale_
    variance = np.einsum("nkk->nk", covariance) * scale**2 + 1.0 / np.asarray(
        model.noise_precision_
    )
    got_mean, got_std = model.predict(X, return_std=True)
    shape = got_mean.shape
    centre = (mean * scale + model.target_mean_).reshape(shape)
    assert_allclose(got_mean, centre, rtol=1e-8)
    assert_allclose(got_std, np.sqrt(variance).reshape(shape), rtol=1e-8)
    # Φ⁻¹(0.975): for one Gaussian the interval is the textbook's.
    half = 1.959963984540054 * got_std
    ends = np.stack([centre - half, centre + half], axis=-1)
    assert_allclose(model.predict_interval(X), ends, rtol=1e-8)


@EACH_KIND
def test_a_committee_of_two_keeps_the_two_best(kind):
    model = mixed(kind, committee=2, committee_weights="equal")
    best_two = [member.start for member in candidates(kind)[:2]]
    assert [member.start for member in model.committee_] == best_two
    assert_array_equal(weights_of(model), [0.5, 0.5])


@EACH_KIND
@pytest.mark.parametrize("selection", SELECTIONS)
def test_selection_ranks_by_what_it_says(selection, kind):
    model = mixed(kind, selection=selection, committee_weights="equal")
    for member in model.committee_:
        summed = float(np.sum(member.loo_log_scores))
        scores = {
            "evidence": member.log_evidence,
            "loo": summed,
            "evidence+loo": member.log_evidence + 2.0 * summed,
        }
        assert_allclose(member.score, scores[selection], rtol=1e-12)
    ranked = sorted(model.committee_, key=lambda member: -member.score)
    assert [m.start for m in model.committee_] == [m.start for m in ranked]


def test_selections_disagree_on_a_table():
    """Without which the test above could not tell them apart."""
    orders = {
        (kind, selection): tuple(
            member.start
            for member in mixed(kind, selection=selection, committee_weights="equal").committee_
        )
        for kind in KINDS
        for selection in SELECTIONS
    }
    assert any(orders[kind, "evidence"] != orders[kind, "loo"] for kind in KINDS)


def assert_same_committee(one, other):
    assert len(one.committee_) == len(other.committee_)
    for first, second in zip(one.committee_, other.committee_, strict=True):
        assert_array_equal(first.theta, second.theta)
        assert_array_equal(first.state.prior.precisions, second.state.prior.precisions)
        assert_array_equal(first.loo_log_scores, second.loo_log_scores)
        assert first.state.likelihood == second.state.likelihood
        assert (first.start, first.weight, first.score, first.log_evidence) == (
            second.start,
            second.weight,
            second.score,
            second.log_evidence,
        )


@EACH_KIND
@pytest.mark.parametrize("committee", ["all", 1])
def test_two_fits_are_the_same_to_the_bit(committee, kind):
    again = build(kind, committee=committee).fit(*table(kind))
    assert_same_committee(again, climbed(kind, committee=committee))
    X = new_rows(kind)
    assert_array_equal(outputs_of(again, X), outputs_of(climbed(kind, committee=committee), X))


@BOTH
@pytest.mark.parametrize("committee", ["all", 1])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_change_no_bit_of_the_committee(backend, committee, kind):
    with joblib.parallel_config(backend=backend):
        model = build(kind, committee=committee, n_jobs=2).fit(*table(kind))
    assert_same_committee(model, climbed(kind, committee=committee))
    X = new_rows(kind)
    assert_array_equal(outputs_of(model, X), outputs_of(climbed(kind, committee=committee), X))


@BOTH
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        *(
            ({"committee": bad}, 'committee must be a positive integer, "auto" or "all"; got')
            for bad in (0, -1, 2.0, True, None, "best")
        ),
        *(
            ({"committee_weights": bad}, "committee_weights must be one of 'stacking', 'evi.*; got")
            for bad in ("loo", None, [0.5, 0.5])
        ),
        *(
            ({"hyperprior": bad}, "hyperprior must be 'half_normal', a factor above 1 .*; got")
            for bad in (1.0, 0.0, -2.0, np.inf, np.nan, "wide", [10.0])
        ),
        (
            {"prior_precision": {"layer_2": 1.0}},
            "fixes the group 'layer_2', which the prior does not have; .* layer_0, layer_1",
        ),
        *(
            ({"prior_precision": {"layer_0": bad}}, 'prior_precision must be "auto" or positive')
            for bad in (0.0, -1.0, np.nan)
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_no_fit_could_use_is_refused_in_one_sentence(settings, sentence, kind):
    model = build(kind, **settings)
    with pytest.raises(ValueError, match=sentence) as caught:
        model.fit(*table(kind))
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    assert not hasattr(model, "theta_")
