"""Re-estimation, cycle by cycle: lines are the history's numbers, marks what was taken back."""

from copy import copy
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.traces import ReestimationDisplay
from tests.displays.fits import classification, regression


@cache
def wide():
    """Relevance determination of nine inputs, twelve groups; climbs that take steps back."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 9))
    y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=40)
    climb = {"selection": "evidence", "n_restarts": 1, "random_state": 0}
    return LaplaceMLPRegressor((3,), prior="ard", **climb).fit(X, y)


def with_history(model, **changes):
    """The model with other events or entries in its history."""
    changed = copy(model)
    changed.history_ = [entry | changes.get(f"at_{entry['cycle']}", {}) for entry in model.history_]
    return changed


def entries(model, start):
    """Of a climb; the mode of stronger priors beside it is not on the way."""
    own = [entry for entry in model.history_ if entry["start"] == start]
    return [entry for entry in own if entry["event"] != "stronger"]


def kept(trail):
    """Places of the entries that the climb went on from."""
    back = ("taken back", "refused", "dead")
    return [place for place, entry in enumerate(trail) if entry["event"] not in back]


def column(trail, name):
    return np.array([entry[name] for entry in trail])


def test_lines_are_the_history_of_the_best_start():
    model = regression()[0]
    best = model.committee_[0].start
    trail = entries(model, best)
    display = ReestimationDisplay.from_estimator(model)
    places = kept(trail)
    drawn = {
        "log_marginal_likelihood": display.evidence_lines_,
        "loo_log_score": display.loo_lines_,
    }
    for name, (line,) in drawn.items():
        expected = np.column_stack([places, column(trail, name)[places]])
        assert_array_equal(line.get_xydata(), expected)
    noise = column(trail, "noise_precision")[places] ** -0.5
    assert_allclose(display.noise_lines_[0][0].get_ydata(), noise)
    gamma = column(trail, "n_effective_params").sum(axis=1)[places]
    assert_allclose(display.gamma_lines_[0].get_ydata(), gamma)
    assert f"P = {len(model.theta_)}" in display.ax_[-1].get_ylabel()
    assert "best mode" in display.ax_[0].get_title() and str(best) in display.ax_[0].get_title()
    assert len(display.ax_) == 5


def test_the_last_cycle_is_what_the_fit_ended_with():
    model = regression()[0]
    trace = ReestimationDisplay.from_estimator(model).traces[0]
    assert_allclose(trace.log_evidence[-1], model.log_marginal_likelihood_)
    assert_allclose(trace.prior_precision[-1], model.prior_precision_)
    assert_allclose(trace.noise_std[-1, 0] ** -2, model.noise_precision_)
    assert trace.groups == model.prior_.names


def test_every_group_has_a_line_by_its_name_on_a_logarithmic_axis():
    model = classification()[0]
    display = ReestimationDisplay.from_estimator(model, start="all")
    assert [trace.start for trace in display.traces] == [0, 1]
    assert len(display.precision_lines_) == 2
    for trace, lines in zip(display.traces, display.precision_lines_, strict=True):
        trail = entries(model, trace.start)
        for group, name in enumerate(trace.groups):
            expected = column(trail, "prior_precision")[kept(trail), group]
            assert_array_equal(lines[name].get_ydata(), expected)
            assert lines[name].axes.get_yscale() == "log"
    names = {member.start: member.prior.names for member in model.committee_}
    assert [trace.groups for trace in display.traces] == [names[0], names[1]]


def test_classes_have_no_noise():
    model = classification(n_classes=3)[0]
    display = ReestimationDisplay.from_estimator(model)
    assert display.noise_lines_ == [] and len(display.ax_) == 4


def test_several_targets_have_a_line_of_noise_each():
    model = regression(n_features=2, n_targets=2)[0]
    display = ReestimationDisplay.from_estimator(model)
    trail = entries(model, model.committee_[0].start)
    noise = column(trail, "noise_precision")[kept(trail)] ** -0.5
    drawn = [line.get_ydata() for line in display.noise_lines_[0]]
    assert_allclose(np.transpose(drawn), noise)
    texts = display.noise_lines_[0][0].axes.get_legend().get_texts()
    assert [text.get_text() for text in texts] == [f"y{k}: {noise[-1, k]:.3g}" for k in (0, 1)]


def test_many_groups_are_thin_and_the_extreme_ones_named():
    model = wide()
    display = ReestimationDisplay.from_estimator(model)
    lines, alpha = display.precision_lines_[0], model.prior_precision_
    assert len(lines) == len(alpha) == 12
    ranked = [model.prior_.names[group] for group in np.argsort(-alpha)]
    named = [*ranked[:3], *ranked[-3:]]
    widths = {name: line.get_linewidth() for name, line in lines.items()}
    assert min(widths[name] for name in named) > max(widths[name] for name in ranked[3:-3])
    axes = lines[ranked[0]].axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [*ranked[:3], "6 between", *ranked[-3:]]


def test_cycles_that_were_taken_back_are_marked_and_left_out_of_the_lines():
    model = wide()
    places = [e["cycle"] for e in model.history_ if e["event"] == "taken back"]
    assert places  # else nothing is tested
    display = ReestimationDisplay.from_estimator(model)
    first = display.ax_[0]
    (mark,) = [line for line in first.get_lines() if line.get_label() == "taken back"]
    evidence = column(model.history_, "log_marginal_likelihood")
    assert_array_equal(mark.get_xydata(), np.column_stack([places, evidence[places]]))
    assert not set(places) & set(display.evidence_lines_[0].get_xdata())
    assert {tuple(line.get_xdata()) for line in display.marks_} == {tuple(places)}
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["taken back"]


def test_refused_and_dead_cycles_have_marks_of_their_own():
    model = with_history(wide(), at_0={"event": "dead"}, at_2={"event": "refused"})
    display = ReestimationDisplay.from_estimator(model)
    marks = {line.get_label(): line for line in display.ax_[0].get_lines()}
    assert marks["dead"].get_xdata().tolist() == [0] and marks["refused"].get_xdata() == [2]
    markers = {marks[event].get_marker() for event in ("dead", "refused", "taken back")}
    assert len(markers) == 3
    assert not {0, 2} & set(display.gamma_lines_[0].get_xdata())


def test_no_leave_one_out_where_it_is_not_climbed_and_two_climbs_are_one_trace():
    _, X, y = regression()
    settings = {"selection": "evidence", "committee": 1, "n_restarts": 2, "tol": 0.1}
    model = LaplaceMLPRegressor((2,), random_state=0, **settings).fit(X, y)
    display = ReestimationDisplay.from_estimator(model)
    assert display.loo_lines_ == [] and len(display.ax_) == 4
    assert display.traces[0].events.count("end") == 2  # the best start is taken to the top
    lost = next(start for start in (0, 1) if start != display.best)
    other = ReestimationDisplay.from_estimator(model, start=lost).traces[0]
    expected = ("layer_0", "layer_1") if lost else ("input_0", "biases_0", "weights_1", "biases_1")
    assert other.groups == expected
    with pytest.raises(ValueError, match="was not kept, and the parameter prior"):
        ReestimationDisplay.from_estimator(copy(model).set_params(prior="single"), start=lost)


def test_further_batches_are_left_out():
    _, X, y = regression()
    model = LaplaceMLPRegressor((2,), n_restarts=1, tol=0.1, random_state=0).fit(X, y)
    before = ReestimationDisplay.from_estimator(model)
    model.partial_fit(X[:9] + 0.1, y[:9])
    after = ReestimationDisplay.from_estimator(model)
    events = [entry["event"] for entry in model.history_]
    assert events.count("further rows") == len(model.committee_) == 2
    assert events.count("stronger") == 1
    assert len(events) == len(before.traces[0].events) + events.count("stronger") + 2
    assert_array_equal(
        after.evidence_lines_[0].get_xydata(), before.evidence_lines_[0].get_xydata()
    )


def test_given_axes_are_drawn_on_or_divided():
    model = regression()[0]
    figure, axes = plt.subplots(5, 1)
    display = ReestimationDisplay.from_estimator(model, ax=axes, line_kwargs={"color": "k"})
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert display.gamma_lines_[0].get_color() == "k"
    assert display.plot(plt.subplots()[1]) is display and len(display.ax_) == 5
    with pytest.raises(ValueError, match="draws 5 panels; got 2 axes"):
        display.plot(plt.subplots(1, 2)[1])


def test_nothing_drawn_leaves_its_panel():
    """γ of all starts is on one scale."""
    display = ReestimationDisplay.from_estimator(regression()[0], start="all")
    for line in display.gamma_lines_:
        low, high = line.axes.get_ylim()
        assert low == 0.0 and np.all(line.get_ydata() < high)


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = regression()
    for start in (7, "best"):
        with pytest.raises(ValueError, match=r'start must be "all" or .*, 0 to 1; got'):
            ReestimationDisplay.from_estimator(model, start=start)
    given = LaplaceMLPRegressor((2,), n_restarts=1, prior_precision=1.0, noise_precision=25.0)
    with pytest.raises(
        ValueError, match="hyperparameters were found; all of this fit's were given"
    ):
        ReestimationDisplay.from_estimator(given.set_params(random_state=0).fit(X, y))
