"""Long tails of inputs: which columns have one, and what drawing it in changes of a fit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.estimators.tails import LongTails

Z = norm.ppf((np.arange(400) + 0.5) / 400)  # a Gaussian's quantiles
COLUMNS = {
    "normal": (Z, False),
    "uniform": (np.linspace(-1.0, 1.0, 400), False),
    "constant": (np.full(400, 3.0), False),
    "constant but for rounding": (np.where(Z > 2.0, np.nextafter(3.0, 4.0), 3.0), False),
    "rounding thrice": (3.0 + 4.5e-16 * np.round(np.maximum(Z, 1.0)), False),
    "rare flag": ((Z > 2.0).astype(float), False),
    "log-normal": (np.exp(Z), True),
    "left log-normal": (-np.exp(Z), True),
    "zeros and a hump": (np.where(Z > 1.4, 5.0 + 0.1 * np.arange(400) % 3.0, 0.0), False),
    "mostly zero": (np.where(Z > 0.7, np.exp(2.0 * Z), 0.0), True),
    "two tails": (np.sinh(1.5 * Z), True),
    "one gross error": (np.where(np.arange(400) == 17, 1e3, Z), True),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_which_columns_have_a_long_tail(name):
    x, long = COLUMNS[name]
    assert_array_equal(LongTails.found(x[:, None]).columns, [0] if long else [])


def test_columns_without_one_are_left_to_the_bit():
    X = np.column_stack([Z, np.exp(Z)])
    drawn = LongTails.found(X)(X)
    assert_array_equal(drawn[:, 0], X[:, 0])
    assert LongTails.none()(X) is X


def test_a_log_normal_column_s_tail_is_drawn_in():
    x = np.exp(Z)[:, None]
    drawn = LongTails.found(x)(x)[:, 0]
    reaches = [np.max(np.abs(v - v.mean())) / v.std() for v in (x, drawn)]
    assert reaches[0] > 6.0
    assert reaches[1] < 4.0


def test_the_order_of_values_stays_and_new_rows_far_out_stay_far_out():
    x = np.exp(Z)[:, None]
    tails = LongTails.found(x)
    line = np.linspace(-1e3, 1e6, 10_001)[:, None]
    assert np.all(np.diff(tails(line), axis=0) > 0.0)
    far = tails(np.array([[1e6], [1e7]]))
    assert_allclose(np.diff(far, axis=0), np.log(10.0), rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, -1.0, 1e4])
def test_units_and_signs_make_no_difference(factor):
    X = np.column_stack([values for values, _ in COLUMNS.values()])
    moved = factor * X + 7.0
    tails, other = LongTails.found(X), LongTails.found(moved)
    assert_array_equal(other.columns, tails.columns)
    assert_allclose(
        other(moved)[:, tails.columns],
        np.sign(factor) * tails(X)[:, tails.columns],
        rtol=1e-6,  # moved by 7, a column a millionth as large keeps nine digits
        atol=1e-6,
    )


def test_a_row_of_weight_two_is_the_row_twice():
    x = np.exp(Z)[:, None]
    weights = np.where(np.arange(len(x)) % 3 == 0, 2.0, 1.0)
    weighted = LongTails.found(x, weights)
    repeated = LongTails.found(np.repeat(x, weights.astype(int), axis=0))
    assert_array_equal(weighted.origins, repeated.origins)
    assert_array_equal(weighted.units, repeated.units)


def test_rows_without_weight_do_not_count():
    x = np.append(Z, 1e6)[:, None]
    assert len(LongTails.found(x).columns) == 1
    assert len(LongTails.found(x, np.append(np.ones(len(Z)), 0.0)).columns) == 0


def skewed(seed=0, n_rows=120):
    """Two inputs, the second with a long tail, of whose logarithm the target is a function."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2))
    y = np.sin(X[:, 0]) + np.tanh(X[:, 1]) + 0.1 * rng.normal(size=n_rows)
    return np.column_stack([X[:, 0], np.exp(3.0 * X[:, 1])]), y


def test_the_coefficients_are_of_the_inputs_as_drawn_in():
    X, y = skewed()
    model = LaplaceMLPRegressor((4,), n_restarts=1, committee=1, random_state=0).fit(X, y)
    assert_array_equal(model.long_tails_.columns, [1])
    hidden = np.tanh(model.long_tails_(X) @ model.coefs_[0] + model.intercepts_[0])
    outputs = hidden @ model.coefs_[1] + model.intercepts_[1]
    assert_allclose(outputs[:, 0], model.predict(X), rtol=1e-8)


@pytest.mark.parametrize("settings", [{"standardize": True}, {"standardize": False}])
def test_tails_are_left_where_that_is_asked_for(settings):
    X, y = skewed()
    X = np.log1p(X * X)  # still with a tail, and tame enough for raw inputs
    one = {"n_restarts": 1, "committee": 1, "random_state": 0}
    model = LaplaceMLPRegressor((4,), **one, **settings).fit(X, y)
    assert len(model.long_tails_.columns) == 0
    hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    outputs = hidden @ model.coefs_[1] + model.intercepts_[1]
    assert_allclose(outputs[:, 0], model.predict(X), rtol=1e-8)


def test_a_network_without_hidden_layers_stays_linear():
    X, _ = skewed()
    y = X @ [1.0, 0.1] + np.random.default_rng(1).normal(size=len(X))
    model = LaplaceMLPRegressor((), random_state=0).fit(X, y)
    assert len(model.long_tails_.columns) == 0
    straight = X @ model.coefs_[0] + model.intercepts_[0]
    assert_allclose(straight[:, 0], model.predict(X), rtol=1e-8)


def test_new_rows_are_predicted_better():
    X, y = skewed()
    X_new, y_new = skewed(seed=1, n_rows=1000)
    scores = [
        LaplaceMLPRegressor((8,), n_restarts=1, standardize=standardize, random_state=0)
        .fit(X, y)
        .log_predictive_density(X_new, y_new)
        .mean()
        for standardize in ("auto", True)
    ]
    assert scores[0] > scores[1] + 0.1


def test_further_rows_are_drawn_in_as_the_first_batch_was():
    X, y = skewed()
    labels = (y > np.median(y)).astype(int)
    model = LaplaceMLPClassifier((3,), n_restarts=1, committee=1, random_state=0)
    model.partial_fit(X[:80], labels[:80])
    first = model.long_tails_
    model.partial_fit(X[80:], labels[80:])
    assert model.long_tails_ is first
    hidden = np.tanh(first(X) @ model.coefs_[0] + model.intercepts_[0])
    outputs = (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]
    assert_array_equal(model.predict(X), (outputs > 0.0).astype(int))
