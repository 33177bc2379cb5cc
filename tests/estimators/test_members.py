"""Every curvature and posterior by name and as a callable, behind fit and predict."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from laplace_nn.curvature import FiniteDifferences
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.estimators.names import CURVATURES, POSTERIORS
from laplace_nn.network import jacobian
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    KroneckerPosterior,
    LowRankPosterior,
    SubsetPosterior,
)
from tests.estimators.problems import KINDS, outputs_of

BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])
#: One start at fixed precisions, so that every pair stands on the same weights.
FIXED = {"prior_precision": 1.0, "n_restarts": 1}

PAIRS = [
    (curvature, posterior)
    for curvature in CURVATURES
    for posterior in POSTERIORS
    if getattr(POSTERIORS[posterior], "needs", set()) <= CURVATURES[curvature].capabilities
]
IMPOSSIBLE = [
    (curvature, posterior)
    for curvature in CURVATURES
    for posterior in POSTERIORS
    if (curvature, posterior) not in PAIRS
]


def fit(kind, **settings):
    return KINDS[kind][0](**FIXED, **settings).fit(*KINDS[kind][1]())


@BOTH
@pytest.mark.parametrize(("curvature", "posterior"), PAIRS)
def test_every_pair_that_can_work_does(curvature, posterior, kind):
    X, _ = KINDS[kind][1]()
    try:
        model = fit(kind, curvature=curvature, posterior=posterior)
    except np.linalg.LinAlgError:
        # Indefinite where the prior is this weak: refused, and the positive part works.
        assert curvature in ("exact", "finite_differences", "backprop_diagonal")
        return
    assert type(model.posterior_) is POSTERIORS[posterior]
    assert np.isfinite(model.log_marginal_likelihood_)
    assert np.all(np.isfinite(outputs_of(model, X)))
    assert np.all(model.posterior_.variance() >= 0.0)


def test_most_pairs_are_not_refused():
    assert len(PAIRS) > 25
    assert len(IMPOSSIBLE) > 10


@BOTH
@pytest.mark.parametrize(("curvature", "posterior"), IMPOSSIBLE)
def test_a_pair_that_cannot_work_is_refused_before_the_fit(curvature, posterior, kind):
    name, kind_of = POSTERIORS[posterior].__name__, CURVATURES[curvature].__name__
    model = KINDS[kind][0](curvature=curvature, posterior=posterior)
    with pytest.raises(MissingCapabilityError) as caught:
        model.fit(*KINDS[kind][1]())
    sentence = str(caught.value)
    assert f"{name} needs" in sentence
    assert f"use {name} with" in sentence
    assert f"or DensePosterior with {kind_of}" in sentence
    assert not hasattr(model, "theta_")


@BOTH
@pytest.mark.parametrize(
    ("curvature", "form"), [("kfac", KroneckerPosterior), ("backprop_diagonal", DiagonalPosterior)]
)
def test_auto_is_the_form_that_suits_the_curvature(curvature, form, kind):
    assert type(fit(kind, curvature=curvature).posterior_) is form


@BOTH
def test_exact_names_agree_with_the_default(kind):
    """The same Gaussian, however it is held."""
    X, _ = KINDS[kind][1]()
    default = fit(kind)
    for posterior in ("dense", "kernel", "sequential", "low_rank"):
        model = fit(kind, posterior=posterior)
        assert_allclose(model.log_marginal_likelihood_, default.log_marginal_likelihood_, rtol=1e-8)
        assert_allclose(outputs_of(model, X), outputs_of(default, X), rtol=1e-6)


@BOTH
def test_callables(kind):
    X, _ = KINDS[kind][1]()
    low = fit(kind, posterior=partial(LowRankPosterior.from_curvature, rank=3))
    assert len(low.posterior_.values) == 3
    by_errors = fit(kind, curvature=partial(FiniteDifferences, of="errors"), posterior="low_rank")
    assert by_errors.posterior_.curvature.of == "errors"
    own = fit(kind, curvature=CURVATURES["ggn"], posterior=DensePosterior)
    assert_array_equal(outputs_of(own, X), outputs_of(fit(kind, posterior="dense"), X))
    selected = np.arange(own.mlp_.n_params) % 2 == 0
    form = partial(SubsetPosterior.from_curvature, selected=selected)
    half = clone(KINDS[kind][0](**FIXED, posterior=form)).fit(*KINDS[kind][1]())
    assert_array_equal(half.posterior_.variance() > 0.0, selected)


@BOTH
def test_the_last_layer_alone_is_linear_regression_on_the_hidden_units(kind):
    model = fit(kind, posterior="last_layer")
    X, _ = KINDS[kind][1]()
    Z = (X - model.input_mean_) / model.input_scale_
    J = jacobian(model.mlp_, model.theta_, model.mlp_.forward(model.theta_, Z))
    hidden = np.column_stack([J.activations[-1], np.ones(len(X))])
    free = model.posterior_.variance() > 0.0
    assert free.sum() == hidden.shape[1] and np.all(np.diff(np.flatnonzero(free)) == 1)
    inner = model.posterior_.inner.covariance()
    covariance = np.einsum("ni,ij,nj->n", hidden, inner, hidden)
    assert_allclose(model.posterior_.functional_covariance(J)[:, 0, 0], covariance, rtol=1e-10)


def test_a_curvature_that_is_bound_to_weights_is_refused():
    bound = fit("regressor", posterior="low_rank").posterior_.curvature
    model = KINDS["regressor"][0](curvature=bound)
    with pytest.raises(ValueError, match=r"curvature must be .*got a GGN that is bound.*its class"):
        model.fit(*KINDS["regressor"][1]())


@pytest.mark.parametrize("name", ["curvature", "posterior"])
def test_a_name_that_is_none_says_what_a_callable_must_be(name):
    model = KINDS["regressor"][0](**{name: "dnse"})
    with pytest.raises(ValueError, match=f"{name} must be one of .*or a callable of .*'dnse'"):
        model.fit(*KINDS["regressor"][1]())
