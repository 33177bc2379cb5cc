"""What the two UCI experiments share: splits in parallel, a row a split, tables and a figure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from experiments.common.parallel import each
from experiments.common.published import SOURCES, Figures
from experiments.common.record import (
    described,
    environment,
    markdown_table,
    mean_and_error,
    noted_warnings,
    plus_minus,
)
from experiments.common.splits import DataSet, Split, load
from laplace_nn.displays.base import BLUE, GREY, VERMILLION

Row = dict[str, Any]
Evaluate = Callable[[DataSet, Split, dict[str, Any]], Row]


@dataclass(frozen=True)
class Benchmark:
    """A task's protocol.

    Parameters
    ----------
    name : str
        Of the experiment.
    task : str
        "regression" or "classification".
    sets : tuple of str
        The sets under an open licence, in their usual order.
    settings : dict
        Estimator parameters that are not its defaults.
    evaluate : callable
        Fits one split's training rows and scores its test rows: a dict of metrics.
    columns : dict
        Metric → heading; the first one is compared with the published figures.
    sign : int
        1 if larger values of that metric are better, -1 if smaller ones are.
    reference : tuple of Figures
        Figures of others.
    """

    name: str
    task: str
    sets: tuple[str, ...]
    settings: dict[str, Any]
    evaluate: Evaluate
    columns: dict[str, str]
    sign: int
    reference: tuple[Figures, ...]

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return next(iter(self.columns))

    def references(self, metric: str, published: bool = False) -> list[Figures]:
        """Others' figures of a metric; those of papers alone if so asked."""
        rows = [row for row in self.reference if row.metric == metric]
        return [row for row in rows if row.source != "measured"] if published else rows


@dataclass(frozen=True)
class SplitsConfig:
    """Which sets and how many of their splits; settings beside the benchmark's own are for tests.

    Raises
    ------
    DataError
        If there is no such set, or it has not as many splits.
    """

    benchmark: Benchmark
    sets: tuple[str, ...]
    splits: int | None = None
    jobs: int = 1
    data: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for data in self.loaded():
            data.first(self.splits)

    def loaded(self) -> list[DataSet]:
        """The sets."""
        return [load(name, self.benchmark.task, self.data) for name in self.sets]


def timed(evaluate: Evaluate, data: DataSet, split: Split, settings: dict[str, Any]) -> Row:
    """One split's metrics with its numbers, seconds, and any warnings of the fit."""
    began = time.perf_counter()
    with noted_warnings() as sentences:
        metrics = evaluate(data, split, settings)
    row = {"split": split.number, "seed": split.seed, **metrics}
    row["seconds"] = round(time.perf_counter() - began, 2)
    return row | {"warnings": sentences}


def run_set(
    benchmark: Benchmark,
    data: DataSet,
    n_splits: int | None,
    jobs: int,
    settings: dict[str, Any],
) -> list[Row]:
    """All splits of one set, printed as they come, in order."""
    given = [(benchmark.evaluate, data, split, settings) for split in data.first(n_splits)]
    rows = []
    for row in each(timed, given, jobs):
        print(line(benchmark, data.name, row), flush=True)
        for sentence in row["warnings"]:
            print(f"    {sentence}", flush=True)
        rows.append(row)
    return rows


def line(benchmark: Benchmark, name: str, row: Row) -> str:
    """One split for the screen."""
    figures = "  ".join(f"{head} {row[key]:8.3f}" for key, head in benchmark.columns.items())
    return f"{name:<13} split {row['split']:2d}  {figures}  {row['seconds']:6.1f} s"


def run_benchmark(config: SplitsConfig) -> dict[str, Any]:
    """Every set's figures."""
    benchmark, sets = config.benchmark, {}
    settings = benchmark.settings | config.settings
    for data in config.loaded():
        rows = run_set(benchmark, data, config.splits, config.jobs, settings)
        sets[data.name] = {
            "set": data.name,
            "estimator_settings": settings | {"random_state": "the split's seed"},
            "summary": summary(benchmark, rows),
            "splits": rows,
            "environment": environment(),
        }
    return {"sets": sets}


def summary(benchmark: Benchmark, rows: Sequence[Row]) -> dict[str, Any]:
    """Mean and standard error of every metric over the splits."""
    result: dict[str, Any] = {"n_splits": len(rows)}
    for key in [*benchmark.columns, "seconds"]:
        mean, error = mean_and_error([row[key] for row in rows])
        result[key] = {"mean": mean, "standard_error": error}
    return result


def ordered(benchmark: Benchmark, results: dict[str, Any]) -> list[dict[str, Any]]:
    """The sets' figures, in the usual order first."""
    found = results["sets"]
    order = [name for name in benchmark.sets if name in found]
    return [found[name] for name in [*order, *(name for name in found if name not in order)]]


def mean_of(content: dict[str, Any], metric: str) -> tuple[float, float]:
    """A set's mean and standard error of a metric; 0 for a single split."""
    figure = content["summary"][metric]
    return figure["mean"], figure["standard_error"] or 0.0


def beside_published(benchmark: Benchmark, results: dict[str, Any]) -> dict[str, bool]:
    """Whether every set's mean is at least the best published one, within two standard errors."""
    parts, sign, metric = {}, benchmark.sign, benchmark.metric
    for content in ordered(benchmark, results):
        mean, error = mean_of(content, metric)
        rows = benchmark.references(metric, published=True)
        best, width = max(
            (row.number(content["set"]) for row in rows), key=lambda pair: sign * pair[0]
        )
        slack = 2.0 * float(np.hypot(error, width))
        sentence = (
            f"{content['set']}: {benchmark.columns[metric]} {mean:.3f} is as good as the best "
            f"published {best:.2f} within {slack:.3f}"
        )
        parts[sentence] = sign * (mean - best) >= -slack
    return parts


def in_a_sentence(benchmark: Benchmark, results: dict[str, Any]) -> str:
    """Our means of the first metric, set by set."""
    means = [
        f"{content['set']} {plus_minus(*mean_of(content, benchmark.metric))}"
        for content in ordered(benchmark, results)
    ]
    return f"test {benchmark.columns[benchmark.metric]}: {', '.join(means)}"


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
    for figures in benchmark.references(metric):
        lines.append([figures.label, *(figures.values.get(name, "") for name in names)])
    return markdown_table([benchmark.columns[metric], *names], lines)


def report(benchmark: Benchmark, results: dict[str, Any]) -> str:
    """All tables and where their figures come from."""
    stored = ordered(benchmark, results)
    metrics = list(dict.fromkeys(figures.metric for figures in benchmark.reference))
    parts = [f"# {benchmark.name}\n", our_table(benchmark, stored)]
    parts += [comparison(benchmark, stored, metric) for metric in metrics]
    parts.append("± is the standard error over splits; (n) the number of splits.\n")
    used = {figures.source for figures in benchmark.reference}
    parts.append("".join(f"- [{key}] {text}\n" for key, text in SOURCES.items() if key in used))
    parts.append("".join(f"- {one['set']}: {described(one['environment'])}\n" for one in stored))
    return "\n".join(parts)


def draw(benchmark: Benchmark, results: dict[str, Any], label: str) -> Any:
    """A panel a set: our mean of the first metric and those of others, with two standard errors."""
    import matplotlib.pyplot as plt

    stored, rows = ordered(benchmark, results), benchmark.references(benchmark.metric)
    names = ["laplace_nn", *(fill(row.method, 36) for row in rows)]
    size = (2.6 + 2.3 * len(stored), 1.1 + 0.32 * len(names))
    figure, panels = plt.subplots(1, len(stored), figsize=size, layout="constrained", squeeze=False)
    for axes, content in zip(panels[0], stored, strict=True):
        own = mean_of(content, benchmark.metric)
        axes.axvline(own[0], color=BLUE, linewidth=0.8, alpha=0.5)
        _dot(axes, 0, own, BLUE, "o")
        for place, row in enumerate(rows, start=1):
            color, marker = (GREY, "s") if row.source == "measured" else (VERMILLION, "D")
            _dot(axes, place, row.number(content["set"]), color, marker)
        axes.set_yticks(range(len(names)), names if axes is panels[0, 0] else [], fontsize="small")
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(content["set"], fontsize="medium")
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", alpha=0.3)
    legend = "diamonds: published; squares: run on the same splits; bars: ± 2 standard errors"
    figure.supxlabel(f"{label} ({legend})", fontsize="small")
    return figure


def _dot(axes: Any, place: int, number: tuple[float, float], color: str, marker: str) -> None:
    mean, error = number
    style = {"color": color, "marker": marker, "markersize": 5, "elinewidth": 1.3}
    axes.errorbar(mean, place, xerr=2.0 * error, linestyle="none", **style)
