"""One eigendecomposition against a factorisation at every (α, β)."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import BayesianRidge

from laplace_nn.curvature import GGN, PositivePart
from laplace_nn.curvature.regularised import WeightSpace
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.evidence_spectrum import EvidenceSpectrum
from laplace_nn.likelihoods import Gaussian
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.posterior import DensePosterior, KernelPosterior, SubsetPosterior
from laplace_nn.priors import by_layer, single
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
POSTERIORS = pytest.mark.parametrize("form", [DensePosterior, KernelPosterior])
ALPHAS, BETAS = np.logspace(-3, 3, 5), np.logspace(-3, 3, 5)


def points(likelihood):
    """(α, β) over six orders of magnitude; β stays 1 where there is no noise."""
    betas = BETAS if isinstance(likelihood, Gaussian) else [None]
    return [(alpha, beta) for alpha in ALPHAS for beta in betas]


def with_noise(likelihood, beta):
    return likelihood if beta is None else Gaussian(beta)


def of_posterior(posterior, curvature):
    """The spectrum of a posterior over all of its curvature's weights."""
    mlp, likelihood, rows = curvature.mlp, curvature.likelihood, curvature.rows
    fit = log_likelihood(mlp, posterior.theta_map, likelihood, rows)
    return EvidenceSpectrum.from_posterior(
        posterior, likelihood, fit, rows.total_weight, mlp.n_outputs
    )


def refactorised(posterior, curvature, alpha, beta):
    """The posterior and its evidence by a new factorisation at (α, β)."""
    likelihood, prior = with_noise(curvature.likelihood, beta), posterior.prior
    moved = posterior.with_hyperparameters(
        prior.with_precisions(alpha * prior.precisions), likelihood.scale
    )
    fit = log_likelihood(curvature.mlp, posterior.theta_map, likelihood, curvature.rows)
    return moved, log_marginal_likelihood(moved, fit)


@EACH_CASE
@POSTERIORS
def test_equals_a_factorisation_at_every_point(form, case):
    posterior = form.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    spectrum = of_posterior(posterior, case.ggn)
    for alpha, beta in points(case.likelihood):
        moved, evidence = refactorised(posterior, case.ggn, alpha, beta)
        logdet, gamma = moved.logdet_precision, moved.n_effective_params().sum()
        assert_allclose(spectrum.log_determinant(alpha, beta), logdet, rtol=1e-8, atol=1e-8)
        assert_allclose(spectrum.n_effective_params(alpha, beta), gamma, rtol=1e-8, atol=1e-8)
        actual = spectrum.evidence(alpha, beta)
        for name, term in evidence.terms().items():
            assert_allclose(actual.terms()[name], term, rtol=1e-8, atol=1e-8, err_msg=name)
        assert spectrum.log_evidence(alpha, beta) == actual.total


@EACH_CASE
def test_equals_the_determinant_of_the_twin(case):
    """None of the package's curvature or factorisations."""
    spectrum = EvidenceSpectrum.from_curvature(
        case.theta, case.ggn, case.prior, case.likelihood, case.rows
    )
    precision = np.array([case.prior.precisions[group] for group in case.prior.groups])
    for alpha, beta in points(case.likelihood):
        A = (beta or 1.0) * case.ggn_twin + alpha * np.diag(precision)
        gamma = case.mlp.n_params - alpha * precision @ np.diag(np.linalg.inv(A))
        logdet = np.linalg.slogdet(A)[1]
        assert_allclose(spectrum.log_determinant(alpha, beta), logdet, rtol=1e-8, atol=1e-8)
        assert_allclose(spectrum.n_effective_params(alpha, beta), gamma, rtol=1e-8, atol=1e-8)


@EACH_CASE
def test_exact_curvature_where_positive_definite_and_refused_elsewhere(case):
    posterior = DensePosterior.from_curvature(
        case.theta, case.exact, case.prior, case.likelihood.scale
    )
    spectrum = of_posterior(posterior, case.exact)
    smallest = spectrum.eigenvalues[0]
    n_refused = 0
    for alpha, beta in points(case.likelihood):
        whitened = alpha + (beta or 1.0) * smallest
        if whitened > 1e-6 * alpha:
            moved, evidence = refactorised(posterior, case.exact, alpha, beta)
            gamma = moved.n_effective_params().sum()
            assert_allclose(spectrum.log_evidence(alpha, beta), evidence.total, rtol=1e-8)
            # γ_i = 1 - α/(βλ_i + α) where βλ_i + α is near zero: 1e-16 times its inverse.
            assert_allclose(spectrum.n_effective_params(alpha, beta), gamma, rtol=1e-6, atol=1e-8)
        elif whitened < -1e-6 * alpha:
            n_refused += 1
            for method in (spectrum.log_determinant, spectrum.n_effective_params):
                with pytest.raises(NotPositiveDefiniteError) as refused:
                    method(alpha, beta)
                assert_allclose(refused.value.smallest_eigenvalue, whitened, rtol=1e-12)
            with pytest.raises(NotPositiveDefiniteError):
                spectrum.reestimate(alpha, beta)
    assert n_refused or smallest > -1e-3


def test_positive_part_is_never_refused():
    case = next(c for c in CASES if str(c) == "tanh-two-outputs")
    H = PositivePart(case.exact)
    spectrum = EvidenceSpectrum.from_curvature(
        case.theta, H, case.prior, case.likelihood, case.rows
    )
    posterior = DensePosterior.from_curvature(case.theta, H, case.prior, case.likelihood.scale)
    for alpha, beta in points(case.likelihood):
        moved, _ = refactorised(posterior, case.exact, alpha, beta)
        assert_allclose(spectrum.log_determinant(alpha, beta), moved.logdet_precision, rtol=1e-8)


@pytest.mark.parametrize("n_rows", [4, 40])
def test_decomposes_the_smaller_of_weight_and_function_space(n_rows):
    """Either has the same numbers: P = 28, N·K = 8 or 80."""
    rng, mlp, likelihood = np.random.default_rng(0), MLP((2, 4, 2, 2)), Gaussian(3.0)
    theta = mlp.initialise(rng)
    rows = RowBlocks(rng.normal(size=(n_rows, 2)), rng.normal(size=(n_rows, 2)))
    H, prior = GGN(mlp, theta, likelihood, rows), by_layer(mlp)
    spectrum = EvidenceSpectrum.from_curvature(theta, H, prior, likelihood, rows)
    assert len(spectrum.eigenvalues) == min(mlp.n_params, 2 * n_rows)
    dense, kernel = (
        of_posterior(form.from_curvature(theta, H, prior, 3.0), H)
        for form in (DensePosterior, KernelPosterior)
    )
    shared = min(len(dense.eigenvalues), len(kernel.eigenvalues))
    assert_allclose(
        dense.eigenvalues[-shared:], kernel.eigenvalues[-shared:], rtol=1e-8, atol=1e-10
    )
    assert_allclose(dense.log_evidence(0.3, 7.0), kernel.log_evidence(0.3, 7.0), rtol=1e-10)
    fixed = [s.reestimate() for s in (spectrum, dense, kernel)]
    assert_allclose([f.alpha for f in fixed], fixed[0].alpha, rtol=1e-8)
    assert_allclose([f.beta for f in fixed], fixed[0].beta, rtol=1e-8)


def test_inner_posterior_of_selected_weights():
    case = next(c for c in CASES if str(c) == "tanh")
    subset = SubsetPosterior.from_curvature(case.theta, case.ggn, case.prior, 2.5)
    fit = log_likelihood(case.mlp, case.theta, case.likelihood, case.rows)
    spectrum = EvidenceSpectrum.from_posterior(
        subset.inner, case.likelihood, fit, case.n_rows, case.mlp.n_outputs
    )
    assert len(spectrum.eigenvalues) == subset.n_free < case.mlp.n_params
    assert_allclose(spectrum.log_evidence(1.0), log_marginal_likelihood(subset, fit).total)


def test_prior_about_a_mean():
    case = next(c for c in CASES if str(c) == "tanh")
    prior = replace(case.prior, mean=0.9 * case.theta)
    posterior = DensePosterior.from_curvature(case.theta, case.ggn, prior, 2.5)
    spectrum = of_posterior(posterior, case.ggn)
    _, evidence = refactorised(posterior, case.ggn, 0.3, 7.0)
    assert_allclose(spectrum.log_evidence(0.3, 7.0), evidence.total, rtol=1e-10)
    about_zero = 2.0 * case.prior.energy(case.theta)
    assert_allclose(spectrum.squared_norm, 0.01 * about_zero, rtol=1e-10)


def naive(posterior, curvature, alpha, beta, fit_noise):
    """MacKay's updates one after the other, a factorisation each, to the fixed point."""
    prior, theta = posterior.prior, posterior.theta_map
    norm = prior.precision @ theta**2
    residual = curvature.rows.targets - curvature.mlp.forward(theta, curvature.rows.X).outputs
    weights = curvature.rows.weigh(np.ones(len(residual)))
    sse, n_values = weights @ np.sum(residual**2, axis=1), weights.sum() * residual.shape[1]
    for _ in range(5000):
        moved, _ = refactorised(posterior, curvature, alpha, beta)
        new_alpha = moved.n_effective_params().sum() / norm
        new_beta = beta
        if fit_noise:
            moved, _ = refactorised(posterior, curvature, new_alpha, beta)
            new_beta = (n_values - moved.n_effective_params().sum()) / sse
        # Half of each change in logs: whole ones may turn back and forth.
        before, alpha = alpha, np.sqrt(alpha * new_alpha)
        beta = np.sqrt(beta * new_beta) if fit_noise else beta
        if abs(np.log(alpha / before)) + abs(np.log(new_alpha / alpha)) < 1e-13:
            break
    return alpha, beta


GAUSSIAN_CASES = [c for c in CASES if c.likelihood_name == "gaussian"]


@pytest.mark.parametrize("case", GAUSSIAN_CASES, ids=str)
@pytest.mark.parametrize("fit_noise", [True, False])
@POSTERIORS
def test_fixed_point_is_that_of_updates_with_factorisations(form, case, fit_noise):
    posterior = form.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)
    spectrum = of_posterior(posterior, case.ggn)
    found = spectrum.reestimate(fit_noise=fit_noise)
    alpha, beta = naive(posterior, case.ggn, 1.0, case.likelihood.scale, fit_noise)
    assert found.converged
    assert_allclose([found.alpha, found.beta], [alpha, beta], rtol=1e-8)
    assert_allclose(found.n_effective_params, spectrum.n_effective_params(alpha, beta), rtol=1e-8)
    assert found.evidence == spectrum.evidence(found.alpha, found.beta)


@pytest.mark.parametrize("case", GAUSSIAN_CASES, ids=str)
@pytest.mark.parametrize("start", [(1e-6, 1e-6), (1e-6, 1e6), (1e6, 1e-6), (1e6, 1e6)])
def test_every_start_leads_to_the_only_maximum_soon(case, start):
    spectrum = EvidenceSpectrum.from_curvature(
        case.theta, case.ggn, case.prior, case.likelihood, case.rows
    )
    found, expected = spectrum.reestimate(*start), spectrum.reestimate()
    assert found.converged and found.n_iter < 30  # a third of the distance is left each time
    assert_allclose([found.alpha, found.beta], [expected.alpha, expected.beta], rtol=1e-8)
    for factor in (0.9, 1.1):
        assert spectrum.log_evidence(factor * found.alpha, found.beta) < found.evidence.total
        assert spectrum.log_evidence(found.alpha, factor * found.beta) < found.evidence.total


def test_equal_eigenvalues_on_every_value_do_not_make_it_turn_back_and_forth():
    """F = I: whole updates have the factor -1 and never come to rest."""
    n, mlp = 6, MLP((6, 1))
    spectrum = EvidenceSpectrum(np.ones(n), single(mlp), 3.0, 2.0, Gaussian(), float(n), 1)
    found = spectrum.reestimate(5.0, 0.1)
    assert found.converged and found.n_iter < 40
    a, b = found.alpha, found.beta
    # γ = 6b/(a + b): αwᵀw = γ and 2β·nll = 6 - γ.
    assert_allclose([3.0 * a, 4.0 * b], [6.0 * b / (a + b), 6.0 * a / (a + b)], rtol=1e-9)


def test_alternated_with_fits_it_is_bayesian_ridge():
    """PRML 3.5.2: a linear network's eigenvalues serve every weight vector."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 3))
    y = X @ np.array([1.0, -2.0, 0.5]) + 0.7 + 0.3 * rng.normal(size=40)
    mlp, rows, prior = MLP((3, 1)), RowBlocks(X, y[:, None]), single(MLP((3, 1)))
    theta, alpha, beta = np.zeros(4), 1.0, 1.0
    H = GGN(mlp, theta, Gaussian(), rows)
    spectrum = EvidenceSpectrum.from_curvature(theta, H, prior, Gaussian(), rows)
    design = np.column_stack([X, np.ones(40)])
    for _ in range(100):
        theta = reference.linear_gaussian_map(X, y, alpha, alpha, beta)
        nll = 0.5 * np.sum((y - design @ theta) ** 2)
        spectrum = replace(spectrum, squared_norm=theta @ theta, nll=nll)
        found = spectrum.reestimate(alpha, beta)
        alpha, beta = found.alpha, found.beta
    assert found.n_iter == 0
    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    ridge = BayesianRidge(max_iter=2000, tol=1e-14, fit_intercept=False, **flat).fit(design, y)
    assert_allclose([alpha, beta], [ridge.lambda_, ridge.alpha_], rtol=1e-8)
    assert_allclose(theta, ridge.coef_, rtol=1e-8)
    expected = reference.linear_gaussian_log_evidence(X, y, alpha, alpha, beta)
    assert_allclose(found.evidence.total, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["logistic", "relu", "poisson-two-outputs"])
def test_without_noise_precision_alpha_alone_moves(name):
    case = next(c for c in CASES if str(c) == name)
    posterior = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, 1.0)
    spectrum = of_posterior(posterior, case.ggn)
    found = spectrum.reestimate()
    alpha, beta = naive(posterior, case.ggn, 1.0, 1.0, fit_noise=False)
    assert found.converged and found.beta == beta == 1.0
    assert_allclose(found.alpha, alpha, rtol=1e-8)
    with pytest.raises(ValueError, match=f"left out for {type(case.likelihood).__name__}"):
        spectrum.log_evidence(1.0, 2.0)


def simple(**changes):
    spectrum = EvidenceSpectrum(np.ones(2), single(MLP((1, 1))), 1.0, 1.0, Gaussian(), 9.0, 1)
    return replace(spectrum, **changes)


def test_out_of_updates_is_said():
    found = simple().reestimate(max_iter=2)
    assert not found.converged and found.n_iter == 2


@pytest.mark.parametrize(
    "changes", [{"squared_norm": 0.0}, {"nll": 0.0}, {"eigenvalues": np.zeros(2)}, {"n_rows": 0.5}]
)
def test_updates_without_a_fixed_point_are_refused(changes):
    with pytest.raises(ValueError, match="MacKay's update needs"):
        simple(**changes).reestimate()


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_precisions_must_be_positive(value):
    for method in (simple().log_determinant, simple().n_effective_params, simple().evidence):
        with pytest.raises(ValueError, match="alpha must be a positive finite number"):
            method(value, 1.0)
        with pytest.raises(ValueError, match="noise_precision must be a positive finite number"):
            method(1.0, value)


def test_what_has_overflowed_is_refused():
    case = next(c for c in CASES if str(c) == "tanh")
    H = DensePosterior.from_curvature(case.theta, case.ggn, case.prior, 2.5).regularised.hessian
    posterior = DensePosterior(case.theta, WeightSpace(np.nan * H, case.prior, 2.5))
    with pytest.raises(ValueError, match="NaN"):
        of_posterior(posterior, case.ggn)
