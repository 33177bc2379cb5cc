"""The command line that every experiment has, and what it writes."""

import json
from dataclasses import dataclass
from types import ModuleType

import matplotlib.pyplot as plt
import pytest

from experiments.common import harness


@dataclass(frozen=True)
class Config:
    sets: tuple[str, ...] = ("a", "b")
    jobs: int = 1
    size: int = 3

    @classmethod
    def quick(cls):
        return cls(size=1)


def experiment(folder, parts=False):
    """A module that stores its configuration; its claim is that sizes are below 4."""
    module = ModuleType("run")
    module.__doc__ = "Sizes are\nsmall.\n\nMore."
    module.__file__ = str(folder / "run.py")
    module.TIME, module.Config, module.calls = "no time", Config, []

    def run(config):
        module.calls.append(config)
        return {"of": {name: {"size": config.size, "jobs": config.jobs} for name in config.sets}}

    module.run = run
    module.check = lambda results: harness.violated(
        {f"{name} is small": part["size"] < 4 for name, part in results["of"].items()}
    )
    module.found = lambda results: f"{len(results['of'])} sets"
    module.report = lambda results: f"# {folder.name}\n\n{results}\n"
    module.draw = lambda results: plt.figure()
    if parts:
        module.PARTS = "of"
    return module


def test_a_run_is_stored_beside_its_script(tmp_path, capsys):
    module = experiment(tmp_path)
    harness.main(module, ["--jobs", "2", "--sets", "b"])
    assert module.calls == [Config(sets=("b",), jobs=2)]
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "of": {"b": {"size": 3, "jobs": 2}}
    }
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "results.md",
        "figure.png",
    }
    assert "The claim holds: Sizes are small." in capsys.readouterr().out


def test_a_quick_run_is_not_stored_unless_asked_for(tmp_path):
    harness.main(experiment(tmp_path), ["--quick"])
    assert not list(tmp_path.iterdir())
    harness.main(experiment(tmp_path), ["--quick", "--out", str(tmp_path / "there")])
    assert harness.stored(experiment(tmp_path / "there"))["of"]["a"]["size"] == 1


def test_sets_are_stored_apart_and_one_by_one(tmp_path):
    module = experiment(tmp_path, parts=True)
    harness.main(module, [])
    assert [config.sets for config in module.calls] == [("a",), ("b",)]
    harness.main(module, ["--sets", "c"])
    assert sorted(harness.stored(module)["of"]) == ["a", "b", "c"]


def test_redrawing_runs_nothing(tmp_path, capsys):
    module = experiment(tmp_path)
    harness.main(module, [])
    (tmp_path / "results.md").unlink()
    harness.main(module, ["--redraw"])
    assert len(module.calls) == 1
    assert (tmp_path / "results.md").read_text() == module.report(harness.stored(module))


def test_a_claim_that_does_not_hold_is_an_error_and_stored(tmp_path):
    module = experiment(tmp_path)
    module.Config = lambda: Config(size=5)
    module.Config.__dataclass_fields__ = Config.__dataclass_fields__
    with pytest.raises(SystemExit, match=r"does not hold:\n- a is small\n- b is small"):
        harness.main(module, [])
    assert (tmp_path / "results.json").exists()


def test_options_are_those_of_the_configuration(tmp_path, capsys):
    with pytest.raises(SystemExit):
        harness.main(experiment(tmp_path), ["--splits", "2"])
    assert "unrecognized arguments: --splits" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        harness.main(experiment(tmp_path), ["--quick", "--redraw"])


def test_a_page_without_its_place_is_an_error(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("one\n<!-- found -->\nold\n<!-- /found -->\ntwo\n")
    harness.rewrite(page, "found", r"new \1")
    assert page.read_text() == "one\n<!-- found -->\nnew \\1\n<!-- /found -->\ntwo\n"
    assert harness.written(page, "found") == r"new \1"
    with pytest.raises(ValueError, match="must hold <!-- index -->"):
        harness.rewrite(page, "index", "new")
