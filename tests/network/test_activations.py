"""Activations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_ndtr

from laplace_nn.network import gelu, logistic, relu, silu, softplus, tanh
from tests.cases import ACTIVATIONS
from tests.contracts import check_activation


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.name)
def test_contract(activation):
    check_activation(activation)


def test_slope_of_logistic_keeps_its_digits_far_out():
    # s'(a) → exp(-|a|) on both sides; 1 - s(40) would be 0.
    a = np.array([-40.0, 40.0])
    np.testing.assert_allclose(logistic.first(a), np.exp(-40.0), rtol=1e-12)
    np.testing.assert_allclose(softplus.second(a), np.exp(-40.0), rtol=1e-12)


def test_kink_of_relu_has_slope_zero():
    assert relu.first(np.array([0.0])) == 0.0


def test_gated_activations_keep_their_digits_far_out():
    # a s(a) → a exp(a), and its derivatives (1 + a) exp(a) and (2 + a) exp(a).
    a = np.array([-40.0, -100.0])
    for function, factor in ((silu.value, a), (silu.first, 1.0 + a), (silu.second, 2.0 + a)):
        np.testing.assert_allclose(function(a), factor * np.exp(a), rtol=1e-12)
    a = np.array([-10.0, -30.0])
    np.testing.assert_allclose(gelu.value(a), a * np.exp(log_ndtr(a)), rtol=1e-12)


@pytest.mark.parametrize("activation", [silu, gelu], ids=lambda activation: activation.name)
def test_gated_activations_end_as_relu(activation):
    a = np.array([-1e300, -800.0, 800.0, 1e300])
    assert_array_equal(activation.value(a), relu.value(a))
    assert_array_equal(activation.first(a), relu.first(a))
    assert_array_equal(activation.second(a), 0.0)


def test_tanh_is_right_to_its_last_digits():
    """Against the library's, which is one that no table is in."""
    a = np.concatenate([np.linspace(-25.0, 25.0, 40001), 10.0 ** np.arange(-300.0, 3.0)])
    z = tanh.value(a)
    assert_allclose(z, np.tanh(a), rtol=0.0, atol=5e-16)
    assert_allclose(z, np.tanh(a), rtol=2e-14)
    assert_array_equal(tanh.value(-a), -z)
    ends = tanh.value(np.array([np.inf, -np.inf, 1e300, np.nan]))
    assert_array_equal(ends, [1.0, -1.0, 1.0, np.nan])
