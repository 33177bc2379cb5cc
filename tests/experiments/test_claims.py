"""Every experiment: its quick run, its stored figures, and what the READMEs say of them."""

import copy
from functools import cache

import pytest

from experiments.common import harness

NAMES = harness.names()


@cache
def quick(name):
    """The quick run's results as they come back from JSON."""
    module = harness.load(name)
    return harness.plain(module.run(module.Config.quick()))


def contents(folder):
    """What the files of a folder hold."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def spoiled(name):
    """The quick run's results, made such that one part of the claim fails."""
    results = copy.deepcopy(quick(name))
    SPOIL[name](results)
    return results


def spoil_two_classes(results):
    for row in results["samples"]:
        row["scores"]["evidence"]["nll"] += 0.2


def spoil_predictive_distributions(results):
    results["contours"]["largest_excess"] = 0.01


def spoil_robot_arm(results):
    results["summary"]["layer_kind"]["chosen"]["test_rmse"] *= 1.5


def spoil_relevance(results):
    for found in results["summary"]:
        if "relevance" in found:
            found["relevance"]["median"] = found["relevance"]["median"][::-1]


def spoil_in_between(results):
    std = results["curve"]["std"]
    std["full covariance"] = std["last layer"]


def spoil_uci_regression(results):
    results["sets"]["yacht"]["summary"]["ll"] = {"mean": -2.0, "standard_error": 0.01}


def spoil_uci_classification(results):
    results["sets"]["australian"]["summary"]["nll"]["mean"] += 1.0


def spoil_hessian_agreement(results):
    for row in results["agreement"]["the MAP"]:
        row["error"] += 1e-4


def spoil_million_weights(results):
    results["figures"]["within_1.96_std"] = 0.8


def spoil_calibration_by_simulation(results):
    found = results["regression"]["known"]
    found["rank"] = [0] * len(found["rank"])


def spoil_side_by_side(results):
    for row in results["rows"]:
        if row["side"] == "laplace_nn":
            row["log_score"] -= 0.5


def spoil_defaults(results):
    for figures in results["sets"].values():
        figures["default"]["log_score"] = [score - 0.5 for score in figures["default"]["log_score"]]


SPOIL = {name: globals()[f"spoil_{name}"] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_run_holds_the_claim(name):
    assert harness.load(name).check(quick(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_check_can_fail(name):
    failures = harness.load(name).check(spoiled(name))
    assert failures
    assert all(isinstance(sentence, str) for sentence in failures)


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_run_is_written_where_it_is_asked_for(name, tmp_path):
    module, before = harness.load(name), contents(harness.ROOT / name)
    harness.save(module, quick(name), tmp_path)
    assert harness.stored(module, tmp_path) == quick(name)
    harness.publish(module, quick(name), tmp_path)
    assert (tmp_path / "results.md").read_text().startswith(f"# {name}\n")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    assert not list(tmp_path.glob("*.part"))
    assert contents(harness.ROOT / name) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_figures_hold_the_claim(name):
    module = harness.load(name)
    assert module.check(harness.stored(module)) == []


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_readme_say_what_is_stored(name):
    module, folder = harness.load(name), harness.ROOT / name
    results = harness.stored(module)
    assert (folder / "results.md").read_text(encoding="utf-8") == module.report(results)
    assert (folder / "figure.png").stat().st_size > 10_000
    assert harness.written(folder / "README.md", "found") == module.found(results)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_makes_the_claim(name):
    page = (harness.ROOT / name / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    assert harness.claim(harness.load(name)) in " ".join(page.split())
    for part in (f"`python experiments/{name}/run.py", "## Source", "## Tolerance", "figure.png"):
        assert part in page


def test_the_index_says_what_is_stored():
    assert harness.written(harness.README, "index") == harness.index().strip()
    assert "|" not in "".join(harness.load(name).found(quick(name)) for name in NAMES)
