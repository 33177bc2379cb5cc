"""The search over a grid by the evidence, as an estimator."""

from functools import cache

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.model_selection import EvidenceSearch
from tests.estimators.problems import label_table, line_table, sine_table
from tests.test_model_selection import QUICK, classifier, regressor

#: Single MAP fits: the checks are of the search, the estimators have their own.
FIXED = {**QUICK, "prior_precision": 1.0}
CHECKS = [
    pytest.param(*pair, id=f"{type(pair[0].estimator).__name__}-{pair[1].func.__name__}")
    for kind in (LaplaceMLPRegressor, LaplaceMLPClassifier)
    for pair in estimator_checks.estimator_checks_generator(
        EvidenceSearch(kind((2,), **FIXED), {"hidden_layer_sizes": [(), (2,)]})
    )
]
# Small tables, on which a fit may well be no better than a constant: that is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")

GRID = {"hidden_layer_sizes": [(), (3,)], "activation": ["tanh", "softplus"]}


@cache
def searched(kind):
    model, table = {"regressor": (regressor, sine_table), "classifier": (classifier, label_table)}[
        kind
    ]
    return EvidenceSearch(model(), GRID).fit(*table())


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


def test_search_keeps_the_best():
    search = searched("regressor")
    results = search.results_
    assert [p["hidden_layer_sizes"] for p in results["params"]] == [(), (3,), (), (3,)]
    assert sorted(results["rank"]) == [1, 2, 3, 4]
    assert search.best_index_ == np.argmax(results["log_evidence"]) == np.argmin(results["rank"])
    assert search.best_params_ == results["params"][search.best_index_]
    assert search.best_params_["hidden_layer_sizes"] == (3,)
    assert search.best_score_ == results["log_evidence"].max()
    assert search.best_estimator_ is search.comparison_.best_estimator
    again = regressor().set_params(**search.best_params_).fit(*sine_table())
    assert_array_equal(again.theta_, search.best_estimator_.theta_)
    order = np.argsort(results["rank"])
    table = search.comparison_.table()
    for name in ("log_evidence", "loo_log_score", "seconds"):
        assert_array_equal(results[name][order], table[name])


def test_search_by_leave_one_out_over_priors():
    grid = [{"prior": ["layer", "ard"]}, {"prior_precision": [1e6]}]
    search = EvidenceSearch(regressor((2,)), grid, criterion="loo", n_jobs=2).fit(*sine_table())
    assert search.best_score_ == search.results_["loo_log_score"].max()
    assert search.best_params_ == search.results_["params"][search.best_index_]
    assert search.results_["rank"][2] == 3  # weights that are held at zero
    assert len(search.comparison_.names) == 3


def test_search_says_what_its_best_says():
    X, y = sine_table()
    search, best = searched("regressor"), searched("regressor").best_estimator_
    assert_array_equal(search.predict(X), best.predict(X))
    assert_array_equal(search.predict(X, return_std=True)[1], best.predict(X, return_std=True)[1])
    assert_array_equal(search.predict_interval(X, 0.5), best.predict_interval(X, 0.5))
    assert_array_equal(search.log_predictive_density(X, y), best.log_predictive_density(X, y))
    assert search.score(X, y) == best.score(X, y)
    assert not hasattr(search, "predict_proba")
    assert not hasattr(search, "classes_")
    assert is_regressor(search)
    X, y = label_table()
    search = searched("classifier")
    assert_array_equal(search.predict_proba(X), search.best_estimator_.predict_proba(X))
    assert search.classes_.tolist() == ["low", "mid"]
    assert not hasattr(search, "predict_interval")
    assert is_classifier(search)


def test_search_is_an_estimator():
    search = EvidenceSearch(regressor(), {"hidden_layer_sizes": [(), (1,)]})
    copy = clone(search).set_params(estimator__activation="softplus", symmetry=False)
    assert copy.get_params()["estimator__activation"] == "softplus"
    assert search.estimator.activation == "tanh"
    with pytest.raises(NotFittedError):
        search.predict([[0.0, 0.0]])
    assert cross_val_score(search, *line_table(), cv=2).shape == (2,)


def test_refitting_forgets_the_classes():
    search = EvidenceSearch(classifier(()), {"prior_precision": [1.0]}).fit(*label_table())
    X, y = sine_table()
    frame = pd.DataFrame(X, columns=["a", "b"])
    search.set_params(estimator=regressor(())).fit(frame, y)
    assert not hasattr(search, "classes_")
    assert search.feature_names_in_.tolist() == ["a", "b"]
    assert search.n_features_in_ == 2


def test_verbose_search_shows_progress(capsys):
    grid = {"hidden_layer_sizes": [(), (1,)]}
    with joblib.parallel_config(backend="threading", n_jobs=2):
        EvidenceSearch(regressor(), grid, verbose=10).fit(*sine_table(20))
    shown = "".join(capsys.readouterr())
    assert "ThreadingBackend" in shown
    assert "2 out of   2" in shown
    EvidenceSearch(regressor(), grid).fit(*sine_table(20))
    assert "".join(capsys.readouterr()) == ""
