"""The console script: the demo, and fitting and predicting a user's table.

Results are written beside their place and renamed, so that nothing is ever half-written. What a
user can get wrong is one line on stderr and exit status 2.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from laplace_nn.estimators import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.tables import (
    Inputs,
    TableError,
    TableModel,
    choose_task,
    labels,
    numbers,
    predictions,
    read_table,
    scores,
)

__all__ = ["main"]

PROGRAM = "laplace-nn"
TASKS = ("regression", "classification")
OUTPUTS = ("model.joblib", "predictions.csv", "summary.json")
LIBRARIES = ("laplace-nn", "numpy", "scipy", "scikit-learn", "pandas", "joblib")


class CommandError(Exception):
    """What the user can mend, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if not given.

    Returns
    -------
    int
        Exit status: 0, or 2 after an error that the user can mend (one line on stderr).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without Greek is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except (CommandError, TableError) as error:
        return _complain(str(error))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    return 0


def _complain(message: str) -> int:
    print(f"{PROGRAM}: error: {_one_line(message)}", file=sys.stderr)
    return 2


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM, description="Multilayer perceptrons that know how sure they are."
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    demo = commands.add_parser("demo", help="show the package at work on three small problems")
    demo.add_argument("--out", type=Path, default=Path("laplace_nn_demo"), metavar="DIR")
    demo.set_defaults(run=_run_demo)
    _add_fit(commands)
    _add_predict(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser("fit", help="fit a model to a table")
    fit.add_argument("data", type=Path, metavar="DATA.csv", help="comma-separated, with a header")
    fit.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    fit.add_argument("--task", choices=("auto", *TASKS), default="auto")
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    fit.add_argument(
        "--test-size", type=_share, default=0.0, metavar="F", help="share of rows to hold out"
    )
    fit.add_argument("--random-state", type=_seed, default=0, metavar="N")
    fit.add_argument(
        "--hidden", type=_hidden, default=(50,), metavar="50,50", help="units a layer; 0 for none"
    )
    fit.set_defaults(run=_run_fit)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="predict a table's rows with a fitted model")
    predict.add_argument("model", type=Path, metavar="MODEL", help="model.joblib of a fit")
    predict.add_argument("data", type=Path, metavar="DATA.csv")
    predict.add_argument("--out", type=Path, metavar="FILE", help="a CSV file (default: stdout)")
    predict.set_defaults(run=_run_predict)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2**32 - 1, got {text}")
    return value


def _hidden(text: str) -> tuple[int, ...]:
    sizes = () if text == "0" else tuple(int(part) for part in text.split(","))
    if any(size < 1 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be positive integers with commas, got {text}")
    return sizes


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A scratch directory that becomes ``out`` at the end, or whose files move into it."""
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out must name a directory, and {out} is a file")
    home = out if out.is_dir() else next(p for p in out.absolute().parents if p.exists())
    scratch = home / f".{out.name}-{os.getpid()}.part"
    try:
        scratch.mkdir()
    except OSError as error:
        raise CommandError(f"cannot write to {home}: {error.strerror}") from error
    try:
        yield scratch
        if out.is_dir():
            for path in sorted(scratch.iterdir()):
                os.replace(path, out / path.name)
        else:
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise CommandError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _warnings_heard() -> Iterator[list[str]]:
    """The warnings of a block as lines, each once; shown on stderr if the block succeeds."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        yield lines
    for item in heard:
        line = f"{item.category.__name__}: {_one_line(item.message)}"
        if line not in lines:
            lines.append(line)
            print(f"{PROGRAM}: warning: {line}", file=sys.stderr)


def _run_demo(arguments: argparse.Namespace) -> None:
    from laplace_nn import demo

    start = time.perf_counter()
    with _staged(arguments.out) as scratch, _warnings_heard():
        result = demo.run(scratch)
    print(result.table)
    for name in result.files:
        print(f"written: {arguments.out / name}")
    print(f"total time: {time.perf_counter() - start:.1f} s")


@dataclass(frozen=True)
class _Rows:
    """Rows of the table: their numbers (from 0), inputs and targets."""

    index: np.ndarray
    X: np.ndarray
    y: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Rows":
        return _Rows(self.index[chosen], self.X[chosen], self.y[chosen])


def _run_fit(arguments: argparse.Namespace) -> None:
    with _staged(arguments.out) as scratch:
        with _warnings_heard() as heard:
            model, reason, train, test = _fit_table(arguments)
        summary = _summary(model, reason, train, test, heard)
        _write_results(scratch, model, summary, test or train)
    print(_report(summary))
    for name in OUTPUTS:
        print(f"written: {arguments.out / name}")


def _fit_table(arguments: argparse.Namespace) -> tuple[TableModel, str, _Rows, _Rows | None]:
    frame = read_table(arguments.data)
    inputs = Inputs.learn(frame, arguments.target)
    task, reason = arguments.task, "as asked"
    if task == "auto":
        task, reason = choose_task(frame, arguments.target)
    y = (labels if task == "classification" else numbers)(frame, arguments.target)
    train, test = _split(_Rows(np.arange(len(y)), inputs.encode(frame), y), task, arguments)
    print(f"{task} of {arguments.target!r} ({reason}), {len(train.y)} training rows")
    for kind in ("numeric", "categorical"):
        print(f"{kind}: {', '.join(n for n, k in inputs.kinds.items() if k == kind) or 'none'}")
    sys.stdout.flush()
    estimator = _fit(task, train, arguments)
    return TableModel(estimator, inputs, arguments.target, task), reason, train, test


def _split(rows: _Rows, task: str, arguments: argparse.Namespace) -> tuple[_Rows, _Rows | None]:
    """Training and held-out rows; by class for classification."""
    _check_varies(rows.y, task, arguments.target, "the table")
    if not arguments.test_size:
        return rows, None
    from sklearn.model_selection import train_test_split

    try:
        parts = train_test_split(
            rows.index,
            test_size=arguments.test_size,
            random_state=arguments.random_state,
            stratify=rows.y if task == "classification" else None,
        )
    except ValueError as error:
        raise CommandError(f"--test-size {arguments.test_size}: {error}") from error
    train, test = (rows.take(np.sort(part)) for part in parts)
    _check_varies(train.y, task, arguments.target, "the training part")
    if task == "classification" and not np.isin(test.y, train.y).all():
        raise CommandError(
            f"--test-size {arguments.test_size} leaves a class without training rows"
        )
    return train, test


def _check_varies(y: np.ndarray, task: str, target: str, where: str) -> None:
    if len(np.unique(y)) < 2:
        what = "class" if task == "classification" else "value"
        raise CommandError(
            f"target {target!r} has one {what} only in {where} ({y[0]}): nothing to learn"
        )


def _fit(task: str, rows: _Rows, arguments: argparse.Namespace) -> Any:
    kind = LaplaceMLPClassifier if task == "classification" else LaplaceMLPRegressor
    estimator = kind(arguments.hidden, random_state=arguments.random_state, verbose=1)
    try:
        return estimator.fit(rows.X, rows.y)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, MemoryError) as error:
        raise CommandError(f"the model cannot be fitted: {error or 'out of memory'}") from error


def _summary(
    model: TableModel, reason: str, train: _Rows, test: _Rows | None, heard: list[str]
) -> dict[str, Any]:
    """What summary.json holds."""
    estimator = model.estimator
    parts = {"training": train} | ({"test": test} if test else {})
    return {
        "task": model.task,
        "task_chosen_because": reason,
        "target": model.target,
        "columns": model.inputs.kinds,
        "columns_left_out": list(model.inputs.left_out),
        "n_rows": {part: len(rows.y) for part, rows in parts.items()},
        "predictions_of": "test rows" if test else "training rows",
        "hidden_layer_sizes": list(estimator.hidden_layer_sizes),
        "random_state": estimator.random_state,
        "hyperparameters": _hyperparameters(model),
        "n_params": len(estimator.theta_),
        "n_effective_params": float(np.sum(estimator.n_effective_params_)),
        "n_effective_params_by_group": _by_group(estimator, estimator.n_effective_params_),
        "log_marginal_likelihood": float(estimator.log_marginal_likelihood_),
        "loo_log_score": float(estimator.loo_log_score_),
        "committee": [member.weight for member in estimator.committee_],
        "scores": {p: scores(estimator, r.X, r.y, model.task) for p, r in parts.items()},
        "warnings": heard,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }


def _hyperparameters(model: TableModel) -> dict[str, Any]:
    estimator = model.estimator
    found = {"prior_precision": _by_group(estimator, estimator.prior_precision_)}
    if model.task == "classification":
        return found
    beta = float(estimator.noise_precision_)
    return {**found, "noise_precision": beta, "noise_sd": beta**-0.5}


def _by_group(estimator: Any, values: np.ndarray) -> dict[str, float]:
    return dict(zip(estimator.prior_.names, map(float, values), strict=True))


def _write_results(scratch: Path, model: TableModel, summary: dict[str, Any], rows: _Rows) -> None:
    import joblib

    joblib.dump(model, scratch / "model.joblib")
    table = predictions(model.estimator, rows.X, model.task)
    table.insert(0, "row", rows.index + 1)
    table.insert(1, "observed", rows.y)
    table.to_csv(scratch / "predictions.csv", index=False)
    text = json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False)
    (scratch / "summary.json").write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON has no infinity, such as the log score of a probability of 0: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _report(summary: dict[str, Any]) -> str:
    """What the user reads."""
    found = summary["hyperparameters"]
    precisions = ", ".join(f"{n} {v:.3g}" for n, v in found["prior_precision"].items())
    lines = [
        f"prior precision: {precisions}",
        f"effective parameters: {summary['n_effective_params']:.1f} of {summary['n_params']}",
        f"log evidence: {summary['log_marginal_likelihood']:.2f}",
    ]
    if "noise_sd" in found:
        lines.insert(1, f"noise standard deviation: {found['noise_sd']:.4g}")
    for part, values in summary["scores"].items():
        shown = ", ".join(f"{name.replace('_', ' ')} {v:.4g}" for name, v in values.items())
        lines.append(f"{part} rows ({summary['n_rows'][part]}): {shown}")
    return "\n".join([*lines, f"predictions.csv: the {summary['predictions_of']}"])


def _run_predict(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and arguments.out.is_dir():
        raise CommandError(f"--out must name a file, and {arguments.out} is a directory")
    model = _load(arguments.model)
    frame = read_table(arguments.data)
    with _warnings_heard():
        table = model.predict(frame)
    table.insert(0, "row", np.arange(1, len(table) + 1))
    text = table.to_csv(index=False)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        _write_whole(arguments.out, text)
        print(f"written: {arguments.out}")


def _load(path: Path) -> TableModel:
    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = joblib.load(path)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a file of another kind makes the unpickler say anything
        raise CommandError(f"{path} is no model of {PROGRAM}: {type(error).__name__}") from error
    if not isinstance(model, TableModel):
        raise CommandError(f"{path} is no model of {PROGRAM}: it holds {type(model).__name__}")
    return model
