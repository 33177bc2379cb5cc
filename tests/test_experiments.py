import json
from dataclasses import replace

import benchmark
import big_network
import defaults
import hessian_agreement
import numpy as np
import pytest
import record
import splits
import uci_classification
import uci_regression
from published import CLASSIFICATION, REGRESSION, SOURCES

ALL_SETS = [(name, "regression") for name in splits.REGRESSION_SETS]
ALL_SETS += [(name, "classification") for name in splits.CLASSIFICATION_SETS]
SHAPES = {
    "yacht": (308, 6),
    "energy": (768, 8),
    "concrete": (1030, 8),
    "wine": (1599, 11),
    "australian": (690, 14),
    "breast_cancer": (683, 10),
    "glass": (214, 9),
    "ionosphere": (351, 34),
}
TINY = {"hidden_layer_sizes": (2,), "n_restarts": 1, "tol": 0.1}


def stored(name):
    with np.load(splits.DATA / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize(("name", "task"), ALL_SETS)
def test_sets_are_whole(name, task):
    data = splits.load(name, task)
    assert data.X.shape == SHAPES[name]
    assert data.y.shape == SHAPES[name][:1]
    assert np.isfinite(data.X).all()
    assert np.isfinite(data.y).all()
    assert len(data.splits) == (20 if task == "regression" else 10)


@pytest.mark.parametrize(("name", "task"), ALL_SETS)
def test_splits_are_disjoint_and_complete(name, task):
    data, arrays = splits.load(name, task), stored(name)
    for split in data.splits:
        parts = [split.train, split.test]
        if task == "classification":
            parts.append(arrays["valid_idx"][split.number])
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(data.y)))


@pytest.mark.parametrize("name", splits.REGRESSION_SETS)
def test_protocol_regenerates_the_regression_splits(name):
    data = splits.load(name, "regression")
    drawn = splits.standard_test_rows(len(data.y))
    assert np.array_equal(drawn, [split.test for split in data.splits])


@pytest.mark.parametrize("name", splits.CLASSIFICATION_SETS)
def test_protocol_regenerates_the_classification_splits(name):
    data = splits.load(name, "classification")
    for split in data.splits:
        train, test, _ = splits.stratified_rows(data.y, split.seed)
        assert np.array_equal(train, split.train)
        assert np.array_equal(test, split.test)


def test_a_given_folder_comes_first(tmp_path):
    arrays = stored("yacht")
    np.savez(tmp_path / "yacht.npz", **{**arrays, "y": arrays["y"] + 1.0})
    np.savez(tmp_path / "other.npz", **arrays)
    assert np.array_equal(splits.load("yacht", "regression", tmp_path).y, arrays["y"] + 1.0)
    assert splits.load("other", "regression", tmp_path).name == "other"
    assert splits.load("energy", "regression", tmp_path).name == "energy"


@pytest.mark.parametrize(
    ("name", "task", "sentence"),
    [
        ("boston", "regression", "open licence.*--data"),
        ("glass", "regression", "use uci_classification"),
        ("yacht", "classification", "no classification set"),
    ],
)
def test_errors_of_the_loader(name, task, sentence):
    with pytest.raises(splits.DataError, match=sentence):
        splits.load(name, task)


def test_errors_on_the_command_line(tmp_path):
    script = (uci_regression.BENCHMARK, "")
    with pytest.raises(SystemExit, match=r"uci_regression: There is no set 'nothing'"):
        benchmark.main(*script, ["--sets", "nothing"])
    with pytest.raises(SystemExit, match="must be a folder"):
        benchmark.main(*script, ["--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="1 to 20 splits; got 21"):
        benchmark.main(*script, ["--splits", "21", "--out", str(tmp_path)])


def test_published_figures_name_their_sources():
    for figures in REGRESSION + CLASSIFICATION:
        assert figures.source in SOURCES
        for text in figures.values.values():
            assert np.isfinite(float(text.split()[0]))


@pytest.mark.parametrize(
    ("module", "name"), [(uci_regression, "yacht"), (uci_classification, "breast_cancer")]
)
def test_benchmark_runs(module, name, tmp_path, capsys):
    small = replace(module.BENCHMARK, settings=TINY)
    benchmark.main(small, "", ["--sets", name, "--splits", "2", "--out", str(tmp_path)])
    content = json.loads((tmp_path / f"{small.name}-{name}.json").read_text())
    assert [row["split"] for row in content["splits"]] == [0, 1]
    assert content["summary"]["n_splits"] == 2
    assert content["environment"]["packages"]["numpy"] == np.__version__
    table = (tmp_path / f"{small.name}.md").read_text()
    assert f"| {name} | 2 |" in table
    assert table in capsys.readouterr().out
    assert not list(tmp_path.glob("*.part"))


def test_scores_are_those_of_the_estimator():
    data = splits.load("yacht", "regression")
    row = uci_regression.evaluate(data, data.splits[0], TINY)
    model = uci_regression.LaplaceMLPRegressor(random_state=0, **TINY)
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
    found = uci_classification.expected_calibration_error(probabilities, np.array([0, 1, 1, 0]))
    assert found == pytest.approx(expected, rel=1e-8)


def test_mean_and_error():
    assert record.mean_and_error([3.0]) == (3.0, None)
    mean, error = record.mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == pytest.approx((2.0, 1.0 / np.sqrt(3.0)))
    assert record.plus_minus(1.0, None) == "1.000"


def test_big_network_in_small(tmp_path):
    problem = big_network.make_problem((5, 12, 12, 1), n_rows=40, n_new=10)
    figures, stages = big_network.run(problem, "auto", 1e-6, 500, seed=0)
    assert figures["converged"]
    assert figures["n_params"] == 241
    assert 0.0 < figures["n_effective_params"] < 40
    assert figures["smallest_std"] > big_network.NOISE_STD
    names = [stage["stage"] for stage in stages]
    assert names == ["training", "posterior", "evidence", "predictions"]


def test_big_network_has_a_million_weights():
    assert big_network.MLP(big_network.LAYER_SIZES).n_params == 1_053_001


def test_hessian_agreement_holds_what_the_chapter_says(tmp_path, capsys):
    """On few rows: what is exact, what falls, and what sampling says of each posterior."""
    results = hessian_agreement.run(n_rows=60)
    at_random, at_map = results["agreement"].values()
    errors = {row["member"]: row["error"] for row in at_random}
    assert errors["exact (5.92-5.95)"] == 0.0
    assert errors["diagonal of the exact Hessian"] < 1e-12
    assert errors["differences of gradients (5.91)"] < 1e-8
    assert errors["differences of errors (5.90)"] < 1e-5
    assert errors["outer products (5.84)"] > 0.1
    at_map = {row["member"]: row["error"] for row in at_map}
    assert at_map["outer products (5.84)"] < 0.1 * errors["outer products (5.84)"]
    path = results["approach"]
    assert path[-1]["distance"] < 0.2 * path[0]["distance"]
    assert path[-1]["error"] < 0.1 * path[0]["error"]
    for name, found in results["consequences"].items():
        off = {
            row["posterior"]: abs(row["log_evidence"] - results["sampled_log_evidence"][name])
            for row in found
        }
        assert min(off["exact"], off["outer products"]) < off["outer products, diagonal"]
    hessian_agreement.write(results, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}
    assert capsys.readouterr().out == ""


def test_defaults_are_compared_on_the_same_splits(monkeypatch, tmp_path):
    benchmarks = [replace(one, settings=TINY) for one in defaults.BENCHMARKS]
    monkeypatch.setattr(defaults, "BENCHMARKS", benchmarks)
    few = {name: defaults.ALTERNATIVES[name] for name in ("default", 'prior="layer"')}
    monkeypatch.setattr(defaults, "ALTERNATIVES", few)
    sets = ["yacht", "glass"]
    defaults.main(["--sets", *sets, "--splits", "2", "--out", str(tmp_path)])
    stored = record.read_json(tmp_path / "defaults.json")
    assert list(stored["sets"]) == sets
    for found in stored["sets"].values():
        assert list(found) == list(few)
        assert all(len(figures["log_score"]) == 2 for figures in found.values())
    text = (tmp_path / "defaults.md").read_text()
    default, layer = (np.array(stored["sets"]["yacht"][name]["log_score"]) for name in few)
    assert f"| default | {default.mean():.3f} |" in text
    assert f"{np.mean(layer - default):.3f} ±" in text


def test_the_stored_comparison_of_defaults_is_whole():
    stored = record.read_json(record.RESULTS / "defaults.json")
    assert set(splits.REGRESSION_SETS + splits.CLASSIFICATION_SETS) <= set(stored["sets"])
    for found in stored["sets"].values():
        assert list(found) == list(defaults.ALTERNATIVES)
        assert all(np.isfinite(figures["log_score"]).all() for figures in found.values())
    assert defaults.report(stored) == (record.RESULTS / "defaults.md").read_text()
