"""The predictive band: what is drawn is what the estimator says."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import PredictiveBandDisplay
from tests.displays.fits import classification, regression


def edges(band):
    """The upper and lower edge of a filled band at its points, (n,) each."""
    vertices = band.get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    at = [vertices[vertices[:, 0] == point, 1] for point in x]
    return x, np.array([v.min() for v in at]), np.array([v.max() for v in at])


def test_the_bands_are_two_standard_deviations_of_the_network_and_of_both():
    model, X, y = regression()
    display = PredictiveBandDisplay.from_estimator(model, X, y, n_points=50)
    x, low, high = edges(display.total_bands_[0])
    assert_allclose(x, display.x)
    mean, std = model.predict(display.x[:, None], return_std=True)
    assert_allclose(display.lines_[0].get_ydata(), mean, rtol=1e-12)
    assert_allclose(np.stack([low, high]), [mean - 2 * std, mean + 2 * std], rtol=1e-8, atol=1e-10)
    x, low, high = edges(display.network_bands_[0])
    assert_allclose((high - low) / 4.0, model.predict_parts(x[:, None])[1], rtol=1e-8)


def test_the_rows_are_drawn_where_they_are():
    model, X, y = regression()
    display = PredictiveBandDisplay.from_estimator(model, X, y, n_points=5)
    assert_allclose(display.scatters_[0].get_offsets(), np.column_stack([X[:, 0], y]))


def test_several_targets_have_a_panel_each_and_other_inputs_rest_at_their_medians():
    model, X, y = regression(n_features=2, n_targets=2)
    display = PredictiveBandDisplay.from_estimator(model, X, y, feature="x1", n_points=7)
    assert len(display.ax_) == 2 and display.ax_[1].get_ylabel() == "y1"
    grid = np.column_stack([np.full(7, np.median(X[:, 0])), display.x])
    assert_allclose(display.lines_[1].get_ydata(), model.predict(grid)[:, 1])


def test_given_axes_are_drawn_on_or_divided():
    import matplotlib.pyplot as plt

    model, X, _ = regression(n_features=2, n_targets=2)
    figure, axes = plt.subplots(1, 2)
    display = PredictiveBandDisplay.from_estimator(model, X, ax=axes, n_points=5)
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    figure, axes = plt.subplots()
    assert display.plot(axes) is display
    assert display.figure_ is figure and len(display.ax_) == 2
    with pytest.raises(ValueError, match="draws 2 panels; got 3 axes"):
        display.plot(plt.subplots(1, 3)[1])


def test_a_model_of_a_table_is_asked_by_its_names():
    pandas = pytest.importorskip("pandas")
    X, y = regression(n_features=2)[1:]
    table = pandas.DataFrame(X, columns=["depth", "age"])
    model = LaplaceMLPRegressor((2,), n_restarts=1, tol=0.1, random_state=0).fit(table, y)
    display = PredictiveBandDisplay.from_estimator(model, table, y, feature="age", n_points=5)
    assert display.ax_.get_xlabel() == "age"


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, _ = regression()
    with pytest.raises(ValueError, match="feature must be the place of an input, 0 to 0"):
        PredictiveBandDisplay.from_estimator(model, X, feature="length")
    with pytest.raises(ValueError, match="shows a regression; got a LaplaceMLPClassifier"):
        PredictiveBandDisplay.from_estimator(*classification()[:2])
