"""What the two UCI scripts share: splits in parallel, a row a split, tables and files."""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from published import SOURCES, Figures
from record import (
    RESULTS,
    described,
    environment,
    markdown_table,
    mean_and_error,
    plus_minus,
    read_json,
    write_json,
    write_text,
)
from splits import DataError, DataSet, Split, load

Row = dict[str, Any]
Evaluate = Callable[[DataSet, Split, dict[str, Any]], Row]


@dataclass(frozen=True)
class Benchmark:
    """A task's protocol.

    Parameters
    ----------
    name : str
        Of the script and its files.
    task : str
        "regression" or "classification".
    sets : tuple of str
        The sets that are run unless others are named.
    settings : dict
        Estimator parameters that are not its defaults.
    evaluate : callable
        Fits one split's training rows and scores its test rows: a dict of metrics.
    columns : dict
        Metric → heading.
    reference : tuple of Figures
        Figures of others.
    """

    name: str
    task: str
    sets: tuple[str, ...]
    settings: dict[str, Any]
    evaluate: Evaluate
    columns: dict[str, str]
    reference: tuple[Figures, ...]


def timed(evaluate: Evaluate, data: DataSet, split: Split, settings: dict[str, Any]) -> Row:
    """One split's metrics with its numbers, seconds, and any warnings of the fit."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metrics = evaluate(data, split, settings)
    row = {"split": split.number, "seed": split.seed, **metrics}
    row["seconds"] = round(time.perf_counter() - began, 2)
    row["warnings"] = [f"{item.category.__name__}: {item.message}" for item in caught]
    return row


def run_set(
    benchmark: Benchmark,
    data: DataSet,
    n_splits: int | None = None,
    n_jobs: int = 1,
    settings: dict[str, Any] | None = None,
) -> list[Row]:
    """All splits of one set, printed as they come, in order."""
    settings = benchmark.settings if settings is None else settings
    jobs = (
        delayed(timed)(benchmark.evaluate, data, split, settings) for split in data.first(n_splits)
    )
    rows = []
    for row in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
        print(line(benchmark, data.name, row), flush=True)
        for sentence in row["warnings"]:
            print(f"    {sentence}", flush=True)
        rows.append(row)
    return rows


def line(benchmark: Benchmark, name: str, row: Row) -> str:
    """One split for the screen."""
    figures = "  ".join(f"{head} {row[key]:8.3f}" for key, head in benchmark.columns.items())
    return f"{name:<13} split {row['split']:2d}  {figures}  {row['seconds']:6.1f} s"


def summary(benchmark: Benchmark, rows: Sequence[Row]) -> dict[str, Any]:
    """Mean and standard error of every metric over the splits."""
    result: dict[str, Any] = {"n_splits": len(rows)}
    for key in [*benchmark.columns, "seconds"]:
        mean, error = mean_and_error([row[key] for row in rows])
        result[key] = {"mean": mean, "standard_error": error}
    return result


def store_set(benchmark: Benchmark, out: Path, name: str, rows: list[Row]) -> dict[str, Any]:
    """Write a set's figures, so that a long run that is broken off keeps what it has."""
    content = {
        "set": name,
        "estimator_settings": benchmark.settings | {"random_state": "the split's seed"},
        "summary": summary(benchmark, rows),
        "splits": rows,
        "environment": environment(),
    }
    write_json(out / f"{benchmark.name}-{name}.json", content)
    return content


def our_table(benchmark: Benchmark, stored: Sequence[dict[str, Any]]) -> str:
    """Our figures, a line a set."""
    header = ["set", "splits", *benchmark.columns.values(), "seconds a split"]
    lines = []
    for content in stored:
        figures = content["summary"]
        cells = [
            plus_minus(figures[key]["mean"], figures[key]["standard_error"])
            for key in benchmark.columns
        ]
        seconds = f"{figures['seconds']['mean']:.1f}"
        lines.append([content["set"], figures["n_splits"], *cells, seconds])
    return markdown_table(header, lines)


def comparison(benchmark: Benchmark, stored: Sequence[dict[str, Any]], metric: str) -> str:
    """Our mean of one metric above the figures of others."""
    names = [content["set"] for content in stored]
    ours = []
    for content in stored:
        figure = content["summary"][metric]
        mean = plus_minus(figure["mean"], figure["standard_error"])
        ours.append(f"{mean} ({content['summary']['n_splits']})")
    lines: list[list[str]] = [["laplace_nn", *ours]]
    for figures in benchmark.reference:
        if figures.metric == metric:
            lines.append([figures.label, *(figures.values.get(name, "") for name in names)])
    return markdown_table([benchmark.columns[metric], *names], lines)


def report(benchmark: Benchmark, stored: Sequence[dict[str, Any]]) -> str:
    """All tables and where their figures come from."""
    metrics = list(dict.fromkeys(figures.metric for figures in benchmark.reference))
    parts = [f"# {benchmark.name}\n", our_table(benchmark, stored)]
    parts += [comparison(benchmark, stored, metric) for metric in metrics]
    parts.append("± is the standard error over splits; (n) the number of splits.\n")
    used = {figures.source for figures in benchmark.reference}
    parts.append("".join(f"- [{key}] {text}\n" for key, text in SOURCES.items() if key in used))
    parts.append("".join(f"- {one['set']}: {described(one['environment'])}\n" for one in stored))
    return "\n".join(parts)


def stored_sets(benchmark: Benchmark, out: Path) -> list[dict[str, Any]]:
    """Every set that has stored figures, of this run or an earlier one: usual order first."""
    found = {
        content["set"]: content
        for path in sorted(out.glob(f"{benchmark.name}-*.json"))
        for content in [read_json(path)]
    }
    order = [name for name in benchmark.sets if name in found]
    return [found[name] for name in [*order, *(name for name in found if name not in order)]]


def parse(benchmark: Benchmark, description: str, arguments: list[str] | None) -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sets", nargs="+", default=list(benchmark.sets), metavar="SET")
    parser.add_argument("--splits", type=int, help="the first so many; all if not given")
    parser.add_argument("--data", type=Path, help="a folder with further sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="splits at the same time")
    return parser.parse_args(arguments)


def main(benchmark: Benchmark, description: str, arguments: list[str] | None = None) -> None:
    """Run the sets one after the other; print and store the tables."""
    options = parse(benchmark, description, arguments)
    try:
        sets = [load(name, benchmark.task, options.data) for name in options.sets]
        for data in sets:
            data.first(options.splits)
    except DataError as error:
        raise SystemExit(f"{benchmark.name}: {error}") from None
    for data in sets:
        rows = run_set(benchmark, data, options.splits, options.jobs)
        store_set(benchmark, options.out, data.name, rows)
    text = report(benchmark, stored_sets(benchmark, options.out))
    write_text(options.out / f"{benchmark.name}.md", text)
    print(f"\n{text}")
