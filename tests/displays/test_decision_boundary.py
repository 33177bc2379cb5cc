"""Decision boundaries: the contours lie where the classifier's own methods say."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import same_color
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.displays.base import COLORS
from laplace_nn.displays.decision_boundary import DecisionBoundaryDisplay
from laplace_nn.displays.plane import tints
from tests.displays.fits import classification, regression

PROBABILITY = {"map": "map_proba", "predictive": "predict_proba"}


def vertices(lines):
    """Points on each drawn level, a list of (level, (n, 2))."""
    drawn = zip(lines.levels, lines.get_paths(), strict=True)
    return [(level, path.vertices) for level, path in drawn]


def inner_points(display, n=400):
    rng = np.random.default_rng(0)
    low, high = (display.x0[0], display.x1[0]), (display.x0[-1], display.x1[-1])
    return rng.uniform(low, high, size=(n, 2))


@pytest.mark.parametrize("panel", ["map", "predictive"])
def test_lines_of_two_classes_lie_where_the_probability_says(panel):
    model, X, y = classification()
    display = DecisionBoundaryDisplay.from_estimator(model, X, y, panels=[panel], n_points=80)
    ((lines,),) = display.lines_
    assert list(lines.levels) == [0.1, 0.3, 0.5, 0.7, 0.9]
    for level, points in vertices(lines):
        of_second = getattr(model, PROBABILITY[panel])(points)[:, 1]
        assert_allclose(of_second, level, atol=0.01)  # lines are straight within a cell
    widths = lines.get_linewidths()
    assert widths[2] > 2 * max(widths[0], widths[1], widths[3], widths[4])


def test_bands_of_two_classes_hold_their_probabilities_in_their_colours():
    model, X, _ = classification()
    display = DecisionBoundaryDisplay.from_estimator(model, X, panels=["map"], n_points=80)
    ((bands,),) = display.tints_
    points = inner_points(display)
    of_second = model.map_proba(points)[:, 1]
    edges = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    clear = np.min(np.abs(of_second[:, None] - edges[1:-1]), axis=1) > 0.02
    place = np.searchsorted(edges, of_second) - 1
    for k, path in enumerate(bands.get_paths()):
        assert_array_equal(path.contains_points(points[clear]), place[clear] == k)
    expected = [*tints(COLORS[0])[:0:-1], *tints(COLORS[1])[1:]]
    assert_allclose(bands.get_facecolor()[:, :3], expected)


def test_regions_of_three_classes_are_those_of_the_most_probable():
    model, X, _ = classification(n_classes=3)
    display = DecisionBoundaryDisplay.from_estimator(model, X, panels=["predictive"], n_points=80)
    (tinted,), (lines,) = display.tints_, display.lines_
    points = inner_points(display)
    p = model.predict_proba(points)
    first, second = np.sort(p, axis=1)[:, :-3:-1].T
    clear = first - second > 0.03
    for k, (region, bands) in enumerate(zip(tinted[::2], tinted[1::2], strict=True)):
        inside = region.get_paths()[0].contains_points(points[clear])
        assert_array_equal(inside, np.argmax(p, axis=1)[clear] == k)
        off = np.min(np.abs(p[:, k, None] - [0.5, 0.7, 0.9]), axis=1) > 0.03
        strong = bands.get_paths()[-1].contains_points(points[off])
        assert_array_equal(strong, p[off, k] > 0.9)
        colors = [region.get_facecolor()[0], *bands.get_facecolor()]
        assert_allclose(np.array(colors)[:, :3], tints(COLORS[k]))
    boundaries = [drawn for drawn in lines if list(drawn.levels) == [0.0]]
    assert len(boundaries) == 3
    for boundary in boundaries:
        ties = np.sort(model.predict_proba(boundary.get_paths()[0].vertices), axis=1)
        assert_allclose(ties[:, -1], ties[:, -2], atol=0.05)
    levels = {level for drawn in lines for level in drawn.levels}
    assert levels == {0.0, 0.7, 0.9}


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_third_panel_is_the_spread_of_the_log_odds(n_classes):
    model, X, _ = classification(n_classes=n_classes)
    display = DecisionBoundaryDisplay.from_estimator(model, X, panels=["std"], n_points=80)
    ((lines,),) = display.lines_
    assert len(vertices(lines)) >= 2
    for level, points in vertices(lines):
        if n_classes == 2:
            variance = model.latent_mean_and_covariance(points)[1][:, 0, 0]
        else:
            variance = mean_variance_of_pairs(model.latent_mean_and_covariance(points)[1])
        assert_allclose(np.sqrt(variance), level, rtol=0.02)
    ((bands,),) = display.tints_
    assert bands.levels[0] == 0.0  # of the scale of greys
    assert display.color_bars_[0].ax.get_ylabel() == "standard deviation (nats)"
    assert display.ax_.get_legend() is None


def mean_variance_of_pairs(covariances):
    differences = []
    for i, j in combinations(range(covariances.shape[1]), 2):
        contrast = np.eye(covariances.shape[1])[i] - np.eye(covariances.shape[1])[j]
        differences.append([contrast @ covariance @ contrast for covariance in covariances])
    return np.mean(differences, axis=0)


def test_other_inputs_rest_at_their_medians_and_inputs_are_called_by_name():
    model, X, y = classification(n_features=3)
    display = DecisionBoundaryDisplay.from_estimator(
        model, X, y, features=("x2", 0), panels=["map"], n_points=80
    )
    assert display.ax_.get_xlabel() == "x2\n(other inputs at their medians)"
    assert display.ax_.get_ylabel() == "x0"
    for level, points in vertices(display.lines_[0][0]):
        full = np.column_stack(
            [points[:, 1], np.full(len(points), np.median(X[:, 1])), points[:, 0]]
        )
        assert_allclose(model.map_proba(full)[:, 1], level, atol=0.01)
    drawn = np.concatenate([dots.get_offsets() for dots in display.scatters_[0]])
    assert_allclose(drawn, np.concatenate([X[y == label][:, [2, 0]] for label in model.classes_]))


def test_rows_have_a_marker_and_a_colour_a_class():
    model, X, y = classification(n_classes=3)
    display = DecisionBoundaryDisplay.from_estimator(model, X, y, n_points=10)
    assert len(display.scatters_) == 3
    for scatters in display.scatters_:
        for label, dots, color in zip(model.classes_, scatters, COLORS, strict=False):
            assert_allclose(dots.get_offsets(), X[y == label])
            assert same_color(dots.get_facecolor()[0], color)
        assert len({len(dots.get_paths()[0].vertices) for dots in scatters}) == 3
    legend = display.ax_[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["ant", "bee", "cat"]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_panels_of_probability_share_a_scale(n_classes):
    model, X, _ = classification(n_classes=n_classes)
    display = DecisionBoundaryDisplay.from_estimator(
        model, X, panels=("std", "predictive", "map"), n_points=10
    )
    assert [axes.get_title()[:4] for axes in display.ax_] == ["MAP:", "pred", "spre"]
    bar, _ = display.color_bars_
    if n_classes == 2:
        label, edges, colors = "probability of class bee", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1], 6
    else:
        label, edges, colors = "largest class probability", [1 / 3, 0.5, 0.7, 0.9, 1], 4
    assert bar.ax.get_ylabel() == label
    assert_allclose(bar.get_ticks(), edges)
    assert bar.cmap.N == colors
    for mapped, predicted in zip(display.tints_[0], display.tints_[1], strict=True):
        assert_array_equal(mapped.levels, predicted.levels)
        assert_array_equal(mapped.get_facecolor(), predicted.get_facecolor())
    names = [text.get_text() for text in display.ax_[0].get_legend().get_texts()]
    assert names == ["ant", "bee", "cat"][:n_classes]


def test_given_axes_are_drawn_on_or_divided():
    import matplotlib.pyplot as plt

    model, X, y = classification()
    figure, axes = plt.subplots(1, 3)
    display = DecisionBoundaryDisplay.from_estimator(model, X, y, ax=axes, n_points=10)
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    figure, axes = plt.subplots()
    assert display.plot(axes, contour_kwargs={"colors": "red"}, scatter_kwargs={"s": 9}) is display
    assert display.figure_ is figure and len(display.ax_) == 3
    assert same_color(display.lines_[0][0].get_edgecolor()[0], "red")
    assert_array_equal(display.scatters_[2][1].get_sizes(), [9])
    with pytest.raises(ValueError, match="draws 3 panels; got 2 axes"):
        display.plot(plt.subplots(1, 2)[1])


def test_any_classifier_will_do_for_the_panels_it_can_fill_and_tables_keep_their_names():
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    _, X, y = classification()
    table = pd.DataFrame(X, columns=["length", "width"])
    model = LogisticRegression().fit(table, y)
    display = DecisionBoundaryDisplay.from_estimator(
        model, table, y, features=("width", "length"), panels="predictive", n_points=50
    )
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("width", "length")
    for level, points in vertices(display.lines_[0][0]):
        logit = points[:, ::-1] @ model.coef_[0] + model.intercept_[0]
        assert_allclose(1 / (1 + np.exp(-logit)), level, atol=0.02)
    with pytest.raises(ValueError, match="Panel 'map' needs the method map_proba, which Logistic"):
        DecisionBoundaryDisplay.from_estimator(model, table)


def test_a_classifier_that_knows_nothing_has_no_lines():
    x = np.array([0.0, 1.0])
    values = {"map": np.full((2, 2, 2), 0.5), "std": np.full((2, 2), 1.5)}
    display = DecisionBoundaryDisplay(x0=x, x1=x, values=values, classes=np.array([0, 1]))
    assert display.plot().lines_ == [[], []]


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = classification()
    show = DecisionBoundaryDisplay.from_estimator
    with pytest.raises(ValueError, match="shows a classification; got a LaplaceMLPRegressor"):
        show(*regression(n_features=2)[:2])
    with pytest.raises(ValueError, match="panels must be some of map, predictive, std; got"):
        show(model, X, panels=["mean"])
    with pytest.raises(ValueError, match="panels must be some of map, predictive, std; got none"):
        show(model, X, panels=[])
    with pytest.raises(ValueError, match=r"features must be two different inputs; got \(0, 'x0'\)"):
        show(model, X, features=(0, "x0"))
    with pytest.raises(ValueError, match="features must be two different inputs; got 'x0'"):
        show(model, X, features="x0")
    with pytest.raises(ValueError, match="y holds the label 'wasp'"):
        show(model, X, ["wasp"] * len(X), n_points=5)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        show(model, X, y[1:])
    x = np.array([0.0, 1.0])
    values = {"map": np.full((2, 2, 9), 1 / 9)}
    with pytest.raises(ValueError, match=r"At most 8 classes have colours .* got 9"):
        DecisionBoundaryDisplay(x0=x, x1=x, values=values, classes=np.arange(9)).plot()
