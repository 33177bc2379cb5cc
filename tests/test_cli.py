"""The console script, run in this process."""

import html
import json
import re
import shlex
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest

from laplace_nn import demo
from laplace_nn.cli import fit, main, output, table_rows
from laplace_nn.tables import TableModel

HIDDEN = ("--hidden", "3")


def regression_table(n_rows=40):
    rng = np.random.default_rng(0)
    size, kind = rng.normal(size=n_rows), rng.choice(["a", "b", "c"], n_rows)
    y = 100.0 + 20.0 * size + 5.0 * (kind == "b") + rng.normal(size=n_rows)
    return pd.DataFrame({"size": size, "kind": kind, "y": y})


def classification_table(n_rows=60, names=("left", "right")):
    rng = np.random.default_rng(1)
    y = np.arange(n_rows) % len(names)
    X = rng.normal(size=(n_rows, 2)) + y[:, None]
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "side": np.array(names)[y]})


@pytest.fixture
def write(tmp_path):
    def write_one(frame, name="data.csv"):
        path = tmp_path / name
        text = frame if isinstance(frame, str) else frame.to_csv(index=False)
        path.write_text(text)
        return str(path)

    return write_one


@pytest.fixture
def fails(capsys, tmp_path):
    """Run, and return the one line on stderr after status 2; nothing new may be on disk."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        shown = capsys.readouterr()
        lines = shown.err.splitlines()
        assert len(lines) == 1, shown.err
        assert lines[0].startswith("laplace-nn: error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return run


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A regression model file."""
    home = tmp_path_factory.mktemp("fitted")
    regression_table().to_csv(home / "data.csv", index=False)
    command = ["fit", str(home / "data.csv"), "--target", "y", "--out", str(home / "out"), *HIDDEN]
    assert main(command) == 0
    return home / "out" / "model.joblib"


class TestFit:
    def test_long_tails_are_told_by_name(self, write, tmp_path, capsys):
        table = regression_table()
        table["income"] = np.exp(3.0 * np.random.default_rng(1).normal(size=len(table)))
        command = ["fit", write(table), "--target", "y", "--out", str(tmp_path / "out"), *HIDDEN]
        assert main(command) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["long_tails_drawn_in"] == ["income"]
        shown = capsys.readouterr().out
        assert "long tails drawn in: income\nprior precision: " in shown

    def test_regression_with_held_out_rows(self, write, tmp_path, capsys):
        out = tmp_path / "deep" / "out"
        data = write(regression_table())
        command = ["fit", data, "--target", "y", "--out", str(out), "--test-size", "0.25", *HIDDEN]
        assert main(command) == 0
        names = ["model.joblib", "predictions.csv", "summary.json"]
        assert sorted(path.name for path in out.iterdir()) == names
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["task"], summary["predictions_of"]) == ("regression", "test rows")
        assert summary["columns"] == {"size": "numeric", "kind": "categorical"}
        assert summary["n_rows"] == {"training": 30, "test": 10}
        assert summary["n_params"] == 3 * 5 + 4
        assert 0 < summary["n_effective_params"] < summary["n_params"]
        assert 0.5 < summary["hyperparameters"]["noise_sd"] < 2.0
        assert set(summary["scores"]) == {"training", "test"}
        assert summary["scores"]["test"]["rmse"] < 3.0
        assert {"python", "numpy", "laplace-nn"} <= set(summary["versions"])
        held_out = pd.read_csv(out / "predictions.csv")
        truth = regression_table()["y"][held_out["row"] - 1]
        np.testing.assert_allclose(held_out["observed"], truth)
        rmse = np.sqrt(np.mean((held_out["mean"] - held_out["observed"]) ** 2))
        assert rmse == pytest.approx(summary["scores"]["test"]["rmse"])
        shown = capsys.readouterr().out
        assert "regression of 'y' (the target holds 40 different numbers)" in shown
        assert "predictions.csv: the test rows" in shown
        assert str(out / "model.joblib") in shown

    def test_classification_without(self, write, tmp_path, capsys):
        data = write(classification_table())
        command = ["fit", data, "--target", "side", "--out", str(tmp_path / "out"), *HIDDEN]
        assert main(command) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["task"] == "classification"
        temperature = summary["hyperparameters"]["temperature"]
        assert f"temperature of the probabilities: {temperature:.3g}\n" in capsys.readouterr().out
        assert summary["predictions_of"] == "training rows"
        assert set(summary["scores"]) == {"training"}
        table = pd.read_csv(tmp_path / "out" / "predictions.csv")
        total = table[["probability_left", "probability_right"]].sum(axis=1)
        np.testing.assert_allclose(total, 1.0)
        error = np.mean(table["observed"] != table["predicted"])
        assert error == pytest.approx(summary["scores"]["training"]["error_rate"])

    def test_task_can_be_asked_for(self, write, tmp_path):
        data = write(classification_table(names=(0, 1)))
        out = tmp_path / "out"
        command = ["fit", data, "--target", "side", "--out", str(out), "--hidden", "0"]
        assert main([*command, "--task", "regression"]) == 0
        summary = json.loads((out / "summary.json").read_text())
        assert summary["task"] == "regression"
        assert summary["hidden_layer_sizes"] == []

    def test_a_directory_that_exists_keeps_its_other_files(self, write, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        (out / "notes.txt").write_text("mine")
        (out / "summary.json").write_text("old")
        data = write(classification_table())
        assert main(["fit", data, "--target", "side", "--out", str(out), *HIDDEN]) == 0
        assert (out / "notes.txt").read_text() == "mine"
        assert json.loads((out / "summary.json").read_text())["target"] == "side"
        assert not [path for path in out.iterdir() if path.name.endswith(".part")]

    def test_warnings_are_lines_and_kept(self, write, tmp_path, capsys):
        frame = regression_table().assign(name=[f"row {i}" for i in range(40)])
        out = tmp_path / "out"
        assert main(["fit", write(frame), "--target", "y", "--out", str(out), *HIDDEN]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith("laplace-nn: warning: UserWarning: left out") for line in lines)
        summary = json.loads((out / "summary.json").read_text())
        assert summary["columns_left_out"] == ["name"]
        assert any("left out" in line for line in summary["warnings"])

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda f: f.drop(columns="y"), "no column 'y'; the table has 'size', 'kind'"),
            (lambda f: f[:0], "holds no rows"),
            (lambda f: f[["y"]], "no column is left"),
            (lambda f: f.assign(size=[None, *f["size"][1:]]), "column 'size' has 1 missing"),
            (lambda f: f.assign(size=["x", *f["size"][1:]]), "'size' must hold numbers"),
            (lambda f: f.assign(y=[None, *f["y"][1:]]), "column 'y' has 1 missing"),
            (lambda f: f.assign(y=["n.k.", *f["y"][1:]]), "'y' must hold numbers"),
            (lambda f: f.assign(y="same"), "target 'y' has one class only in the table (same)"),
            (lambda f: f.assign(y=1.5), "target 'y' has one value only in the table (1.5)"),
        ],
    )
    def test_bad_tables(self, write, tmp_path, fails, change, sentence):
        data = write(change(regression_table()))
        assert sentence in fails("fit", data, "--target", "y", "--out", tmp_path / "out")

    @pytest.mark.parametrize(
        ("extra", "sentence"),
        [
            (["--test-size", "1.5"], "--test-size: must lie between 0 and 1"),
            (["--test-size", "half"], "--test-size: invalid"),
            (["--test-size", "0.001"], "--test-size 0.001"),
            (["--hidden", "5,-1"], "--hidden: must be positive integers"),
            (["--random-state", "-1"], "--random-state"),
            (["--task", "clustering"], "--task"),
            (["--surprise"], "--surprise"),
        ],
    )
    def test_bad_arguments(self, write, tmp_path, fails, extra, sentence):
        data = write(classification_table())
        out = tmp_path / "out"
        assert sentence in fails("fit", data, "--target", "side", "--out", out, *extra)

    def test_text_target_for_regression(self, write, tmp_path, fails):
        command = [
            "fit",
            write(classification_table()),
            "--target",
            "side",
            "--out",
            tmp_path / "o",
        ]
        assert "'side' must hold numbers" in fails(*command, "--task", "regression")

    def test_a_class_with_one_row_cannot_be_held_out(self, write, tmp_path, fails):
        frame = classification_table()
        frame.loc[0, "side"] = "middle"
        command = ["fit", write(frame), "--target", "side", "--out", tmp_path / "out"]
        assert "--test-size 0.3" in fails(*command, "--test-size", "0.3")

    def test_bad_places(self, write, tmp_path, fails):
        data = write(regression_table())
        out = tmp_path / "out"
        missing = fails("fit", tmp_path / "none.csv", "--target", "y", "--out", out)
        assert "No such file" in missing
        assert "is a file" in fails("fit", data, "--target", "y", "--out", data)
        assert "Not a directory" in fails("fit", data, "--target", "y", "--out", f"{data}/deep")

    def test_unwritable_place(self, write, tmp_path, fails, monkeypatch):
        def refuse(self, *arguments, **options):
            raise PermissionError(13, "Permission denied", str(self))

        data = write(regression_table())
        monkeypatch.setattr(output.Path, "mkdir", refuse)
        line = fails("fit", data, "--target", "y", "--out", tmp_path / "out")
        assert line.endswith(f"cannot write to {tmp_path}: Permission denied")

    def test_a_failure_on_the_way_leaves_nothing(self, write, tmp_path, fails, monkeypatch):
        data = write(regression_table())

        def refuse(self, X, y):
            raise ValueError("two\nlines")

        monkeypatch.setattr(table_rows.LaplaceMLPRegressor, "fit", refuse)
        line = fails("fit", data, "--target", "y", "--out", tmp_path / "out")
        assert line.endswith("the model cannot be fitted: two lines")


class TestReport:
    def test_of_held_out_rows_and_how_to_come_by_it(self, write, tmp_path):
        out, data = tmp_path / "out", write(regression_table())
        options = ["--test-size", "0.25", "--report", "--out", str(out), *HIDDEN]
        assert main(["fit", data, "--target", "y", *options]) == 0
        text = (out / "report.html").read_text(encoding="utf-8")
        assert "<h1>y: a regression by LaplaceMLPRegressor</h1>" in text
        assert "on the 10 held-out rows" in text
        command = re.search(r"laplace-nn (fit .*?)</pre>", text).group(1)
        before = (out / "predictions.csv").read_text()
        assert main(shlex.split(html.unescape(command))) == 0
        assert (out / "predictions.csv").read_text() == before

    def test_only_where_asked_for(self, fitted):
        assert not (fitted.parent / "report.html").exists()


class TestCompare:
    @pytest.mark.parametrize("criterion", ["evidence", "loo"])
    def test_the_table_and_the_picture(self, write, tmp_path, capsys, criterion):
        out, data = tmp_path / "out", write(regression_table())
        options = ["--hidden", "0", "2", "2,2", "--criterion", criterion, "--test-size", "0.25"]
        assert main(["compare", data, "--target", "y", *options, "--out", str(out)]) == 0
        shown = capsys.readouterr().out.splitlines()
        table = pd.read_csv(out / "comparison.csv")
        assert sorted(table["name"]) == ["0", "2", "2,2"]
        ranked_by = table["log_evidence" if criterion == "evidence" else "loo_log_score"]
        assert ranked_by.is_monotonic_decreasing
        assert np.isfinite(table["test_log_score"]).all()
        assert f"best by {criterion}: {table['name'][0]}" in shown
        assert (out / "evidence.png").read_bytes()[:4] == b"\x89PNG"
        assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "evidence.png"]

    def test_of_classes(self, write, tmp_path):
        out, data = tmp_path / "out", write(classification_table())
        assert main(["compare", data, "--target", "side", "--hidden", "0", "--out", str(out)]) == 0
        assert len(pd.read_csv(out / "comparison.csv")) == 1

    def test_what_cannot_be_compared(self, write, tmp_path, fails):
        data = write(regression_table())
        same = fails(
            "compare", data, "--target", "y", "--hidden", "2", "2", "--out", tmp_path / "o"
        )
        assert "--hidden names 2 units twice" in same


class TestPredict:
    def test_round_trip(self, fitted, write, tmp_path, capsys):
        data = write(regression_table().drop(columns="y"))
        out = tmp_path / "new.csv"
        assert main(["predict", str(fitted), data, "--out", str(out)]) == 0
        found = pd.read_csv(out)
        before = pd.read_csv(fitted.parent / "predictions.csv").drop(columns="observed")
        pd.testing.assert_frame_equal(found, before)
        inside = (found["lower_95"] < found["mean"]) & (found["mean"] < found["upper_95"])
        assert inside.all()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "new.csv"]
        capsys.readouterr()
        assert main(["predict", str(fitted), data]) == 0
        assert capsys.readouterr().out == out.read_text()

    def test_a_model_file_is_one_object(self, fitted):
        model = joblib.load(fitted)
        assert isinstance(model, TableModel)
        assert (model.task, model.target) == ("regression", "y")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda f: f.drop(columns="size"), "no column 'size'"),
            (
                lambda f: f.assign(size="big"),
                "'size' must hold numbers but has text in row 1: 'big'",
            ),
            (lambda f: f.assign(kind="d"), "column 'kind' has a new category in row 1: 'd'"),
            (lambda f: f.assign(kind=[None, *f["kind"][1:]]), "column 'kind' has 1 missing"),
            (lambda f: f[:0], "holds no rows"),
        ],
    )
    def test_bad_tables(self, fitted, write, tmp_path, fails, change, sentence):
        data = write(change(regression_table()))
        assert sentence in fails("predict", fitted, data, "--out", tmp_path / "new.csv")

    def test_bad_models(self, write, tmp_path, fails):
        data = write(regression_table())
        assert "is no model" in fails("predict", data, data)
        joblib.dump({"not": "a model"}, tmp_path / "other.joblib")
        assert "it holds dict" in fails("predict", tmp_path / "other.joblib", data)
        assert "is no model" in fails("predict", write("", "empty.joblib"), data)
        assert "No such file" in fails("predict", tmp_path / "none.joblib", data)
        assert "cannot read" in fails("predict", tmp_path, data)

    def test_bad_places(self, fitted, write, tmp_path, fails):
        data = write(regression_table())
        assert "is a directory" in fails("predict", fitted, data, "--out", tmp_path)
        assert "cannot write" in fails("predict", fitted, data, "--out", tmp_path / "no" / "f.csv")
        assert "No such file" in fails("predict", fitted, tmp_path / "none.csv")


class TestScript:
    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.startswith("laplace-nn ")

    @pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
    def test_help(self, arguments, capsys):
        assert main(arguments) == 0
        assert "usage: laplace-nn" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["fit"], ["predict"], ["demo", "x"]])
    def test_incomplete_commands(self, arguments, fails):
        fails(*arguments)

    def test_warnings_come_once(self, capsys):
        with output.warnings_heard() as heard:
            for _ in range(2):
                warnings.warn("two\nlines", UserWarning, stacklevel=1)
            warnings.warn("not for users", DeprecationWarning, stacklevel=1)
        assert heard == ["UserWarning: two lines"]
        assert capsys.readouterr().err == "laplace-nn: warning: UserWarning: two lines\n"

    def test_demo_moves_its_files_into_place(self, tmp_path, capsys, monkeypatch):
        def run(directory):
            (directory / "picture.png").write_text("picture")
            return demo.DemoResult("the table", ("picture.png",))

        monkeypatch.setattr(demo, "run", run)
        assert main(["demo", "--out", str(tmp_path / "shown")]) == 0
        assert (tmp_path / "shown" / "picture.png").read_text() == "picture"
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "the table"
        assert lines[1] == f"written: {tmp_path / 'shown' / 'picture.png'}"
        assert lines[2].startswith("total time: ")

    def test_demo_into_a_file(self, tmp_path, fails):
        (tmp_path / "taken").write_text("")
        assert "is a file" in fails("demo", "--out", tmp_path / "taken")

    def test_interrupted(self, tmp_path, capsys, monkeypatch):
        def stop(directory):
            raise KeyboardInterrupt

        monkeypatch.setattr(demo, "run", stop)
        assert main(["demo", "--out", str(tmp_path / "shown")]) == 130
        assert capsys.readouterr().err == "laplace-nn: error: interrupted\n"
        assert not list(tmp_path.iterdir())


def test_what_is_not_finite_becomes_null_in_the_summary():
    mixed = {"scores": {"test": {"log": -np.inf, "n": 3}}, "list": [np.nan, 1.5, "inf"]}
    expected = {"scores": {"test": {"log": None, "n": 3}}, "list": [None, 1.5, "inf"]}
    assert fit._finite(mixed) == expected
