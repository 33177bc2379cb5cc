"""The log-normal hyperprior and the update that balances it against the evidence."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from laplace_nn.hyperpriors import LogNormal

ALPHA = np.array([1e-3, 0.7, 30.0])


def test_log_density_is_normal_in_ln_alpha():
    hyperprior = LogNormal(5.0, 2.0)
    expected = norm.logpdf(np.log(ALPHA), np.log(2.0), np.log(5.0)).sum()
    assert_allclose(hyperprior.log_density(ALPHA), expected, rtol=1e-13)


def test_gradient_is_that_of_the_log_density():
    hyperprior, h = LogNormal(7.0, 0.4), 1e-5
    for g in range(3):
        step = np.exp(h * np.eye(3)[g])
        difference = hyperprior.log_density(ALPHA * step) - hyperprior.log_density(ALPHA / step)
        assert_allclose(hyperprior.gradient(ALPHA)[g], difference / (2.0 * h), rtol=1e-9)


@pytest.mark.parametrize("factor", [1.5, 10.0, 1e4])
def test_update_balances_evidence_and_hyperprior(factor):
    hyperprior = LogNormal(factor, 3.0)
    gamma, norms = np.array([0.0, 1e-9, 0.5, 40.0, 300.0]), np.array([1e-12, 5.0, 2.0, 1e3, 1e-2])
    alpha = hyperprior.update(gamma, norms)
    slope = 0.5 * (gamma - alpha * norms) + hyperprior.gradient(alpha)
    assert_allclose(slope, 0.0, atol=1e-9 * np.max(gamma))


def test_a_wide_hyperprior_leaves_mackays_update():
    gamma, norms = np.array([0.5, 40.0]), np.array([2.0, 1e3])
    assert_allclose(LogNormal(1e200).update(gamma, norms), gamma / norms, rtol=1e-3)


def test_without_data_the_center_is_kept():
    assert_allclose(LogNormal(10.0, 3.0).update(np.zeros(1), np.zeros(1)), [3.0], rtol=1e-12)


@pytest.mark.parametrize("settings", [{"factor": 1.0}, {"factor": np.inf}, {"center": 0.0}])
def test_what_is_no_density_is_refused(settings):
    with pytest.raises(ValueError, match=r"LogNormal\.(factor|center) must be"):
        LogNormal(**settings)
