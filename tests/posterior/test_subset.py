"""Some of the weights: the conditional Gaussian, the others held."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.curvature import GGN, PositivePart, Subset
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP, jacobian
from laplace_nn.posterior import DensePosterior, SubsetPosterior, last_layer
from laplace_nn.priors import single
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES
from tests.contracts import _check_samples, assert_close, assert_covariances_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
MASKS = {
    "last-layer": lambda mlp: last_layer(mlp),
    "every-third": lambda mlp: np.arange(mlp.n_params) % 3 == 1,
    "indices": lambda mlp: np.array([mlp.n_params - 1, 0]),
    "all": lambda mlp: np.ones(mlp.n_params, dtype=bool),
}


def chosen(name, mlp):
    mask = MASKS[name](mlp)
    return np.flatnonzero(mask) if mask.dtype == bool else np.sort(mask)


@EACH_CASE
@pytest.mark.parametrize("name", MASKS)
def test_curvature_is_the_selected_rows_and_columns(name, case):
    at = np.ix_(*[chosen(name, case.mlp)] * 2)
    members = [
        (case.ggn, case.ggn_twin),
        (case.exact, case.exact_twin),
        (PositivePart(case.exact), reference.positive_part(case.exact_twin)),
    ]
    for curvature, twin in members:
        part = Subset(curvature, MASKS[name](case.mlp))
        size = np.max(np.abs(twin))
        assert_allclose(part.dense(), twin[at], atol=1e-8 * size)
        assert_array_equal(part.dense(), part.dense().T)
        assert_allclose(part.diagonal(), np.diag(twin[at]), atol=1e-8 * size)
        v = np.arange(1.0, len(at[0]) + 1.0)
        assert_allclose(part @ v, twin[at] @ v, atol=1e-8 * size * len(v))
        assert_allclose(part.T @ v, twin[at] @ v, atol=1e-8 * size * len(v))


@EACH_CASE
@pytest.mark.parametrize("name", MASKS)
def test_posterior_is_the_inverse_of_the_selected_block(name, case):
    scale, at = case.likelihood.scale, chosen(name, case.mlp)
    posterior = SubsetPosterior.from_curvature(
        case.theta, case.ggn, case.prior, scale, selected=MASKS[name](case.mlp)
    )
    A = case.precision_twin(case.ggn_twin)[np.ix_(at, at)]
    check_moments(posterior, case, at, A)
    doubled = case.prior.with_precisions(2.0 * case.prior.precisions)
    moved = posterior.with_hyperparameters(doubled, 3.0 * scale)
    H = (A - np.diag(case.prior.precision[at])) / scale
    check_moments(moved, case, at, 3.0 * scale * H + np.diag(doubled.precision[at]))
    assert_close(posterior.inner.theta_map, case.theta[at])
    _check_samples(posterior.inner, A)
    draws = posterior.sample(3, np.random.default_rng(0))
    held = np.setdiff1d(np.arange(case.mlp.n_params), at)
    assert_array_equal(draws[:, held], np.tile(case.theta[held], (3, 1)))
    assert_array_equal(draws[:, at], posterior.inner.sample(3, np.random.default_rng(0)))


def check_moments(posterior, case, at, A):
    covariance = np.zeros((case.mlp.n_params,) * 2)
    covariance[np.ix_(at, at)] = np.linalg.inv(A)
    assert_close(posterior.solve(np.eye(case.mlp.n_params)), covariance)
    assert_close(posterior.variance(), np.diag(covariance))
    assert_allclose(posterior.logdet_precision, np.linalg.slogdet(A)[1], rtol=1e-8)
    prior, dense = posterior.prior, case.new_jacobian.dense()
    members = [at[prior.groups[at] == g] for g in range(prior.n_groups)]
    gamma = [
        len(group) - alpha * np.diag(covariance)[group].sum()
        for group, alpha in zip(members, prior.precisions, strict=True)
    ]
    assert_allclose(posterior.n_effective_params(), gamma, rtol=1e-8, atol=1e-8)
    J = case.new_jacobian
    per_row = np.array([J_n @ covariance @ J_n.T for J_n in dense])
    assert_close(posterior.functional_covariance(J), per_row)
    stacked = dense.reshape(-1, case.mlp.n_params)
    joint = posterior.functional_covariance(J, joint=True)
    assert_close(joint, stacked @ covariance @ stacked.T)


def test_all_weights_are_the_dense_posterior():
    case = CASES[5]
    everything = np.ones(case.mlp.n_params, dtype=bool)
    subset = SubsetPosterior.from_curvature(
        case.theta, case.ggn, case.prior, 1.0, selected=everything
    )
    dense = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, 1.0)
    assert_covariances_close(subset.solve(np.eye(case.mlp.n_params)), dense.covariance())
    fit = log_likelihood(case.mlp, case.theta, case.likelihood, case.rows)
    one, other = (log_marginal_likelihood(p, fit).total for p in (subset, dense))
    assert_allclose(one, other, rtol=1e-12)


def test_evidence_of_the_last_layer_is_that_of_a_linear_model_on_fixed_features():
    """Exact: the targets are Gaussian given the hidden units."""
    mlp, rng = MLP((2, 4, 1)), np.random.default_rng(0)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    theta, alpha, beta = mlp.initialise(rng), 0.7, 3.0
    (W, b), _ = mlp.unpack(theta)
    features = np.tanh(X @ W.T + b)
    last = reference.linear_gaussian_map(features, y[:, 0], alpha, alpha, beta)
    theta = np.concatenate([theta[: -len(last)], last])
    rows, likelihood = RowBlocks(X, y), Gaussian(beta)
    H = GGN(mlp, theta, likelihood, rows)
    posterior = SubsetPosterior.from_curvature(theta, H, single(mlp, alpha), beta)
    fit = log_likelihood(mlp, theta, likelihood, rows)
    expected = reference.linear_gaussian_log_evidence(features, y[:, 0], alpha, alpha, beta)
    assert_allclose(log_marginal_likelihood(posterior, fit).total, expected, rtol=1e-10)


def test_the_last_layer_of_a_million_weights_forms_no_large_matrix():
    mlp, rng = MLP((10, 1000, 1000, 1)), np.random.default_rng(0)
    X = rng.normal(size=(8, 10))
    theta = mlp.initialise(rng)
    H = GGN(mlp, theta, Gaussian(), RowBlocks(X, X[:, :1]))
    posterior = SubsetPosterior.from_curvature(theta, H, single(mlp), 2.0)
    assert posterior.n_free == 1001
    J = jacobian(mlp, theta, mlp.forward(theta, X))
    hidden = np.column_stack([J.activations[-1], np.ones(8)])
    twin = np.linalg.inv(np.eye(1001) + 2.0 * hidden.T @ hidden)
    covariance = np.einsum("ni,ij,nj->n", hidden, twin, hidden)
    assert_allclose(posterior.functional_covariance(J)[:, 0, 0], covariance, rtol=1e-8)


@pytest.mark.parametrize(
    ("selected", "sentence"),
    [
        (np.ones(3, dtype=bool), r"mask each of the 2 weights; got shape \(3,\)"),
        (np.zeros(2, dtype=bool), "at least one index"),
        ([0, 0], "none twice"),
        ([2], r"of the 2 weights.*got \[2\]"),
        ([-1], "at least one index"),
        ([0.5], "at least one index"),
    ],
)
def test_a_selection_that_fits_no_weights_is_refused(selected, sentence):
    H = GGN(MLP((1, 1)), np.zeros(2), Gaussian(), RowBlocks(np.ones((1, 1)), np.ones((1, 1))))
    with pytest.raises(ValueError, match=sentence):
        Subset(H, selected)
