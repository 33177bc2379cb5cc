"""The figures behind the claims: formulas by hand, samples as they are said to be drawn."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from experiments.calibration_by_simulation import run as calibration
from experiments.common import benchmark, clouds, harness, record, splits
from experiments.common.parallel import each
from experiments.common.published import CLASSIFICATION, REGRESSION, SOURCES, Figures
from experiments.defaults import run as defaults
from experiments.in_between import curve, hamiltonian
from experiments.million_weights import run as million_weights
from experiments.predictive_distributions import run as predictive_distributions
from experiments.relevance import run as relevance
from experiments.robot_arm import run as robot_arm
from experiments.side_by_side import run as side_by_side
from experiments.uci_classification import run as uci_classification
from experiments.uci_regression import run as uci_regression
from laplace_nn.demo import two_classes
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.priors import single
from laplace_nn.rows import RowBlocks

TINY = {"hidden_layer_sizes": (2,), "n_restarts": 1, "tol": 0.1}


def test_mean_and_error():
    assert record.mean_and_error([3.0]) == (3.0, None)
    mean, error = record.mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == pytest.approx((2.0, 1.0 / np.sqrt(3.0)))
    assert record.plus_minus(1.0, None) == "1.000"


def test_rounded_keeps_the_shape():
    assert record.rounded(np.array([[1.23456, 0.000123456]]), 3) == [[1.23, 0.000123]]
    assert record.rounded(np.float64(2.0)) == 2.0


def test_fits_at_the_same_time_come_in_order():
    assert list(each(pow, [(2, 1), (2, 2), (2, 3)], jobs=2)) == [2, 4, 8]


def test_published_figures_name_their_sources_and_are_numbers():
    for figures in REGRESSION + CLASSIFICATION:
        assert figures.source in SOURCES
        for name in figures.values:
            mean, error = figures.number(name)
            assert np.isfinite(mean)
            assert 0.0 <= error < 1.1
    texts = {"a": "-1.63 ± 0.02", "b": "0.86 (sd 0.09)", "c": "0.89 ± 0.18 (3)"}
    figures = Figures("method", "measured", "ll", texts)
    assert [figures.number(name) for name in texts] == [(-1.63, 0.02), (0.86, 0.0), (0.89, 0.18)]


def test_scores_are_those_of_the_estimator():
    """Of one mode, whose density is a Gaussian's."""
    data, settings = splits.load("yacht", "regression"), TINY | {"committee": 1}
    row = uci_regression.evaluate(data, data.splits[0], settings)
    model = uci_regression.LaplaceMLPRegressor(random_state=0, **settings)
    train, test = data.splits[0].train, data.splits[0].test
    mean, std = model.fit(data.X[train], data.y[train]).predict(data.X[test], return_std=True)
    error = data.y[test] - mean
    ll = -0.5 * (error / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    assert row["ll"] == pytest.approx(ll.mean(), rel=1e-8)
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-8)
    assert row["coverage"] == np.mean(np.abs(error) <= 1.959963984540054 * std)


def test_expected_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0]])
    # Bins of 0.9 (one of two right), 0.6 (right) and 1.0 (right).
    expected = (abs(1 - 1.8) + abs(1 - 0.6) + 0.0) / 4
    gaps = uci_classification.calibration_gaps(probabilities, np.array([0, 1, 1, 0]))
    assert uci_classification.expected_calibration_error(gaps, 4) == pytest.approx(expected)


def test_pooled_calibration_error_is_that_of_all_rows():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), size=200)
    column = (truth.cumsum(axis=1) < rng.uniform(size=(200, 1))).sum(axis=1)

    def gaps(rows):
        return uci_classification.calibration_gaps(truth[rows], column[rows])

    parts = [slice(0, 50), slice(50, 80), slice(80, 200)]
    rows = [{"gaps": gaps(part), "n_test": part.stop - part.start} for part in parts]
    whole = uci_classification.expected_calibration_error(gaps(slice(None)), 200)
    assert uci_classification.pooled(rows, "gaps") == pytest.approx(whole)
    apart = [uci_classification.expected_calibration_error(r["gaps"], r["n_test"]) for r in rows]
    assert whole < np.average(apart, weights=[50, 30, 120])


def test_calibration_is_held_against_that_of_the_map_network():
    results = deepcopy(harness.stored(uci_classification))
    assert uci_classification.check(results) == []
    glass = results["sets"]["glass"]["splits"]
    for row in glass:
        row["map_gaps"] = [0.0] * uci_classification.N_BINS
    (sentence,) = uci_classification.check(results)
    assert sentence.startswith("glass: calibration error") and sentence.endswith("MAP's 0.0000")
    del glass[uci_classification.ENOUGH_SPLITS - 1 :]  # too few rows to tell
    assert uci_classification.check(results) == []


def test_no_further_split_is_begun_once_a_set_has_had_its_seconds(monkeypatch):
    monkeypatch.setattr(side_by_side, "ENOUGH_SECONDS", 0.0)
    begun = []
    monkeypatch.setattr(
        side_by_side, "side_by_side", lambda data, split, hidden: begun.append(split.number) or []
    )
    for asked, made in ((2, 2), (5, side_by_side.LEAST_SPLITS)):
        begun.clear()
        side_by_side.run(side_by_side.Config(sets=("yacht",), splits=asked))
        assert len(begun) == made


def test_a_set_is_held_against_the_best_published_figure():
    summary = {"n_splits": 2, "nll": {"mean": 0.95, "standard_error": 0.03}}
    results = {"sets": {"glass": {"set": "glass", "summary": summary}}}
    (part,) = benchmark.beside_published(uci_classification.BENCHMARK, results).items()
    # The best published is 0.83 ± 0.02; 2 √(0.03² + 0.02²) = 0.072 is less than 0.12.
    assert part[0].endswith("as the best published 0.83 within 0.072")
    assert part[1] is False
    summary["nll"]["mean"] = 0.90
    assert all(benchmark.beside_published(uci_classification.BENCHMARK, results).values())


def test_missing_sets_and_splits_are_errors_before_anything_is_run(tmp_path):
    with pytest.raises(SystemExit, match=r"uci_regression: There is no set 'nothing'"):
        harness.main(uci_regression, ["--sets", "nothing"])
    with pytest.raises(SystemExit, match="must be a folder"):
        harness.main(uci_regression, ["--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="1 to 20 splits; got 21"):
        harness.main(uci_regression, ["--splits", "21", "--out", str(tmp_path)])


def test_defaults_are_compared_on_the_same_splits():
    names = ("default", 'prior="layer"')
    config = defaults.Config(sets=("yacht", "glass"), alternatives=names, settings=TINY)
    results = defaults.run(config)
    assert list(results["sets"]) == ["yacht", "glass"]
    default, layer = (np.array(results["sets"]["yacht"][name]["log_score"]) for name in names)
    assert len(default) == 2
    assert np.array_equal(defaults.differences(results)[names[1]]["yacht"], layer - default)
    text = defaults.report(results)
    assert f"| default | {default.mean():.3f} |" in text
    assert f"{np.mean(layer - default):.3f} ±" in text


def test_sides_are_compared_set_by_set():
    rows = [
        {"set": "yacht", "split": k, "side": side, "seconds": seconds, "log_score": score}
        for side, seconds, score in (("laplace_nn", 3.0, -1.0), ("other", 2.0, -1.5))
        for k in range(2)
    ]
    (found,) = side_by_side.compared({"rows": rows})
    assert (found["other"], found["ratio"], found["lead"]) == ("other", 1.5, 0.5)


def test_the_clouds_are_those_of_the_demo_and_have_densities():
    for ours, demo in zip(
        clouds.draw(np.random.default_rng(0), 2),
        two_classes(np.random.default_rng(0), 2),
        strict=True,
    ):
        assert np.array_equal(ours, demo)
    X, y = clouds.draw(np.random.default_rng(1), 200)
    p = clouds.optimum(X)
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (p >= low) & (p < low + 0.25)
        error = np.sqrt(np.mean(p[inside] * (1.0 - p[inside])) / inside.sum())
        assert abs(np.mean(y[inside] - p[inside])) < 4.0 * error


def test_rank_correlation_by_hand():
    rows = [{"log_evidence": e, "test_rmse": r} for e, r in ((1, 0.3), (2, 0.2), (3, 0.1))]
    assert robot_arm.rank_correlation(rows) == pytest.approx(1.0)
    rows[2]["test_rmse"] = 0.4
    assert robot_arm.rank_correlation(rows) == pytest.approx(-0.5)
    assert robot_arm.rank_correlation(rows[:2]) is None


def test_stored_sizes_are_all_there():
    results = harness.stored(robot_arm)
    assert results["sizes"] == list(range(2, 21))
    assert len(results["fits"]) == 2 * 19 * results["n_starts"]
    for prior, rows in robot_arm.by_prior(results).items():
        assert results["summary"][prior] == robot_arm.summary(rows)


def test_relevance_rows_are_those_of_the_demonstration():
    X, y = relevance.draw_rows(20000, np.random.default_rng(0))
    assert (X[:, 1] - X[:, 0]).std() == pytest.approx(0.02, rel=0.03)
    assert X[:, 2].mean() == pytest.approx(0.5, abs=0.01)
    assert X[:, 2].std() == pytest.approx(0.2, rel=0.03)
    assert (y - np.sin(2.0 * np.pi * X[:, 0])).std() == pytest.approx(0.05, rel=0.03)


def test_stored_samples_are_all_there():
    results = harness.stored(relevance)
    assert len(results["fits"]) == 6 * len(results["widths"]) * results["n_seeds"]
    assert results["summary"] == relevance.summaries(results["fits"])
    for row in results["fits"]:
        assert ("relevance" in row) == (row["prior"] == "ard")


def test_the_stored_comparison_of_defaults_is_whole():
    stored = harness.stored(defaults)
    assert set(splits.REGRESSION_SETS + splits.CLASSIFICATION_SETS) <= set(stored["sets"])
    for name, found in stored["sets"].items():
        has_temperature = name in splits.CLASSIFICATION_SETS
        expected = [
            key for key in defaults.ALTERNATIVES if has_temperature or key != "temperature=1"
        ]
        assert list(found) == expected
        assert all(np.isfinite(figures["log_score"]).all() for figures in found.values())


def test_a_million_weights_are_a_million():
    assert MLP(million_weights.Config().layer_sizes).n_params == 1_053_001
    assert harness.stored(million_weights)["figures"]["n_params"] == 1_053_001


def test_sampling_finds_a_posterior_that_is_known():
    """Bayesian linear regression: the chain's moments are those of the Gaussian, PRML 3.49-3.51."""
    rng = np.random.default_rng(0)
    X, beta, alpha = rng.standard_normal((20, 1)), 4.0, 2.0
    y = 0.7 * X + 0.5 * rng.standard_normal((20, 1))
    mlp = MLP((1, 1))
    E = NegativeLogPosterior(mlp, Gaussian(beta), single(mlp, alpha), RowBlocks(X, y))
    chain = hamiltonian.sample(E, rng, n_draws=2000, n_steps=10)
    design = np.column_stack([X, np.ones(20)])
    covariance = np.linalg.inv(alpha * np.eye(2) + beta * design.T @ design)
    mean = beta * covariance @ design.T @ y[:, 0]
    assert 0.6 < chain.accepted < 1.0
    assert chain.draws.mean(axis=0) == pytest.approx(mean, abs=0.03)
    assert np.cov(chain.draws.T) == pytest.approx(covariance, abs=0.15 * covariance.max())


def test_leapfrog_steps_conserve_the_energy_and_turn_back():
    rng, mlp = np.random.default_rng(1), MLP((1, 3, 1))
    E = NegativeLogPosterior(
        mlp,
        Gaussian(1.0),
        single(mlp, 1.0),
        RowBlocks(rng.normal(size=(9, 1)), rng.normal(size=(9, 1))),
    )
    theta, momentum = rng.standard_normal(mlp.n_params), rng.standard_normal(mlp.n_params)
    energy, gradient = E.value_and_gradient(theta)
    moved, after, slope, final = hamiltonian.leap(E, theta, gradient, momentum, 1e-3, 100)
    total = energy + 0.5 * momentum @ momentum
    assert after + 0.5 * final @ final == pytest.approx(total, rel=1e-5)
    back, _, _, _ = hamiltonian.leap(E, moved, slope, -final, 1e-3, 100)
    assert back == pytest.approx(theta, abs=1e-12)


def test_the_curve_has_no_rows_in_its_gap():
    x, y = curve.draw_rows(0)
    assert not np.any((x > curve.GAP[0]) & (x < curve.GAP[1]))
    assert x.min() > 0.0
    assert x.max() < 6.0
    assert (y - curve.function(x)).std() == pytest.approx(curve.NOISE_STD, rel=0.15)
    assert np.all((curve.GRID[curve.MIDDLE] > 2.0) & (curve.GRID[curve.MIDDLE] < 4.0))


def test_simulated_rows_are_those_of_the_prior():
    many = [calibration.simulate("regression", seed, 5) for seed in range(300)]
    std = np.array([one.precisions**-0.5 for one in many])
    assert np.mean(std**2) == pytest.approx(1.0, rel=0.2)
    noise = np.array([one.noise_std for one in many])
    assert calibration.NOISE[0] < noise.min() < noise.max() < calibration.NOISE[1]
    scaled = np.concatenate([(one.y - one.outputs) / one.noise_std for one in many])
    assert np.mean(scaled**2) == pytest.approx(1.0, rel=0.1)


def test_chance_is_counted_binomially():
    assert calibration.within_chance(95, 100, 0.95)
    assert not calibration.within_chance(80, 100, 0.95)
    assert calibration.rank_counts([0, 3, 4, 19, 19]) == [2, 1, 0, 0, 2]
    found = {"p": [0.1, 0.15, 0.9, 1.0], "came": [0, 1, 1, 1]}
    assert list(calibration.bins_of(found)) == [(2, 0.125, 1), (2, 0.95, 2)]


def test_predictive_adds_every_modes_own_noise():
    data = calibration.simulate("regression", 0, 40)
    model = calibration.fit("regression", False, data, 0, 40)
    mixture = calibration.predictive(model, data.X[40:])
    mean, std = model.predict(data.X[40:], return_std=True)
    assert mixture.mean()[:, 0] == pytest.approx(mean, rel=1e-8)
    assert mixture.std()[:, 0] == pytest.approx(std, rel=1e-8)


def test_what_a_band_holds_is_an_integral_over_the_noise():
    found = predictive_distributions.share_within(np.array([0.1, -0.3]), np.array([0.25, 0.1]))
    noise = norm(0.0, predictive_distributions.NOISE_STD).pdf
    expected = [quad(noise, low, high)[0] for low, high in ((-0.15, 0.35), (-0.4, -0.2))]
    assert found == pytest.approx(expected, rel=1e-8)


def test_smaller_networks_are_configured_not_hidden():
    """A quick run says in its results that it was one."""
    config = uci_regression.Config.quick()
    assert config != uci_regression.Config()
    one = replace(config, splits=1, settings=TINY)
    (content,) = uci_regression.run(one)["sets"].values()
    assert content["estimator_settings"]["hidden_layer_sizes"] == (2,)
    assert content["summary"]["n_splits"] == 1
