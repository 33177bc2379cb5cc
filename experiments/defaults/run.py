"""No alternative to a default setting predicts new rows clearly better over all sets, and none
gains a tenth of a nat a row on any of them.

The same splits, seeds and architectures as the two UCI scripts; one setting is changed at a time.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.benchmark import Benchmark, run_set
from experiments.common.harness import main, violated
from experiments.common.record import (
    described,
    environment,
    markdown_table,
    mean_and_error,
    plus_minus,
)
from experiments.common.splits import DataSet, load
from experiments.uci_classification import run as uci_classification
from experiments.uci_regression import run as uci_regression
from laplace_nn.displays.base import COLORS, MARKERS

TIME = "a quarter of an hour with `--jobs 2`"
BENCHMARKS = (uci_regression.BENCHMARK, uci_classification.BENCHMARK)
GAIN = 0.1  # nats a row that an alternative may gain on a set, beyond two standard errors

#: The defaults are selection="evidence+loo", prior="auto", standardize="auto" and
#: committee="auto".
ALTERNATIVES: dict[str, dict[str, Any]] = {
    "default": {},
    'selection="evidence"': {"selection": "evidence"},
    'selection="loo"': {"selection": "loo"},
    'prior="ard"': {"prior": "ard"},
    'prior="layer"': {"prior": "layer"},
    "standardize=True": {"standardize": True},
    "committee=1": {"committee": 1},
    'committee="all"': {"committee": "all"},
    "temperature=1": {"temperature": 1.0},
}
OF_CLASSES = "temperature=1"  # which a regression has no parameter for


@dataclass(frozen=True)
class Config:
    """Which sets and alternatives, and how many splits."""

    sets: tuple[str, ...] = tuple(name for benchmark in BENCHMARKS for name in benchmark.sets)
    splits: int = 2
    jobs: int = 1
    data: Path | None = None
    alternatives: tuple[str, ...] = tuple(ALTERNATIVES)
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def quick(cls) -> "Config":
        """Two sets, one alternative, a small network."""
        names = ("default", 'selection="evidence"')
        settings = {"hidden_layer_sizes": (5,), "n_restarts": 1}
        return cls(sets=("yacht", "australian"), alternatives=names, settings=settings)


def log_score(row: dict[str, Any]) -> float:
    """Mean test log density or log probability."""
    return row["ll"] if "ll" in row else -row["nll"]


def run_one(benchmark: Benchmark, data: DataSet, config: Config) -> dict[str, Any]:
    """Every alternative's test log score and seconds on every split of a set."""
    found = {}
    for name in config.alternatives:
        if name == OF_CLASSES and benchmark.task == "regression":
            continue
        print(f"{data.name}, {name}", flush=True)
        settings = benchmark.settings | ALTERNATIVES[name] | config.settings
        rows = run_set(benchmark, data, config.splits, config.jobs, settings)
        found[name] = {
            "log_score": [log_score(row) for row in rows],
            "seconds": [row["seconds"] for row in rows],
        }
    return found


def run(config: Config) -> dict[str, Any]:
    """Every set under every alternative."""
    results: dict[str, Any] = {"n_splits": config.splits, "sets": {}}
    for name in config.sets:
        classifies = name in uci_classification.BENCHMARK.sets
        benchmark = BENCHMARKS[int(classifies)]
        data = load(name, benchmark.task, config.data)
        results["sets"][name] = run_one(benchmark, data, config)
    return results | {"environment": environment()}


def differences(results: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Alternative → set → its log scores minus the default's, split by split."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, figures in results["sets"].items():
        scores = {key: np.array(one["log_score"]) for key, one in figures.items()}
        for alternative in scores:
            if alternative != "default":
                of = found.setdefault(alternative, {})
                of[name] = scores[alternative] - scores["default"]
    return found


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    parts = {}
    for alternative, of_sets in differences(results).items():
        gain, error = mean_and_error(np.concatenate(list(of_sets.values())))
        sentence = f"{alternative}: {plus_minus(gain, error)} over all sets, not above zero"
        parts[f"{sentence} by two standard errors"] = gain <= 2.0 * (error or 0.0)
        for name, values in of_sets.items():
            gain, error = mean_and_error(values)
            sentence = f"{alternative}: {plus_minus(gain, error)} on {name}, at most {GAIN:g}"
            parts[sentence] = gain - 2.0 * (error or 0.0) <= GAIN
    return violated(parts)


def found(results: dict[str, Any]) -> str:
    """What each alternative is worth over all sets, and where it loses most."""
    parts = []
    for alternative, of_sets in differences(results).items():
        means = {name: float(values.mean()) for name, values in of_sets.items()}
        worst, best = (pick(means, key=means.__getitem__) for pick in (min, max))
        parts.append(
            f"`{alternative}` {np.mean(list(means.values())):+.3f} ({worst} {means[worst]:+.3f}, "
            f"{best} {means[best]:+.3f})"
        )
    return (
        "test log score beside the default's in nats a row, mean over sets (its worst and best "
        f"set): {', '.join(parts)}"
    )


def table(results: dict[str, Any]) -> str:
    """Means, and how far the alternatives are from the default on the same splits."""
    sets = results["sets"]
    names = dict.fromkeys(name for figures in sets.values() for name in figures)
    lines = []
    for name in names:
        cells = []
        for figures in sets.values():
            if name not in figures:
                cells.append("")
                continue
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
            "# defaults\n",
            table(results),
            f"Mean test log score of the first {results['n_splits']} splits, nats a row; below it "
            "each alternative's difference to the default on the same splits, ± its standard "
            "error: negative where the default is better.\n",
            f"- {described(results['environment'])}\n",
        ]
    )


def draw(results: dict[str, Any]) -> Any:
    """Differences to the default, set by set."""
    import matplotlib.pyplot as plt

    sets, found = list(results["sets"]), differences(results)
    figure, axes = plt.subplots(figsize=(8.0, 1.4 + 0.4 * len(sets)), layout="constrained")
    shifts = np.linspace(-0.25, 0.25, len(found))
    rows = zip(found.items(), shifts, COLORS, MARKERS, strict=False)
    for (alternative, of_sets), shift, color, marker in rows:
        pairs = [mean_and_error(values) for values in of_sets.values()]
        means, errors = [mean for mean, _ in pairs], [2.0 * (error or 0.0) for _, error in pairs]
        style = {"color": color, "marker": marker, "linestyle": "none", "markersize": 5}
        places = np.array([sets.index(name) for name in of_sets]) + shift
        axes.errorbar(means, places, xerr=errors, label=alternative, elinewidth=1.0, **style)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(sets)), sets)
    axes.invert_yaxis()
    axes.set_xlabel("test log score beside the default's [nats a row] (bars: ± 2 standard errors)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(fontsize="small", loc="outside upper center", ncols=4)
    return figure


if __name__ == "__main__":
    main(sys.modules[__name__])
