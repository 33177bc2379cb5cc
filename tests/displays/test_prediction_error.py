"""Predicted against observed: points, bars and figures recomputed from the estimator."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error

from laplace_nn.displays.prediction_error import PredictionErrorDisplay
from tests.displays.fits import classification, regression


def drawn(display, target=0):
    """Points and bars of a target, those inside and those outside, sorted by the observed."""
    found = []
    for dots, bars in zip(display.scatters_[target], display.bars_[target], strict=True):
        ends = [[s[0, 0], s[1, 0], s[0, 1]] for s in bars.get_segments()]
        found.append((np.asarray(dots.get_offsets()), np.array(ends).reshape(-1, 3)))
    return found


def test_points_and_bars_are_the_predictions_and_their_intervals():
    model, X, y = regression()
    display = PredictionErrorDisplay.from_estimator(model, X, y, coverage=0.6)
    low, high = model.predict_interval(X, coverage=0.6).T
    inside = (low <= y) & (y <= high)
    assert 0 < inside.sum() < len(y)
    for chosen, (dots, bars) in zip((inside, ~inside), drawn(display), strict=True):
        assert_allclose(dots, np.column_stack([model.predict(X), y])[chosen])
        assert_allclose(bars, np.column_stack([low, high, y])[chosen])
    assert_allclose(display.covered_, [inside.mean()])
    assert_allclose(display.rmse_, [root_mean_squared_error(y, model.predict(X))])
    assert display.ax_.get_title(loc="left") == f"RMSE {display.rmse_[0]:.3g}, 40 rows"
    labels = [dots.get_label() for dots in display.scatters_[0]]
    share = 100.0 * inside.mean()
    assert labels == [f"inside: {share:.1f} %", f"outside: {100.0 - share:.1f} %"]
    assert display.ax_.get_legend().get_title().get_text() == "bars: 60 % intervals"


def test_those_outside_differ_in_colour_and_marker():
    model, X, y = regression()
    inside, outside = PredictionErrorDisplay.from_estimator(model, X, y).scatters_[0]
    assert not np.allclose(inside.get_facecolor()[0], outside.get_facecolor()[0])
    shapes = [artist.get_paths()[0].vertices for artist in (inside, outside)]
    assert len(shapes[0]) != len(shapes[1])


def test_of_many_rows_some_are_drawn_and_the_figures_are_of_all():
    model, X, y = regression()
    whole = PredictionErrorDisplay.from_estimator(model, X, y)
    first, again, other = (
        PredictionErrorDisplay.from_estimator(model, X, y, max_rows=10, random_state=seed)
        for seed in (0, 0, 1)
    )
    points = np.concatenate([dots for dots, _ in drawn(first)])
    everything = np.column_stack([model.predict(X), y])
    assert len(points) == 10 and len(np.unique(points, axis=0)) == 10
    assert all(np.any(np.all(np.isclose(everything, point), axis=1)) for point in points)
    assert first.shown.tolist() == again.shown.tolist() != other.shown.tolist()
    assert_allclose([first.rmse_, first.covered_], [whole.rmse_, whole.covered_])
    assert first.ax_.get_title(loc="left").endswith("40 rows (10 drawn at random)")


def test_several_targets_have_a_panel_each():
    model, X, y = regression(n_targets=2)
    display = PredictionErrorDisplay.from_estimator(model, X, y)
    assert len(display.ax_) == 2 and display.ax_[1].get_ylabel() == "observed y1"
    points = np.concatenate([dots for dots, _ in drawn(display, target=1)])
    assert_allclose(np.sort(points[:, 1]), np.sort(y[:, 1]))
    assert_allclose(display.rmse_, np.sqrt(np.mean((y - model.predict(X)) ** 2, axis=0)))
    span = display.lines_[1].get_xydata()
    assert_allclose(span[:, 0], span[:, 1])
    assert span[0, 0] <= y[:, 1].min() and span[1, 0] >= y[:, 1].max()


def test_a_mean_outside_its_interval_is_no_error():
    ones = np.ones((1, 1))
    display = PredictionErrorDisplay(
        y_true=ones,
        y_pred=2.0 * ones,
        interval=np.array([[[0.0, 1.5]]]),
        coverage=0.1,
        shown=np.array([0]),
    ).plot()
    assert_allclose(drawn(display)[0][1], [[0.0, 1.5, 1.0]])


def test_given_axes_are_drawn_on():
    import matplotlib.pyplot as plt

    model, X, y = regression()
    figure, axes = plt.subplots()
    display = PredictionErrorDisplay.from_estimator(model, X, y, ax=axes)
    assert display.figure_ is figure and display.ax_ is axes
    assert display.plot(bar_kwargs={"linewidth": 3.0}) is display
    assert display.bars_[0][0].get_linewidth()[0] == 3.0


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = regression()
    with pytest.raises(ValueError, match="shows a regression; got a LaplaceMLPClassifier"):
        PredictionErrorDisplay.from_estimator(*classification())
    with pytest.raises(ValueError, match="Ridge has no predict_interval"):
        PredictionErrorDisplay.from_estimator(Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match="max_rows must be a positive integer; got 0"):
        PredictionErrorDisplay.from_estimator(model, X, y, max_rows=0)
    with pytest.raises(ValueError, match=r"y must have shape \(40, 1\)"):
        PredictionErrorDisplay.from_estimator(model, X, np.column_stack([y, y]))


def test_predictions_that_have_been_made_are_drawn_the_same():
    model, X, y = regression()
    whole = PredictionErrorDisplay.from_estimator(model, X, y)
    made = PredictionErrorDisplay.from_predictions(
        y, model.predict(X), model.predict_interval(X), target_names=["dose"]
    )
    assert made.ax_.get_ylabel() == "observed dose"
    for (dots, bars), (other_dots, other_bars) in zip(drawn(whole), drawn(made), strict=True):
        assert_allclose(dots, other_dots)
        assert_allclose(bars, other_bars)
    with pytest.raises(ValueError, match="a lower and an upper end for each of the 40 predictions"):
        PredictionErrorDisplay.from_predictions(y, model.predict(X), model.predict(X))
