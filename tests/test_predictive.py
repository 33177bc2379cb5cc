"""From outputs to predictions: against quadrature and scipy.stats."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian
from laplace_nn.predictive import (
    class_log_scores,
    class_probabilities,
    gaussian_log_density,
    gaussian_log_scores,
    logistic_gauss_hermite,
    logistic_probit,
    softmax_monte_carlo,
    softmax_probit,
)
from tests import reference

MEANS = np.linspace(-8.0, 8.0, 9)
SDS = np.unique(np.r_[np.geomspace(1e-3, 30.0, 12), 0.95, 1.0, 1.0 + 1e-9, 1.05, 2.0])


def logistic_average(mean, sd):
    return reference.gaussian_average(lambda a: float(expit(a)), mean, sd)


@pytest.mark.parametrize("sd", SDS)
def test_quadrature_of_the_logistic(sd):
    """To rounding, also on both sides of the seam at a standard deviation of 1."""
    expected = [logistic_average(mean, sd) for mean in MEANS]
    actual = logistic_gauss_hermite(MEANS, np.full_like(MEANS, sd**2))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


def test_quadrature_takes_any_shape_and_no_variance():
    mean, variance = np.zeros((2, 3, 1)), np.array([0.0, 0.5, 9.0, 400.0])
    actual = logistic_gauss_hermite(mean, variance)
    assert actual.shape == (2, 3, 4)
    np.testing.assert_allclose(actual, 0.5, rtol=1e-14)
    certain = logistic_gauss_hermite(MEANS, np.zeros_like(MEANS))
    np.testing.assert_allclose(certain, expit(MEANS), rtol=1e-13)


@pytest.mark.parametrize("verb", [logistic_gauss_hermite, logistic_probit])
def test_classes_are_interchangeable(verb):
    """E[σ(a)] + E[σ(-a)] = 1, inside the unit interval and monotone in the mean."""
    mean, variance = np.meshgrid(np.linspace(-30.0, 30.0, 61), SDS**2)
    p = verb(mean, variance)
    np.testing.assert_allclose(p + verb(-mean, variance), 1.0, rtol=1e-13)
    assert np.all((p > 0.0) & (p < 1.0))
    assert np.all(np.diff(p, axis=1) > 0.0)


def test_probit_is_off_by_no_more_than_it_claims():
    """0.018: in the limit of a wide Gaussian, the largest |σ(√(8/π) x) - Φ(x)|."""
    mean, sd = np.meshgrid(np.linspace(-400.0, 400.0, 801), np.geomspace(1e-3, 300.0, 60))
    off = np.abs(logistic_probit(mean, sd**2) - logistic_gauss_hermite(mean, sd**2))
    assert 0.017 < off.max() < 0.018
    np.testing.assert_allclose(logistic_probit(MEANS, np.zeros(9)), expit(MEANS), rtol=1e-14)


def random_logits(n_rows, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n_rows, n_classes, n_classes))
    return 2.0 * rng.normal(size=(n_rows, n_classes)), root @ root.mT


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_softmax_probit_does_not_see_a_shift_of_all_logits(n_classes):
    """Neither a constant nor one random number, correlated or not, added to every logit."""
    mean, covariance = random_logits(8, n_classes)
    p = softmax_probit(mean, covariance)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)
    assert np.all(p > 0.0)
    shared = np.linspace(-1.0, 2.0, n_classes)  # covariance of the shift with each logit
    moved = covariance + shared[:, None] + shared[None, :] + 50.0
    np.testing.assert_allclose(softmax_probit(mean + 40.0, moved), p, rtol=1e-11)


def test_softmax_probit_without_variance_is_softmax():
    mean, _ = random_logits(4, 3)
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax_probit(mean, np.zeros((4, 3, 3))), expected, rtol=1e-13)


def test_softmax_probit_follows_the_classes_order():
    mean, covariance = random_logits(5, 4)
    order = np.array([2, 0, 3, 1])
    expected = softmax_probit(mean, covariance)[:, order]
    actual = softmax_probit(mean[:, order], covariance[:, order][:, :, order])
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


@pytest.mark.parametrize("sd", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("mean", [-2.0, 0.5, 4.0])
def test_monte_carlo_against_quadrature_of_two_classes(mean, sd):
    """softmax₁ = σ(f₁ - f₂): within five standard errors of antithetic pairs."""
    n_samples = 4000
    covariance = sd**2 * np.array([[0.7, 0.1], [0.1, 0.5]])  # variance of f₁ - f₂: sd²

    def pair(a):
        return 0.5 * float(expit(a) + expit(2.0 * mean - a))

    expected = logistic_average(mean, sd)
    square = reference.gaussian_average(lambda a: (pair(a) - expected) ** 2, mean, sd)
    p = softmax_monte_carlo(
        np.array([[mean, 0.0]]), covariance[None], n_samples, np.random.default_rng(0)
    )
    np.testing.assert_allclose(p[0, 0], expected, rtol=0, atol=5.0 * np.sqrt(square / n_samples))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-13)


def test_monte_carlo_is_the_seeds_alone_and_takes_singular_covariances():
    mean, covariance = random_logits(6, 3)
    covariance[0] = 1.0  # one shift of all logits: no probability moves
    covariance[1] = 0.0
    p, again = (
        softmax_monte_carlo(mean, covariance, 50, np.random.default_rng(4)) for _ in range(2)
    )
    np.testing.assert_array_equal(p, again)
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p[:2], expected[:2], rtol=1e-10)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_log_density_of_every_row(n_outputs):
    mean, covariance = random_logits(6, n_outputs)
    y = np.random.default_rng(1).normal(size=(6, n_outputs))
    expected = [
        stats.multivariate_normal.logpdf(*row) for row in zip(y, mean, covariance, strict=True)
    ]
    np.testing.assert_allclose(gaussian_log_density(y, mean, covariance), expected, rtol=1e-10)


@pytest.mark.parametrize("link", ["auto", "probit", "monte_carlo"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_class_log_scores_are_those_of_the_targets_probabilities(link, n_outputs):
    if link == "monte_carlo" and n_outputs == 1:
        link = "gauss_hermite"
    mean, covariance = random_logits(6, n_outputs)
    codes = np.random.default_rng(1).integers(max(2, n_outputs), size=6)
    targets = np.eye(n_outputs)[codes] if n_outputs > 1 else codes[:, None].astype(float)
    likelihood = Categorical() if n_outputs > 1 else Bernoulli()
    p = class_probabilities(mean, covariance, link, seed=3)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    scores = class_log_scores(mean, covariance, targets, likelihood, link, seed=3)
    np.testing.assert_array_equal(scores, np.log(p[np.arange(6), codes]))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_gaussian_log_scores_add_the_noise(n_outputs):
    mean, covariance = random_logits(6, n_outputs)
    y = np.random.default_rng(1).normal(size=(6, n_outputs))
    expected = [
        stats.multivariate_normal.logpdf(t, m, V + 0.25 * np.eye(n_outputs))
        for t, m, V in zip(y, mean, covariance, strict=True)
    ]
    scores = gaussian_log_scores(mean, covariance, y, Gaussian(4.0))
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
