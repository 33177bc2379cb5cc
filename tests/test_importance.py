"""Pareto shapes against ArviZ and known tails; ratios against densities from scipy.stats."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import genpareto, multivariate_normal

from laplace_nn.importance import importance_log_weights, pareto_k
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, DiagonalPosterior, KernelPosterior
from tests.cases import CASES

FORMS = [DensePosterior, KernelPosterior]


def built(case, form):
    """A case's objective and posterior; the weights need not be its mode."""
    posterior = form.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    return NegativeLogPosterior(case.mlp, case.likelihood, case.prior, case.rows), posterior


@pytest.mark.filterwarnings("ignore")  # of ArviZ, on import and of k itself
@pytest.mark.parametrize("n_samples", [30, 100, 200, 1000, 4001])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 30.0, 1000.0])
def test_k_is_that_of_arviz(n_samples, spread):
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("this ArviZ has no psislw")
    rng = np.random.default_rng(n_samples)
    for log_weights in (
        spread * rng.standard_normal(n_samples),
        -spread * rng.chisquare(3, size=n_samples),
        spread * rng.standard_t(3, size=n_samples) - 1e4,
    ):
        assert_allclose(pareto_k(log_weights), float(arviz.psislw(log_weights)[1]), rtol=1e-10)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.5, 0.7, 1.0, 1.5])
def test_k_of_known_tails(shape):
    """The excesses of a generalised Pareto distribution over any threshold have its shape."""
    rng = np.random.default_rng(0)
    ratios = genpareto.rvs(shape, size=(40, 20_000), random_state=rng)
    found = np.array([pareto_k(np.log(draw)) for draw in ratios])
    assert abs(found.mean() - shape) < 0.05
    assert found.std() < 0.15


def test_k_sees_neither_order_nor_factor():
    log_weights = np.random.default_rng(1).standard_normal(200)
    k = pareto_k(log_weights)
    assert_allclose(pareto_k(log_weights[::-1] + 1e3), k, rtol=1e-9)
    assert_allclose(pareto_k(np.append(log_weights[:-1], -np.inf)), k, rtol=0.5)


def test_k_at_the_ends():
    assert pareto_k(np.full(200, -3.0)) == -np.inf
    assert pareto_k(np.arange(20.0)) == np.inf  # a tail of 4
    assert pareto_k(-1e4 * np.arange(200.0)) == np.inf  # a single ratio carries all
    assert pareto_k(np.zeros(1)) == -np.inf


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_ratios_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="log_weights must hold no NaN"):
        pareto_k(np.array(bad))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ratios_are_of_the_two_densities(form, case):
    objective, posterior = built(case, form)
    found = importance_log_weights(objective, posterior, 7, np.random.default_rng(0))
    draws = posterior.sample(7, np.random.default_rng(0))
    A = case.likelihood.scale * case.ggn.dense() + np.diag(case.prior.precision)
    gaussian = multivariate_normal(case.theta, np.linalg.inv(A), allow_singular=True)
    energies = np.array([objective.value(theta) for theta in draws])
    expected = -energies - gaussian.logpdf(draws)
    scale = max(1.0, np.abs(energies).max())
    assert_allclose(found - found[0], expected - expected[0], atol=1e-6 * scale, rtol=1e-6)
    at_mode = -objective.value(case.theta) - gaussian.logpdf(case.theta)
    assert_allclose(found[0], expected[0] - at_mode, atol=1e-6 * scale, rtol=1e-6)


def test_a_linear_network_with_gaussian_noise_is_its_gaussian():
    case = next(case for case in CASES if case.name == "linear")
    A = case.likelihood.scale * case.ggn.dense() + np.diag(case.prior.precision)
    objective, _ = built(case, DensePosterior)
    mode = case.theta - np.linalg.solve(A, objective.value_and_gradient(case.theta)[1])
    for form in FORMS:
        posterior = form.from_curvature(mode, case.ggn, case.prior, case.likelihood.scale)
        found = importance_log_weights(objective, posterior, 150, np.random.default_rng(0))
        assert_allclose(found, 0.0, atol=1e-9)
        assert pareto_k(found) == -np.inf


@pytest.mark.parametrize("n_samples", [1, 20, 45])
def test_as_many_as_asked_for(n_samples):
    objective, posterior = built(CASES[4], DensePosterior)
    found = importance_log_weights(objective, posterior, n_samples, np.random.default_rng(0))
    assert found.shape == (n_samples,) and len(np.unique(found)) == n_samples


def test_other_posteriors_are_refused():
    objective, posterior = built(CASES[4], DiagonalPosterior)
    with pytest.raises(TypeError, match="a KernelPosterior; got DiagonalPosterior"):
        importance_log_weights(objective, posterior, 5, np.random.default_rng(0))
