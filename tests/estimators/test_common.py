"""What both estimators owe scikit-learn and their users."""

import inspect
import pickle
import warnings
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP, tanh
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import by_layer
from tests import reference
from tests.estimators.problems import KINDS, build, fitted, outputs_of, table

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])

#: The default 50 units and three starts pass too, but take ten minutes together.
SMALL = {"hidden_layer_sizes": (5,), "n_restarts": 1}


#: Where an invariance holds to rounding: a climb of the evidence turns rounding into another
#: number of cycles, whose ends differ by its tolerance.
ONE_FIT = {"prior_precision": 1.0, "n_restarts": 1}


#: As `parametrize_with_checks` does it, which hands pytest an iterator where it wants a list.
CHECKS = [
    pytest.param(*pair, id=f"{type(pair[0]).__name__}-{pair[1].func.__name__}")
    for estimator in (LaplaceMLPRegressor(**SMALL), LaplaceMLPClassifier(**SMALL))
    for pair in estimator_checks.estimator_checks_generator(estimator)
]


# Their tables are pure noise or noise-free: a fit says so, and rightly.
@pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@BOTH
@pytest.mark.parametrize(
    "check", ["check_dataframe_column_names_consistency", "check_inplace_ensure_writeable"]
)
def test_scikit_learn_s_further_checks(check, kind):
    estimator = build(kind, **SMALL)
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@BOTH
def test_clone_is_unfitted_and_alike(kind):
    copy = clone(fitted(kind))
    assert copy.get_params() == fitted(kind).get_params()
    with pytest.raises(NotFittedError):
        copy.predict(table(kind)[0])


@EACH_KIND
def test_pickle_round_trip(kind):
    X, _ = table(kind)
    again = pickle.loads(pickle.dumps(fitted(kind)))
    assert_array_equal(outputs_of(again, X), outputs_of(fitted(kind), X))
    assert again.log_marginal_likelihood_ == fitted(kind).log_marginal_likelihood_


@EACH_KIND
@pytest.mark.parametrize("posterior", ["dense", "kernel"])
def test_joblib_round_trip(posterior, kind, tmp_path):
    X, y = table(kind)
    model = build(kind, posterior=posterior, n_restarts=1).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    assert_array_equal(outputs_of(again, X), outputs_of(model, X))


@BOTH
def test_pipeline(kind):
    X, y = table(kind)
    pipeline = make_pipeline(StandardScaler(), build(kind, **ONE_FIT)).fit(X, y)
    alone = build(kind, **ONE_FIT).fit(X, y)
    assert_array_equal(pipeline.predict(X) == y, alone.predict(X) == y)
    # It standardises inside anyway.
    evidence = pipeline[-1].log_marginal_likelihood_
    assert_allclose(evidence, alone.log_marginal_likelihood_, rtol=1e-6)


@BOTH
def test_grid_search_and_cross_validation(kind):
    X, y = table(kind)
    grid = {"hidden_layer_sizes": [(), (3,)]}
    search = GridSearchCV(build(kind, n_restarts=1), grid, cv=3, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_index_ == np.argmax(scores)
    best = build(kind, n_restarts=1, **search.best_params_)
    assert_allclose(cross_val_score(best, X, y, cv=3).mean(), scores.max())
    if kind == "regressor":  # a sine is no line
        assert scores[1] > scores[0] + 0.3


@EACH_KIND
def test_data_frames(kind):
    X, y = table(kind)
    frame = pd.DataFrame(X, columns=["length", "width"])
    targets = pd.DataFrame(y) if np.ndim(y) == 2 else pd.Series(y)
    model = build(kind, prior="ard").fit(frame, targets)
    assert model.feature_names_in_.tolist() == ["length", "width"]
    assert model.prior_.names == ("length", "width", "biases_0", "weights_1", "biases_1")
    plain = build(kind, prior="ard").fit(X, y)
    assert plain.prior_.names[:2] == ("input_0", "input_1")
    # A frame's targets lie in memory column by column, and are summed in another order.
    assert_allclose(outputs_of(model, frame), outputs_of(plain, X), rtol=1e-9)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"width": "breadth"}))


@EACH_KIND
def test_weight_two_is_the_row_twice_and_weight_zero_none(kind):
    X, y = table(kind)
    weights = np.random.default_rng(5).integers(0, 3, size=len(X))
    weighted = build(kind, **ONE_FIT).fit(X, y, sample_weight=weights)
    twice = np.repeat(X, weights, axis=0), np.repeat(y, weights, axis=0)
    repeated = build(kind, **ONE_FIT).fit(*twice)
    assert_allclose(outputs_of(weighted, X), outputs_of(repeated, X), rtol=1e-6)
    for name in ("log_marginal_likelihood_", "prior_precision_", "n_effective_params_"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-6)
    with pytest.raises(AssertionError):
        assert_allclose(outputs_of(weighted, X), outputs_of(fitted(kind), X), rtol=1e-3)


@BOTH
def test_weights_that_cannot_be(kind):
    X, y = table(kind)
    weights = np.ones(len(X))
    weights[3] = -0.5
    with pytest.raises(ValueError, match=r"sample_weight must not be negative; got -0\.5"):
        build(kind).fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match=r"all weights are zero\.$|at least one non-zero"):
        build(kind).fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="NaN"):
        build(kind).fit(X, y, sample_weight=np.full(len(X), np.nan))


@EACH_KIND
def test_units_of_the_inputs_change_nothing(kind):
    X, y = table(kind)
    moved = X * [100.0, 0.01] + [-3.0, 7.0]
    model = build(kind, **ONE_FIT).fit(moved, y)
    original = build(kind, **ONE_FIT).fit(X, y)
    assert_allclose(outputs_of(model, moved), outputs_of(original, X), rtol=1e-6, atol=1e-9)
    evidence = original.log_marginal_likelihood_
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-6)


@EACH_KIND
def test_without_standardising_the_weights_are_those_of_the_raw_inputs(kind):
    X, y = table(kind)
    model = build(kind, standardize=False).fit(X, y)
    (W, b), *_ = model.mlp_.unpack(model.theta_)
    assert_array_equal(model.coefs_[0], W.T)
    assert_array_equal(model.intercepts_[0], b)
    (W, _), *_ = fitted(kind).mlp_.unpack(fitted(kind).theta_)
    assert_allclose(fitted(kind).coefs_[0], W.T / X.std(axis=0)[:, None])


@EACH_KIND
@pytest.mark.parametrize("hidden", [(), (3,), (2, 3)])
def test_coefficients_have_the_shapes_of_scikit_learn_s_own(hidden, kind):
    X, y = table(kind)
    model = build(kind, hidden_layer_sizes=hidden, n_restarts=1).fit(X, y)
    sizes = (2, *hidden, model.mlp_.n_outputs)
    assert [W.shape for W in model.coefs_] == list(pairwise(sizes))
    assert [b.shape for b in model.intercepts_] == [(n,) for n in sizes[1:]]


@EACH_KIND
def test_dense_and_kernel_posterior_are_the_same(kind):
    X, y = table(kind)
    dense = build(kind, posterior="dense").fit(X, y)
    kernel = build(kind, posterior="kernel").fit(X, y)
    assert isinstance(dense.posterior_, DensePosterior)
    assert isinstance(kernel.posterior_, KernelPosterior)
    far = np.vstack([X, 10.0 * X])
    assert_allclose(outputs_of(dense, far), outputs_of(kernel, far), rtol=1e-6)
    assert_allclose(dense.log_marginal_likelihood_, kernel.log_marginal_likelihood_, rtol=1e-6)


@BOTH
@pytest.mark.parametrize(("units", "form"), [(2, DensePosterior), (20, KernelPosterior)])
def test_auto_posterior_is_held_in_the_smaller_space(form, units, kind):
    X, y = table(kind)
    model = build(kind, hidden_layer_sizes=units, n_restarts=1).fit(X, y)
    assert isinstance(model.posterior_, form)


def standardised_twin(model, X, y):
    """A fitted model's network and rows for the slow twins."""
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if isinstance(model, LaplaceMLPClassifier):
        likelihood = "categorical" if len(model.classes_) > 2 else "bernoulli"
        y = (y[:, None] == model.classes_).astype(float)
        y = y[:, 1:] if likelihood == "bernoulli" else y
    else:
        likelihood, y = "gaussian", np.reshape((y - y.mean(axis=0)) / y.std(axis=0), (len(X), -1))
    sizes = model.mlp_.layer_sizes
    return reference.Problem(sizes, "tanh", likelihood, X, y, np.ones(len(X)))


@EACH_KIND
@pytest.mark.parametrize("curvature", ["ggn", "exact", "exact_positive"])
def test_curvature_of_the_posterior(curvature, kind):
    """Its precision is that of the slow twin, and the evidence its determinant's."""
    X, y = table(kind)
    model = build(kind, curvature=curvature, posterior="dense").fit(X, y)
    twin = standardised_twin(model, X, y)
    H = {
        "ggn": reference.outer_products,
        "exact": reference.hessian,
        "exact_positive": lambda *at: reference.positive_part(reference.hessian(*at)),
    }[curvature](twin, model.theta_)
    prior, scale = model.prior_, model.likelihood_.scale
    A = 0.5 * scale * (H + H.T) + np.diag(prior.precisions[prior.groups])
    sign, logdet = np.linalg.slogdet(A)
    assert sign == 1.0
    assert_allclose(model.posterior_.logdet_precision, logdet, rtol=1e-6)
    energy = scale * reference.energy(twin, model.theta_)
    evidence = -energy + prior.log_density(model.theta_)
    evidence += 0.5 * (len(A) * np.log(2.0 * np.pi) - logdet)
    if twin.likelihood == "gaussian":
        evidence += 0.5 * twin.y.size * np.log(scale / (2.0 * np.pi))
        evidence -= len(X) * np.sum(np.log(np.std(y, axis=0)))
    assert_allclose(model.log_marginal_likelihood_, evidence, rtol=1e-6)


@EACH_KIND
@pytest.mark.parametrize("seed", range(2))
def test_fits_end_at_a_minimum_and_not_at_a_saddle(seed, kind):
    """A saddle is stationary too, but Laplace's approximation does not hold there."""
    X, y = table(kind)
    model = build(kind, n_restarts=1, random_state=seed).fit(X, y)
    H = reference.hessian(standardised_twin(model, X, y), model.theta_)
    prior, scale = model.prior_, model.likelihood_.scale
    A = 0.5 * scale * (H + H.T) + np.diag(prior.precisions[prior.groups])
    assert np.linalg.eigvalsh(A)[0] > -1e-6


@pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")
@BOTH
def test_exact_curvature_where_it_is_indefinite(kind):
    """After a single step from a weak prior the weights are at no minimum."""
    X, y = table(kind)
    settings = {"prior_precision": 1e-3, "max_iter": 1, "n_restarts": 1}
    if kind == "regressor":
        settings["noise_precision"] = 100.0
    with pytest.raises(NotPositiveDefiniteError, match="PositivePart") as caught:
        build(kind, curvature="exact", **settings).fit(X, y)
    assert caught.value.smallest_eigenvalue < 0.0
    with pytest.warns(ConvergenceWarning):
        model = build(kind, curvature="exact_positive", **settings).fit(X, y)
    assert np.isfinite(model.log_marginal_likelihood_)


BAD_PARAMETERS = {
    "hidden_layer_sizes": [0, -1, 2.5, (3, 0), "many", None],
    "activation": ["sine", None],
    "prior": ["none", None, np.arange(3), np.zeros(13), np.full(13, "a")],
    "curvature": ["kfak", None],
    "posterior": ["mcmc", None],
    "solver": ["adam", None],
    "prior_precision": ["large", 0.0, -1.0, np.nan, None, [1.0, -1.0], [1.0, 2.0, 3.0]],
    "n_restarts": [0, 1.5, "3", None],
    "max_iter": [0, 1.5, None],
    "max_cycles": [0, 1.5, None],
    "tol": [0.0, -1e-3, "small", np.nan],
    "gradient_tol": [0.0, -1e-3, None],
    "standardize": ["yes", "Auto", None, 1],
    "warm_start": ["yes", None],
}


@BOTH
@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD_PARAMETERS.items() for value in values],
)
def test_bad_parameters(name, value, kind):
    """One sentence that begins with the parameter and ends with what came."""
    with pytest.raises(ValueError, match=rf"^{name} (must|has)") as caught:
        build(kind, **{name: value}).fit(*table(kind))
    assert str(caught.value).count("\n") == 0
    if not isinstance(value, np.ndarray | list):
        assert repr(value) in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    "prior", ["layer", by_layer(MLP((2, 3, 1))), by_layer(MLP((2, 3, 1))).groups]
)
def test_three_ways_to_give_the_same_prior(prior, kind):
    model = build(kind, prior=prior, activation=tanh).fit(*table(kind))
    assert_array_equal(model.theta_, fitted(kind).theta_)
    assert model.log_marginal_likelihood_ == fitted(kind).log_marginal_likelihood_


@BOTH
@pytest.mark.parametrize(
    ("prior", "n_groups"), [("single", 1), ("layer", 2), ("layer_kind", 4), ("ard", 5)]
)
def test_groups(prior, n_groups, kind):
    model = build(kind, prior=prior).fit(*table(kind))
    assert model.prior_.n_groups == n_groups
    for value in (model.prior_precision_, model.n_effective_params_):
        assert value.shape == (n_groups,)
    assert np.all(model.prior_precision_ > 0)
    sizes = model.prior_.group_sizes
    assert np.all((model.n_effective_params_ >= 0) & (model.n_effective_params_ <= sizes))


@BOTH
def test_precisions_that_are_given_stay(kind):
    model = build(kind, prior_precision=[0.5, 2.0]).fit(*table(kind))
    assert_array_equal(model.prior_precision_, [0.5, 2.0])
    model = build(kind, prior_precision=0.7).fit(*table(kind))
    assert_array_equal(model.prior_precision_, [0.7, 0.7])


@EACH_KIND
def test_a_fit_within_its_budget_does_not_warn_and_is_stationary(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build(kind).fit(*table(kind))
    assert all(e["stationary"] for e in model.history_ if e["event"] == "end")


@BOTH
def test_fitting_leaves_parameters_and_data_alone(kind):
    X, y = table(kind)
    copies, model = (X.copy(), y.copy()), build(kind)
    before = model.get_params()
    model.fit(X, y).predict(X)
    assert model.get_params() == before
    assert_array_equal(X, copies[0])
    assert_array_equal(y, copies[1])


@BOTH
def test_a_constant_column_changes_nothing(kind):
    X, y = table(kind)
    wider = np.column_stack([X, np.full(len(X), 1e6 + 0.1)])
    settings = {"hidden_layer_sizes": (), "prior": "single"}
    narrow = build(kind, **settings).fit(X, y)
    model = build(kind, **settings).fit(wider, y)
    assert_allclose(outputs_of(model, wider), outputs_of(narrow, X), rtol=1e-6)
    assert_allclose(model.log_marginal_likelihood_, narrow.log_marginal_likelihood_, rtol=1e-9)


def test_parameters_are_documented_and_shared():
    own = {"noise_precision", "normalize_y"}, {"link", "temperature"}
    names = [set(cls().get_params()) for cls in (LaplaceMLPRegressor, LaplaceMLPClassifier)]
    assert names[0] - names[1] == own[0]
    assert names[1] - names[0] == own[1]
    for cls, parameters in zip((LaplaceMLPRegressor, LaplaceMLPClassifier), names, strict=True):
        assert all(f"\n{name} : " in inspect.getdoc(cls) for name in parameters)
