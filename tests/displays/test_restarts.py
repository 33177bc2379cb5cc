"""Starts side by side: every dot is a mode of the committee, or what the history says."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.restarts import RestartsDisplay
from tests.displays.fits import classification, regression

QUICK = {"tol": 0.1, "random_state": 0}


@cache
def elected(**settings):
    """Four starts, of which two modes at most are kept."""
    _, X, y = regression()
    settings = {"n_restarts": 4, "committee": 2} | settings
    return LaplaceMLPRegressor((3,), **QUICK, **settings).fit(X, y)


def ends(model):
    """The last entry of every start."""
    return {entry["start"]: entry for entry in model.history_}


@pytest.mark.parametrize("fit", [regression, lambda: classification(n_classes=3)])
def test_members_are_the_committee_s_modes_in_their_order(fit):
    model = fit()[0]
    display = RestartsDisplay.from_estimator(model)
    members = model.committee_
    columns = [
        [member.log_evidence for member in members],
        [member.loo_log_scores.mean() for member in members],
        [member.weight for member in members],
        [np.sum(member.state.n_effective_params) for member in members],
    ]
    assert len(display.ax_) == len(display.members_) == 4
    for dots, best, column in zip(display.members_, display.bests_, columns, strict=True):
        assert_allclose(dots.get_xdata(), column, rtol=1e-10)
        assert_array_equal(dots.get_ydata(), np.arange(len(members)))
        assert_allclose(best.get_xydata(), [[column[0], 0.0]], rtol=1e-10)
    names = [label.get_text() for label in display.ax_[0].get_yticklabels()]
    stronger = ["", ", stronger"]
    assert names == [
        f"start {m.start}{stronger[m.stronger]}, G = {m.prior.n_groups}" for m in members
    ]
    assert any(m.stronger for m in members)
    assert f"P = {len(model.theta_)}" in display.ax_[3].get_xlabel()
    first = display.ax_[0].transData
    assert first.transform((0.0, 0.0))[1] > first.transform((0.0, 1.0))[1]  # the best on top


def test_starts_that_were_not_kept_are_hollow_and_below():
    model = elected()
    display = RestartsDisplay.from_estimator(model)
    kept = [member.start for member in model.committee_]
    lost = [start for start in ends(model) if start not in kept]
    assert lost and set(display.starts[len(kept) :]) == set(lost)
    shown = [ends(model)[start] for start in display.starts[len(kept) :]]
    evidence = [entry["log_marginal_likelihood"] for entry in shown]
    assert evidence == sorted(evidence, reverse=True)
    columns = [
        evidence,
        [entry["loo_log_score"] for entry in shown],
        [0.0] * len(lost),
        [entry["n_effective_params"].sum() for entry in shown],
    ]
    for dots, column in zip(display.others_, columns, strict=True):
        assert_allclose(dots.get_xdata(), column)
        assert_array_equal(dots.get_ydata(), len(kept) + np.arange(len(lost)))
        assert dots.get_fillstyle() == "none"
    texts = [text.get_text() for text in display.ax_[0].get_legend().get_texts()]
    assert texts == ["in the committee", "best by score", "not kept"]


def test_none_are_hollow_where_all_are_kept():
    display = RestartsDisplay.from_estimator(classification(n_classes=3)[0])
    assert display.n_members == len(display.starts) and display.others_ == []


def test_sample_weights_count_in_the_mean_of_the_scores():
    _, X, y = regression()
    weights = np.random.default_rng(0).integers(1, 4, size=len(X))
    settings = {"n_restarts": 1, "committee": 1, **QUICK}
    model = LaplaceMLPRegressor((2,), **settings).fit(X, y, sample_weight=weights)
    display = RestartsDisplay.from_estimator(model)
    assert_allclose(display.loo_log_score[0], model.loo_log_score_, rtol=1e-10)


def test_where_leave_one_out_is_not_climbed_the_committee_s_is_a_mean():
    model = elected(selection="evidence", committee=1)
    display = RestartsDisplay.from_estimator(model)
    assert_allclose(display.loo_log_score[0], model.loo_log_score_, rtol=1e-10)
    assert np.isnan(display.loo_log_score[1:]).all() and len(display.starts) == 4
    assert_allclose(display.log_evidence[0], model.log_marginal_likelihood_)


def test_further_batches_leave_out_the_starts_that_have_not_seen_them():
    _, X, y = regression()
    model = LaplaceMLPRegressor((3,), n_restarts=3, committee=1, **QUICK).fit(X, y)
    assert len(RestartsDisplay.from_estimator(model).starts) == 3
    model.partial_fit(X[:9] + 0.1, y[:9])
    display = RestartsDisplay.from_estimator(model)
    assert display.starts.tolist() == [model.committee_[0].start]
    assert_allclose(display.log_evidence, model.log_marginal_likelihood_)
    assert_allclose(display.loo_log_score, model.loo_log_score_)
    assert_allclose(display.n_effective_params, model.n_effective_params_.sum())


def test_given_axes_are_drawn_on_or_divided():
    figure, axes = plt.subplots(1, 4)
    display = RestartsDisplay.from_estimator(regression()[0], ax=axes, dot_kwargs={"marker": "s"})
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert display.members_[0].get_marker() == "s"
    assert display.plot(plt.subplots()[1]) is display and len(display.ax_) == 4
    with pytest.raises(ValueError, match="draws 4 panels; got 2 axes"):
        display.plot(plt.subplots(1, 2)[1])


def test_what_it_cannot_show_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="RestartsDisplay needs a LaplaceMLPRegressor or"):
        RestartsDisplay.from_estimator(regression)
