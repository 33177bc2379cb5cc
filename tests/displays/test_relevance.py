"""Relevance: bars are the estimator's numbers by the inputs' names, the largest on top."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.relevance import RelevanceDisplay
from tests.displays.fits import classification, regression

QUICK = {"n_restarts": 1, "tol": 0.1, "random_state": 0}


@cache
def named(hyperprior="half_normal"):
    """Four named inputs, of which the third matters."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(50, 4)), columns=["age", "bmi", "dose", "w" * 50])
    y = np.sin(2.0 * X["dose"]) + 0.1 * rng.normal(size=50)
    settings = {"prior": "ard", "hyperprior": hyperprior} | QUICK
    return LaplaceMLPRegressor((3,), **settings).fit(X, y)


def names(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_bars_are_the_relevances_of_the_named_inputs():
    model = named()
    display = RelevanceDisplay.from_estimator(model)
    order = np.argsort(-model.relevance_)
    assert_allclose([bar.get_width() for bar in display.bars_], model.relevance_[order])
    shown = [f"{'w' * 31}…" if name.startswith("ww") else name for name in model.feature_names_in_]
    assert names(display) == [shown[i] for i in order] and names(display)[0] == "dose"
    assert display.ax_.get_xlim()[0] == 0.0
    heights = [display.ax_.transData.transform((0.0, place))[1] for place in range(4)]
    assert heights == sorted(heights, reverse=True)


def test_an_input_of_which_the_data_say_nothing_has_no_bar():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    X[:, 0] = 5.0
    y = 0.3 * np.sin(2.0 * X[:, 2]) + 0.1 * X[:, 1] + 0.1 * rng.normal(size=60)
    model = LaplaceMLPRegressor((3,), prior="ard", **QUICK).fit(X, y)
    display = RelevanceDisplay.from_estimator(model)
    assert names(display)[-1] == "x0"
    assert display.bars_[-1].get_width() < 1e-10 < 1e-3 < display.bars_[1].get_width()
    gamma = dict(zip(["x0", "x1", "x2"], model.n_effective_params_, strict=False))
    assert [text.get_text() for text in display.texts_] == [
        f"{gamma[name]:.2f}" for name in names(display)
    ]


def test_gamma_is_of_the_mode_that_the_relevance_is_of():
    model = regression(n_features=2)[0]
    kinds = {member.prior.n_groups: member for member in reversed(model.committee_)}
    assert len(kinds) == 2  # relevance determination, and a precision a layer
    display = RelevanceDisplay.from_estimator(model)
    assert_array_equal(display.n_effective_params, kinds[5].state.n_effective_params[:2])


def test_only_the_most_relevant_are_shown_and_it_is_said():
    model = named()
    display = RelevanceDisplay.from_estimator(model, max_features=2)
    assert_allclose([bar.get_width() for bar in display.bars_], np.sort(model.relevance_)[:1:-1])
    assert display.ax_.get_title() == "the 2 most relevant of 4 inputs"
    assert RelevanceDisplay.from_estimator(model, max_features=4).ax_.get_title() == ""


def test_inputs_without_names_are_numbered():
    _, X, y = classification(n_features=3)
    model = LaplaceMLPClassifier((3,), prior="ard", **QUICK).fit(X, y)
    display = RelevanceDisplay.from_estimator(model)
    assert sorted(names(display)) == ["x0", "x1", "x2"]


def test_it_draws_on_given_axes():
    figure, axes = plt.subplots(1, 2)
    display = RelevanceDisplay.from_estimator(regression(2)[0], ax=axes[1])
    assert display.figure_ is figure and display.ax_ is axes[1]
    with pytest.raises(ValueError, match="draws 1 panels; got 2 axes"):
        display.plot(axes)


def test_what_it_cannot_show_is_refused_in_a_sentence():
    _, X, y = regression()
    layered = LaplaceMLPRegressor((2,), prior="layer", **QUICK).fit(X, y)
    with pytest.raises(ValueError, match=r'needs a mode with a precision for each .* prior="ard"'):
        RelevanceDisplay.from_estimator(layered)
    for wrong in (0, 2.5):
        with pytest.raises(ValueError, match=f"max_features must be a positive .*; got {wrong}"):
            RelevanceDisplay.from_estimator(named(), max_features=wrong)
