"""The hyperpriors and the updates that balance them against the evidence."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import halfnorm, norm

from laplace_nn.hyperpriors import HalfNormal, LogNormal

ALPHA = np.array([1e-3, 0.7, 30.0])


def test_log_density_is_normal_in_ln_alpha():
    hyperprior = LogNormal(5.0, 2.0)
    expected = norm.logpdf(np.log(ALPHA), np.log(2.0), np.log(5.0)).sum()
    assert_allclose(hyperprior.log_density(ALPHA), expected, rtol=1e-13)


def test_log_density_is_half_normal_in_the_standard_deviation():
    sigma = ALPHA**-0.5
    jacobian = 0.5 * sigma  # |dσ / d ln α|
    expected = np.sum(halfnorm.logpdf(sigma, scale=3.0) + np.log(jacobian))
    assert_allclose(HalfNormal(3.0).log_density(ALPHA), expected, rtol=1e-13)


@pytest.mark.parametrize("hyperprior", [LogNormal(7.0, 0.4), HalfNormal(0.3)])
def test_gradient_is_that_of_the_log_density(hyperprior):
    h = 1e-5
    rounding = 1e-15 * abs(hyperprior.log_density(ALPHA)) / h
    for g in range(3):
        step = np.exp(h * np.eye(3)[g])
        difference = hyperprior.log_density(ALPHA * step) - hyperprior.log_density(ALPHA / step)
        assert_allclose(
            hyperprior.gradient(ALPHA)[g], difference / (2.0 * h), rtol=1e-9, atol=rounding
        )


@pytest.mark.parametrize(
    "hyperprior",
    [*(LogNormal(factor, 3.0) for factor in (1.5, 10.0, 1e4)), HalfNormal(0.1), HalfNormal(40.0)],
)
def test_update_balances_evidence_and_hyperprior(hyperprior):
    gamma, norms = np.array([0.0, 1e-9, 0.5, 40.0, 300.0]), np.array([1e-12, 5.0, 2.0, 1e3, 1e-2])
    alpha = hyperprior.update(gamma, norms)
    slope = 0.5 * (gamma - alpha * norms) + hyperprior.gradient(alpha)
    assert_allclose(slope, 0.0, atol=1e-9 * np.max(gamma))


def test_a_wide_hyperprior_leaves_mackays_update():
    gamma, norms = np.array([0.5, 40.0]), np.array([2.0, 1e3])
    assert_allclose(LogNormal(1e200).update(gamma, norms), gamma / norms, rtol=1e-3)


def test_a_wide_half_normal_takes_one_degree_of_freedom():
    """Its density falls as α^-½, as one more weight at zero would make it."""
    gamma, norms = np.array([1.5, 40.0]), np.array([2.0, 1e3])
    assert_allclose(HalfNormal(1e9).update(gamma, norms), (gamma - 1.0) / norms, rtol=1e-8)


@pytest.mark.parametrize("gamma", [1e-12, 0.999999, 1.0, 1.000001, 1e5])
@pytest.mark.parametrize("norm", [1e-15, 1.0, 1e12])
def test_the_root_of_the_half_normal_keeps_its_digits(gamma, norm):
    alpha = float(HalfNormal(2.0).update(np.array([gamma]), np.array([norm]))[0])
    with localcontext(prec=60):
        a, b, c = Decimal(norm), 1 - Decimal(gamma), Decimal("-0.25")
        expected = ((b * b - 4 * a * c).sqrt() - b) / (2 * a)
    assert_allclose(alpha, float(expected), rtol=1e-12)


def test_without_data_the_center_is_kept():
    assert_allclose(LogNormal(10.0, 3.0).update(np.zeros(1), np.zeros(1)), [3.0], rtol=1e-12)
    assert_allclose(HalfNormal(0.5).update(np.zeros(1), np.zeros(1)), [4.0], rtol=1e-12)


@pytest.mark.parametrize("settings", [{"factor": 1.0}, {"factor": np.inf}, {"center": 0.0}])
def test_what_is_no_density_is_refused(settings):
    with pytest.raises(ValueError, match=r"LogNormal\.(factor|center) must be"):
        LogNormal(**settings)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_half_normal_without_a_scale_is_refused(scale):
    with pytest.raises(ValueError, match=r"HalfNormal\.scale must be positive and finite"):
        HalfNormal(scale)
