"""Compared models: every panel shows the table's column, by size or by name."""

from functools import cache
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.evidence import EvidenceDisplay
from laplace_nn.model_selection import compare
from tests.displays.fits import classification, regression

# Small tables, on which a fit may well be no better than a constant: that is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")

QUICK = {"n_restarts": 1, "tol": 0.1, "random_state": 0}
WIDTHS = ((), (1,), (3,), (1, 2))


@cache
def compared(kind="regressor", tested=True):
    """Models of four sizes, two of them of three units; not to be changed."""
    _, X, y = regression() if kind == "regressor" else classification()
    model = LaplaceMLPRegressor if kind == "regressor" else LaplaceMLPClassifier
    held_out = {"X_test": X[20:], "y_test": y[20:]} if tested else {}
    models = {str(hidden): model(hidden, **QUICK) for hidden in WIDTHS}
    return compare(models, X[:20], y[:20], **held_out)


@pytest.mark.parametrize(
    ("tested", "labels"),
    [
        (False, ["log evidence\n[nats]", "leave-one-out score\n[nats a row]"]),
        (
            True,
            [
                "log evidence\n[nats]",
                "leave-one-out score\n[nats a row]",
                "test RMSE\n[units of y]",
            ],
        ),
    ],
)
@pytest.mark.parametrize("size", ["n_hidden_units", "n_params"])
def test_every_panel_is_a_column_of_the_table_against_the_size(size, tested, labels):
    found = compared(tested=tested)
    display, table = EvidenceDisplay.from_comparison(found, x=size), found.table()
    columns = ["log_evidence", "loo_log_score", "test_error"][: len(labels)]
    assert [axes.get_ylabel() for axes in display.ax_] == labels
    assert len(display.dots_) == len(display.lines_) == len(display.rings_) == len(labels)
    best = table.sort_values("log_evidence").groupby(size).last()
    for place, name in enumerate(columns):
        points = table[[size, name]].to_numpy()
        assert_array_equal(display.dots_[place].get_xydata(), points)
        assert_array_equal(display.rings_[place].get_xydata(), points[:1])
        line = best[name].reset_index().to_numpy()
        assert_array_equal(display.lines_[place].get_xydata(), line)
        assert display.dots_[place].axes is display.ax_[place]
    assert found.names[0] in display.ax_[0].get_title()
    assert len(display.ax_[0].get_legend().get_texts()) == 3


def test_three_units_are_there_twice_and_the_line_goes_through_the_better():
    display = EvidenceDisplay.from_comparison(compared())
    assert sorted(display.sizes) == [0, 1, 3, 3]
    assert_array_equal(display.lines_[0].get_xdata(), [0, 1, 3])


def test_no_line_against_what_is_found_and_not_chosen():
    found = compared()
    display = EvidenceDisplay.from_comparison(found, x="n_effective_params")
    assert display.lines_ == []
    gamma = [float(np.sum(model.n_effective_params_)) for model in found.estimators]
    np.testing.assert_allclose(display.dots_[0].get_xdata(), gamma)


def test_names_are_a_list_with_the_best_on_top():
    found = compared("classifier")
    display = EvidenceDisplay.from_comparison(found, x="name")
    first, second, third = display.ax_
    assert [label.get_text() for label in first.get_yticklabels()] == list(found.names)
    assert not any(label.get_text() for axes in (second, third) for label in axes.get_yticklabels())
    assert third.get_xlabel() == "test error rate"
    places = [first.transData.transform((0.0, place))[1] for place in range(4)]
    assert places == sorted(places, reverse=True)
    columns = ["log_evidence", "loo_log_score", "test_error"]
    for dots, name in zip(display.dots_, columns, strict=True):
        assert_array_equal(dots.get_xdata(), found.table()[name])
        assert_array_equal(dots.get_ydata(), range(4))


def test_long_names_are_broken_and_no_letter_leaves_the_figure():
    names = [f"activation=tanh, hidden_layer_sizes=({n},), prior=layer, tol=0.001" for n in (5, 9)]
    records = [{"name": n, "log_evidence": -1.0, "loo_log_score": -2.0} for n in names]
    found = SimpleNamespace(records=records, criterion="loo", best_estimator=LaplaceMLPRegressor())
    display = EvidenceDisplay.from_comparison(found, x="name")
    display.figure_.canvas.draw()
    for label, name in zip(display.ax_[0].get_yticklabels(), names, strict=True):
        assert label.get_text().replace("\n", " ") == name and "\n" in label.get_text()
        assert label.get_window_extent().x0 >= 0.0
    assert display.ax_[0].get_title() == "best by loo on top"


def test_given_axes_are_drawn_on_or_divided():
    figure, axes = plt.subplots(1, 3)
    display = EvidenceDisplay.from_comparison(compared(), ax=axes, dot_kwargs={"marker": "s"})
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert display.dots_[0].get_marker() == "s"
    assert display.plot(plt.subplots()[1]) is display and len(display.ax_) == 3
    with pytest.raises(ValueError, match="draws 3 panels; got 2 axes"):
        display.plot(plt.subplots(1, 2)[1])


def test_what_it_cannot_show_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"x must be one of 'n_hidden_units', .*got 'depth'"):
        EvidenceDisplay.from_comparison(compared(), x="depth")
    with pytest.raises(TypeError, match="shows a Comparison; got a LaplaceMLPRegressor: pass what"):
        EvidenceDisplay.from_comparison(regression()[0])
