"""What the estimators are told of their precisions, and what they are to believe of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.hyperpriors import HalfNormal, LogNormal
from tests.estimators.committees import BOTH, EACH_KIND, build, climbed, table

# Overfitted on purpose: the warning that says so is not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore::laplace_nn.diagnostics.UntrustworthyFitWarning")


@EACH_KIND
def test_a_dictionary_fixes_the_groups_it_names_to_the_bit(kind):
    fixed = 0.1 + 0.2  # not a round number
    model = build(kind, prior_precision={"layer_1": fixed}).fit(*table(kind))
    for member in model.committee_:
        given, found = member.state.prior.precisions[[1, 0]]
        assert given == fixed
        assert found != fixed
    entries = [entry["prior_precision"] for entry in model.history_]
    assert {entry[1] for entry in entries} == {fixed}
    for start in {entry["start"] for entry in model.history_}:
        own = [e["prior_precision"][0] for e in model.history_ if e["start"] == start]
        assert len(set(own)) > 1


@BOTH
def test_a_dictionary_of_all_groups_is_the_array_and_an_empty_one_is_auto(kind):
    given = build(kind, prior_precision={"layer_1": 0.7, "layer_0": 0.3}).fit(*table(kind))
    assert_array_equal(given.prior_precision_, [0.3, 0.7])
    array = build(kind, prior_precision=np.array([0.3, 0.7])).fit(*table(kind))
    assert_array_equal(given.theta_, array.theta_)
    empty, auto = build(kind, prior_precision={}).fit(*table(kind)), climbed(kind)
    assert_array_equal(empty.theta_, auto.theta_)


def test_a_dictionary_names_inputs_by_the_columns_of_a_table():
    pandas = pytest.importorskip("pandas")
    X, y = table("regressor")
    X = pandas.DataFrame(X, columns=["depth", "age"])
    model = build("regressor", prior="ard", prior_precision={"age": 123.0}).fit(X, y)
    assert model.prior_.names[:2] == ("depth", "age")
    assert model.prior_precision_[1] == 123.0
    assert model.prior_precision_[0] != 123.0


@BOTH
def test_a_narrow_hyperprior_pulls_the_precisions_to_its_centre(kind):
    narrow = climbed(kind, hyperprior=LogNormal(factor=1.001, center=30.0))
    for member in narrow.committee_:
        # A pull of (ln 1.001)⁻² = 1e6 an e-fold against γ/2 and α Σ w²/2, below 1e3 here.
        assert_allclose(member.state.prior.precisions, 30.0, rtol=1e-3)
    wide = climbed(kind, hyperprior=1e6)
    assert np.max(np.abs(np.log(wide.prior_precision_ / 30.0))) > 0.5


@BOTH
def test_hyperpriors_pull_the_more_the_narrower_they_are(kind):
    """From one start at which all three climbs begin."""
    X, y = table(kind)
    off = []
    for factor in (1e6, 3.0, 1.1):
        prior = LogNormal(factor=factor, center=1.0)
        model = build(kind, n_restarts=1, hyperprior=prior).fit(X, y)
        off.append(np.linalg.norm(np.log(model.prior_precision_)))
    assert off[0] > off[1] > off[2]


@EACH_KIND
@pytest.mark.parametrize(
    ("short", "whole"), [(10.0, LogNormal(10.0, 1.0)), ("half_normal", HalfNormal(1.0))]
)
def test_a_number_or_a_name_stands_for_a_hyperprior(short, whole, kind):
    models = [climbed(kind, hyperprior=hyperprior) for hyperprior in (short, whole)]
    assert_array_equal(models[0].theta_, models[1].theta_)


@pytest.mark.parametrize("kind", [LaplaceMLPRegressor, LaplaceMLPClassifier])
def test_the_default_hyperprior_is_half_normal(kind):
    assert kind().hyperprior == "half_normal"


@BOTH
def test_without_a_hyperprior_the_evidence_alone_is_climbed(kind):
    """From the same start it ends where the evidence is at least as high, and elsewhere."""
    X, y = table(kind)
    settings = {"n_restarts": 1, "selection": "evidence"}
    free = build(kind, hyperprior=None, **settings).fit(X, y)
    believed = build(kind, hyperprior=LogNormal(2.0), **settings).fit(X, y)
    states = [model.committee_[0].state for model in (free, believed)]
    assert states[0].merit == states[0].evidence.total
    assert states[1].merit != states[1].evidence.total
    assert free.log_marginal_likelihood_ > believed.log_marginal_likelihood_


@BOTH
def test_a_hyperprior_says_nothing_of_precisions_that_are_given(kind):
    X, y = table(kind)
    models = [
        build(kind, prior_precision=0.5, hyperprior=hyperprior).fit(X, y)
        for hyperprior in (None, LogNormal(1.001, 100.0))
    ]
    assert_array_equal(models[0].theta_, models[1].theta_)


@EACH_KIND
def test_relevance_is_the_size_of_every_inputs_weights(kind):
    model = climbed(kind, prior="ard")
    W = model.mlp_.unpack(model.theta_)[0][0]  # (units, inputs)
    assert_allclose(model.relevance_, [np.sqrt(np.mean(w**2)) for w in W.T], rtol=1e-12)
    assert model.prior_.names[:2] == ("input_0", "input_1")
    assert not hasattr(climbed(kind), "relevance_")


def test_relevance_tells_the_input_that_matters():
    """The sine is of the first column alone."""
    relevance = climbed("regressor", prior="ard").relevance_
    assert relevance[0] > 3.0 * relevance[1]


def test_a_hyperprior_that_is_none_is_refused_where_it_is_made():
    for factor in (1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"LogNormal.factor must be a finite number above 1"):
            LogNormal(factor)
    for center in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match=r"LogNormal.center must be positive and finite"):
            LogNormal(10.0, center)
