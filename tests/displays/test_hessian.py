"""The heat map of the Hessian: its entries are second differences of the log likelihood."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_expit
from sklearn.linear_model import Ridge

from laplace_nn.curvature import ExactHessian
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.displays.hessian import HessianDisplay
from tests.displays.fits import classification, regression


def outputs(model, theta, X):
    """Of the standardised network, (N, K)."""
    return model.mlp_.forward(theta, (X - model.input_mean_) / model.input_scale_).outputs


def regression_nll(model, theta, X, y):
    """-ln p(targets inside | θ) but for a constant."""
    f = outputs(model, theta, X) * model.target_scale_ + model.target_mean_
    precision = np.atleast_1d(model.noise_precision_)
    return 0.5 * np.sum(precision * (f - y.reshape(f.shape)) ** 2)


def classification_nll(model, theta, X, y):
    sign = np.where(y == model.classes_[1], 1.0, -1.0)
    return -np.sum(log_expit(sign * outputs(model, theta, X)[:, 0]))


def second_differences(value, theta, step=1e-4):
    E = step * np.eye(len(theta))
    H = np.empty((len(theta), len(theta)))
    for i in range(len(theta)):
        for j in range(len(theta)):
            terms = [a * b * value(theta + a * E[i] + b * E[j]) for a in (1, -1) for b in (1, -1)]
            H[i, j] = sum(terms) / (4.0 * step**2)
    return H


@pytest.mark.parametrize(
    ("fit", "sizes", "nll"),
    [
        (regression, (1, 1), regression_nll),
        (regression, (2, 2), regression_nll),
        (classification, (2, 2), classification_nll),
    ],
)
def test_the_entries_are_second_derivatives_of_the_negative_log_likelihood(fit, sizes, nll):
    model, X, y = fit(*sizes)
    display = HessianDisplay.from_estimator(model, X, y, curvature="exact")
    expected = second_differences(lambda theta: nll(model, theta, X, y), model.theta_)
    # Second differences of step 1e-4 lose half of their digits to rounding, and more.
    assert_allclose(display.hessian, expected, atol=1e-5 * np.abs(expected).max())
    assert_allclose(display.image_.get_array(), display.hessian)


def test_with_the_prior_it_is_the_posteriors_precision():
    model, X, y = regression()
    display = HessianDisplay.from_estimator(model, X, y)
    A = np.linalg.inv(model.posterior_.solve(np.eye(model.mlp_.n_params)))
    expected = A - np.diag(model.prior_.precision)
    assert_allclose(display.hessian, expected, rtol=1e-6, atol=1e-8 * np.abs(A).max())
    assert display.ax_.get_title(loc="left") == "ggn, 10 weights"


def test_a_diagonal_is_drawn_as_a_matrix():
    model, X, y = regression()
    H = HessianDisplay.from_estimator(model, X, y, curvature="backprop_diagonal").hessian
    exact = HessianDisplay.from_estimator(model, X, y, curvature="exact").hessian
    assert_allclose(H, np.diag(np.diag(H)))
    assert_allclose(np.diag(H), np.diag(exact), rtol=1e-8)  # exact with one output


def test_lines_stand_between_the_blocks_and_names_at_the_layers_middles():
    model, X, y = classification(n_classes=4)
    display = HessianDisplay.from_estimator(model, X, y, curvature=ExactHessian)
    assert display.block_ends.tolist() == [[6, 9], [21, 25]]
    places = [line.get_ydata()[0] for line in display.lines_[::2]]
    assert places == [5.5, 8.5, 20.5]
    assert [line.get_xdata()[0] for line in display.lines_[1::2]] == places
    widths = [line.get_linewidth() for line in display.lines_[::2]]
    assert widths[1] > widths[0] == widths[2]
    assert_allclose(display.ax_.get_xticks(), [4.0, 16.5])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["W1, b1", "W2, b2"]
    assert display.ax_.get_title(loc="left").startswith("ExactHessian")


def test_the_colours_are_symmetric_about_zero():
    model, X, y = regression()
    norm = HessianDisplay.from_estimator(model, X, y).image_.norm
    largest = norm.vmax
    assert norm.vmin == -largest
    assert_allclose(norm([0.0, largest, -largest]), [0.5, 1.0, 0.0], atol=1e-12)
    assert 1e-4 * largest <= norm.linthresh < 1e-3 * largest
    assert_allclose(np.log10(norm.linthresh), round(np.log10(norm.linthresh)), atol=1e-12)


def test_of_many_weights_a_cell_shows_the_largest_entry():
    rng = np.random.default_rng(0)
    H = rng.normal(size=(601, 601))
    display = HessianDisplay(
        hessian=H, block_ends=np.array([[400, 500], [600, 601]]), curvature="mine"
    ).plot()
    cells = display.image_.get_array()
    assert cells.shape == (201, 201)
    for i, j in ((0, 0), (7, 100), (200, 3), (200, 200)):
        square = H[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        assert cells[i, j] == max(square.ravel(), key=abs)
    assert display.image_.get_extent() == [-0.5, 602.5, 602.5, -0.5]
    assert display.ax_.get_xlim() == (-0.5, 600.5)
    assert display.ax_.get_title(loc="left").endswith("of 3 x 3 the largest is shown")


def test_a_hessian_of_zeros_is_drawn():
    ends = np.array([[1, 2]])
    display = HessianDisplay(hessian=np.zeros((2, 2)), block_ends=ends, curvature="none").plot()
    assert display.image_.norm.vmax == 1.0


def test_given_axes_are_drawn_on():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    display = HessianDisplay.from_estimator(*regression(), ax=axes)
    assert display.ax_ is axes and display.figure_ is figure
    assert display.plot(image_kwargs={"cmap": "PuOr"}).image_.get_cmap().name == "PuOr"


def test_what_it_cannot_show_is_refused_in_a_sentence(monkeypatch):
    model, X, y = regression()
    with pytest.raises(ValueError, match=r"needs a LaplaceMLPRegressor .* got a Ridge"):
        HessianDisplay.from_estimator(Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match="curvature must be one of 'ggn'"):
        HessianDisplay.from_estimator(model, X, y, curvature="flat")
    with pytest.raises(MissingCapabilityError, match="HessianDisplay needs dense"):
        HessianDisplay.from_estimator(model, X, y, curvature=lambda *at: object())
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[40, 5\]"):
        HessianDisplay.from_estimator(model, X, y[:5])
    monkeypatch.setattr("laplace_nn.displays.hessian.MAX_WEIGHTS", 9)
    with pytest.raises(ValueError, match=r"at most 9; the network \(1, 3, 1\) has 10"):
        HessianDisplay.from_estimator(model, X, y)
