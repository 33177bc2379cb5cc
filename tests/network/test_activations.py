"""Activations."""

import numpy as np
import pytest

from laplace_nn.network import logistic, relu, softplus
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
