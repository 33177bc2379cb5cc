"""One battery a noun: what every activation, likelihood, curvature and posterior must do."""

from dataclasses import replace

import numpy as np
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse.linalg import aslinearoperator, cg, eigsh
from scipy.stats import multivariate_normal

from laplace_nn.curvature import Curvature, PositivePart
from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import Activation, LayerwiseJacobian
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.priors import GaussianPrior
from tests import reference

RTOL = 1e-8
N_SAMPLES = 20_000


def assert_close(actual, desired, rtol: float = RTOL) -> None:
    """Equal to rtol of the largest entry: an array's digits, not those of its near-zeros."""
    assert_allclose(actual, desired, rtol=rtol, atol=rtol * float(np.max(np.abs(desired))))


def assert_covariances_close(actual, desired, rtol: float = RTOL) -> None:
    """Equal to rtol of √(C_ii C_jj), so that a small variance is held to its own size."""
    sd = np.sqrt(np.diagonal(desired, axis1=-2, axis2=-1))
    unit = sd[..., :, None] * sd[..., None, :]
    assert_allclose(actual / unit, desired / unit, rtol=0, atol=rtol)


def check_activation(activation: Activation) -> None:
    """h, h' and h'' against differences, their shapes, parity and extremes."""
    a = np.linspace(-3.95, 4.05, 33).reshape(3, 11)  # no point within a step of relu's kink
    assert np.min(np.abs(a)) > 3 * reference.STEP
    assert_allclose(activation.value(a), reference.ACTIVATIONS[activation.name](a), rtol=1e-12)
    for function, derivative in (
        (activation.value, activation.first),
        (activation.first, activation.second),
    ):
        # Rounding of five points is 1e-16/STEP times the size of the function, about 1.
        assert_allclose(derivative(a), reference.five_point_scalar(function, a), atol=1e-11)
    z = activation.value(a)
    assert_allclose(activation.slopes(a, z), activation.first(a), rtol=1e-15)
    assert_allclose(activation.bends(a, z), activation.second(a), rtol=1e-15)
    assert activation.odd == np.allclose(activation.value(-a), -activation.value(a))
    extreme = np.array([-1e300, -800.0, -40.0, 0.0, 40.0, 800.0, 1e300])
    for function in (activation.value, activation.first, activation.second):
        assert function(extreme).shape == extreme.shape
        assert np.all(np.isfinite(function(extreme)))


def check_likelihood(likelihood: Likelihood, name: str, y: np.ndarray, f: np.ndarray) -> None:
    """nll against its twin, then nll → gradient → Hessian by differences, root, extremes."""
    twin = [reference.ENERGIES[name](y_n, f_n) for y_n, f_n in zip(y, f, strict=True)]
    assert_allclose(likelihood.nll(y, f), twin, rtol=1e-12)
    for n in range(len(f)):
        _check_likelihood_derivatives(likelihood, y[n], f[n])
    M, root = likelihood.hessian(y, f), likelihood.root(y, f)
    assert_close(root.mT @ root, M, rtol=1e-13)
    assert_array_equal(M, M.mT)
    twins = [reference.output_hessian(name, f_n) for f_n in f]
    assert_close(M, twins, rtol=1e-13)
    for size in reference.EXTREME_OUTPUTS[name]:
        _check_extreme_outputs(likelihood, y, np.where(f > 0, size, -size))


def _check_likelihood_derivatives(likelihood: Likelihood, y: np.ndarray, f: np.ndarray) -> None:
    def along(function):
        def batched(points: np.ndarray) -> np.ndarray:
            flat = points.reshape(-1, points.shape[-1])
            values = function(np.broadcast_to(y, flat.shape), flat)
            return values.reshape(*points.shape[:-1], *values.shape[1:])

        return batched

    gradient = likelihood.gradient(y[None], f[None])[0]
    # Rounding of five points is 1e-16/STEP times the energy, about 10.
    assert_allclose(gradient, reference.five_point(along(likelihood.nll), f), atol=1e-11)
    hessian = likelihood.hessian(y[None], f[None])[0]
    assert_allclose(hessian, reference.five_point(along(likelihood.gradient), f), atol=1e-11)


def _check_extreme_outputs(likelihood: Likelihood, y: np.ndarray, f: np.ndarray) -> None:
    assert np.all(likelihood.nll(y, f) >= 0.0)
    for function in (likelihood.nll, likelihood.gradient, likelihood.hessian, likelihood.root):
        assert np.all(np.isfinite(function(y, f)))


def check_curvature(curvature: Curvature | PositivePart, dense_twin: np.ndarray) -> None:
    """Matrix, products and diagonal against a dense twin; symmetry; SciPy; blocks and workers."""
    H = curvature.dense()
    assert_close(H, dense_twin)
    assert_array_equal(H, H.T)
    assert_close(curvature.diagonal(), np.diag(dense_twin))
    rng = np.random.default_rng(0)
    V = rng.normal(size=(len(H), 3))
    assert_close(curvature.matvec(V[:, 0]), dense_twin @ V[:, 0])
    assert_close(curvature.matmat(V), dense_twin @ V)
    assert_close(curvature.rmatvec(V[:, 0]), dense_twin @ V[:, 0])
    assert_array_equal(curvature @ V, curvature @ V)
    _check_scipy_accepts(curvature, dense_twin)
    if isinstance(curvature, Curvature):
        directions = rng.normal(size=(2, 3, len(H)))
        assert_close(curvature.products(directions), directions @ dense_twin)
        _check_row_blocks(curvature)


def _check_scipy_accepts(curvature: Curvature | PositivePart, twin: np.ndarray) -> None:
    eigenvalues = np.linalg.eigvalsh(0.5 * (twin + twin.T))
    start = np.ones(len(twin))
    (largest,) = eigsh(curvature, k=1, which="LA", v0=start, return_eigenvectors=False)
    assert_close(largest, eigenvalues[-1])
    shift = 1.0 + abs(eigenvalues[0])
    lifted = curvature + aslinearoperator(shift * np.eye(len(twin)))
    solution, status = cg(lifted, start, rtol=1e-12)
    assert status == 0
    expected = np.linalg.solve(twin + shift * np.eye(len(twin)), start)
    assert_close(solution, expected)


def _check_row_blocks(curvature: Curvature) -> None:
    """Neither the size of a block nor the number of workers changes a sum."""
    tiny = replace(curvature.rows, memory_budget=2 * curvature._dense_row_bytes)
    by_row = replace(curvature.rows, memory_budget=1)
    shared = replace(curvature.rows, memory_budget=1, n_jobs=2)
    v = np.random.default_rng(1).normal(size=curvature.shape[0])
    for rows in (tiny, by_row):
        other = _with_rows(curvature, rows)
        assert_close(other.dense(), curvature.dense(), rtol=1e-12)
        assert_close(other.diagonal(), curvature.diagonal(), rtol=1e-12)
        assert_close(other @ v, curvature @ v, rtol=1e-12)
    with parallel_config(backend="threading"):
        parallel, serial = _with_rows(curvature, shared), _with_rows(curvature, by_row)
        assert_array_equal(parallel.dense(), serial.dense())
        assert_array_equal(parallel.diagonal(), serial.diagonal())
        assert_array_equal(parallel @ v, serial @ v)


def _with_rows(curvature: Curvature, rows) -> Curvature:
    return type(curvature)(curvature.mlp, curvature.theta, curvature.likelihood, rows)


def check_posterior(posterior: GaussianPosterior, A: np.ndarray, J: LayerwiseJacobian) -> None:
    """Every verb against A⁻¹; then the same after a change of hyperparameters.

    Parameters
    ----------
    posterior : GaussianPosterior
        To be checked.
    A : ndarray of shape (P, P)
        Its precision, scale·H + Λ.
    J : LayerwiseJacobian
        Functionals whose covariance is wanted.
    """
    _check_moments(posterior, A, J)
    _check_samples(posterior, A)
    old = posterior.prior
    H = (A - np.diag(old.precision)) / posterior.scale
    regrouped = GaussianPrior(np.arange(len(A)) % 2, np.array([0.7, 3.0]))
    for prior in (old.with_precisions(1.5 * old.precisions + 0.1), regrouped):
        moved = posterior.with_hyperparameters(prior, 0.5 * posterior.scale)
        _check_moments(moved, 0.5 * posterior.scale * H + np.diag(prior.precision), J)
    _check_moments(posterior, A, J)


def _check_moments(posterior: GaussianPosterior, A: np.ndarray, J: LayerwiseJacobian) -> None:
    covariance = np.linalg.inv(A)
    covariance = 0.5 * (covariance + covariance.T)
    identity = np.eye(len(A))
    assert_covariances_close(posterior.solve(identity), covariance)
    assert_allclose(A @ posterior.solve(identity), identity, atol=RTOL)
    assert_close(posterior.solve(identity[:, 0]), covariance[:, 0])
    sign, logdet = np.linalg.slogdet(A)
    assert sign == 1.0
    assert_allclose(posterior.logdet_precision, logdet, rtol=RTOL)
    assert_allclose(posterior.variance(), np.diag(covariance), rtol=RTOL)
    D = np.random.default_rng(5).normal(size=(3, len(A)))
    assert_allclose(posterior.squared_lengths(D), np.einsum("sp,pq,sq->s", D, A, D), rtol=RTOL)
    log_density = multivariate_normal(posterior.theta_map, covariance).logpdf(D)
    assert_allclose(posterior.log_density(D), log_density, rtol=RTOL)
    prior = posterior.prior
    gamma = [
        np.sum(prior.groups == group) - alpha * np.diag(covariance)[prior.groups == group].sum()
        for group, alpha in enumerate(prior.precisions)
    ]
    assert_allclose(posterior.n_effective_params(), gamma, rtol=RTOL, atol=RTOL)
    _check_functional_covariance(posterior, covariance, J)


def _check_functional_covariance(
    posterior: GaussianPosterior, covariance: np.ndarray, J: LayerwiseJacobian
) -> None:
    dense = J.dense()
    per_row = posterior.functional_covariance(J)
    assert_covariances_close(per_row, [J_n @ covariance @ J_n.T for J_n in dense])
    stacked = dense.reshape(-1, len(covariance))
    joint = posterior.functional_covariance(J, joint=True)
    assert_covariances_close(joint, stacked @ covariance @ stacked.T)


def _check_samples(posterior: GaussianPosterior, A: np.ndarray) -> None:
    """Draws whitened by A are N(0, I): their moments lie within six standard errors."""
    draws = posterior.sample(N_SAMPLES, np.random.default_rng(7))
    assert draws.shape == (N_SAMPLES, len(A))
    white = (draws - posterior.theta_map) @ np.linalg.cholesky(A)
    assert_allclose(white.mean(axis=0), 0.0, atol=6.0 / np.sqrt(N_SAMPLES))
    # A variance has standard error √(2/S), a covariance 1/√S.
    error = np.where(np.eye(len(A)) > 0, np.sqrt(2.0), 1.0) / np.sqrt(N_SAMPLES)
    assert np.max(np.abs(white.T @ white / N_SAMPLES - np.eye(len(A))) / error) < 6.0
    again = posterior.sample(2, np.random.default_rng(3))
    assert_array_equal(again, posterior.sample(2, np.random.default_rng(3)))
