"""Temperatures: against a search over T, repeated rows, and labels drawn from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from laplace_nn.temperature import FACTOR, FLATTEST, SHARPEST, best_temperature, tempered


def held_out(n_classes, sharpness, n_rows=400, seed=0):
    """Probabilities, and labels that follow logits so many times as large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_rows, n_classes))
    truth = softmax(sharpness * logits, axis=1)
    codes = (rng.random((n_rows, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    return softmax(logits, axis=1), codes


def score(probabilities, codes, temperature, weights=1.0):
    """The score that is maximised, term by term."""
    powers = probabilities ** (1.0 / temperature)
    own = powers[np.arange(len(codes)), codes] / powers.sum(axis=1)
    belief = -0.5 * (np.log(temperature) / np.log(FACTOR)) ** 2
    return np.sum(weights * np.log(own)) + belief


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_tempered_is_a_normalised_power(temperature):
    probabilities, _ = held_out(3, 1.0)
    powers = probabilities ** (1.0 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert_allclose(tempered(probabilities, temperature), expected, rtol=1e-12)


def test_the_most_probable_class_stays():
    probabilities, _ = held_out(4, 1.0)
    for temperature in (0.4, 2.5):
        ranked = tempered(probabilities, temperature).argsort(axis=1)
        assert_array_equal(ranked, probabilities.argsort(axis=1))


def test_a_temperature_of_1_changes_nothing():
    probabilities, _ = held_out(3, 1.0)
    assert tempered(probabilities, 1.0) is probabilities


def test_a_probability_of_0_stays_0_and_finite():
    assert_allclose(tempered(np.array([[1.0, 0.0]]), 0.5), [[1.0, 0.0]], atol=1e-300)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("sharpness", [0.6, 1.0, 1.6])
def test_the_best_temperature_is_that_of_a_search(n_classes, sharpness):
    probabilities, codes = held_out(n_classes, sharpness)
    found = best_temperature(probabilities, codes)
    searched = minimize_scalar(
        lambda log_t: -score(probabilities, codes, np.exp(log_t)),
        bounds=(-1.0, 1.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    # A search by values finds a maximum to about the root of their rounding.
    assert_allclose(np.log(found), searched.x, atol=1e-5)
    assert score(probabilities, codes, found) >= -searched.fun - 1e-12


def test_many_rows_give_the_temperature_that_made_them():
    # Standard error of ln T over 20 000 rows: about 0.01.
    probabilities, codes = held_out(3, 1.5, n_rows=20_000)
    assert abs(best_temperature(probabilities, codes) - 1.0 / 1.5) < 0.03


def test_a_weight_of_2_is_a_row_twice():
    probabilities, codes = held_out(3, 1.4, n_rows=60)
    weights = np.where(np.arange(60) % 3, 1.0, 2.0)
    twice = np.repeat(np.arange(60), weights.astype(int))
    assert_allclose(
        best_temperature(probabilities, codes, weights),
        best_temperature(probabilities[twice], codes[twice]),
        rtol=1e-10,
    )


def test_few_rows_leave_it_near_1():
    """One row that is right would have T = 0."""
    assert 0.8 < best_temperature(np.array([[0.7, 0.3]]), np.array([0])) < 1.0


def test_it_ends_at_the_bounds():
    right, wrong = np.zeros(5000, dtype=int), np.ones(5000, dtype=int)
    probabilities = np.full((5000, 2), [0.6, 0.4])
    assert best_temperature(probabilities, right) == SHARPEST
    sure = np.full((5000, 2), [1.0 - 1e-6, 1e-6])
    assert best_temperature(sure, wrong) == FLATTEST
