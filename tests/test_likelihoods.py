"""Likelihoods: derivatives, extremes, and densities against scipy.stats."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from tests.cases import LIKELIHOODS, draw_targets
from tests.contracts import check_likelihood


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_contract(name, n_outputs):
    rng = np.random.default_rng(n_outputs)
    y = draw_targets(name, (6, n_outputs), rng)
    check_likelihood(LIKELIHOODS[name], name, y, 2.0 * rng.normal(size=(6, n_outputs)))


def log_density(likelihood, y, f):
    total = likelihood.nll(y, f).sum()
    return likelihood.log_normaliser(*y.shape) - likelihood.scale * total


def test_gaussian_is_a_normal_density():
    rng = np.random.default_rng(0)
    y, f = rng.normal(size=(2, 5, 3))
    expected = stats.norm.logpdf(y, f, 1.0 / np.sqrt(7.0)).sum()
    np.testing.assert_allclose(log_density(Gaussian(7.0), y, f), expected, rtol=1e-13)


def test_bernoulli_is_a_binary_mass():
    rng = np.random.default_rng(0)
    y, f = draw_targets("bernoulli", (6, 2), rng), rng.normal(size=(6, 2))
    expected = stats.bernoulli.logpmf(y, expit(f)).sum()
    np.testing.assert_allclose(log_density(Bernoulli(), y, f), expected, rtol=1e-13)


def test_categorical_is_a_multinomial_mass():
    rng = np.random.default_rng(0)
    y, f = draw_targets("categorical", (6, 4), rng), rng.normal(size=(6, 4))
    expected = stats.multinomial.logpmf(y, 1, softmax(f, axis=1)).sum()
    np.testing.assert_allclose(log_density(Categorical(), y, f), expected, rtol=1e-13)


def test_poisson_is_a_poisson_mass():
    rng = np.random.default_rng(0)
    y, f = draw_targets("poisson", (6, 2), rng), rng.normal(size=(6, 2))
    assert y.max() > 2
    expected = stats.poisson.logpmf(y, np.exp(f)).sum()
    np.testing.assert_allclose(log_density(Poisson(), y, f), expected, rtol=1e-13)


def test_poisson_masses_sum_to_one():
    y, f = np.arange(60.0)[:, None], np.full((60, 1), np.log(4.0))
    np.testing.assert_allclose(np.exp(-Poisson().nll(y, f)).sum(), 1.0, rtol=1e-13)


def test_a_rate_that_overflows_is_an_infinite_energy():
    y, f = np.array([[0.0], [3.0]]), np.array([[710.0], [1e8]])
    np.testing.assert_array_equal(Poisson().nll(y, f), np.inf)


def test_categorical_does_not_see_a_shift_of_all_logits():
    rng = np.random.default_rng(0)
    y, f = draw_targets("categorical", (6, 4), rng), rng.normal(size=(6, 4))
    likelihood = Categorical()
    for verb in (likelihood.nll, likelihood.gradient, likelihood.hessian):
        np.testing.assert_allclose(verb(y, f + 50.0), verb(y, f), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(likelihood.hessian(y, f).sum(axis=1), 0.0, atol=1e-15)


def test_two_classes_are_one_logit():
    """softmax(f)₁ = σ(f₁ - f₂)."""
    rng = np.random.default_rng(0)
    y, f = draw_targets("categorical", (6, 2), rng), rng.normal(size=(6, 2))
    logit = f[:, :1] - f[:, 1:]
    np.testing.assert_allclose(
        Categorical().nll(y, f), Bernoulli().nll(y[:, :1], logit), rtol=1e-13
    )
    np.testing.assert_allclose(
        Categorical().hessian(y, f)[:, 0, 0], Bernoulli().hessian(y, logit)[:, 0, 0], rtol=1e-12
    )


@pytest.mark.parametrize("size", [40.0, 800.0])
def test_a_confident_error_costs_its_logit(size):
    # ln(1 + eᶠ) = f and ln Σ eᶠ = max f to rounding.
    f, y = np.array([[size]]), np.array([[0.0]])
    np.testing.assert_allclose(Bernoulli().nll(y, f), size, rtol=1e-15)
    np.testing.assert_allclose(Bernoulli().gradient(y, f), 1.0)
    two, wrong = np.array([[size, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(Categorical().nll(wrong, two), size, rtol=1e-15)


@pytest.mark.parametrize("precision", [0.0, -1.0, np.nan, np.inf])
def test_a_noise_precision_that_is_none_is_refused(precision):
    with pytest.raises(ValueError, match=r"Gaussian\.noise_precision must be a positive"):
        Gaussian(precision)


def test_only_the_gaussian_has_a_scale():
    scales = {name: likelihood.scale for name, likelihood in LIKELIHOODS.items()}
    assert scales == {"gaussian": 2.5, "bernoulli": 1.0, "categorical": 1.0, "poisson": 1.0}
