"""``laplace-nn fit``: a model of a table, its predictions, a summary and, if asked, a report."""

import argparse
import json
import platform
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from laplace_nn.cli.output import PROGRAM, staged, warnings_heard
from laplace_nn.cli.table_rows import Table, add_options, estimator_for, fitting, hidden, read
from laplace_nn.estimators.labels import names_of_long_tails
from laplace_nn.tables import TableModel, predictions, scores

LIBRARIES = ("laplace-nn", "numpy", "scipy", "scikit-learn", "pandas", "joblib")

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Tell the program of this command."""
    fit = commands.add_parser("fit", help="fit a model to a table")
    add_options(fit)
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    fit.add_argument(
        "--hidden", type=hidden, default=(50,), metavar="50,50", help="units a layer; 0 for none"
    )
    fit.add_argument(
        "--report", action="store_true", help="write report.html too: pictures and diagnostics"
    )
    fit.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    with staged(arguments.out) as scratch:
        with warnings_heard() as heard:
            table = read(arguments)
            estimator = estimator_for(table.task, arguments.hidden, arguments.random_state)
            with fitting():
                estimator.fit(table.train.X, table.train.y)
        summary = _summary(table, estimator, heard)
        _write_results(scratch, table, estimator, summary)
        if arguments.report:
            with warnings_heard():
                _write_report(scratch, table, estimator, arguments)
        written = sorted(path.name for path in scratch.iterdir())
    print(_shown(summary))
    for name in written:
        print(f"written: {arguments.out / name}")


def _summary(table: Table, estimator: Any, heard: list[str]) -> dict[str, Any]:
    """What summary.json holds."""
    parts = {"training": table.train} | ({"test": table.test} if table.test else {})
    return {
        "task": table.task,
        "task_chosen_because": table.reason,
        "target": table.target,
        "columns": table.inputs.kinds,
        "columns_left_out": list(table.inputs.left_out),
        "long_tails_drawn_in": names_of_long_tails(estimator),
        "n_rows": {part: len(rows.y) for part, rows in parts.items()},
        "predictions_of": "test rows" if table.test else "training rows",
        "hidden_layer_sizes": list(estimator.hidden_layer_sizes),
        "random_state": estimator.random_state,
        "hyperparameters": _hyperparameters(table.task, estimator),
        "n_params": len(estimator.theta_),
        "n_effective_params": float(np.sum(estimator.n_effective_params_)),
        "n_effective_params_by_group": _by_group(estimator, estimator.n_effective_params_),
        "log_marginal_likelihood": float(estimator.log_marginal_likelihood_),
        "loo_log_score": float(estimator.loo_log_score_),
        "committee": [member.weight for member in estimator.committee_],
        "scores": {p: scores(estimator, r.X, r.y, table.task) for p, r in parts.items()},
        "warnings": heard,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }


def _hyperparameters(task: str, estimator: Any) -> dict[str, Any]:
    found = {"prior_precision": _by_group(estimator, estimator.prior_precision_)}
    if task == "classification":
        return {**found, "temperature": float(estimator.temperature_)}
    beta = float(estimator.noise_precision_)
    return {**found, "noise_precision": beta, "noise_sd": beta**-0.5}


def _by_group(estimator: Any, values: np.ndarray) -> dict[str, float]:
    return dict(zip(estimator.prior_.names, map(float, values), strict=True))


def _write_results(scratch: Path, table: Table, estimator: Any, summary: dict[str, Any]) -> None:
    import joblib

    model = TableModel(estimator, table.inputs, table.target, table.task)
    joblib.dump(model, scratch / "model.joblib")
    rows = table.test or table.train
    shown = predictions(estimator, rows.X, table.task)
    shown.insert(0, "row", rows.index + 1)
    shown.insert(1, "observed", rows.y)
    shown.to_csv(scratch / "predictions.csv", index=False)
    text = json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False)
    (scratch / "summary.json").write_text(text + "\n", encoding="utf-8")


def _write_report(
    scratch: Path, table: Table, estimator: Any, arguments: argparse.Namespace
) -> None:
    from laplace_nn.report import report

    held_out = {} if table.test is None else {"X_test": table.test.X, "y_test": table.test.y}
    report(
        estimator,
        table.train.X,
        table.train.y,
        scratch / "report.html",
        target_name=table.target,
        command=_command(arguments),
        **held_out,
    )


def _command(arguments: argparse.Namespace) -> str:
    """The command that makes the same model."""
    parts = [PROGRAM, "fit", str(arguments.data), "--target", arguments.target]
    parts += ["--task", arguments.task, "--random-state", str(arguments.random_state)]
    parts += ["--hidden", ",".join(map(str, arguments.hidden)) or "0"]
    if arguments.test_size:
        parts += ["--test-size", str(arguments.test_size)]
    return shlex.join([*parts, "--report", "--out", str(arguments.out)])


def _finite(value: Any) -> Any:
    """JSON has no infinity, such as the log score of a probability of 0: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _shown(summary: dict[str, Any]) -> str:
    """What the user reads."""
    found = summary["hyperparameters"]
    precisions = ", ".join(f"{n} {v:.3g}" for n, v in found["prior_precision"].items())
    lines = []
    if summary["long_tails_drawn_in"]:
        lines.append(f"long tails drawn in: {', '.join(summary['long_tails_drawn_in'])}")
    lines.append(f"prior precision: {precisions}")
    if "noise_sd" in found:
        lines.append(f"noise standard deviation: {found['noise_sd']:.4g}")
    if "temperature" in found:
        lines.append(f"temperature of the probabilities: {found['temperature']:.3g}")
    lines += [
        f"effective parameters: {summary['n_effective_params']:.1f} of {summary['n_params']}",
        f"log evidence: {summary['log_marginal_likelihood']:.2f}",
    ]
    for part, values in summary["scores"].items():
        shown = ", ".join(f"{name.replace('_', ' ')} {v:.4g}" for name, v in values.items())
        lines.append(f"{part} rows ({summary['n_rows'][part]}): {shown}")
    return "\n".join([*lines, f"predictions.csv: the {summary['predictions_of']}"])
