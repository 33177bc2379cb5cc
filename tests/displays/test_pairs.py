"""Pairs of weights: what is drawn are draws of the posterior, and its Gaussian."""

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2, norm

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.pairs import PosteriorPairsDisplay
from tests.displays.fits import QUICK, classification, regression

OLD = int(az.__version__.split(".")[0]) < 1


def scattered(axes):
    """The points of a panel, (S, 2), of one chain or none."""
    return np.concatenate([dots.get_offsets().data for dots in axes.collections])


def test_panels_show_the_draws_and_the_gaussian():
    model, X, y = regression(2)
    display = PosteriorPairsDisplay.from_estimator(model, X, y, parameters=[1, 4, 9])
    shown = [1, 4, 9]
    assert display.ax_.shape == (3, 3)
    covariance = model.posterior_.solve(np.eye(len(model.theta_)))
    assert_allclose(display.mean, model.theta_[shown])
    assert_allclose(display.covariance, covariance[np.ix_(shown, shown)])
    pairs = [(0, 1), (0, 2), (1, 2)]
    artists = zip(pairs, display.modes_, display.ellipses_, strict=True)
    for (i, j), mode, ellipse in artists:
        assert mode.axes is display.ax_[j, i]
        assert_allclose(scattered(display.ax_[j, i]), display.draws[:, [i, j]])
        assert_allclose(np.ravel(mode.get_data()), model.theta_[[shown[i], shown[j]]])
        off = ellipse.get_xydata() - display.mean[[i, j]]
        inverse = np.linalg.inv(display.covariance[np.ix_([i, j], [i, j])])
        lengths = np.einsum("ni,ij,nj->n", off, inverse, off)
        assert_allclose(lengths, chi2.ppf(0.95, 2), rtol=1e-8)
    for place, line in enumerate(display.densities_):
        x, height = line.get_data()
        std = np.sqrt(covariance[shown[place], shown[place]])
        assert_allclose(height, norm.pdf(x, model.theta_[shown[place]], std), rtol=1e-10)


def test_draws_come_from_the_posterior_of_the_member_and_the_seed():
    model, _, _ = regression(2)
    for member in (0, 1):
        display = PosteriorPairsDisplay.from_estimator(
            model, parameters=[0, 8], member=member, n_samples=4000, random_state=1
        )
        gaussian = model.committee_[member].posterior
        std = np.sqrt(gaussian.variance()[[0, 8]])
        off = (display.draws.mean(axis=0) - gaussian.theta_map[[0, 8]]) / (std / np.sqrt(4000))
        assert np.all(np.abs(off) < 5.0)
        assert_allclose(display.draws.std(axis=0), std, rtol=5.0 / np.sqrt(8000))
    settings = {"parameters": [0, 8], "n_samples": 10}
    same = [PosteriorPairsDisplay.from_estimator(model, **settings).draws for _ in range(2)]
    other = PosteriorPairsDisplay.from_estimator(model, random_state=1, **settings).draws
    assert np.all(same[0] == same[1]) and not np.any(same[0] == other)


def test_the_surest_weights_are_shown_if_none_are_named():
    model, X, y = classification(3, 4)
    display = PosteriorPairsDisplay.from_estimator(model, X, y)
    std = np.sqrt(np.diag(model.posterior_.solve(np.eye(len(model.theta_)))))
    ratio = np.abs(model.theta_) / std
    places = [np.flatnonzero(model.theta_ == value)[0] for value in display.mean]
    assert places == sorted(places) and len(places) == 4
    assert ratio[places].min() >= np.delete(ratio, places).max()


def test_weights_are_called_by_their_ends():
    X, y = regression(2, 2)[1:]
    X, y = pd.DataFrame(X, columns=["age", "size"]), pd.DataFrame(y, columns=["up", "down"])
    model = LaplaceMLPRegressor((2, 3), prior_precision=1.0, **QUICK).fit(X, y)
    labels = ["size → unit 0.1", "bias of unit 1.0", "unit 0.1 → unit 1.2", "bias of down"]
    display = PosteriorPairsDisplay.from_estimator(model, X, y, parameters=labels)
    layers = model.mlp_.unpack(model.theta_)
    expected = [layers[0][0][1, 1], layers[1][1][0], layers[1][0][2, 1], layers[2][1][1]]
    assert_allclose(display.mean, expected)
    assert display.ax_[-1, 0].get_xlabel() == "size → unit 0.1"
    assert display.ax_[2, 0].get_ylabel() == "unit 0.1 →\nunit 1.2"
    assert display.ax_[0, 0].get_ylabel() == "density"
    classes = classification(3, 4)[0]
    shown = PosteriorPairsDisplay.from_estimator(classes, parameters=[0, -1 + 28])
    assert shown.labels == ("x0 → unit 0", "bias of class dog")
    two = PosteriorPairsDisplay.from_estimator(classification()[0], parameters=["x1 → unit 2", 12])
    assert two.labels == ("x1 → unit 2", "bias of class bee")


def test_a_pair_alone():
    model, _, _ = regression(2)
    display = PosteriorPairsDisplay.from_estimator(model, parameters=[1, 4])
    assert_allclose(scattered(display.ax_[1, 0]), display.draws)
    across = display.densities_[1].get_xdata() if not OLD else display.densities_[1].get_ydata()
    assert_allclose(
        [across.min(), across.max()], [display.draws[:, 1].min(), display.draws[:, 1].max()]
    )
    assert display.ax_[1, 1].get_xlabel() == ("density" if OLD else display.labels[1])


def test_looks_are_passed_on():
    model, _, _ = regression(2)
    display = PosteriorPairsDisplay.from_estimator(
        model, parameters=[1, 4], scatter_kwargs={"color": "black"}
    )
    assert_allclose(display.ax_[1, 0].collections[0].get_facecolor()[0, :3], 0.0)
    first = display.figure_
    assert display.plot() is display and display.figure_ is not first


@pytest.mark.skipif(not OLD, reason="ArviZ 1.x makes a figure of its own")
def test_given_axes_are_drawn_on():
    model, _, _ = regression(2)
    figure, axes = plt.subplots(3, 3)
    display = PosteriorPairsDisplay.from_estimator(model, parameters=[1, 4, 9], ax=axes)
    assert display.figure_ is figure and display.ax_[1, 0] is axes[1, 0]
    divided = plt.figure().subplots()
    display.plot(divided)
    assert display.figure_ is divided.figure
    with pytest.raises(ValueError, match="draws 9 panels; got 4 axes"):
        display.plot(plt.subplots(2, 2)[1])


@pytest.mark.skipif(OLD, reason="ArviZ 0.23 draws on given axes")
def test_given_axes_are_refused_where_arviz_cannot():
    model, _, _ = regression(2)
    with pytest.raises(ValueError, match="cannot draw on given axes with ArviZ 1"):
        PosteriorPairsDisplay.from_estimator(model, ax=plt.subplots()[1])


def test_what_is_refused():
    model, X, y = regression(2)
    for parameters, sentence in (
        ([0], "shows 2 to 6 different weights; got 1: x0 → unit 0"),
        ([0, 0], "different weights; got 2"),
        (range(7), "different weights; got 7"),
        ([0, 13], "0 to 12, or labels such as 'x0 → unit 0' and 'bias of y'; got 13"),
        ([0, "x7"], "got 'x7'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            PosteriorPairsDisplay.from_estimator(model, X, y, parameters=parameters)
    with pytest.raises(ValueError, match=r"one of the committee's 3 modes, .* to 2; got 4"):
        PosteriorPairsDisplay.from_estimator(model, member=4)
    last = LaplaceMLPRegressor((3,), posterior="last_layer", **QUICK).fit(X, y)
    with pytest.raises(
        ValueError, match="holds 'x0 → unit 0' constant; choose among the 4 weights"
    ):
        PosteriorPairsDisplay.from_estimator(last, parameters=[0, 10])
    shown = PosteriorPairsDisplay.from_estimator(last)
    assert shown.labels == ("unit 0 → y", "unit 1 → y", "unit 2 → y", "bias of y")
