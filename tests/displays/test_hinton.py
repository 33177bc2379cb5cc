"""The Hinton diagram: areas, places and colours of the squares are those of the weights."""

from copy import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.hinton import HintonDisplay
from laplace_nn.model_selection import EvidenceSearch
from tests.displays.fits import QUICK, classification, regression


def table(squares, shape):
    """Signed areas of a layer's squares in their cells, (n_out, n_in + 1)."""
    found = np.zeros(shape)
    for sign, value in (("positive", 1.0), ("negative", -1.0)):
        for path in squares[sign].get_paths():
            low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
            column, row = 0.5 * (low + high)
            assert_allclose([column, row], np.round([column, row]), atol=1e-9)
            found[round(row), round(column)] += value * np.prod(high - low)
    return found


def signed(model, values):
    """Values (P,) with the signs of the weights, by layers with the biases last."""
    layers = model.mlp_.unpack(np.sign(model.theta_) * values)
    return [np.column_stack([W, b]) for W, b in layers]


@pytest.mark.parametrize("scaled", [True, False])
def test_areas_are_in_proportion_to_the_weights_over_their_standard_deviations(scaled):
    model, _, _ = regression(n_features=2, n_targets=2)
    display = HintonDisplay.from_estimator(model, scaled=scaled)
    inverse = model.posterior_.solve(np.eye(model.mlp_.n_params))
    size = np.abs(model.theta_)
    size = size / np.sqrt(np.diag(inverse)) if scaled else size
    expected = signed(model, 0.92**2 * size / size.max())
    for squares, areas in zip(display.squares_, expected, strict=True):
        assert_allclose(table(squares, areas.shape), areas, rtol=1e-6, atol=1e-12)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts[2] == f"{size.max():.2g}: fills its cell"
    assert texts[3] == f"{0.25 * size.max():.2g}"
    sides = [handle.get_markersize() for handle in display.legend_.legend_handles]
    assert_allclose(sides[3] / sides[2], 0.5)
    assert ("posterior std" in display.legend_.get_title().get_text()) == scaled


def test_white_is_positive_and_black_is_negative():
    display = HintonDisplay.from_estimator(regression()[0])
    for squares in display.squares_:
        assert_allclose(squares["positive"].get_facecolor()[:, :3], 1.0)
        assert_allclose(squares["negative"].get_facecolor()[:, :3], 0.0)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_rows_and_columns_bear_the_names_of_units_and_inputs():
    display = HintonDisplay.from_estimator(classification(n_classes=4)[0])
    first, second = display.ax_
    assert ticks(first.xaxis) == ["x0", "x1", "bias"] and ticks(first.yaxis) == ["0", "1", "2"]
    assert ticks(second.xaxis) == ["0", "1", "2", "bias"]
    assert ticks(second.yaxis)[1] == "logit of bee"
    assert [second.get_xlabel(), first.get_ylabel()] == ["hidden layer 1"] * 2
    second = HintonDisplay.from_estimator(classification()[0]).ax_[1]
    assert ticks(second.yaxis) == ["logit of bee"]


def test_of_many_units_some_are_numbered_and_the_bias_always_is():
    names = (*map(str, range(50)), "bias")
    weights = (np.ones((50, 2)), np.ones((1, 51)))
    display = HintonDisplay(
        weights=weights,
        sizes=weights,
        column_names=(("x0", "bias"), names),
        row_names=(names[:-1], ("y",)),
        size_name="size",
    ).plot()
    shown = ticks(display.ax_[1].xaxis)
    assert len(shown) <= 13 and shown[:2] == ["0", "5"] and shown[-1] == "bias"
    places = display.ax_[1].get_xticks()
    assert [names[int(place)] for place in places] == shown
    assert ticks(display.ax_[0].yaxis)[-1] == "49"


def test_one_layer_is_one_panel_and_given_axes_are_drawn_on_or_divided():
    import matplotlib.pyplot as plt

    _, X, y = regression()
    linear = LaplaceMLPRegressor((), **QUICK).fit(X, y)
    figure, axes = plt.subplots(1, 3)
    display = HintonDisplay.from_estimator(linear, ax=axes[0])
    assert display.ax_ is axes[0] and len(display.squares_) == 1
    display = HintonDisplay.from_estimator(regression()[0], ax=axes[1:])
    assert display.figure_ is figure and list(display.ax_) == list(axes[1:])
    divided = display.plot(plt.subplots()[1]).ax_
    heights = [ax.get_position(original=True).height for ax in divided]
    assert_allclose(heights[0] / heights[1], 3.0)


def test_what_it_cannot_show_is_refused_in_a_sentence():
    model, X, y = regression()
    held = copy(model)
    held.posterior_ = (
        LaplaceMLPRegressor((3,), posterior="last_layer", **QUICK).fit(X, y).posterior_
    )
    with pytest.raises(ValueError, match=r"holds 6 of the 10 weights constant.*scaled=False"):
        HintonDisplay.from_estimator(held)
    assert len(HintonDisplay.from_estimator(held, scaled=False).squares_) == 2
    with pytest.raises(ValueError, match=r"needs a LaplaceMLPRegressor .* got a Ridge: fit one"):
        HintonDisplay.from_estimator(Ridge())
    search = EvidenceSearch(LaplaceMLPRegressor(**QUICK), {"hidden_layer_sizes": [()]}).fit(X, y)
    with pytest.raises(ValueError, match="got a EvidenceSearch: pass its best_estimator_"):
        HintonDisplay.from_estimator(search)
    with pytest.raises(ValueError, match="is not fitted"):
        HintonDisplay.from_estimator(LaplaceMLPRegressor())
