"""Draws for ArviZ: against the Gaussian, densities recomputed, and ArviZ at work."""

from functools import cache

import arviz as az
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_softmax
from scipy.stats import chi2, multivariate_normal, norm
from sklearn.exceptions import NotFittedError

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.inference_data import CovarianceLeftOutWarning, export, loo, to_inference_data
from laplace_nn.likelihoods import Poisson
from tests.displays.fits import classification, regression
from tests.estimators.problems import build, inputs, line_table, sine_table

OLD = int(az.__version__.split(".")[0]) < 1
KINDS = {
    "regression": lambda: regression(2),
    "two targets": lambda: regression(2, 2),
    "two classes": classification,
    "four classes": lambda: classification(3, 4),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
#: Fewer draws than a row's k asks for, or a network far from its Gaussian, are not the point here.
FEW_DRAWS = pytest.mark.filterwarnings(
    "ignore:Estimated shape parameter:UserWarning", "ignore:The Pareto k of:UserWarning"
)
#: What ArviZ 0.23 still asks of pandas 3 and of Matplotlib 3.11.
ARVIZ_IS_BEHIND = pytest.mark.filterwarnings(
    "ignore:The inplace keyword", "ignore:Passing a dict or None as alias"
)


@cache
def exported(kind, **settings):
    """Data of a shared fit; not to be changed."""
    return to_inference_data(*KINDS[kind](), **{"random_state": 0, **settings})


def values(data, group, name="y"):
    """All draws first."""
    found = data[group][name].values
    return found.reshape(-1, *found.shape[2:])


def weights(data, mlp):
    """The draws as theta, from the variables one by one, (S, P)."""
    parts = []
    for layer in range(mlp.n_layers):
        for kind in ("weights", "biases"):
            found = values(data, "posterior", f"{kind}_{layer}")
            parts.append(found.reshape(len(found), -1))
    return np.hstack(parts)


def outputs_at(estimator, member, X, theta, model):
    """Outputs inside at one draw, (N, K); the linearisation by a central difference."""
    inner = (np.asarray(X) - estimator.input_mean_) / estimator.input_scale_

    def network(w):
        return estimator.mlp_.forward(w, inner).outputs

    if model == "network":
        return network(theta)
    step = 1e-4 * (theta - member.theta)
    slope = (network(member.theta + step) - network(member.theta - step)) / 2e-4
    return network(member.theta) + slope


def density(estimator, member, y, f):
    """ln p of every row's targets in their units, (N,)."""
    y = np.asarray(y)
    if isinstance(estimator, LaplaceMLPRegressor):
        std = estimator.target_scale_ / np.sqrt(member.state.likelihood.scale)
        mean = f * estimator.target_scale_ + estimator.target_mean_
        return norm.logpdf(y.reshape(mean.shape), mean, std).sum(axis=1)
    codes = np.searchsorted(estimator.classes_, y)
    if f.shape[1] == 1:
        return np.log(expit(np.where(codes == 1, f[:, 0], -f[:, 0])))
    return log_softmax(f, axis=1)[np.arange(len(codes)), codes]


@EVERY_KIND
def test_draws_are_those_of_the_gaussian(kind):
    estimator, _, _ = KINDS[kind]()
    data = exported(kind, n_samples=4000)
    theta, n = weights(data, estimator.mlp_), 4000
    assert data["posterior"].sizes["chain"] == 4 and data["posterior"].sizes["draw"] == 1000
    mean = estimator.theta_
    covariance = estimator.posterior_.solve(np.eye(len(mean)))
    off = theta.mean(axis=0) - mean
    assert n * off @ np.linalg.solve(covariance, off) < chi2.ppf(1 - 1e-6, len(mean))
    variance = np.diag(covariance)
    error = np.sqrt((covariance**2 + np.outer(variance, variance)) / n)
    assert np.max(np.abs(np.cov(theta.T) - covariance) / error) < 6.0


@EVERY_KIND
@pytest.mark.parametrize("model", ["linearised", "network"])
@pytest.mark.parametrize("member", [0, 1])
def test_densities_are_those_of_one_model(kind, model, member):
    estimator, X, y = KINDS[kind]()
    chosen = estimator.committee_[member]
    data = exported(kind, n_samples=40, n_chains=2, model=model, member=member)
    theta, log_lik = weights(data, estimator.mlp_), values(data, "log_likelihood")
    for draw in (0, 27):
        f = outputs_at(estimator, chosen, X, theta[draw], model)
        assert_allclose(log_lik[draw], density(estimator, chosen, y, f), rtol=1e-5, atol=1e-6)
    prior = norm.logpdf(theta, scale=chosen.prior.precision**-0.5).sum(axis=1)
    assert_allclose(values(data, "sample_stats", "lp"), log_lik.sum(axis=1) + prior, rtol=1e-9)
    fit = data["fit"]
    gaussian = multivariate_normal(fit["mean_vector"].values, fit["covariance_matrix"].values)
    assert_allclose(values(data, "sample_stats", "log_q"), gaussian.logpdf(theta), rtol=1e-6)
    assert fit.attrs["log_marginal_likelihood"] == chosen.log_evidence
    assert fit.attrs["member_weight"] == chosen.weight


@pytest.mark.parametrize("kind", ["regression", "two targets"])
def test_the_gaussian_is_the_posterior_of_the_linearised_regression(kind):
    estimator, _, _ = KINDS[kind]()
    stats = exported(kind)["sample_stats"]
    ratio = (stats["lp"] - stats["log_q"]).values
    assert_allclose(ratio, estimator.log_marginal_likelihood_, rtol=1e-6)
    assert exported(kind)["fit"].attrs["pareto_k"] == -np.inf


@pytest.mark.parametrize(
    ("curvature", "posterior"),
    [
        ("ggn", "dense"),
        ("ggn", "kernel"),
        ("ggn", "diagonal"),
        ("ggn", "low_rank"),
        ("ggn", "sequential"),
        ("ggn", "last_layer"),
        ("kfac", "kronecker"),
    ],
)
def test_every_form_of_the_posterior_is_written_down(curvature, posterior):
    X, y = sine_table()
    fixed = {"curvature": curvature, "posterior": posterior, "prior_precision": 1.0}
    estimator = build("regressor", n_restarts=1, **fixed).fit(X, y)
    data = to_inference_data(estimator, X, y, n_samples=40, random_state=0)
    gaussian, full = estimator.posterior_, np.eye(estimator.mlp_.n_params)
    free = gaussian.variance() > 0.0
    fit, rows = data["fit"], np.flatnonzero(free)
    assert_allclose(fit["mean_vector"], estimator.theta_[free])
    assert_allclose(
        fit["covariance_matrix"], gaussian.solve(full)[np.ix_(rows, rows)], rtol=1e-8, atol=1e-12
    )
    held = {"weights_0", "biases_0"} if posterior == "last_layer" else set()
    assert (
        set(data["posterior"].data_vars)
        == {"weights_0", "biases_0", "weights_1", "biases_1"} - held
    )
    assert held <= set(data["constant_data"].data_vars)
    flat = [values(data, "posterior", name).reshape(40, -1) for name in data["posterior"].data_vars]
    density = multivariate_normal(fit["mean_vector"].values, fit["covariance_matrix"].values)
    assert_allclose(
        values(data, "sample_stats", "log_q"), density.logpdf(np.hstack(flat)), rtol=1e-6
    )


def test_a_covariance_that_is_too_large_is_left_out_in_the_open(monkeypatch):
    X, y = sine_table()
    estimator = build("regressor", posterior="kernel").fit(X, y)
    monkeypatch.setattr(export, "LARGEST_FORMED", 5)
    with pytest.warns(CovarianceLeftOutWarning, match="13 weights is left out: a KernelPosterior"):
        data = to_inference_data(estimator, X, y, n_samples=8, random_state=0)
    assert "covariance_matrix" not in data["fit"]
    assert_allclose(data["fit"]["variance"], estimator.posterior_.variance())


def test_predictive_draws_of_a_regression_have_the_predicted_moments():
    X, y = line_table()
    estimator = build("regressor").fit(X, y)
    data = to_inference_data(estimator, X, y, n_samples=4000, random_state=0)
    drawn = values(data, "posterior_predictive")
    mean, std = estimator.predict(X, return_std=True)
    assert np.max(np.abs(drawn.mean(axis=0) - mean) / (std / np.sqrt(4000))) < 5.0
    assert np.max(np.abs(drawn.std(axis=0) / std - 1.0) * np.sqrt(2 * 4000)) < 5.0
    assert_allclose(data["observed_data"]["y"], y)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_predictive_draws_of_a_classifier_have_the_predicted_frequencies(n_classes):
    _, X, y = classification(3, n_classes)
    link = "gauss_hermite" if n_classes == 2 else "monte_carlo"
    settings = {"link": link, "committee": 1, "temperature": 1.0, "tol": 0.1, "random_state": 0}
    estimator = LaplaceMLPClassifier((3,), **settings).fit(X, y)
    data = to_inference_data(estimator, X, y, n_samples=4000, random_state=0)
    drawn, expected = values(data, "posterior_predictive"), estimator.predict_proba(X)
    shares = np.stack([(drawn == code).mean(axis=0) for code in range(n_classes)], axis=1)
    # The Monte Carlo link has 1024 draws of its own, antithetic.
    error = np.sqrt(expected * (1.0 - expected) * (1.0 / 4000 + (n_classes > 2) / 1024))
    assert np.max(np.abs(shares - expected) / np.maximum(error, 1e-3)) < 5.0
    names = data["observed_data"]["class"].values
    assert_array_equal(names[data["observed_data"]["y"].values], y)


def test_names():
    X = pd.DataFrame(inputs(), columns=["age", "size"])
    y = pd.DataFrame({"left": X["age"], "right": -X["size"]})
    settings = {"n_restarts": 1, "tol": 0.1, "random_state": 0, "prior_precision": 1.0}
    estimator = LaplaceMLPRegressor((3, 2), noise_precision=1.0, **settings).fit(X, y)
    data = to_inference_data(estimator, X, y, n_samples=4, random_state=0)
    posterior = data["posterior"]
    assert posterior["weights_0"].dims[2:] == ("hidden_0", "input")
    assert posterior["weights_1"].dims[2:] == ("hidden_1", "hidden_0")
    assert posterior["weights_2"].dims[2:] == ("output", "hidden_1")
    assert posterior["output"].values.tolist() == ["left", "right"]
    drawn = posterior["weights_0"].sel(input="size", hidden_0=2).values.ravel()
    assert_array_equal(drawn, weights(data, estimator.mlp_)[:, 5])
    labels = data["fit"]["rows"].values
    assert labels[5] == "weights_0[2, size]" and labels[-1] == "biases_2[right]"
    assert data["posterior_predictive"]["y"].dims == ("chain", "draw", "obs", "output")
    constants = data["constant_data"]
    assert_allclose(constants["X"].sel(input="age"), X["age"])
    assert constants["prior_precision"]["group"].values[0] == "age"
    assert_allclose(constants["noise_precision"], [1.0, 1.0])
    assert constants.attrs["inference_library"] == "laplace_nn"
    assert data.attrs["likelihood"] == data["fit"].attrs["likelihood"] == "Gaussian"


def test_what_draws_in_long_tails_is_exported():
    X, y = sine_table()
    X = np.column_stack([X[:, 0], np.exp(4.0 * X[:, 0])])
    estimator = build("regressor", n_restarts=1).fit(X, y)
    constants = to_inference_data(estimator, X, y, random_state=0)["constant_data"]
    origin, unit = (constants[name].values for name in ("tail_origin", "tail_unit"))
    assert np.isnan(origin).tolist() == np.isnan(unit).tolist() == [True, False]
    assert_allclose(np.arcsinh((X[:, 1] - origin[1]) / unit[1]), estimator.long_tails_(X)[:, 1])


def test_seeds():
    same = to_inference_data(*regression(2), random_state=0)
    assert_array_equal(
        values(same, "posterior_predictive"), values(exported("regression"), "posterior_predictive")
    )
    other = to_inference_data(*regression(2), random_state=1)
    assert not np.any(
        values(other, "posterior", "biases_0") == values(same, "posterior", "biases_0")
    )


def test_a_row_of_weight_two_counts_as_two():
    X, y = sine_table()
    weight = np.ones(len(X))
    weight[:5], weight[5] = 2.0, 0.0
    kept = np.flatnonzero(weight)
    estimator = build("regressor").fit(X, y, sample_weight=weight)
    weighted = to_inference_data(estimator, X, y, sample_weight=weight, random_state=0)
    places = np.repeat(np.arange(len(X)), weight.astype(int))
    repeated = to_inference_data(estimator, X[places], y[places], random_state=0)
    assert weighted["log_likelihood"]["obs"].values.tolist() == kept.tolist()
    assert_allclose(weighted["constant_data"]["sample_weight"], weight[kept])
    assert_allclose(weighted["sample_stats"]["lp"], repeated["sample_stats"]["lp"])
    first = values(weighted, "log_likelihood")[:, 0]
    assert_allclose(first, values(repeated, "log_likelihood")[:, :2].sum(axis=1))


@FEW_DRAWS
@ARVIZ_IS_BEHIND
@EVERY_KIND
def test_arviz_works_with_it(kind):
    first, second = exported(kind), exported(kind, member=1)
    summary = az.summary(first)
    estimator, _, _ = KINDS[kind]()
    assert summary.index.tolist() == first["fit"]["rows"].values.tolist()
    assert len(summary) == estimator.mlp_.n_params
    elpd = "elpd_loo" if OLD else "elpd"
    plain, corrected = az.loo(first), loo(first)
    assert np.isfinite(plain[elpd]) and np.isfinite(corrected[elpd])
    table = az.compare({"best": corrected, "other": loo(second)})
    assert set(table.index) == {"best", "other"}
    assert set(az.compare({"best": first, "other": second}).index) == {"best", "other"}
    if OLD:
        az.plot_trace(first, var_names=["biases_0"])
        az.plot_pair(first, var_names=["biases_0"])
        az.plot_ppc(first, num_pp_samples=10)
        az.plot_khat(corrected)
    else:
        az.plot_trace_dist(first, var_names=["biases_0"])
        az.plot_pair(first, var_names=["biases_0"])
        if estimator.__class__ is LaplaceMLPRegressor:
            az.plot_ppc_dist(first, num_samples=10)
        az.plot_khat(corrected)


@pytest.mark.skipif(not OLD, reason="netCDF needs a library that ArviZ 1.x does not bring")
def test_is_written_and_read_again(tmp_path):
    path = str(tmp_path / "data.nc")
    exported("four classes").to_netcdf(path)
    again = az.from_netcdf(path)
    assert_array_equal(again["fit"]["rows"], exported("four classes")["fit"]["rows"])
    assert again["fit"].attrs == exported("four classes")["fit"].attrs


def test_what_is_refused():
    estimator, X, y = regression(2)
    with pytest.raises(TypeError, match="got a str"):
        to_inference_data("model", X, y)
    with pytest.raises(NotFittedError):
        to_inference_data(LaplaceMLPRegressor(), X, y)
    with pytest.raises(
        ValueError, match="must be those of the fit: the log likelihood at the mode"
    ):
        to_inference_data(estimator, X[:-1], y[:-1])
    with pytest.raises(ValueError, match="must be those of the fit"):
        to_inference_data(estimator, X, y, sample_weight=np.full(len(X), 2.0))
    for settings, sentence in (
        ({"n_samples": 10}, "n_samples must be a multiple of n_chains = 4"),
        ({"n_samples": 0}, "n_samples must be a positive integer; got 0"),
        ({"n_chains": 2.0}, "n_chains must be a positive integer; got 2.0"),
        ({"member": 4}, "one of the committee's 3 modes, 0 .the best. to 2; got 4"),
        ({"member": 0.0}, "got 0.0"),
        ({"model": "exact"}, "model must be one of 'linearised', 'network'; got 'exact'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            to_inference_data(estimator, X, y, **settings)


def test_a_posterior_of_batches_is_refused():
    X, y = line_table()
    estimator = build("regressor").partial_fit(X[:20], y[:20])
    to_inference_data(estimator, X[:20], y[:20], n_samples=4)
    with pytest.raises(ValueError, match="has gone on by partial_fit: fit all rows at once"):
        to_inference_data(estimator.partial_fit(X[20:], y[20:]), X, y)


def test_noise_is_drawn_for_the_estimators_likelihoods_only():
    from laplace_nn.inference_data.draws import simulate

    with pytest.raises(TypeError, match="got Poisson"):
        simulate(Poisson(), np.zeros((1, 1, 1)), np.random.default_rng(0))
