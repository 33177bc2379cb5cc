"""From weights to outputs: against J A⁻¹ Jᵀ, and the Gaussian process that it is."""

from dataclasses import replace

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from laplace_nn.curvature import GGN
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import by_kind
from laplace_nn.pushforward import linearised, linearised_joint
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES, SYMMETRIC_CASES, permuted
from tests.contracts import assert_close, assert_covariances_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
POSTERIORS = pytest.mark.parametrize("posterior", [DensePosterior, KernelPosterior])


def build(posterior, case):
    return posterior.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)


@EACH_CASE
@POSTERIORS
def test_mean_and_covariance_of_every_row(posterior, case):
    mean, covariance = linearised(case.mlp, build(posterior, case), RowBlocks(case.new_inputs))
    A = case.precision_twin(case.ggn_twin)
    J = reference.jacobian(case.problem, case.theta, case.new_inputs)
    assert_close(mean, reference.outputs(case.problem, case.theta, case.new_inputs))
    assert_covariances_close(covariance, [J_n @ np.linalg.solve(A, J_n.T) for J_n in J])


@EACH_CASE
@POSTERIORS
def test_joint_covariance(posterior, case):
    mean, joint = linearised_joint(case.mlp, build(posterior, case), case.new_inputs)
    A = case.precision_twin(case.ggn_twin)
    J = reference.jacobian(case.problem, case.theta, case.new_inputs)
    n, K, P = J.shape
    flat = J.reshape(n * K, P)
    assert joint.shape == (n, K, n, K)
    assert_covariances_close(joint.reshape(n * K, n * K), flat @ np.linalg.solve(A, flat.T))
    assert_close(mean, reference.outputs(case.problem, case.theta, case.new_inputs))


@EACH_CASE
@POSTERIORS
def test_blocks_and_workers_change_nothing(posterior, case):
    gaussian, rows = build(posterior, case), RowBlocks(case.new_inputs)
    mean, covariance = linearised(case.mlp, gaussian, rows)
    by_row = linearised(case.mlp, gaussian, replace(rows, memory_budget=1))
    np.testing.assert_allclose(by_row[0], mean, rtol=1e-12)
    assert_covariances_close(by_row[1], covariance, rtol=1e-12)
    with parallel_config(backend="threading"):
        shared = linearised(case.mlp, gaussian, replace(rows, memory_budget=1, n_jobs=2))
    np.testing.assert_array_equal(shared[0], by_row[0])
    np.testing.assert_array_equal(shared[1], by_row[1])


@POSTERIORS
def test_without_hidden_layers_it_is_gaussian_process_regression(posterior):
    """A fixed linear kernel in scikit-learn: mean, covariance and evidence to 1e-10."""
    rng = np.random.default_rng(2)
    X, new = rng.normal(size=(14, 3)), rng.normal(size=(6, 3))
    y = X @ np.array([1.0, -2.0, 0.5]) + 0.3 + 0.2 * rng.normal(size=14)
    alpha, alpha_bias, beta = 0.6, 0.1, 9.0
    kernel = ConstantKernel(1.0 / alpha) * DotProduct(sigma_0=np.sqrt(alpha / alpha_bias))
    process = GaussianProcessRegressor(kernel, alpha=1.0 / beta, optimizer=None).fit(X, y)
    mlp = MLP((3, 1))
    theta = reference.linear_gaussian_map(X, y, alpha, alpha_bias, beta)
    H = GGN(mlp, theta, Gaussian(beta), RowBlocks(X, y[:, None]))
    prior = by_kind(mlp).with_precisions([alpha, alpha_bias])
    gaussian = posterior.from_curvature(theta, H, prior, beta)
    mean, joint = linearised_joint(mlp, gaussian, new)
    expected_mean, expected_covariance = process.predict(new, return_cov=True)
    np.testing.assert_allclose(mean[:, 0], expected_mean, rtol=1e-10)
    assert_covariances_close(joint[:, 0, :, 0], expected_covariance, rtol=1e-10)
    _, per_row = linearised(mlp, gaussian, RowBlocks(new))
    np.testing.assert_allclose(per_row[:, 0, 0], np.diag(expected_covariance), rtol=1e-10)


@POSTERIORS
@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_equivalent_modes_predict_the_same(posterior, case):
    theta = permuted(case.mlp, case.theta, np.random.default_rng(0))
    H = GGN(case.mlp, theta, case.likelihood, case.rows)
    other = posterior.from_curvature(theta, H, case.prior, case.likelihood.scale)
    rows = RowBlocks(case.new_inputs)
    mean, covariance = linearised(case.mlp, build(posterior, case), rows)
    same_mean, same_covariance = linearised(case.mlp, other, rows)
    assert_close(same_mean, mean, rtol=1e-12)
    assert_covariances_close(same_covariance, covariance, rtol=1e-10)


@POSTERIORS
def test_far_from_the_data_the_prior_speaks(posterior):
    """Without hidden layers the variance grows as the square of the distance."""
    case = CASES[0]
    near, far = np.full((1, 3), 10.0), np.full((1, 3), 1e4)
    gaussian = build(posterior, case)
    _, covariance = linearised(case.mlp, gaussian, RowBlocks(np.vstack([near, far])))
    np.testing.assert_allclose(covariance[1, 0, 0] / covariance[0, 0, 0], 1e6, rtol=0.2)
