"""Checks of derivatives: what is right passes, what is wrong is named."""

from dataclasses import replace

import numpy as np
import pytest

from laplace_nn.checks import check_activation, check_gradient, check_hessian, check_likelihood
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from laplace_nn.network import logistic, tanh
from tests.cases import ACTIVATIONS, LIKELIHOODS, draw_targets

X = np.array([0.3, -1.2, 2.0])
MIX = np.array([[2.0, -1.0, 0.5], [-1.0, 3.0, 0.0], [0.5, 0.0, 1.0]])


def function(x):
    return np.sin(x[0]) * x[1] + 0.5 * x @ MIX @ x


def gradient(x):
    return MIX @ x + np.array([np.cos(x[0]) * x[1], np.sin(x[0]), 0.0])


def hessian(x):
    bend = np.zeros((3, 3))
    bend[0, 0] = -np.sin(x[0]) * x[1]
    bend[0, 1] = bend[1, 0] = np.cos(x[0])
    return MIX + bend


def data(name, n_outputs=3):
    rng = np.random.default_rng(1)
    return draw_targets(name, (5, n_outputs), rng), 2.0 * rng.normal(size=(5, n_outputs))


def test_a_right_gradient_and_hessian_pass():
    for found in (check_gradient(function, gradient, X), check_hessian(gradient, hessian, X)):
        # h = ε^(1/5): the fine differences are good to h²/24, extrapolated ones to ε/h.
        assert found.error < 1e-11 and found.uncertainty < 1e-6


def test_uncertainty_bounds_the_error_of_the_differences():
    def steep(x):
        return np.sum(np.exp(3.0 * x))

    found = check_gradient(steep, lambda x: 3.0 * np.exp(3.0 * x), X)
    assert 0.0 < found.error < found.uncertainty < 1e-6 * 3.0 * np.exp(6.0)


def test_what_a_tolerance_is():
    slightly = 1.0 + 1e-5
    check_gradient(function, lambda x: slightly * gradient(x), X, rtol=1e-4)
    with pytest.raises(ValueError, match="by central differences"):
        check_gradient(function, lambda x: slightly * gradient(x), X)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda x: gradient(x) * [1.0, -1.0, 1.0], r"gradient\[1\] must be -3\.60\d+ .* got 3\.60"),
        (lambda x: gradient(x) * [1.0, 1.0, 2.0], r"gradient\[2\] must be 2\.15 .*; got 4\.3\."),
        (lambda x: gradient(x) * [np.nan, 1, 1], r"gradient\[0\] must be 1\.65\d+ .*; got nan\."),
        (lambda x: gradient(x)[:2], r"gradient must have shape \(3,\); got \(2,\)"),
    ],
)
def test_a_wrong_gradient_is_named(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_gradient(function, wrong, X)


@pytest.mark.parametrize(
    ("index", "value", "sentence"),
    [
        ((1, 2), 1e-3, r"hessian\[1, 2\] must be .* by central differences; got 0\.001"),
        ((2, 0), 0.25, r"hessian\[2, 0\] must be 0\.5 .*; got 0\.25"),
        ((2, 2), -1.0, r"hessian\[2, 2\] must be 1 .*; got -1\."),
    ],
)
def test_a_wrong_hessian_is_named(index, value, sentence):
    def wrong(x):
        H = hessian(x)
        H[index] = value
        return H

    with pytest.raises(ValueError, match=sentence):
        check_hessian(gradient, wrong, X)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_own_likelihoods_pass(name, n_outputs):
    found = check_likelihood(LIKELIHOODS[name], *data(name, n_outputs))
    assert found.error < 1e-9


class WrongSign(Gaussian):
    def gradient(self, y, f):
        return y - f


class WrongFactor(Poisson):
    def hessian(self, y, f):
        return 2.0 * super().hessian(y, f)


class WrongOffDiagonal(Categorical):
    def hessian(self, y, f):
        return np.abs(super().hessian(y, f))


class WrongRoot(Bernoulli):
    def root(self, y, f):
        return self.hessian(y, f)


class MixedRows(Gaussian):
    def gradient(self, y, f):
        return (f - y) - np.mean(f - y, axis=0)


class MeanEnergy(Gaussian):
    def nll(self, y, f):
        return np.mean((f - y) ** 2)


@pytest.mark.parametrize(
    ("wrong", "name", "sentence"),
    [
        (WrongSign(), "gaussian", r"row 0 of WrongSign\.gradient\[\d\] must be .*; got"),
        (WrongFactor(), "poisson", r"row 0 of WrongFactor\.hessian\[(\d), \1\] must be .*; got"),
        (
            WrongOffDiagonal(),
            "categorical",
            r"row 0 of WrongOffDiagonal\.hessian\[(\d), (?!\1)\d\] must be -.*; got 0",
        ),
        (WrongRoot(), "bernoulli", r"rootᵀ root in row 0 of WrongRoot\[(\d), \1\] must be .* as"),
        (MixedRows(), "gaussian", r"row 0 of MixedRows\.gradient"),
        (MeanEnergy(), "gaussian", r"MeanEnergy\.nll must have shape \(5,\); got \(\)"),
    ],
)
def test_a_wrong_likelihood_is_named(wrong, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_likelihood(wrong, *data(name))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.name)
def test_own_activations_pass(activation):
    assert check_activation(activation).error < 1e-9
    assert check_activation(activation, np.array([-0.7, 2.0])).error < 1e-9


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            replace(tanh, first=lambda a: -tanh.first(a)),
            r"tanh\.first\(-5\.9\) must be 3\.0\d+e-05 by .*; got -3\.0\d+e-05",
        ),
        (
            replace(logistic, second=lambda a: 0.5 * logistic.second(a)),
            r"logistic\.second\(-5\.9\) must be",
        ),
        (replace(logistic, odd=True), r"logistic\.odd must be False, as its values are; got True"),
        (replace(tanh, second=lambda a: np.zeros(3)), r"tanh\.second must have shape \(25,\)"),
    ],
)
def test_a_wrong_activation_is_named(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_activation(wrong)
