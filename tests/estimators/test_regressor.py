"""The regressor: exact where it is linear, honest about its units."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.exceptions import DataConversionWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from sklearn.linear_model import BayesianRidge

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.diagnostics import UntrustworthyFitWarning
from tests.estimators.problems import inputs, line_table, regressor, sine_table, two_target_table

RAW = {"standardize": False, "normalize_y": False}
TABLES = {"one-target": sine_table, "two-targets": two_target_table}
EACH_TABLE = pytest.mark.parametrize("name", TABLES)


@cache
def fitted(name):
    return regressor().fit(*TABLES[name]())


def new_inputs():
    return 1.5 * inputs(7)[::-1] + 0.1


def linear(alpha, beta, **settings):
    fixed = {"prior_precision": alpha, "noise_precision": beta, "hidden_layer_sizes": ()}
    return regressor(**{**fixed, **settings})


def test_without_hidden_layer_it_is_a_gaussian_process_with_a_linear_kernel():
    """Fixed α, β and raw columns: mean, std, covariance and evidence to 1e-8."""
    X, y = line_table()
    alpha, beta, new = 0.3, 2.5, new_inputs()
    model = linear(alpha, beta, **RAW).fit(X, y)
    kernel = ConstantKernel(1.0 / alpha) * DotProduct(1.0)
    process = GaussianProcessRegressor(kernel, alpha=1.0 / beta, optimizer=None).fit(X, y)
    mean, covariance = process.predict(new, return_cov=True)
    covariance = covariance + np.eye(len(new)) / beta
    assert_allclose(model.predict(new), mean, rtol=1e-8)
    assert_allclose(model.predict(new, return_std=True)[1] ** 2, np.diag(covariance), rtol=1e-8)
    assert_allclose(model.predict(new, return_cov=True)[1], covariance, rtol=1e-8, atol=1e-10)
    evidence = process.log_marginal_likelihood_value_
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-8)


def test_evidence_under_standardising_is_the_density_of_the_raw_targets():
    X, y = line_table()
    alpha, beta = 0.3, 2.5
    model = linear(alpha, beta).fit(X, y)
    Z, scale = (X - X.mean(axis=0)) / X.std(axis=0), y.std()
    design = np.column_stack([Z, np.ones(len(Z))])
    K = scale**2 * design @ design.T / alpha + np.eye(len(Z)) / beta
    evidence = stats.multivariate_normal.logpdf(y, np.full(len(y), y.mean()), K)
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-8)
    assert_allclose(model.noise_precision_, beta, rtol=1e-12)


def test_without_hidden_layer_it_is_bayesian_ridge():
    """Re-estimated without hyperpriors: coefficients, predictive mean and std."""
    X, y = line_table()
    off = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    ridge = BayesianRidge(fit_intercept=False, tol=1e-13, max_iter=10_000, **off)
    one = np.ones((len(X), 1))
    ridge.fit(np.hstack([X, one]), y)
    model = regressor(hidden_layer_sizes=(), prior="single", tol=1e-10, hyperprior=None, **RAW).fit(
        X, y
    )
    assert_allclose(model.noise_precision_, ridge.alpha_, rtol=1e-6)
    assert_allclose(model.prior_precision_, ridge.lambda_, rtol=1e-6)
    fixed = linear(ridge.lambda_, ridge.alpha_, **RAW).fit(X, y)
    new = new_inputs()
    mean, std = ridge.predict(np.hstack([new, one[: len(new)]]), return_std=True)
    for found, rtol in ((model, 1e-6), (fixed, 1e-8)):
        assert_allclose(np.append(found.coefs_[0], found.intercepts_), ridge.coef_, rtol=rtol)
        assert_allclose(found.predict(new), mean, rtol=rtol)
        assert_allclose(found.predict(new, return_std=True)[1], std, rtol=rtol)


@EACH_TABLE
def test_units_of_the_targets(name):
    """y → a y + b shifts predictions, widens std, divides β by a², moves evidence by -N ln a."""
    X, y = TABLES[name]()
    a, b = (7.0, -30.0) if y.ndim == 1 else (np.array([7.0, 0.02]), np.array([-30.0, 5.0]))
    model, new = regressor().fit(X, a * y + b), new_inputs()
    mean, std = fitted(name).predict(new, return_std=True)
    moved_mean, moved_std = model.predict(new, return_std=True)
    assert_allclose(moved_mean, a * mean + b, rtol=1e-6)
    assert_allclose(moved_std, a * std, rtol=1e-6)
    assert_allclose(model.noise_precision_, fitted(name).noise_precision_ / a**2, rtol=1e-6)
    shift = -len(X) * np.sum(np.log(a))
    evidence = fitted(name).log_marginal_likelihood_
    assert_allclose(model.log_marginal_likelihood_, evidence + shift, rtol=1e-6)


@EACH_TABLE
def test_units_with_a_noise_precision_that_is_given(name):
    X, y = TABLES[name]()
    # A prior that is given, since a climb of the evidence ends within its tolerance only, and
    # units too few for a second mode to which rounding could lead.
    settings = {"hidden_layer_sizes": (2,), "prior_precision": 0.5, "n_restarts": 1}
    plain = regressor(noise_precision=4.0, **settings).fit(X, y)
    model = regressor(noise_precision=4.0 / 49.0, **settings).fit(X, 7.0 * y - 30.0)
    new = new_inputs()
    mean, std = plain.predict(new, return_std=True)
    assert_allclose(model.predict(new, return_std=True), (7.0 * mean - 30.0, 7.0 * std), rtol=1e-6)
    assert_allclose(plain.noise_precision_, np.full(np.shape(plain.noise_precision_), 4.0))
    shift = -y.size * np.log(7.0)
    evidence = plain.log_marginal_likelihood_ + shift
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-6)


@EACH_TABLE
def test_coefficients_applied_to_raw_inputs_give_the_prediction(name):
    model, z = fitted(name), new_inputs()
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        z = np.tanh(z @ W + b)
    by_hand = z @ model.coefs_[-1] + model.intercepts_[-1]
    actual = model.predict(new_inputs())
    assert_allclose(actual, by_hand[:, 0] if name == "one-target" else by_hand, rtol=1e-10)


def test_shapes():
    new = new_inputs()
    one, two = fitted("one-target"), fitted("two-targets")
    assert [a.shape for a in one.predict(new, return_std=True)] == [(7,), (7,)]
    assert [a.shape for a in two.predict(new, return_std=True)] == [(7, 2), (7, 2)]
    assert [a.shape for a in one.predict(new, return_cov=True)] == [(7,), (7, 7)]
    assert [a.shape for a in two.predict(new, return_cov=True)] == [(7, 2), (7, 2, 7, 2)]
    assert isinstance(one.noise_precision_, float)
    assert two.noise_precision_.shape == (2,)
    assert one.predict_interval(new).shape == (7, 2)
    assert two.predict_interval(new).shape == (7, 2, 2)


def test_a_column_of_targets_is_one_target():
    X, y = sine_table()
    with pytest.warns(DataConversionWarning):
        model = regressor().fit(X, y[:, None])
    assert_array_equal(model.predict(X), fitted("one-target").predict(X))


@EACH_TABLE
def test_covariance_holds_the_variances_on_its_diagonal(name):
    new, model = new_inputs(), fitted(name)
    mean, std = model.predict(new, return_std=True)
    joint_mean, cov = model.predict(new, return_cov=True)
    assert_allclose(joint_mean, mean, rtol=1e-12)
    flat = cov.reshape(std.size, std.size)
    assert_allclose(np.diag(flat), std.ravel() ** 2, rtol=1e-10)
    assert_allclose(flat, flat.T, rtol=1e-10)
    noise = np.tile(1.0 / np.atleast_1d(model.noise_precision_), len(new))
    assert np.linalg.eigvalsh(flat - np.diag(noise))[0] > -1e-10 * np.max(flat)
    assert np.all(std.ravel() ** 2 > noise)


def test_std_or_covariance_but_not_both():
    with pytest.raises(ValueError, match="either std or cov: set one of return_std, return_cov"):
        fitted("one-target").predict(new_inputs(), return_std=True, return_cov=True)


@EACH_TABLE
@pytest.mark.parametrize("coverage", [0.5, 0.95, 0.999])
def test_intervals_hold_their_probability(coverage, name):
    new, model = new_inputs(), fitted(name)
    mean, std = model.predict(new, return_std=True)
    lower, upper = np.moveaxis(model.predict_interval(new, coverage), -1, 0)
    inside = stats.norm.cdf(upper, mean, std) - stats.norm.cdf(lower, mean, std)
    assert_allclose(inside, coverage, rtol=1e-10)
    assert_allclose(lower + upper, 2.0 * mean, rtol=1e-10)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95, -0.1, np.nan])
def test_coverage_that_cannot_be(coverage):
    with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1"):
        fitted("one-target").predict_interval(new_inputs(), coverage)


def test_log_predictive_density_of_one_target():
    X, y = sine_table()
    mean, std = fitted("one-target").predict(X, return_std=True)
    actual = fitted("one-target").log_predictive_density(X, y)
    assert_allclose(actual, stats.norm.logpdf(y, mean, std), rtol=1e-10)


def test_log_predictive_density_of_two_targets():
    """Their covariance through the shared hidden units included."""
    X, Y = two_target_table()
    mean, cov = fitted("two-targets").predict(X, return_cov=True)
    blocks = [cov[n, :, n, :] for n in range(len(X))]
    assert max(abs(block[0, 1]) for block in blocks) > 1e-4
    expected = [stats.multivariate_normal.logpdf(*row) for row in zip(Y, mean, blocks, strict=True)]
    assert_allclose(fitted("two-targets").log_predictive_density(X, Y), expected, rtol=1e-8)


def test_two_targets_have_noise_of_their_own():
    """One β inside, for standardised targets: in the units of y it follows each target's size."""
    X, Y = two_target_table()
    inside = fitted("two-targets").noise_precision_ * Y.var(axis=0)
    assert_allclose(inside[0], inside[1], rtol=1e-10)
    plain = regressor(normalize_y=False).fit(X, Y)
    assert plain.noise_precision_[0] == plain.noise_precision_[1]


def test_it_finds_the_noise_and_is_less_sure_where_it_saw_nothing():
    X, y = sine_table()
    model = fitted("one-target")
    assert 50.0 < model.noise_precision_ < 200.0
    assert model.score(X, y) > 0.95
    mean, std = model.predict(X, return_std=True)
    assert np.mean(np.abs(y - mean) < 1.96 * std) >= 0.9
    _, far = model.predict([[30.0, -2.0], [0.5, 60.0]], return_std=True)
    assert np.all(far > 1.05 * std.max())


def test_pure_noise_is_reported_as_pruned_by_name():
    X, noise = inputs(40), np.random.default_rng(8).normal(size=40)
    model = regressor().fit(X, noise)
    assert model.pruned_groups_ == ("layer_0", "layer_1")
    assert_allclose(model.predict(X), noise.mean(), atol=1e-3)
    assert_allclose(model.noise_precision_, 1.0 / noise.var(), rtol=0.01)


def test_constant_targets():
    X = inputs(20)
    mean, std = regressor().fit(X, np.full(20, 5.0)).predict(X, return_std=True)
    assert_allclose(mean, 5.0, atol=1e-3)
    assert np.all((std > 0) & (std < 0.1))


def test_more_weights_than_rows():
    X, y = sine_table(8)
    weak = {"prior_precision": 1e-3, "noise_precision": 1e4}  # every row is fitted
    with pytest.warns(UntrustworthyFitWarning) as caught:  # which of the modes, rounding says
        model = regressor(hidden_layer_sizes=(5,), **weak).fit(X, y)
    sentences = [str(warning.message) for warning in caught]
    assert any("next to nothing to tell noise from signal" in sentence for sentence in sentences)
    assert model.mlp_.n_params > 8
    assert 7.9 < model.n_effective_params_.sum() <= 8.0 + 1e-12
    assert np.all(np.isfinite(model.predict(X, return_std=True)))


@pytest.mark.parametrize("value", ["small", 0.0, -1.0, np.nan, None, [1.0, 2.0], np.inf])
def test_bad_noise_precision(value):
    with pytest.raises(ValueError, match="noise_precision must be"):
        regressor(noise_precision=value).fit(*sine_table())


def test_bad_normalize_y():
    with pytest.raises(ValueError, match="normalize_y must be True or False; got 'yes'"):
        regressor(normalize_y="yes").fit(*sine_table())


def test_a_wave_of_few_rows_is_no_straight_line():
    """Strong starts hold the units in their linear range; the default fit finds the wave anyway."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=(80, 1))
    y = np.sin(4.0 * x[:, 0]) + 0.2 * rng.normal(size=80)
    model = LaplaceMLPRegressor((8,), random_state=0).fit(x, y)
    assert 0.1 < model.noise_precision_**-0.5 < 0.3
