"""The reliability diagram: counts by loops, Wilson's interval by its quadratic."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from laplace_nn.displays.reliability import ReliabilityCurve, ReliabilityDisplay
from tests.displays.fits import classification, regression


def by_loops(probability, outcome, edges):
    """Rows, mean probability and frequency of every bin that has rows, and the ECE."""
    members = [[] for _ in edges[1:]]
    for p, came in zip(probability, outcome, strict=True):
        inside = [b for b in range(len(edges) - 1) if edges[b] < p <= edges[b + 1]]
        members[inside[0] if inside else 0].append((p, came))
    full = [np.array(bin_, dtype=float) for bin_ in members if bin_]
    ece = sum(len(bin_) * abs(bin_[:, 0].mean() - bin_[:, 1].mean()) for bin_ in full)
    means = np.array([bin_.mean(axis=0) for bin_ in full])
    return [len(bin_) for bin_ in full], means, ece / len(probability)


def segments(lines):
    """x, low and high of vertical lines."""
    return np.array([[s[0, 0], s[0, 1], s[1, 1]] for s in lines.get_segments()])


def test_both_curves_of_two_classes_are_those_of_the_second_class():
    model, X, y = classification()
    display = ReliabilityDisplay.from_estimator(model, X, y, n_bins=4)
    edges = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    for k, probability in enumerate([model.predict_proba(X)[:, 1], model.map_proba(X)[:, 1]]):
        counts, means, ece = by_loops(probability, y == "bee", edges)
        assert_allclose(display.lines_[k].get_xydata(), means, rtol=1e-12)
        assert display.curves[k].count.tolist() == counts
        assert_allclose(display.curves[k].expected_calibration_error, ece)
        assert f"{ece:.3f}" in display.lines_[k].get_label()
        drawn = display.histograms_[k].get_data()
        assert drawn.values.sum() == len(X) and len(drawn.values) == 20
    assert display.expected_calibration_error_ == display.curves[0].expected_calibration_error
    assert display.ax_[1].get_xlabel() == "predicted probability of bee"


def test_the_bars_are_wilson_intervals():
    model, X, y = classification()
    display = ReliabilityDisplay.from_estimator(model, X, y, n_bins=3)
    counts, means, _ = by_loops(model.predict_proba(X)[:, 1], y == "bee", np.linspace(0, 1, 4))
    for drawn, n, (predicted, observed) in zip(
        segments(display.bars_[0]), counts, means, strict=True
    ):
        test = binomtest(round(n * observed), n).proportion_ci(method="wilson")
        assert_allclose(drawn, [predicted, test.low, test.high], atol=1e-12)


def test_of_many_classes_confidence_is_held_against_accuracy():
    model, X, y = classification(n_classes=4)
    display = ReliabilityDisplay.from_estimator(model, X, y, n_bins=5)
    proba = model.predict_proba(X)
    right = model.classes_[proba.argmax(axis=1)] == y
    _, means, ece = by_loops(proba.max(axis=1), right, np.linspace(0.0, 1.0, 6))
    assert_allclose(display.lines_[0].get_xydata(), means, rtol=1e-12)
    assert_allclose(display.expected_calibration_error_, ece)
    assert "accuracy" in display.ax_[0].get_ylabel() and "confidence" in display.ax_[1].get_xlabel()
    assert display.ax_[0].get_xlim()[0] > 0.2


def test_quantile_bins_have_equally_many_rows_and_ties_share_one():
    p = np.random.default_rng(0).permutation(np.arange(1, 13) / 13.0)
    y = np.tile([0, 1], 6)
    display = ReliabilityDisplay.from_predictions(y, p, n_bins=4, strategy="quantile")
    assert display.curves[0].count.tolist() == [3, 3, 3, 3]
    tied = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.9])
    curve = ReliabilityDisplay.from_predictions(y[:6], tied, strategy="quantile").curves[0]
    assert curve.count.sum() == 6 and np.all(curve.count > 0)
    same = ReliabilityDisplay.from_predictions(y[:6], np.full(6, 0.3), strategy="quantile")
    assert_allclose(same.lines_[0].get_xydata(), [[0.3, 0.5]])


def test_the_error_of_two_classes_is_not_below_that_of_the_confidence():
    rng = np.random.default_rng(3)
    p = rng.uniform(size=500)
    came = rng.uniform(size=500) < p**2
    edges = np.linspace(0.0, 1.0, 11)
    two = ReliabilityCurve("p", p, came, edges).expected_calibration_error
    right = np.where(p > 0.5, came, ~came)
    folded = ReliabilityCurve("c", np.maximum(p, 1.0 - p), right, edges)
    assert two > folded.expected_calibration_error > 0.0


def test_given_probabilities_may_be_of_the_second_class_or_of_all():
    y, p = ["a", "b", "b"], np.array([0.1, 0.4, 0.9])
    one = ReliabilityDisplay.from_predictions(y, p, name="mine")
    both = ReliabilityDisplay.from_predictions(y, np.column_stack([1.0 - p, p]))
    assert_allclose(one.lines_[0].get_xydata(), both.lines_[0].get_xydata())
    assert one.lines_[0].get_label().startswith("mine (ECE")
    swapped = ReliabilityDisplay.from_predictions(
        y, np.column_stack([p, 1.0 - p]), classes=["b", "a"]
    )
    assert swapped.ax_[1].get_xlabel() == "predicted probability of a"
    assert_allclose(
        swapped.lines_[0].get_xydata()[::-1], 1.0 - one.lines_[0].get_xydata(), atol=1e-12
    )


def test_another_classifier_has_one_curve_and_one_axes_is_divided():
    import matplotlib.pyplot as plt

    _, X, y = classification()
    model, (figure, axes) = LogisticRegression().fit(X, y), plt.subplots()
    display = ReliabilityDisplay.from_estimator(model, X, y, ax=axes)
    assert len(display.lines_) == 1 and len(display.ax_) == 2 and display.figure_ is figure
    top, bottom = (ax.get_position().height for ax in display.ax_)
    assert top > 3.0 * bottom


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = classification()
    with pytest.raises(ValueError, match="shows a classification; got a LaplaceMLPRegressor"):
        ReliabilityDisplay.from_estimator(*regression())
    with pytest.raises(ValueError, match="label 'fly', which is not one of the classes"):
        ReliabilityDisplay.from_estimator(model, X, ["fly", *y[1:]])
    with pytest.raises(ValueError, match="n_bins must be a positive integer; got 0"):
        ReliabilityDisplay.from_estimator(model, X, y, n_bins=0)
    with pytest.raises(ValueError, match="one of uniform, quantile; got 'even'"):
        ReliabilityDisplay.from_estimator(model, X, y, strategy="even")
    with pytest.raises(ValueError, match=r"probabilities, from 0 to 1 .* smallest is -0.5"):
        ReliabilityDisplay.from_predictions([0, 1], [0.5, 1.5])
    with pytest.raises(ValueError, match=r"shape \(3, 2\).* got \(2, 2\)"):
        ReliabilityDisplay.from_predictions([0, 1, 1], np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="at least two classes"):
        ReliabilityDisplay.from_predictions([1, 1], [0.5, 0.5])
