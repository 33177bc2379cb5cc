"""What the default settings are worth: each beside its alternatives, on the open sets.

The same splits, seeds and architectures as the two UCI scripts; one setting is changed at a time.
"""

import os

# One BLAS thread on purpose, before NumPy is loaded: see uci_regression.py.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uci_classification
import uci_regression
from benchmark import Benchmark, run_set
from record import (
    RESULTS,
    described,
    environment,
    markdown_table,
    mean_and_error,
    plus_minus,
    write_json,
    write_text,
)
from splits import DataSet, load

NAME = "defaults"
BENCHMARKS = (uci_regression.BENCHMARK, uci_classification.BENCHMARK)
N_SPLITS = 2

#: The defaults are selection="evidence+loo" and prior="auto".
ALTERNATIVES: dict[str, dict[str, Any]] = {
    "default": {},
    'selection="evidence"': {"selection": "evidence"},
    'selection="loo"': {"selection": "loo"},
    'prior="ard"': {"prior": "ard"},
    'prior="layer"': {"prior": "layer"},
}


def log_score(row: dict[str, Any]) -> float:
    """Mean test log density or log probability."""
    return row["ll"] if "ll" in row else -row["nll"]


def run_one(
    benchmark: Benchmark, data: DataSet, n_splits: int, n_jobs: int, names: Sequence[str]
) -> dict[str, Any]:
    """Every alternative's test log score and seconds on every split of a set."""
    found = {}
    for name in names:
        print(f"{data.name}, {name}", flush=True)
        rows = run_set(benchmark, data, n_splits, n_jobs, benchmark.settings | ALTERNATIVES[name])
        found[name] = {
            "log_score": [log_score(row) for row in rows],
            "seconds": [row["seconds"] for row in rows],
        }
    return found


def table(results: dict[str, Any]) -> str:
    """Means, and how far the alternatives are from the default on the same splits."""
    sets = results["sets"]
    names = list(next(iter(sets.values())))
    lines = []
    for name in names:
        cells = []
        for figures in sets.values():
            scores = np.array(figures[name]["log_score"])
            if name == "default":
                cells.append(f"{scores.mean():.3f}")
                continue
            mean, error = mean_and_error(scores - np.array(figures["default"]["log_score"]))
            cells.append(("" if mean < 0 else "+") + plus_minus(mean, error))
        lines.append([name, *cells])
    return markdown_table(["setting", *sets], lines)


def report(results: dict[str, Any]) -> str:
    """The table and what it is of."""
    return "\n".join(
        [
            f"# {NAME}\n",
            table(results),
            f"Mean test log score of the first {results['n_splits']} splits, nats a row; below it "
            "each alternative's difference to the default on the same splits, ± its standard "
            "error: negative where the default is better.\n",
            f"- {described(results['environment'])}\n",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Run, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = [name for benchmark in BENCHMARKS for name in benchmark.sets]
    parser.add_argument("--sets", nargs="+", default=every, metavar="SET")
    parser.add_argument("--splits", type=int, default=N_SPLITS, help="the first so many")
    parser.add_argument("--data", type=Path, help="a folder with further sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="splits at the same time")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {"n_splits": options.splits, "sets": {}}
    for name in options.sets:
        classifies = name in uci_classification.BENCHMARK.sets
        benchmark = BENCHMARKS[int(classifies)]
        data = load(name, benchmark.task, options.data)
        found = run_one(benchmark, data, options.splits, options.jobs, list(ALTERNATIVES))
        results["sets"][name] = found
        results["environment"] = environment()
        write_json(options.out / f"{NAME}.json", results)
        write_text(options.out / f"{NAME}.md", report(results))
    print(f"\n{report(results)}")


if __name__ == "__main__":
    main()
