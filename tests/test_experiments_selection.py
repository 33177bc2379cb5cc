"""The experiments on what the evidence selects: sizes of networks, and inputs."""

import re

import ard_relevance
import evidence_vs_hidden_units
import numpy as np
import pytest
from record import RESULTS, read_json

MODULES = (evidence_vs_hidden_units, ard_relevance)
README = RESULTS.parent / "README.md"
SIZE_KEYS = {"prior", "n_hidden", "random_state", "log_evidence", "log_symmetry", "loo_log_score"}
SIZE_KEYS |= {"n_effective_params", "n_params", "test_rmse", "test_distance", "test_log_score"}
SIZE_KEYS |= {"noise_std", "converged", "seconds", "n_separated_units"}
ARD_KEYS = {"seed", "n_hidden", "prior", "hyperprior", "test_rmse", "test_log_score"}
ARD_KEYS |= {"log_evidence", "n_effective_params", "noise_std", "pruned_groups", "seconds"}
ARD_KEYS |= {"warnings"}
INPUT_KEYS = {"relevance", "precision", "input_n_effective_params"}


def stored(module):
    return read_json(RESULTS / f"{module.NAME}.json")


def readme_row(module):
    """The row of the README's table of results."""
    (row,) = (
        line for line in README.read_text().splitlines() if line.startswith(f"| `{module.NAME}` |")
    )
    return row


def test_robot_arm_is_whole():
    arm = evidence_vs_hidden_units.load()
    for part in ("train", "test"):
        X, y = arm[f"X_{part}"], arm[f"y_{part}"]
        assert X.shape == y.shape == (200, 2)
    first, both = arm["X_test"][:, 0], arm["X_test"].sum(axis=1)
    angles = np.array([first, both])
    noiseless = [2.0, 1.3] @ np.cos(angles), [2.0, 1.3] @ np.sin(angles)
    assert arm["y_test_noiseless"] == pytest.approx(np.transpose(noiseless), abs=1e-12)
    noise = (arm["y_test"] - arm["y_test_noiseless"]).std()
    assert noise == pytest.approx(float(arm["noise_std"]), rel=0.1)


def test_evidence_vs_hidden_units_in_small(tmp_path):
    results = evidence_vs_hidden_units.run(sizes=(2, 5), n_starts=1)
    assert [(row["prior"], row["n_hidden"]) for row in results["fits"]] == [
        (prior, size) for prior in ("single", "layer_kind") for size in (2, 5)
    ]
    for row in results["fits"]:
        assert set(row) == SIZE_KEYS
        assert row["test_rmse"] > row["test_distance"] > 0.0
    for prior, rows in evidence_vs_hidden_units.by_prior(results).items():
        assert results["summary"][prior]["chosen"] == rows[1]  # two units cannot do it
        assert rows[1]["test_rmse"] < 0.5 * rows[0]["test_rmse"]
        assert results["summary"][prior]["rank_correlation"] is None
    evidence_vs_hidden_units.write(results, tmp_path)
    assert read_json(tmp_path / "evidence_vs_hidden_units.json") == results
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}


def test_rank_correlation_by_hand():
    rows = [{"log_evidence": e, "test_rmse": r} for e, r in ((1, 0.3), (2, 0.2), (3, 0.1))]
    assert evidence_vs_hidden_units.rank_correlation(rows) == pytest.approx(1.0)
    rows[2]["test_rmse"] = 0.4
    assert evidence_vs_hidden_units.rank_correlation(rows) == pytest.approx(-0.5)
    assert evidence_vs_hidden_units.rank_correlation(rows[:2]) is None


def test_ard_rows_are_those_of_the_demonstration():
    X, y = ard_relevance.draw_rows(20000, np.random.default_rng(0))
    assert (X[:, 1] - X[:, 0]).std() == pytest.approx(0.02, rel=0.03)
    assert X[:, 2].mean() == pytest.approx(0.5, abs=0.01)
    assert X[:, 2].std() == pytest.approx(0.2, rel=0.03)
    assert (y - np.sin(2.0 * np.pi * X[:, 0])).std() == pytest.approx(0.05, rel=0.03)


def test_ard_relevance_in_small(tmp_path):
    results = ard_relevance.run(widths=(2,), n_seeds=1)
    assert len(results["fits"]) == 6
    for row in results["fits"]:
        assert set(row) == (ARD_KEYS | INPUT_KEYS if row["prior"] == "ard" else ARD_KEYS)
    for found in results["summary"]:
        assert found["n_fits"] == 1
        if found["prior"] == "ard":
            assert found["x1_first"] == 1
            alpha = np.array(found["median_precision"])
            assert alpha**-0.5 == pytest.approx(np.array(found["relevance"]["median"]))
    ard_relevance.write(results, tmp_path)
    assert read_json(tmp_path / "ard_relevance.json") == results
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.NAME)
def test_stored_tables_are_those_of_the_stored_figures(module):
    assert (RESULTS / f"{module.NAME}.md").read_text() == module.report(stored(module))
    assert (RESULTS / f"{module.NAME}.png").stat().st_size > 10_000


def test_stored_sizes_are_all_there():
    results = stored(evidence_vs_hidden_units)
    assert results["sizes"] == list(range(2, 21))
    assert len(results["fits"]) == 2 * 19 * results["n_starts"]
    for prior, rows in evidence_vs_hidden_units.by_prior(results).items():
        assert results["summary"][prior] == evidence_vs_hidden_units.summary(rows)


def test_stored_samples_are_all_there():
    results = stored(ard_relevance)
    assert len(results["fits"]) == 6 * len(results["widths"]) * results["n_seeds"]
    assert results["summary"] == ard_relevance.summaries(results["fits"])
    for row in results["fits"]:
        if row["prior"] == "ard":
            assert np.array(row["precision"]) ** -0.5 == pytest.approx(row["relevance"])


def test_readme_says_what_is_stored_of_the_sizes():
    row = readme_row(evidence_vs_hidden_units)
    for prior, found in stored(evidence_vs_hidden_units)["summary"].items():
        chosen = found["chosen"]
        said = (
            f"`{prior}`: {chosen['n_hidden']} units, RMSE {chosen['test_rmse']:.4f} "
            f"(best {found['best_test_rmse']:.4f}, median {found['median_test_rmse']:.4f}), "
            f"rank correlation {found['rank_correlation_from_8_units']:.2f}"
        )
        assert said in row


def test_readme_says_what_is_stored_of_the_inputs():
    row, results = readme_row(ard_relevance), stored(ard_relevance)
    for hyperprior in ard_relevance.HYPERPRIORS:
        kind = {"n_hidden": 8, "hyperprior": hyperprior}
        (ard,) = ard_relevance.select(results["summary"], prior="ard", **kind)
        (single,) = ard_relevance.select(results["summary"], prior="single", **kind)
        medians = ", ".join(f"{value:.2g}" for value in ard["relevance"]["median"])
        errors = [f"{found['test_rmse']['mean']:.4f}" for found in (ard, single)]
        said = f"hyperprior {hyperprior}: {medians}, RMSE {errors[0]} (single {errors[1]})"
        assert said in row


def test_readme_names_the_scripts():
    text = README.read_text()
    for module in MODULES:
        assert re.search(rf"`python experiments/{module.NAME}\.py`", text)
