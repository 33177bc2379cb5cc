"""Models ranked by the evidence: the table and the picture."""

import sys
from functools import cache

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_info

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.evidence import EvidenceDisplay
from laplace_nn.evidence import symmetry_term
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.model_selection import compare
from laplace_nn.network import tanh
from laplace_nn.units import separated_units
from tests.estimators.problems import label_table, line_table, sine_table, two_target_table

# Small tables, on which a fit may well be no better than a constant: that is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")

QUICK = {"n_restarts": 1, "random_state": 0}
WIDTHS = ((), (1,), (3,), (1, 2))


def regressor(hidden=(2,), **settings):
    return LaplaceMLPRegressor(hidden, **{**QUICK, **settings})


def classifier(hidden=(2,), **settings):
    return LaplaceMLPClassifier(hidden, **{**QUICK, **settings})


def held_out(X, y):
    return {"X": X[::2], "y": y[::2], "X_test": X[1::2], "y_test": y[1::2]}


@cache
def compared(tested=True):
    """Four regressors on a sine; not to be changed."""
    rows = held_out(*sine_table(60))
    if not tested:
        rows = {name: rows[name] for name in ("X", "y")}
    return compare({str(hidden): regressor(hidden) for hidden in WIDTHS}, **rows)


# The ranking and its table


@pytest.mark.parametrize("symmetry", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_plane_needs_no_hidden_units(seed, symmetry):
    """Units in their linear range are few as the posterior tells them apart, whatever the width."""
    X, y = line_table(60)
    models = [regressor(h, random_state=seed) for h in ((4,), ())]
    found = compare(models, X, y, symmetry=symmetry)
    assert found.names == ("hidden_layer_sizes=()", "hidden_layer_sizes=(4,)")


def test_a_sine_needs_them():
    assert compared().names[-2:] == ("(1,)", "()")
    assert compared().best_estimator is compared().estimators[0]


def test_what_is_in_the_table():
    found = compared()
    table = found.table()
    assert table["name"].tolist() == list(found.names)
    for estimator, (_, line) in zip(found.estimators, table.iterrows(), strict=True):
        assert line["log_evidence"] == estimator.log_marginal_likelihood_ + line["log_symmetry"]
        assert line["loo_log_score"] == estimator.loo_log_score_
        assert_allclose(line["n_effective_params"], estimator.n_effective_params_.sum())
        assert line["n_params"] == len(estimator.theta_)
        assert line["n_hidden_units"] == np.sum(estimator.hidden_layer_sizes)
        assert line["seconds"] > 0.0
        assert line["converged"]
    terms = dict(zip(found.names, table["log_symmetry"], strict=True))
    assert terms["()"] == 0.0
    for estimator, name in zip(found.estimators, found.names, strict=True):
        counts = separated_units(estimator.mlp_, estimator.committee_[0].state.posterior)
        assert terms[name] == symmetry_term(estimator.mlp_, counts)
        assert terms[name] <= symmetry_term(estimator.mlp_)
    assert list(table) == [
        "name",
        "log_evidence",
        "log_symmetry",
        "loo_log_score",
        "n_effective_params",
        "n_params",
        "n_hidden_units",
        "weight",
        "delta",
        "seconds",
        "converged",
        "test_log_score",
        "test_error",
    ]
    assert list(compared(tested=False).table()) == list(table)[:-2]


def test_weights_are_the_models_posterior_probabilities():
    table = compared().table()
    evidence = np.exp(table["log_evidence"] - table["log_evidence"].max())
    assert_allclose(table["weight"], evidence / evidence.sum())
    assert_allclose(table["weight"].sum(), 1.0)
    assert_allclose(table["delta"], -np.log(evidence), rtol=1e-9)
    assert table["delta"].is_monotonic_increasing


def test_without_the_symmetry_term():
    X, y = sine_table()
    found = compare([regressor((2,)), regressor((3,))], X, y, symmetry=False)
    assert found.table()["log_symmetry"].tolist() == [0.0, 0.0]
    expected = [estimator.log_marginal_likelihood_ for estimator in found.estimators]
    assert found.table()["log_evidence"].tolist() == expected


def test_leave_one_out_ranks_too():
    X, y = line_table()
    models = {"line": regressor(()), "one": regressor((1,)), "four": regressor((4,))}
    found = compare(models, X, y, criterion="loo")
    table = found.table()
    assert table["loo_log_score"].is_monotonic_decreasing
    assert set(found.names) == set(models)
    assert table["delta"].min() == 0.0  # below the best evidence, whoever comes first
    assert_allclose(table["weight"].sum(), 1.0)


def test_held_out_rows_of_regressors():
    rows = held_out(*sine_table(60))
    for estimator, (_, line) in zip(
        compared().estimators, compared().table().iterrows(), strict=True
    ):
        residuals = estimator.predict(rows["X_test"]) - rows["y_test"]
        density = estimator.log_predictive_density(rows["X_test"], rows["y_test"])
        assert_allclose(line["test_error"] ** 2, np.mean(residuals**2))
        assert_allclose(line["test_log_score"], density.mean())


def test_held_out_rows_of_classifiers():
    rows = held_out(*label_table(3))
    found = compare([classifier(()), classifier((2,))], **rows)
    for estimator, (_, line) in zip(found.estimators, found.table().iterrows(), strict=True):
        right = estimator.score(rows["X_test"], rows["y_test"])
        assert_allclose(line["test_error"], 1.0 - right)
        codes = np.searchsorted(estimator.classes_, rows["y_test"])
        probabilities = estimator.predict_proba(rows["X_test"])[np.arange(len(codes)), codes]
        assert_allclose(line["test_log_score"], np.log(probabilities).mean())


def test_two_targets_in_data_frames():
    X, y = two_target_table()
    rows = held_out(pd.DataFrame(X, columns=["a", "b"]), pd.DataFrame(y))
    found = compare({"only": regressor(())}, **rows)
    residuals = found.best_estimator.predict(rows["X_test"]) - y[1::2]
    assert_allclose(found.table()["test_error"][0], np.sqrt(np.mean(residuals**2)))
    assert found.table()["weight"].tolist() == [1.0]


def test_weight_two_is_the_row_twice():
    X, y = sine_table()
    weights = np.random.default_rng(0).integers(0, 3, size=len(X))
    models = [regressor(()), regressor((2,))]
    weighted = compare(models, X, y, sample_weight=weights)
    repeated = compare(models, np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert weighted.names == repeated.names
    assert_allclose(weighted.table()["log_evidence"], repeated.table()["log_evidence"], rtol=1e-6)


def test_models_that_are_passed_stay_unfitted():
    model = regressor(())
    compare([model], *sine_table())
    assert not hasattr(model, "theta_")


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_change_nothing(backend):
    rows = held_out(*sine_table(60))
    with joblib.parallel_config(backend=backend):
        found = compare({str(h): regressor(h) for h in WIDTHS}, **rows, n_jobs=2)
    assert found.names == compared().names
    for one, other in zip(found.estimators, compared().estimators, strict=True):
        assert_array_equal(one.theta_, other.theta_)
    numbers = compared().table().drop(columns="seconds")
    pd.testing.assert_frame_equal(found.table().drop(columns="seconds"), numbers, check_exact=True)


def test_workers_that_are_threads_leave_the_machine_as_it_was():
    """Each sets the number of BLAS threads of the whole process for its fit."""
    before = blas_threads_now()
    with joblib.parallel_config(backend="threading"):
        compare({str(h): regressor(h) for h in WIDTHS}, *sine_table(60), n_jobs=2)
    assert blas_threads_now() == before


def blas_threads_now():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


# Names


def test_names_are_given_or_tell_the_models_apart():
    X, y = sine_table(20)
    pairs = [("a", regressor(())), ("b", regressor((1,)))]
    assert set(compare(pairs, X, y).names) == set(compare(dict(pairs), X, y).names) == {"a", "b"}
    models = [regressor(), regressor(activation="softplus"), regressor(n_restarts=2)]
    assert set(compare(models, X, y).names) == {
        "activation=tanh, n_restarts=1",
        "activation=softplus, n_restarts=1",
        "activation=tanh, n_restarts=2",
    }


def test_names_of_objects_are_short_and_one_line():
    X, y = sine_table(20)
    labels = np.repeat([0, 1], [6, 3])
    names = compare([regressor(activation=tanh, prior=p) for p in ("layer", labels)], X, y).names
    assert set(names) == {"prior=layer", "prior=array([0, 0, 0, 0, 0, 0, 1, 1, 1])"}
    names = compare([regressor(activation=a) for a in (tanh, "softplus")], X, y).names
    assert set(names) == {"activation=tanh", "activation=softplus"}


def test_equal_models_are_numbered():
    found = compare([regressor(()), regressor(())], *sine_table(20))
    assert found.names == ("LaplaceMLPRegressor", "LaplaceMLPRegressor #2")


# What is refused, and what is passed on


@pytest.mark.parametrize(
    ("models", "options", "error", "sentence"),
    [
        ({}, {}, ValueError, "at least one model; none came"),
        ([regressor()], {"criterion": "bic"}, ValueError, "'evidence', 'loo'; got 'bic'"),
        (
            {"a": regressor(), "b": classifier()},
            {},
            ValueError,
            "one likelihood .* 'a' is regressor and 'b' is classifier",
        ),
        ({"a": LinearRegression()}, {}, TypeError, "'a' is of type LinearRegression"),
        ([("a", regressor()), ("a", regressor(()))], {}, ValueError, "'a' came twice"),
        ([regressor()], {"X_test": [[0.0, 0.0]]}, ValueError, "pass both"),
        ({"good": regressor(), "bad": regressor(0)}, {}, ValueError, "'bad' failed: hidden_layer"),
    ],
)
def test_refusals(models, options, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        compare(models, *sine_table(20), **options)
    assert "\n" not in str(caught.value)


def test_cause_of_a_failed_fit():
    """The error's own class may want other arguments than a message."""
    settings = {"prior_precision": 1e-3, "noise_precision": 100.0, "max_iter": 1}
    saddle = regressor((3,), curvature="exact", **settings)
    with pytest.raises(ValueError, match=r"The fit of 'saddle' failed: .*positive def") as caught:
        compare({"line": regressor(()), "saddle": saddle}, *sine_table())
    assert isinstance(caught.value.__cause__, NotPositiveDefiniteError)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_which_model_did_not_converge(n_jobs):
    models = {"line": regressor(()), "hasty": regressor((3,), max_cycles=1)}
    with pytest.warns(ConvergenceWarning, match="^hasty: Re-estimation stopped") as caught:
        found = compare(models, *sine_table(), n_jobs=n_jobs)
    assert all(str(warning.message).startswith("hasty: ") for warning in caught)
    converged = dict(zip(found.names, found.table()["converged"], strict=True))
    assert converged == {"line": True, "hasty": False}


# Text and picture


def test_text_is_aligned_and_needs_no_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    lines = str(compared()).splitlines()
    assert repr(compared()) == str(compared())
    assert len({len(line) for line in lines}) == 1
    assert [line.split("  ")[0].strip() for line in lines[1:]] == list(compared().names)
    assert lines[0].split()[:2] == ["name", "log_evidence"]
    end = lines[0].index("log_evidence") + len("log_evidence")
    shown = [float(line[:end].rsplit(" ", 1)[1]) for line in lines[1:]]
    table = compared().table()
    assert_allclose(shown, [record["log_evidence"] for record in table], atol=0.00501)


def test_picture_is_the_display_of_it():
    found = compared()
    display = found.plot(x="name")
    assert isinstance(display, EvidenceDisplay) and display.names == found.names
    assert_array_equal(display.dots_[2].get_xdata(), found.table()["test_error"])
    _, mine = plt.subplots(2, 1)
    assert list(compared(tested=False).plot(mine).ax_) == list(mine)
    with pytest.raises(ValueError, match=r"x must be one of 'n_hidden_units', .*got 'depth'"):
        found.plot(x="depth")
