"""Rows as they are given: in any order, a row twice or of weight two."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from laplace_nn.estimators.inputs import distinct_rows
from tests.estimators.problems import build, table

EACH_KIND = pytest.mark.parametrize("kind", ["regressor", "classifier"])


def test_equal_rows_are_joined_and_their_weights_added():
    X = np.array([[2.0, 0.0], [1.0, 5.0], [2.0, 0.0], [2.0, 0.0]])
    targets = np.array([[1.0], [3.0], [1.0], [0.0]])
    distinct, moved, weights, places = distinct_rows(X, targets, np.array([1.0, 2.0, 0.5, 4.0]))
    assert_array_equal(distinct[places], X)
    assert_array_equal(moved[places], targets)
    assert len(distinct) == 3
    assert_array_equal(weights[places], [1.5, 2.0, 1.5, 4.0])


def test_rows_that_differ_carry_no_weights():
    X, targets = np.arange(6.0)[::-1].reshape(3, 2), np.zeros((3, 1))
    distinct, _, weights, places = distinct_rows(X, targets, None)
    assert weights is None
    assert_array_equal(distinct, X[::-1])
    assert_array_equal(places, [2, 1, 0])
    assert distinct_rows(X, targets, np.ones(3))[2] is None


@EACH_KIND
def test_the_order_of_the_rows_changes_no_bit(kind):
    X, y = table(kind)
    order = np.random.default_rng(0).permutation(len(X))
    model, shuffled = build(kind).fit(X, y), build(kind).fit(X[order], y[order])
    assert_array_equal(model.theta_, shuffled.theta_)
    assert model.log_marginal_likelihood_ == shuffled.log_marginal_likelihood_
    for own, other in zip(_loo(model), _loo(shuffled), strict=True):
        assert_array_equal(own[order], other)


@EACH_KIND
def test_a_row_of_weight_two_is_the_row_twice_to_the_bit(kind):
    X, y = table(kind)
    weights = np.where(np.arange(len(X)) < 7, 2.0, 1.0)
    weighed = build(kind).fit(X, y, weights)
    doubled = build(kind).fit(np.concatenate([X[:7], X]), np.concatenate([y[:7], y]))
    assert_array_equal(weighed.theta_, doubled.theta_)
    assert weighed.loo_log_score_ == doubled.loo_log_score_
    for own, other in zip(_loo(weighed), _loo(doubled), strict=True):
        assert_array_equal(np.concatenate([own[:7], own]), other)


def _loo(model):
    """Leave-one-out predictions as a tuple of arrays, a row each."""
    found = model.loo_predictions()
    return found if isinstance(found, tuple) else (found,)
