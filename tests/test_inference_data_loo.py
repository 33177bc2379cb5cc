"""Leave-one-out of exported draws: against refits, quadrature and the closed form."""

from functools import cache

import arviz as az
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import norm

from laplace_nn import LaplaceMLPClassifier
from laplace_nn.inference_data import loo, to_inference_data
from tests.displays.fits import classification, regression
from tests.estimators.problems import build, line_table

OLD = int(az.__version__.split(".")[0]) < 1
#: A row or two whose k asks for more draws are not the point here.
FEW_DRAWS = pytest.mark.filterwarnings(
    "ignore:Estimated shape parameter:UserWarning", "ignore:The Pareto k of:UserWarning"
)


def elpd_of(result):
    return result["elpd_loo" if OLD else "elpd"], result["loo_i" if OLD else "elpd_i"].values


def refitted_densities(estimator, X, y):
    """ln p(t_n | the other rows) of Bayesian linear regression, row by row, (N,)."""
    inner = (X - estimator.input_mean_) / estimator.input_scale_
    Z = np.column_stack([inner, np.ones(len(X))])
    t = (y - estimator.target_mean_) / estimator.target_scale_
    beta, alpha = estimator.likelihood_.scale, np.diag(estimator.prior_.precision)
    found = []
    for n in range(len(X)):
        rest = np.arange(len(X)) != n
        A = beta * Z[rest].T @ Z[rest] + alpha
        mean = beta * Z[n] @ np.linalg.solve(A, Z[rest].T @ t[rest])
        std = np.sqrt(1.0 / beta + Z[n] @ np.linalg.solve(A, Z[n]))
        found.append(norm.logpdf(t[n], mean, std) - np.log(estimator.target_scale_[0]))
    return np.array(found)


@FEW_DRAWS
def test_leave_one_out_of_linear_regression_is_that_of_refits():
    X, y = line_table()
    estimator = build("regressor", hidden_layer_sizes=()).fit(X, y)
    exact = refitted_densities(estimator, X, y)
    found = np.array(
        [
            elpd_of(loo(to_inference_data(estimator, X, y, n_samples=2000, random_state=seed)))[1]
            for seed in range(20)
        ]
    )
    error = found.std(axis=0, ddof=1) / np.sqrt(20)
    assert np.all(np.abs(found.mean(axis=0) - exact) < 5.0 * error + 1e-3)
    assert abs(found.sum(axis=1).mean() - exact.sum()) < 0.02


@FEW_DRAWS
def test_leave_one_out_of_a_linearised_network_is_the_closed_form():
    estimator, _, _ = regression(2)
    data = to_inference_data(*regression(2), n_samples=20_000, random_state=0)
    member = estimator.committee_[0]
    total, by_row = elpd_of(loo(data))
    exact = member.loo_log_scores[estimator._places]
    assert abs(total - exact.sum()) < 0.1
    assert_allclose(by_row, exact, atol=0.05)


@cache
def logistic():
    """A logistic regression of few rows and a weak prior, far enough from its Gaussian."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 1))
    y = (X[:, 0] + 0.7 * rng.normal(size=20) > 0).astype(int)
    estimator = LaplaceMLPClassifier((), prior="single", prior_precision=0.1, random_state=0)
    return estimator.fit(X, y), X, y


def exact_logistic_elpd():
    """By quadrature over both weights: Σ_n ln E[1 / p(t_n|w)]⁻¹ under the posterior."""
    estimator, X, y = logistic()
    inner = ((X - estimator.input_mean_) / estimator.input_scale_)[:, 0]
    std = np.sqrt(estimator.posterior_.variance())
    slope, bias = (
        m + s * np.linspace(-8, 12, 400) for m, s in zip(estimator.theta_, std, strict=True)
    )
    f = slope[:, None, None] * inner + bias[:, None]  # (400, 400, N)
    log_lik = -np.logaddexp(0.0, np.where(y == 1, -f, f))
    log_p = log_lik.sum(axis=-1) - 0.05 * (slope[:, None] ** 2 + bias**2)
    by_row = logsumexp(log_p) - logsumexp(log_p[..., None] - log_lik, axis=(0, 1))
    return by_row.sum()


@FEW_DRAWS
def test_the_correction_brings_leave_one_out_of_logistic_regression_closer():
    exact = exact_logistic_elpd()
    data = [to_inference_data(*logistic(), n_samples=4000, random_state=s) for s in range(5)]
    plain = np.mean(
        [elpd_of(az.loo(each, reff=1.0))[0] if OLD else az.loo(each).elpd for each in data]
    )
    corrected = [loo(each) for each in data]
    found = np.mean([elpd_of(result)[0] for result in corrected])
    assert abs(found - exact) < 0.5 * abs(plain - exact)
    if not OLD:
        assert corrected[0].approx_posterior


def test_both_versions_say_so_where_a_row_is_too_influential():
    estimator, X, y = classification(3, 4)
    data = to_inference_data(estimator, X, y, n_samples=100, model="network", random_state=0)
    with pytest.warns(UserWarning, match="Pareto"):
        assert loo(data)["warning"]


def test_loo_says_what_is_missing():
    data = to_inference_data(*regression(2), n_samples=80)
    parts = {"log_likelihood": {"y": data["log_likelihood"]["y"].values}}
    other = az.from_dict(**parts) if OLD else az.from_dict(parts)
    with pytest.raises(ValueError, match=r"loo needs data from to_inference_data.*is missing"):
        loo(other)
