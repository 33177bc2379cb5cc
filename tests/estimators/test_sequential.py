"""Batch after batch against all rows at once."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import estimator_checks

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.curvature import GGN, Anchor
from laplace_nn.estimators import machine, sequential
from laplace_nn.estimators.sequential import SequentialMember
from laplace_nn.evidence_surface import EvidenceSurface
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.mixture import evidence_weights
from laplace_nn.network import MLP
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    KernelPosterior,
    as_prior,
)
from laplace_nn.priors import single
from laplace_nn.reestimation import reestimate
from laplace_nn.rows import RowBlocks
from tests.estimators.problems import KINDS, build, inputs, outputs_of, table

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])
FULL = pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])

#: Nothing is found from the first batch alone, so that batches can be all rows at once.
LINEAR = {
    "hidden_layer_sizes": (),
    "prior": "layer_kind",
    "prior_precision": [0.7, 0.2],
    "noise_precision": 4.0,
    "standardize": False,
    "normalize_y": False,
}


def in_batches(model, X, y, *edges, sample_weight=None, **settings):
    """Fitted to consecutive batches, and the log evidence after each of them."""
    starts, evidences = [0, *edges], []
    for a, b in zip(starts, [*edges, len(X)], strict=True):
        weights = None if sample_weight is None else sample_weight[a:b]
        model.partial_fit(X[a:b], y[a:b], sample_weight=weights, **settings)
        evidences.append(model.log_marginal_likelihood_)
    return model, evidences


def plane(n_targets, n_rows=60):
    X, rng = inputs(n_rows), np.random.default_rng(7)
    Y = X @ rng.normal(size=(2, n_targets)) + 0.3 + 0.5 * rng.normal(size=(n_rows, n_targets))
    return X, Y[:, 0] if n_targets == 1 else Y


def wave(n_rows, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n_rows, 1))
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.normal(size=n_rows)


def rings(n_classes, n_rows, seed):
    """Labels by the distance from the origin, blurred."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2))
    radius = np.hypot(*X.T) + 0.2 * rng.normal(size=n_rows)
    edges = [1.2] if n_classes == 2 else [0.9, 1.6]
    return X, np.array(["in", "mid", "out"])[np.digitize(radius, edges) * (4 - n_classes)]


def snapshot(model):
    return pickle.dumps({k: v for k, v in vars(model).items() if k.endswith("_")})


def refused(kind, sentence, *args, error=ValueError, model=None, **settings):
    """The refusal is one sentence, and the estimator is as it was."""
    model = build(kind, n_restarts=1).fit(*table(kind)) if model is None else model
    before = snapshot(model)
    with pytest.raises(error, match=sentence) as caught:
        model.partial_fit(*args, **settings)
    assert str(caught.value).count("\n") == 0
    assert snapshot(model) == before


# A first batch of one row cannot be trusted, and says so; what follows must not mind.
@pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")
@pytest.mark.parametrize("edges", [(20, 40), (1, 3), (50, 59)], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_linear_batches_are_all_rows_at_once(n_targets, weighted, edges):
    X, y = plane(n_targets)
    weights = np.random.default_rng(8).integers(1, 4, size=len(X)) if weighted else None
    whole = LaplaceMLPRegressor(**LINEAR).fit(X, y, weights)
    model, evidences = in_batches(
        LaplaceMLPRegressor(**LINEAR), X, y, *edges, sample_weight=weights
    )
    far = np.vstack([X, 10.0 * X])
    assert_allclose(outputs_of(model, far), outputs_of(whole, far), rtol=1e-8)
    assert_allclose(evidences[-1], whole.log_marginal_likelihood_, rtol=1e-8)
    assert_allclose(model.n_effective_params_, whole.n_effective_params_, rtol=1e-8)
    assert_allclose(model.coefs_[0], whole.coefs_[0], rtol=1e-8)
    assert_allclose(model.intercepts_[0], whole.intercepts_[0], rtol=1e-8)
    # Leave-one-out of the last rows leaves them out of all rows, not of their batch.
    loo, of_all = np.stack(model.loo_predictions()), np.stack(whole.loo_predictions())
    assert_allclose(loo, of_all[:, edges[-1] :], rtol=1e-8)


@EACH_KIND
def test_a_linear_fit_keeps_its_units_and_precisions(kind):
    """Those of the first batch: all rows under them, by hand, are the same."""
    X, y = table(kind)
    model, evidences = in_batches(build(kind, hidden_layer_sizes=()), X, y, 25)
    first = build(kind, hidden_layer_sizes=()).fit(X[:25], y[:25])
    for name in ("input_mean_", "input_scale_", "prior_precision_"):
        assert_array_equal(getattr(model, name), getattr(first, name))
    assert model.likelihood_ == first.likelihood_
    if isinstance(model, LaplaceMLPClassifier):
        return
    assert_array_equal(model.noise_precision_, first.noise_precision_)
    targets = (np.reshape(y, (len(X), -1)) - first.target_mean_) / first.target_scale_
    rows = RowBlocks((X - first.input_mean_) / first.input_scale_, targets)
    surface = EvidenceSurface(first.mlp_, rows, False, False, "lm", 1e-9)
    state = surface.evaluate(first.prior_, first.likelihood_, first.theta_, 100)
    assert_allclose(model.theta_, state.map.theta, rtol=1e-8, atol=1e-12)
    evidence = state.evidence.total - len(X) * np.sum(np.log(first.target_scale_))
    assert_allclose(evidences[-1], evidence, rtol=1e-8)
    assert_allclose(model.n_effective_params_, state.n_effective_params, rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_waves_in_batches_come_close_to_all_rows_and_beat_the_first_alone(seed):
    """Not exactly: a quadratic about its mode stands for each batch's likelihood.

    Its error is of the order of 1/√N posterior standard deviations, and the noise is that which
    the first batch has found.
    """
    X, y = wave(240, seed)
    new, truth = wave(200, seed + 100)
    settings = {"hidden_layer_sizes": (6,), "n_restarts": 2, "random_state": seed}
    first = LaplaceMLPRegressor(**settings).fit(X[:30], y[:30])
    model, evidences = in_batches(LaplaceMLPRegressor(**settings), X, y, 30, 100, 170)
    whole = LaplaceMLPRegressor(**settings).fit(X, y)
    noise = whole.noise_precision_**-0.5
    moved = model.predict(new) - whole.predict(new)
    assert np.sqrt(np.mean(moved**2)) < 0.5 * noise
    errors = [np.mean((m.predict(new) - np.sin(2.0 * new[:, 0])) ** 2) for m in (first, model)]
    assert errors[1] < errors[0]
    scores = [m.log_predictive_density(new, truth).mean() for m in (first, model, whole)]
    assert scores[1] > scores[0]
    assert scores[1] > scores[2] - 0.15
    assert np.all(np.diff(evidences) > 0.0)  # densities far above 1: the rows are predicted well


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_rings_in_batches_improve_the_held_out_log_score(n_classes, full):
    (X, y), (new, labels) = rings(n_classes, 400, 0), rings(n_classes, 400, 1)
    settings = {"hidden_layer_sizes": (5,), "n_restarts": 2, "random_state": 0}
    first = LaplaceMLPClassifier(**settings).fit(X[:60], y[:60])
    model, _ = in_batches(LaplaceMLPClassifier(**settings), X, y, 60, 200, full=full)
    scores = [m.log_predictive_density(new, labels).mean() for m in (first, model)]
    assert scores[1] > scores[0] + 0.02
    assert_allclose(model.predict_proba(new).sum(axis=1), 1.0, rtol=1e-12)


@EACH_KIND
@FULL
def test_attributes_belong_to_each_other(full, kind):
    X, y = table(kind)
    model, _ = in_batches(build(kind, prior="ard"), X, y, 25, full=full)
    first, best = build(kind, prior="ard").fit(X[:25], y[:25]), model.committee_[0]
    assert all(isinstance(member, SequentialMember) for member in model.committee_)
    weights = [member.weight for member in model.committee_]
    assert_allclose(sum(weights), 1.0)
    assert weights == sorted(weights, reverse=True)
    assert_allclose([member.score for member in model.committee_], np.log(weights), atol=1e-12)
    assert model.theta_ is best.theta and model.posterior_ is best.posterior
    assert_array_equal(model.posterior_.theta_map, model.theta_)
    assert model.log_marginal_likelihood_ == best.log_evidence
    started = next(m for m in first.committee_ if m.start == best.start)
    assert model.prior_.names == started.state.prior.names
    assert model.prior_.mean is None
    assert_array_equal(model.prior_precision_, started.state.prior.precisions)
    assert_array_equal(model.relevance_, input_sizes(model, best))
    gamma, sizes = model.n_effective_params_, model.prior_.group_sizes
    assert gamma.shape == sizes.shape and np.all((gamma > 0.0) & (gamma < sizes))
    assert gamma.sum() > started.state.n_effective_params.sum()
    further = [entry for entry in model.history_ if entry["event"] == "further rows"]
    assert [entry["start"] for entry in further] == [m.start for m in first.committee_]
    assert all(len(entry["prior_precision"]) == len(sizes) for entry in further)
    assert model.n_iter_ == sum(entry["n_iter"] for entry in model.history_)
    assert len(best.loo.mean) == len(X) - 25
    assert np.isfinite(model.loo_log_score_)
    W = model.mlp_.unpack(model.theta_)[0][0] / model.input_scale_
    assert_array_equal(model.coefs_[0], W.T)


def input_sizes(model, member):
    """√(mean w²) of the weights that leave each input, (D,)."""
    return np.sqrt(np.mean(model.mlp_.unpack(member.theta)[0][0] ** 2, axis=0))


@EACH_KIND
def test_relevance_is_of_a_mode_that_has_it_and_the_first_diagnosis_goes(kind):
    """Under prior="auto" the modes' priors differ, and any of them may come first."""
    X, y = table(kind)
    model = build(kind, n_restarts=2, prior="auto")
    half = len(X) // 2
    model.partial_fit(X[:half], y[:half])
    assert hasattr(model, "diagnostics_")
    model.partial_fit(X[half:], y[half:])
    assert not hasattr(model, "diagnostics_")
    found = [m for m in model.committee_ if m.prior.n_groups > X.shape[1] + 2]
    if found:
        assert_array_equal(model.relevance_, input_sizes(model, found[0]))
    else:
        assert not hasattr(model, "relevance_")


@BOTH
def test_weights_are_multiplied_by_what_each_member_had_predicted(kind):
    X, y = table(kind)
    model = build(kind, n_restarts=3, committee="all").partial_fit(X[:25], y[:25])
    before = {member.start: member for member in model.committee_}
    model.partial_fit(X[25:], y[25:])
    after = {member.start: member for member in model.committee_}
    assert len(before) > 1 and set(after) <= set(before)
    logs = {
        s: np.log(before[s].weight) + m.log_evidence - before[s].log_evidence
        for s, m in after.items()
    }
    expected = dict(zip(logs, evidence_weights(np.array(list(logs.values()))), strict=True))
    for start, member in after.items():
        assert_allclose(member.weight, expected[start], rtol=1e-6)


def test_members_that_are_forgotten_stay_out():
    model = build("regressor", n_restarts=3, committee="all").fit(*table("regressor"))
    members = [
        SequentialMember(**{**vars(m), "score": score}, first_prior=m.state.prior)
        for m, score in zip(model.committee_ * 3, [-900.0, -3.0, -5.0], strict=False)
    ]
    kept = sequential._reweighted(members)
    assert_allclose([m.weight for m in kept], evidence_weights(np.array([-3.0, -5.0])))


@EACH_KIND
@FULL
def test_same_to_the_bit(full, kind):
    X, y = table(kind)
    one, other = (in_batches(build(kind), X, y, 15, 25, full=full)[0] for _ in range(2))
    assert_array_equal(outputs_of(one, X), outputs_of(other, X))
    assert_array_equal(one.theta_, other.theta_)
    assert one.log_marginal_likelihood_ == other.log_marginal_likelihood_
    again = pickle.loads(pickle.dumps(one))
    assert_array_equal(outputs_of(again, X), outputs_of(one, X))


@EACH_KIND
def test_the_first_call_is_fit_and_fit_starts_anew(kind):
    X, y = table(kind)
    fitted = build(kind).fit(X, y)
    model, _ = in_batches(build(kind), X, y, 20)
    for after in (build(kind).partial_fit(X, y), model.fit(X, y)):
        assert_array_equal(after.theta_, fitted.theta_)
        assert after.log_marginal_likelihood_ == fitted.log_marginal_likelihood_
        assert not any(isinstance(member, SequentialMember) for member in after.committee_)


@BOTH
def test_weight_two_is_the_row_twice_and_weight_zero_none(kind):
    X, y = table(kind)
    weights = np.random.default_rng(5).integers(0, 3, size=20)
    weighted = build(kind).partial_fit(X[:20], y[:20])
    repeated = pickle.loads(pickle.dumps(weighted))
    weighted.partial_fit(X[20:], y[20:], sample_weight=weights)
    repeated.partial_fit(np.repeat(X[20:], weights, axis=0), np.repeat(y[20:], weights))
    assert_allclose(outputs_of(weighted, X), outputs_of(repeated, X), rtol=1e-6)
    evidence = repeated.log_marginal_likelihood_
    assert_allclose(weighted.log_marginal_likelihood_, evidence, rtol=1e-6)


@BOTH
def test_function_space_is_left_for_p_by_p_numbers(kind):
    """More weights than rows: the same as a dense posterior from the start."""
    X, y = table(kind)
    settings = {"hidden_layer_sizes": (12,), "prior_precision": 1.0, "n_restarts": 1}
    auto = build(kind, **settings).partial_fit(X[:20], y[:20])
    assert isinstance(auto.posterior_, KernelPosterior)
    dense, _ = in_batches(build(kind, posterior="dense", **settings), X, y, 20)
    auto.partial_fit(X[20:], y[20:])
    assert isinstance(auto.posterior_, DensePosterior)
    assert_allclose(outputs_of(auto, X), outputs_of(dense, X), rtol=1e-6)
    assert_allclose(auto.log_marginal_likelihood_, dense.log_marginal_likelihood_, rtol=1e-6)


@BOTH
def test_the_diagonal_needs_no_p_by_p_numbers(kind):
    X, y = table(kind)
    settings = {"hidden_layer_sizes": (12,), "n_restarts": 1}
    model, _ = in_batches(build(kind, **settings), X, y, 20, full=False)
    assert isinstance(model.posterior_, KernelPosterior)
    # From then on full ones may follow.
    assert isinstance(model.partial_fit(X[:5], y[:5]).posterior_, DensePosterior)


@BOTH
@pytest.mark.parametrize(
    ("settings", "form"),
    [
        ({"curvature": "kfac"}, DensePosterior),
        ({"curvature": "exact_positive"}, DensePosterior),
        ({"posterior": "low_rank"}, DensePosterior),
        ({"posterior": "sequential"}, DensePosterior),
        ({"posterior": "diagonal"}, DiagonalPosterior),
    ],
    ids=str,
)
def test_every_curvature_and_form(settings, form, kind):
    X, y = table(kind)
    model, _ = in_batches(build(kind, n_restarts=1, **settings), X, y, 25)
    assert type(model.posterior_) is form
    assert np.isfinite(model.log_marginal_likelihood_)
    assert np.all(np.isfinite(outputs_of(model, X)))


@BOTH
def test_kronecker_factors_take_no_precision_a_weight(kind):
    X, y = table(kind)
    model = build(kind, n_restarts=1, curvature="kfac").fit(X[:25], y[:25])
    refused(kind, "KroneckerPosterior needs a prior", X, y, model=model, full=False)


@pytest.mark.parametrize("curvature", ["exact", "exact_positive"])
def test_exact_linear_batches_are_all_rows_at_once_too(curvature):
    X, y = plane(1)
    settings = {**LINEAR, "curvature": curvature, "posterior": "dense"}
    whole = LaplaceMLPRegressor(**settings).fit(X, y)
    model, evidences = in_batches(LaplaceMLPRegressor(**settings), X, y, 20)
    assert_allclose(outputs_of(model, X), outputs_of(whole, X), rtol=1e-8)
    assert_allclose(evidences[-1], whole.log_marginal_likelihood_, rtol=1e-8)


def test_what_does_not_fit_the_first_batch():
    X, y = table("classifier")
    refused(
        "classifier",
        r"y holds the label 'up', which is not one of",
        X,
        np.where(X[:, 0] > 0, "up", y),
    )
    refused(
        "classifier",
        r"classes must be those .*got \['low', 'mid', 'up'\]",
        X,
        y,
        classes=["low", "mid", "up"],
    )
    refused("classifier", "X has 1 features", X[:, :1], y)
    X, y = table("regressor")
    refused("regressor", "X has 1 features", X[:, :1], y)
    refused("regressor", r"y must have 1 targets .*got 2", X, np.column_stack([y, y]))
    refused("two-targets", r"y must have 2 targets .*got 1", X, y)
    refused("regressor", r"classes for a classifier only", X, y, np.ones(len(X)))
    refused("regressor", "must not be negative", X, y, sample_weight=np.r_[-1.0, y[1:] ** 2])


@BOTH
def test_posteriors_over_some_weights_are_refused(kind):
    model = build(kind, n_restarts=1, posterior="last_layer").fit(*table(kind))
    for full in (True, False):
        refused(kind, "needs a Gaussian over all", *table(kind), model=model, full=full)


def test_classes_of_the_first_batch():
    X, y = table("classifier")
    model = build("classifier", n_restarts=1)
    with pytest.raises(ValueError, match="begin with a batch that has rows of every class"):
        model.partial_fit(X, y, classes=["low", "mid", "up"])
    weights = (y == "low").astype(float)
    with pytest.raises(ValueError, match="begin with a batch"):
        model.partial_fit(X, y, classes=np.unique(y), sample_weight=list(weights))
    assert not hasattr(model, "theta_")
    model.partial_fit(X, y, classes=np.unique(y))
    model.partial_fit(X[y == "low"], y[y == "low"])  # later ones may lack some
    model.partial_fit(X, list(y), classes=list(np.unique(y)[::-1]))


def test_memory_that_is_not_there(monkeypatch):
    X, y = table("regressor")
    model = build("regressor", hidden_layer_sizes=(12,), n_restarts=1).fit(X[:20], y[:20])
    monkeypatch.setattr(machine, "physical_memory", lambda: 4 * 8.0 * 30**2)
    refused("regressor", "full=False", X[20:], y[20:], model=model, error=MemoryError)
    model.partial_fit(X[20:], y[20:], full=False)


@BOTH
def test_training_that_runs_out_warns(kind):
    X, y = table(kind)
    model = build(kind, n_restarts=1).fit(X[:20], y[:20]).set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning, match="raise max_iter") as caught:
        model.partial_fit(X[20:], y[20:])
    assert caught[0].filename == __file__


# Their tables are pure noise: a fit says so, and rightly.
@pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")
@pytest.mark.parametrize("kind", [LaplaceMLPRegressor, LaplaceMLPClassifier])
@pytest.mark.parametrize(
    "check",
    [
        "check_estimators_partial_fit_n_features",
        "check_n_features_in_after_fitting",
        "check_dataframe_column_names_consistency",
    ],
)
def test_scikit_learn_s_conventions(check, kind):
    getattr(estimator_checks, check)(kind.__name__, kind((2,), n_restarts=1))


def test_an_anchored_surface_is_the_predictive_density_of_new_rows():
    X, y = wave(40, 0)
    mlp, targets = MLP((1, 3, 1)), y[:, None]
    old, new = RowBlocks(X[:30], targets[:30]), RowBlocks(X[30:], targets[30:])
    theta = mlp.initialise(np.random.default_rng(0))
    fixed = {"fit_prior": False, "fit_noise": False}
    before = reestimate(mlp, Gaussian(50.0), single(mlp), old, theta, **fixed).state
    prior, anchor = as_prior(before.posterior)
    found = reestimate(mlp, Gaussian(50.0), prior, new, prior.mean, anchor=anchor, **fixed)
    state = found.state
    assert found.converged and state.map.converged and isinstance(state.posterior, DensePosterior)
    H = GGN(mlp, state.map.theta, Gaussian(50.0), new).dense()
    A = 50.0 * H + anchor.matrix + np.diag(prior.precision)
    assert_allclose(state.posterior.logdet_precision, np.linalg.slogdet(A)[1], rtol=1e-10)
    log_prior = anchor.log_density(state.map.theta, prior)
    assert_allclose(state.evidence.log_prior, log_prior, rtol=1e-14)


@pytest.mark.parametrize("moving", [{"fit_prior": True}, {"fit_noise": True}], ids=str)
def test_hyperparameters_may_not_move_under_an_anchor(moving):
    mlp, rows = MLP((1, 1)), RowBlocks(np.ones((3, 1)), np.ones((3, 1)))
    anchor, fixed = Anchor(np.zeros(2), np.eye(2)), {"fit_prior": False, "fit_noise": False}
    settings = {**fixed, **moving}
    with pytest.raises(ValueError, match="set both to False"):
        reestimate(mlp, Gaussian(), single(mlp), rows, np.zeros(2), anchor=anchor, **settings)
    # Without a noise to fit, only the prior is asked about.
    labels = RowBlocks(np.ones((3, 1)), np.ones((3, 1)))
    reestimate(mlp, Bernoulli(), single(mlp), labels, np.zeros(2), anchor=anchor, fit_prior=False)
