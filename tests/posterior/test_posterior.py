"""Posteriors against A⁻¹, and against each other."""

import numpy as np
import pytest

from laplace_nn.curvature import PositivePart
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import jacobian
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import single
from tests import reference
from tests.cases import CASES
from tests.contracts import RTOL, assert_covariances_close, check_posterior

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)

#: Every pair of posterior and curvature, with the twin of the curvature's matrix, from a case.
PAIRS = {
    "dense-ggn": (DensePosterior, lambda case: (case.ggn, case.ggn_twin)),
    "dense-positive-part": (
        DensePosterior,
        lambda case: (PositivePart(case.exact), reference.positive_part(case.exact_twin)),
    ),
    "kernel-ggn": (KernelPosterior, lambda case: (case.ggn, case.ggn_twin)),
}


def build(posterior, case, curvature):
    return posterior.from_curvature(case.theta, curvature, case.prior, case.likelihood.scale)


@EACH_CASE
@pytest.mark.parametrize("name", PAIRS)
def test_contract(name, case):
    posterior, members = PAIRS[name]
    curvature, H = members(case)
    check_posterior(build(posterior, case, curvature), case.precision_twin(H), case.new_jacobian)


@EACH_CASE
def test_contract_of_an_exact_hessian_that_the_prior_outweighs(case):
    """At random weights the Hessian is indefinite; a small scale makes A positive definite."""
    scale = 1.0 / (1.0 + 4.0 * abs(np.linalg.eigvalsh(case.exact.dense())[0]))
    posterior = DensePosterior.from_curvature(case.theta, case.exact, case.prior, scale)
    check_posterior(posterior, case.precision_twin(case.exact_twin, scale), case.new_jacobian)


@EACH_CASE
def test_kernel_posterior_equals_dense_posterior(case):
    """Function space and weight space are the same Gaussian, to 1e-8 in every number."""
    kernel, dense = build(KernelPosterior, case, case.ggn), build(DensePosterior, case, case.ggn)
    np.testing.assert_allclose(kernel.logdet_precision, dense.logdet_precision, rtol=RTOL)
    np.testing.assert_allclose(kernel.variance(), dense.variance(), rtol=RTOL)
    np.testing.assert_allclose(
        kernel.n_effective_params(), dense.n_effective_params(), rtol=RTOL, atol=RTOL
    )
    identity = np.eye(case.mlp.n_params)
    assert_covariances_close(kernel.solve(identity), dense.covariance())
    at_rows = jacobian(case.mlp, case.theta, case.mlp.forward(case.theta, case.rows.X))
    for J in (case.new_jacobian, at_rows):
        for joint in (False, True):
            expected = dense.functional_covariance(J, joint)
            assert_covariances_close(kernel.functional_covariance(J, joint), expected)
    fit = log_likelihood(case.mlp, case.theta, case.likelihood, case.rows)
    one, other = (log_marginal_likelihood(p, fit).total for p in (kernel, dense))
    np.testing.assert_allclose(one, other, rtol=RTOL)


def test_kernel_cases_include_both_shapes_and_a_capped_group():
    sizes = [(case.mlp.n_params, case.n_rows * case.mlp.n_outputs) for case in CASES]
    assert any(P > NK for P, NK in sizes) and any(P < NK for P, NK in sizes)
    assert max(case.prior.precisions.max() for case in CASES) > 1e5


@EACH_CASE
@pytest.mark.parametrize("posterior", [DensePosterior, KernelPosterior])
def test_new_hyperparameters_equal_building_anew(posterior, case):
    start = build(posterior, case, case.ggn)
    for prior in (case.prior.with_precisions(3.0 * case.prior.precisions), single(case.mlp, 0.2)):
        moved = start.with_hyperparameters(prior, 0.6)
        anew = posterior.from_curvature(case.theta, case.ggn, prior, 0.6)
        assert moved.prior is prior and moved.scale == 0.6
        np.testing.assert_allclose(moved.logdet_precision, anew.logdet_precision, rtol=1e-13)
        np.testing.assert_allclose(moved.variance(), anew.variance(), rtol=1e-13)
        np.testing.assert_allclose(moved.solve(case.theta), anew.solve(case.theta), rtol=1e-12)


@EACH_CASE
def test_covariance_is_the_inverse(case):
    dense = build(DensePosterior, case, case.ggn)
    assert_covariances_close(dense.covariance(), np.linalg.inv(case.precision_twin(case.ggn_twin)))


@EACH_CASE
@pytest.mark.parametrize("posterior", [DensePosterior, KernelPosterior])
def test_memory_budget_changes_no_covariance(posterior, case, monkeypatch):
    whole = build(posterior, case, case.ggn)
    expected = whole.functional_covariance(case.new_jacobian)
    monkeypatch.setattr("laplace_nn.posterior.base.DEFAULT_MEMORY_BUDGET", 1)
    np.testing.assert_allclose(
        whole.functional_covariance(case.new_jacobian), expected, rtol=1e-10, atol=1e-14
    )


def test_more_data_leave_less_variance():
    case = CASES[4]
    little = build(DensePosterior, case, case.ggn)
    much = little.with_hyperparameters(case.prior, 10.0 * case.likelihood.scale)
    assert np.all(much.variance() <= little.variance())
    assert much.n_effective_params().sum() > little.n_effective_params().sum()


def test_an_indefinite_precision_is_refused_and_other_pairs_work():
    refused = [case for case in CASES if np.linalg.eigvalsh(_exact_precision(case))[0] < 0]
    assert len(refused) > 3
    for case in refused:
        with pytest.raises(NotPositiveDefiniteError) as caught:
            _ = build(DensePosterior, case, case.exact).logdet_precision
        smallest = np.linalg.eigvalsh(_exact_precision(case))[0]
        assert caught.value.smallest_eigenvalue == pytest.approx(smallest, rel=1e-6)
        for curvature in (PositivePart(case.exact), case.ggn):
            assert np.isfinite(build(DensePosterior, case, curvature).logdet_precision)


def _exact_precision(case):
    return case.precision_twin(case.exact_twin)
