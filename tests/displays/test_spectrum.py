"""Eigenvalues of the curvature against dense matrices that are built here."""

from copy import copy
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.spectrum import SpectrumDisplay
from laplace_nn.network import jacobian
from tests.displays.fits import classification, regression

# Small tables, on which a fit may well be no better than a constant: that is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")

QUICK = {"n_restarts": 1, "tol": 0.1, "random_state": 0}


@cache
def few_rows():
    """One precision, and more weights than rows: P = 61, N = 12."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, size=(12, 1))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=12)
    return LaplaceMLPRegressor((20,), prior="single", **QUICK).fit(X, y), X, y


def outer_products(model, X, weights=None):
    """H = Σ_n w_n J_nᵀ M_n J_n, (P, P), by a loop over the rows."""
    inputs = (X - model.input_mean_) / model.input_scale_
    tape = model.mlp_.forward(model.theta_, inputs)
    H = np.zeros((len(model.theta_),) * 2)
    for n, J in enumerate(jacobian(model.mlp_, model.theta_, tape).dense()):
        M = np.eye(len(J))
        if hasattr(model, "classes_"):
            f = np.exp(tape.outputs[n] - tape.outputs[n].max())
            p = f / f.sum() if len(J) > 1 else 1.0 / (1.0 + np.exp(-tape.outputs[n]))
            M = np.diag(p) - np.outer(p, p) if len(J) > 1 else np.diag(p * (1.0 - p))
        H += (1.0 if weights is None else weights[n]) * J.T @ M @ J
    return H


@pytest.mark.parametrize("case", [few_rows, regression])
def test_eigenvalues_are_those_of_the_dense_matrix(case):
    model, X, y = case()
    display = SpectrumDisplay.from_estimator(model, X, y)
    data = model.likelihood_.scale * outer_products(model, X)
    root = model.prior_.precision**-0.5
    matrix = root[:, None] * data * root if display.whitened else data
    expected = np.linalg.eigvalsh(matrix)[::-1][: len(display.eigenvalues)]
    drawn = display.line_.get_ydata()
    assert_allclose(drawn, expected, rtol=1e-6, atol=1e-10 * expected[0])
    assert np.all(np.diff(drawn) <= 0.0)
    assert display.ax_[0].get_yscale() == "log"


@pytest.mark.parametrize(
    "case",
    [
        few_rows,
        regression,
        lambda: regression(n_features=2, n_targets=2),
        classification,
        lambda: classification(n_classes=3),
    ],
)
def test_the_area_is_gamma_of_the_fit(case):
    model, X, y = case()
    display = SpectrumDisplay.from_estimator(model, X, y)
    gamma = model.n_effective_params_.sum()
    heights, edges, _ = display.shares_.get_data()
    assert_allclose(np.sum(heights * np.diff(edges)), gamma, rtol=1e-8)
    assert f"γ = {gamma:.1f} of P = {len(model.theta_)} weights" in display.text_.get_text()
    level = display.precision_line_.get_ydata()[0]
    assert_allclose(heights, display.eigenvalues / (display.eigenvalues + level))


def test_one_precision_is_drawn_as_it_is_and_several_as_one():
    model, X, y = few_rows()
    display = SpectrumDisplay.from_estimator(model, X, y)
    assert display.precision_line_.get_ydata()[0] == model.prior_precision_[0]
    assert "βH" in display.ax_[0].get_ylabel() and "α" in display.ax_[1].get_ylabel()
    model, X, y = regression()
    assert len(set(model.prior_precision_)) > 1
    display = SpectrumDisplay.from_estimator(model, X, y)
    assert_array_equal(display.precision_line_.get_ydata(), [1.0, 1.0])
    assert "Λ" in display.ax_[0].get_ylabel() and "α" not in display.ax_[1].get_ylabel()


def test_several_groups_of_one_given_precision_are_one_precision():
    _, X, y = regression()
    model = LaplaceMLPRegressor((3,), prior="layer", prior_precision=0.7, **QUICK).fit(X, y)
    display = SpectrumDisplay.from_estimator(model, X, y)
    assert display.precision_line_.get_ydata()[0] == 0.7
    data = model.likelihood_.scale * outer_products(model, X)
    assert_allclose(display.eigenvalues[0], np.linalg.eigvalsh(data)[-1])


def test_zero_eigenvalues_are_counted_and_not_drawn():
    model, X, y = few_rows()
    display = SpectrumDisplay.from_estimator(model, X, y)
    rank = np.linalg.matrix_rank(outer_products(model, X), hermitian=True)
    assert len(display.eigenvalues) == rank <= len(X)
    assert f"{len(model.theta_) - rank} eigenvalues are zero" in display.text_.get_text()


def test_without_zero_eigenvalues_none_are_spoken_of():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    model = LaplaceMLPRegressor((), **QUICK).fit(X, X[:, 0] + 0.1 * rng.normal(size=20))
    display = SpectrumDisplay.from_estimator(model, X, X[:, 0])
    assert len(display.eigenvalues) == 3 and "zero" not in display.text_.get_text()


def test_weighted_rows_count_as_often_and_those_without_weight_not_at_all():
    _, X, y = classification()
    weights = np.arange(len(X)) % 3
    model = LaplaceMLPClassifier((3,), prior="layer", **QUICK).fit(X, y, sample_weight=weights)
    display = SpectrumDisplay.from_estimator(model, X, y, sample_weight=weights)
    assert_allclose(display.n_effective_params, model.n_effective_params_.sum(), rtol=1e-8)
    root = model.prior_.precision**-0.5
    whitened = root[:, None] * outer_products(model, X, weights) * root
    assert_allclose(display.eigenvalues[0], np.linalg.eigvalsh(whitened)[-1])


def test_given_axes_are_drawn_on_or_divided():
    model, X, y = regression()
    figure, axes = plt.subplots(2, 1)
    settings = {"ax": axes, "line_kwargs": {"color": "k"}}
    display = SpectrumDisplay.from_estimator(model, X, y, **settings)
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert display.line_.get_color() == "k"
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert display.plot(plt.subplots()[1]) is display and len(display.ax_) == 2
    with pytest.raises(ValueError, match="draws 2 panels; got 3 axes"):
        display.plot(plt.subplots(1, 3)[1])


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = classification()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SpectrumDisplay.from_estimator(model, X, y[:-1])
    with pytest.raises(ValueError, match="y holds the label 'wasp'"):
        SpectrumDisplay.from_estimator(model, X, np.where(y == "ant", "wasp", y))
    with pytest.raises(ValueError, match="needs a LaplaceMLPRegressor or a LaplaceMLPClassifier"):
        SpectrumDisplay.from_estimator("model", X, y)
    certain = copy(model)
    certain.theta_ = 1e6 * model.theta_
    with pytest.raises(ValueError, match="has no eigenvalue to draw"):
        SpectrumDisplay.from_estimator(certain, X, y)
