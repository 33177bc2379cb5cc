"""Mixtures of Gaussians and their weights: against scipy.stats, brentq, SLSQP and sampling."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import brentq, minimize

from laplace_nn.mixture import (
    GaussianMixture,
    evidence_weights,
    joint_moments,
    mixed_probabilities,
    stacking_weights,
)
from laplace_nn.predictive import gaussian_log_density


def random_mixture(n_modes, n_rows=4, n_outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n_modes, n_rows, n_outputs, n_outputs))
    covariances = root @ root.mT + 0.1 * np.eye(n_outputs)
    means = 3.0 * rng.normal(size=(n_modes, n_rows, n_outputs))
    return GaussianMixture(rng.dirichlet(np.ones(n_modes)), means, covariances)


def marginals(mixture):
    """Frozen scipy.stats Gaussians (of shape (C,)) of every row and output."""
    for n, k in np.ndindex(mixture.means.shape[1:]):
        sd = np.sqrt(mixture.covariances[:, n, k, k])
        yield n, k, stats.norm(mixture.means[:, n, k], sd)


def line(weights, means, sds):
    """A mixture of one row and one output."""
    shape = (-1, 1, 1)
    variances = np.reshape(np.square(sds), (*shape, 1))
    return GaussianMixture(np.array(weights), np.reshape(np.array(means), shape), variances)


def stacking_gradient(weights, log_scores, sample_weight=None):
    """Of Σ s ln Σ w exp(l) / Σ s, in log space throughout."""
    s = np.ones(len(log_scores)) if sample_weight is None else sample_weight
    with np.errstate(divide="ignore"):
        joint = log_scores + np.log(weights)
    return s @ np.exp(log_scores - np.logaddexp.reduce(joint, axis=1)[:, None]) / s.sum()


def test_evidence_weights():
    actual = evidence_weights(np.log([1.0, 2.0, 5.0]) - 1e5)
    assert_allclose(actual, [0.125, 0.25, 0.625], rtol=1e-10)  # ulp(1e5) = 1.5e-11
    assert_array_equal(evidence_weights(np.array([-1e5, 1e5])), [0.0, 1.0])
    assert_array_equal(evidence_weights(np.array([-3.0])), [1.0])


@pytest.mark.parametrize("bad", [np.array([np.nan, 1.0]), np.zeros((2, 1)), np.array([])])
def test_evidences_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="log_evidences must be a vector"):
        evidence_weights(bad)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_modes", [2, 3, 5])
def test_stacking_against_slsqp(n_modes, weighted):
    rng = np.random.default_rng(n_modes)
    scores = rng.normal(size=(60, n_modes))
    s = rng.uniform(0.0, 3.0, size=60) if weighted else np.ones(60)
    actual = stacking_weights(scores, s if weighted else None)

    def loss(w):
        return -s @ np.log(np.exp(scores) @ w) / s.sum()

    twin = minimize(
        loss,
        np.full(n_modes, 1.0 / n_modes),
        jac=lambda w: -stacking_gradient(w, scores, s),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_modes,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert_allclose(loss(actual), twin.fun, rtol=0, atol=1e-9)
    # Where the loss is flat to 1e-12, SLSQP knows the weights to its root.
    assert_allclose(actual, twin.x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 1e5])
@pytest.mark.parametrize("n_rows", [1, 3, 50])
def test_stacking_meets_the_conditions_of_the_maximum(n_rows, spread):
    """Σ s r_c / w_c <= Σ s, with equality where w_c > 0, however far the scores are apart."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = spread * rng.normal(size=(n_rows, 1 + seed % 7))
        s = np.exp(4.0 * rng.normal(size=n_rows))
        weights = stacking_weights(scores, s)
        gradient = stacking_gradient(weights, scores, s)
        assert np.all(weights > 0.0)
        assert_allclose(weights.sum(), 1.0, rtol=1e-14)
        assert gradient.max() <= 1.0 + 1e-9
        assert_allclose(weights * (1.0 - gradient), 0.0, atol=1e-9)


def test_stacking_of_modes_each_best_at_its_own_rows():
    """Nothing shared: every mode's weight is the share of the rows it explains."""
    scores = np.full((10, 3), -1e5)
    scores[np.arange(10), [0] * 5 + [1] * 3 + [2] * 2] = 1e5
    assert_allclose(stacking_weights(scores), [0.5, 0.3, 0.2], atol=1e-10)
    assert_allclose(stacking_weights(scores[:5]), [1.0, 0.0, 0.0], atol=1e-10)
    scores[scores < 0.0] = -np.inf
    assert_allclose(stacking_weights(scores), [0.5, 0.3, 0.2], atol=1e-10)


def test_stacking_is_blind_to_what_says_nothing():
    """A constant per row, the scale of the weights, rows of weight 0 and the modes' order."""
    rng = np.random.default_rng(3)
    scores, s = rng.normal(size=(30, 3)), rng.uniform(0.1, 2.0, size=30)
    s[20:] = 0.0
    expected = stacking_weights(scores, s)
    assert expected.min() > 1e-3  # an interior maximum
    assert_allclose(stacking_weights(scores[:20], s[:20]), expected, rtol=1e-8)
    shifted = scores + rng.integers(-50, 50, size=(30, 1))
    assert_allclose(stacking_weights(shifted, 1e250 * s), expected, rtol=1e-8)
    assert_allclose(stacking_weights(scores[:, [2, 0, 1]], s), expected[[2, 0, 1]], rtol=1e-8)
    repeated = stacking_weights(np.repeat(scores, 2, axis=0), np.repeat(s, 2))
    assert_allclose(repeated, expected, rtol=1e-8)


def test_copies_of_a_mode_share_its_weight():
    scores = np.random.default_rng(3).normal(size=(20, 3))
    expected = stacking_weights(scores)
    actual = stacking_weights(scores[:, [0, 1, 2, 1]])
    assert actual[1] == actual[3]
    assert_allclose(actual[:3], expected * [1.0, 0.5, 1.0], rtol=0, atol=1e-8)
    assert_allclose(stacking_weights(scores[:, [0, 0, 0]]), 1.0 / 3.0, rtol=1e-14)


def test_one_mode_has_all_the_weight():
    assert_array_equal(stacking_weights(np.array([[-1e5], [3.0]])), [1.0])


@pytest.mark.parametrize(
    "bad", [[[np.nan, 0.0]], [[np.inf, 0.0]], [[0.0, 0.0], [-np.inf, -np.inf]], [0.0, 1.0]]
)
def test_scores_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="log_scores must have shape"):
        stacking_weights(np.array(bad))


@pytest.mark.parametrize("bad", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]])
def test_sample_weights_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="sample_weight must be 2 finite weights"):
        stacking_weights(np.zeros((2, 3)), np.array(bad))


def test_one_component_is_the_gaussian():
    one = random_mixture(1)
    mean, covariance = one.means[0], one.covariances[0]
    sd = np.sqrt(np.einsum("nkk->nk", covariance))
    y = np.random.default_rng(1).normal(size=mean.shape)
    mixture = GaussianMixture(np.ones(1), one.means, one.covariances)
    assert_array_equal(mixture.mean(), mean)
    assert_array_equal(mixture.covariance(), covariance)
    assert_array_equal(mixture.std(), sd)
    assert_array_equal(mixture.log_density(y), gaussian_log_density(y, mean, covariance))
    assert_allclose(mixture.cdf(y), stats.norm.cdf(y, mean, sd), rtol=1e-13)
    for coverage in (0.01, 0.9, 0.95, 0.999):
        expected = np.stack(stats.norm.interval(coverage, mean, sd), axis=-1)
        assert_allclose(mixture.interval(coverage), expected, rtol=1e-12)


@pytest.mark.parametrize("n_modes", [2, 5])
def test_density_and_cdf_against_scipy(n_modes):
    mixture = random_mixture(n_modes)
    y = 2.0 * np.random.default_rng(1).normal(size=(4, 2))
    density = [
        sum(
            w * stats.multivariate_normal.pdf(y[n], mixture.means[c, n], mixture.covariances[c, n])
            for c, w in enumerate(mixture.weights)
        )
        for n in range(4)
    ]
    assert_allclose(mixture.log_density(y), np.log(density), rtol=1e-10)
    cdf = mixture.cdf(y)
    for n, k, components in marginals(mixture):
        assert_allclose(cdf[n, k], mixture.weights @ components.cdf(y[n, k]), rtol=1e-13)


def test_cdf_never_exceeds_one():
    over = line([0.5 + 2e-10, 0.5], [0.0, 1.0], [1.0, 1.0])  # within what weights are allowed
    assert_array_equal(over.cdf(np.array([[50.0]])), 1.0)


def test_log_density_far_from_every_component_and_with_an_absent_one():
    mixture = line([0.5, 0.5, 0.0], [-1.0, 1.0, 1e3], [1.0, 1.0, 1.0])
    expected = stats.norm.logpdf(999.0) + np.log(0.5)  # the other's share: e^-2000
    assert_allclose(mixture.log_density(np.array([[1e3]])), expected, rtol=1e-14)


@pytest.mark.parametrize("p", [1e-12, 0.025, 0.3, 0.5, 0.9, 0.975, 1.0 - 1e-6])
@pytest.mark.parametrize("n_modes", [2, 5])
def test_quantiles_against_brentq(n_modes, p):
    """In the upper tail brentq solves for the survival function, which keeps its digits."""
    mixture = random_mixture(n_modes, seed=n_modes)
    actual = mixture.quantile(p)
    for n, k, components in marginals(mixture):

        def gap(x, g=components):
            if p < 0.5:
                return np.log(mixture.weights @ g.cdf(x)) - np.log(p)
            return mixture.weights @ g.sf(x) - (1.0 - p)

        ends = components.ppf(p)
        expected = brentq(gap, ends.min() - 1e-9, ends.max() + 1e-9, xtol=1e-14, rtol=1e-15)
        atol = 1e-12 * mixture.std()[n, k]
        assert_allclose(actual[n, k], expected, rtol=1e-14, atol=atol)


@pytest.mark.parametrize("distance", [0.0, 3.0, 100.0, 1e6])
def test_quantiles_of_a_symmetric_pair(distance):
    """The median is halfway, also where the cdf between the two is flat to rounding."""
    pair = line([0.5, 0.5], [2.0 - distance, 2.0 + distance], [1.0, 1.0])
    ulp = np.spacing(distance)
    assert_allclose(pair.quantile(0.5), 2.0, rtol=0, atol=1e-13 + 2.0 * ulp)
    low, high = pair.interval(0.9)[0, 0]
    assert_allclose(low + high, 4.0, rtol=0, atol=1e-12 + 4.0 * ulp)
    if distance >= 100.0:  # the tail belongs to one of them: Φ⁻¹(2 · 0.05)
        assert_allclose(high, 2.0 + distance - stats.norm.ppf(0.1), atol=1e-13 + 4.0 * ulp)


def test_quantiles_of_unlike_components():
    """Across jumps and plateaus of any scale the cdf crosses p within the resolution."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        sds = 10.0 ** rng.uniform(-8.0, 8.0, size=4)
        mixture = line(rng.dirichlet(np.full(4, 0.3)), 1e4 * rng.normal(size=4), sds)
        p = rng.uniform()
        x = mixture.quantile(p)
        off = 1e-12 * sds.min() + 8.0 * np.spacing(np.abs(x))
        assert mixture.cdf(x - off) <= p + 1e-15
        assert mixture.cdf(x + off) >= p - 1e-15


def test_quantiles_do_not_see_absent_components():
    mixture = line([1.0, 0.0], [1.5, -1e8], [2.0, 1e-3])
    assert_array_equal(mixture.quantile(0.3), line([1.0], [1.5], [2.0]).quantile(0.3))


def test_interval_holds_its_coverage():
    mixture = random_mixture(3)
    for coverage in (0.01, 0.5, 0.95, 0.999):
        low, high = np.moveaxis(mixture.interval(coverage), -1, 0)
        assert_allclose(mixture.cdf(high) - mixture.cdf(low), coverage, rtol=0, atol=1e-13)
        assert_allclose(mixture.cdf(low), (1.0 - coverage) / 2.0, rtol=0, atol=1e-13)


def test_moments_against_sampling():
    """Within five standard errors, estimated from the samples."""
    mixture, n_samples = random_mixture(3, n_rows=1), 200_000
    rng = np.random.default_rng(2)
    chosen = rng.choice(3, size=n_samples, p=mixture.weights)
    roots = np.linalg.cholesky(mixture.covariances[:, 0])
    noise = rng.normal(size=(n_samples, 2, 1))
    draws = mixture.means[chosen, 0] + (roots[chosen] @ noise)[..., 0]
    centred = draws - mixture.mean()[0]
    products = centred[:, :, None] * centred[:, None, :]
    for sampled, actual in ((draws, mixture.mean()[0]), (products, mixture.covariance()[0])):
        error = sampled.std(axis=0) / np.sqrt(n_samples)
        assert np.all(np.abs(sampled.mean(axis=0) - actual) < 5.0 * error)


def test_moments_against_raw_second_moments():
    mixture = random_mixture(4)
    w, m = mixture.weights, mixture.means
    outer = m[..., :, None] * m[..., None, :]
    mean = sum(w[c] * m[c] for c in range(4))
    second = sum(w[c] * (mixture.covariances[c] + outer[c]) for c in range(4))
    expected = second - mean[..., :, None] * mean[..., None, :]
    assert_allclose(mixture.mean(), mean, rtol=1e-13)
    assert_allclose(mixture.covariance(), expected, rtol=1e-11, atol=1e-12)
    assert_allclose(mixture.std() ** 2, np.einsum("nkk->nk", expected), rtol=1e-11)


def test_joint_moments_over_rows():
    """Their diagonal blocks are the rows' own; between rows the modes' disagreement counts."""
    mixture = random_mixture(3, n_rows=3, n_outputs=1)
    joint = np.array([np.diag(v[:, 0, 0]) for v in mixture.covariances])
    mean, covariance = joint_moments(mixture.weights, mixture.means[..., 0], joint)
    assert_allclose(mean, mixture.mean()[:, 0], rtol=1e-14)
    assert_allclose(np.diag(covariance), mixture.std()[:, 0] ** 2, rtol=1e-13)
    between = np.cov(mixture.means[..., 0].T, aweights=mixture.weights, ddof=0)
    off = ~np.eye(3, dtype=bool)
    assert_allclose(covariance[off], between[off], rtol=1e-11)
    assert_array_equal(covariance, covariance.T)


def test_mixed_probabilities():
    rng = np.random.default_rng(0)
    weights, probabilities = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4), size=(3, 5))
    actual = mixed_probabilities(weights, probabilities)
    assert_allclose(actual, sum(w * p for w, p in zip(weights, probabilities, strict=True)))
    assert_allclose(actual.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [1.0], [np.nan, 1.0]])
def test_weights_that_are_none_are_refused(bad):
    weights, means = np.array(bad), np.zeros((2, 3, 1))
    for verb in (GaussianMixture, joint_moments):
        with pytest.raises(ValueError, match="weights must be 2 weights"):
            verb(weights, means, np.ones((2, 3, 1, 1)))
    with pytest.raises(ValueError, match="weights must be 2 weights"):
        mixed_probabilities(weights, np.ones((2, 3, 1)))


def test_shapes_and_variances_that_are_none_are_refused():
    weights, means = np.array([0.5, 0.5]), np.zeros((2, 3, 1))
    with pytest.raises(ValueError, match="means must have shape"):
        GaussianMixture(weights, means[..., 0], np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=r"covariances must have shape \(2, 3, 1, 1\)"):
        GaussianMixture(weights, means, np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match="covariances must have shape"):
        joint_moments(weights, means[..., 0], np.ones((2, 3, 2)))
    for variance in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="every variance must be positive"):
            GaussianMixture(weights, means, np.full((2, 3, 1, 1), variance))


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.5, 95.0, np.nan])
def test_probabilities_that_are_none_are_refused(bad):
    mixture = random_mixture(2)
    with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1"):
        mixture.interval(bad)
    with pytest.raises(ValueError, match="p must lie strictly between 0 and 1"):
        mixture.quantile(bad)
