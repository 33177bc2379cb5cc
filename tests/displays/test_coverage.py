"""Coverage: shares inside intervals that the estimator itself draws up."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom
from sklearn.linear_model import Ridge

from laplace_nn.displays.coverage import CoverageDisplay
from tests.displays.fits import classification, regression


def band(artist, x):
    """Lower and upper edge of a filled band at one of its points."""
    vertices = artist.get_paths()[0].vertices
    at = vertices[np.isclose(vertices[:, 0], x, atol=1e-9), 1]
    return at.min(), at.max()


def test_the_curve_is_the_share_of_rows_inside_the_estimators_intervals():
    model, X, y = regression()
    display = CoverageDisplay.from_estimator(model, X, y)
    nominal, share = display.lines_[0].get_data()
    for c in (0.2, 0.5, 0.8, 0.95):
        low, high = model.predict_interval(X, coverage=c).T
        expected = np.mean((low <= y) & (y <= high))
        assert_allclose(display.observed(c), [expected])
        assert_allclose(share[np.isclose(nominal, c)], [expected])
    inside = 100.0 * display.observed(0.95)[0]
    assert display.lines_[0].get_label() == f"y: {inside:.1f} % inside 95 %"
    assert share[-1] == 1.0


def test_the_histogram_is_of_the_mixtures_cdf():
    model, X, y = regression()
    display = CoverageDisplay.from_estimator(model, X, y, n_bins=4)
    quartiles = np.concatenate(
        [model.predict_interval(X, 0.5).T, model.predict_interval(X, 1e-9).T]
    )
    low, high, middle = quartiles[0], quartiles[1], quartiles[2]
    counts = [np.sum(y < low), np.sum((y >= low) & (y < middle))]
    counts += [np.sum((y >= middle) & (y < high)), np.sum(y >= high)]
    assert_allclose(display.histograms_[0].get_data().values, 4.0 * np.array(counts) / len(y))


def test_the_bands_are_binomial():
    display = CoverageDisplay.from_predictions(np.linspace(0.01, 0.99, 50), n_bins=5)
    for c in (0.1, 0.5, 0.9):
        probabilities = binom.cdf(np.arange(51), 50, c)
        ends = [np.argmax(probabilities >= p) / 50.0 for p in (0.025, 0.975)]
        assert_allclose(band(display.bands_[0], c), ends, atol=1e-12)
    box = display.bands_[1].get_extents().transformed(display.ax_[1].transData.inverted())
    assert_allclose([box.y0, box.y1], binom.ppf([0.025, 0.975], 50, 0.2) / 10.0, atol=1e-9)


def test_uniform_transforms_stay_in_the_band_and_timid_ones_leave_it():
    for power, inside in ((1.0, True), (3.0, False)):
        u = np.linspace(0.0005, 0.9995, 1000)
        pit = 0.5 + 0.5 * np.sign(u - 0.5) * np.abs(2.0 * u - 1.0) ** power
        display = CoverageDisplay.from_predictions(pit)
        nominal, share = display.lines_[0].get_data()
        low, high = band(display.bands_[0], nominal[100])
        assert (low <= share[100] <= high) == inside


def test_several_targets_have_a_line_each_of_its_own_style():
    model, X, y = regression(n_targets=2)
    display = CoverageDisplay.from_estimator(model, X, y)
    assert len({line.get_linestyle() for line in display.lines_}) == 2
    low, high = np.moveaxis(model.predict_interval(X, coverage=0.7), -1, 0)
    assert_allclose(display.observed(0.7), np.mean((low <= y) & (y <= high), axis=0))
    assert display.lines_[1].get_label().startswith("y1: ")
    assert display.observed([0.1, 0.9]).shape == (2, 2)


def test_given_axes_are_drawn_on_or_divided():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2)
    display = CoverageDisplay.from_predictions([0.1, 0.8], ax=axes, target_names=["height"])
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert display.lines_[0].get_label().startswith("height: ")
    assert display.plot(plt.subplots()[1]) is display and len(display.ax_) == 2


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = regression()
    with pytest.raises(ValueError, match="shows a regression; got a LaplaceMLPClassifier"):
        CoverageDisplay.from_estimator(*classification())
    with pytest.raises(ValueError, match=r"needs a LaplaceMLPRegressor .* got a Ridge"):
        CoverageDisplay.from_estimator(Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match=r"y must have shape \(40, 1\).* got \(3,\)"):
        CoverageDisplay.from_estimator(model, X, y[:3])
    with pytest.raises(ValueError, match="y must hold finite numbers; 1 are not"):
        CoverageDisplay.from_estimator(model, X, [np.nan, *y[1:]])
    with pytest.raises(ValueError, match=r"from 0 to 1.* shape \(3, 1\) with 2 outside"):
        CoverageDisplay.from_predictions([0.5, 1.1, np.nan])
    with pytest.raises(ValueError, match="n_bins must be a positive integer; got 0"):
        CoverageDisplay.from_predictions([0.5], n_bins=0)
