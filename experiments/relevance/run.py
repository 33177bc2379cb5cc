"""Automatic relevance determination puts the input that matters first in every sample, far before
its noisy copy and an irrelevant one, and has less test error for it than one prior precision.

The data of Netlab's ``demard`` (Nabney 2002; PRML 7.2.2 for the idea): x1 ~ U(0, 1), x2 a noisy
copy of it, x3 ~ N(0.5, 0.2²) for nothing, and a target sin(2πx1) + N(0, 0.05²). One precision an
input, beside one for all weights and one for each kind of weight, with and without the hyperprior,
on several samples, for a network of just enough hidden units and one of too many.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, violated
from experiments.common.parallel import each
from experiments.common.record import (
    described,
    environment,
    markdown_table,
    mean_and_error,
    noted_warnings,
    plus_minus,
)
from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.base import BLUE, VERMILLION

TIME = "2 minutes on one core"
INPUTS = ("x1", "x2", "x3")
MEANING = ("x1\nrelevant", "x2\ncopy of x1 + noise", "x3\nirrelevant")
N_TRAIN, N_TEST = 100, 1000
NOISE_STD, COPY_STD = 0.05, 0.02
# The relevances are those of the one mode kept; the evidence is what the claims are about.
SETTINGS = {"n_restarts": 3, "committee": 1, "selection": "evidence"}
PRIORS = {"single": "one precision", "layer_kind": "one a kind of weight", "ard": "one an input"}
HYPERPRIORS = {"half_normal": "half_normal", "none": None}  # the default, and none
COLORS = {"half_normal": BLUE, "none": VERMILLION}
MARKERS = {"half_normal": "o", "none": "s"}
LABELS = {"half_normal": "half-normal hyperprior (default)", "none": "no hyperprior"}
LEAD = 3.0  # times the median relevance of the others, the least that x1's must be

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """How wide the networks are, and how many samples."""

    widths: tuple[int, ...] = (2, 8)  # demard's number of hidden units, and more than it takes
    n_seeds: int = 8
    jobs: int = 1

    @classmethod
    def quick(cls) -> "Config":
        """The wider network on one sample."""
        return cls(widths=(8,), n_seeds=1)


def draw_rows(n_rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 3) and targets (n,), with demard's figures."""
    x1 = rng.uniform(size=n_rows) + 0.002 * rng.standard_normal(n_rows)
    x2 = x1 + COPY_STD * rng.standard_normal(n_rows)
    x3 = 0.5 + 0.2 * rng.standard_normal(n_rows)
    y = np.sin(2.0 * np.pi * x1) + NOISE_STD * rng.standard_normal(n_rows)
    return np.column_stack([x1, x2, x3]), y


def fit_one(seed: int, n_hidden: int, prior: str, hyperprior: str) -> Row:
    """One sample under one prior: relevances, and how it does on new rows."""
    rng = np.random.default_rng(seed)
    X, y = draw_rows(N_TRAIN, rng)
    X_test, y_test = draw_rows(N_TEST, rng)
    model = LaplaceMLPRegressor(
        (n_hidden,),
        prior=prior,
        hyperprior=HYPERPRIORS[hyperprior],
        random_state=seed,
        **SETTINGS,
    )
    began = time.perf_counter()
    with noted_warnings() as sentences:
        model.fit(X, y)
    row: Row = {
        "seed": seed,
        "n_hidden": n_hidden,
        "prior": prior,
        "hyperprior": hyperprior,
        "test_rmse": float(np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))),
        "test_log_score": float(np.mean(model.log_predictive_density(X_test, y_test))),
        "log_evidence": float(model.log_marginal_likelihood_),
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "noise_std": float(model.noise_precision_**-0.5),
        "pruned_groups": list(model.pruned_groups_),
        "seconds": round(time.perf_counter() - began, 2),
        "warnings": sentences,
    }
    if prior == "ard":
        by_input = slice(0, len(INPUTS))
        row |= {
            "relevance": model.relevance_.tolist(),
            "precision": model.prior_precision_[by_input].tolist(),
            "input_n_effective_params": model.n_effective_params_[by_input].tolist(),
        }
    return row


def select(rows: Sequence[Row], **values: Any) -> list[Row]:
    """The fits that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def summary(rows: Sequence[Row], single: Sequence[Row]) -> Row:
    """Means over samples of one kind of fit, beside the same samples under the single prior."""
    found: Row = {"n_fits": len(rows)}
    for key in ("test_rmse", "test_log_score", "log_evidence"):
        mean, error = mean_and_error([row[key] for row in rows])
        found[key] = {"mean": mean, "standard_error": error}
    pairs = zip(rows, single, strict=True)
    found["better_than_single"] = sum(a["test_rmse"] < b["test_rmse"] for a, b in pairs)
    found["n_warnings"] = sum(len(row["warnings"]) for row in rows)
    if all("relevance" in row for row in rows):
        relevance = np.array([row["relevance"] for row in rows])
        found["relevance"] = {
            "median": np.median(relevance, axis=0).tolist(),
            "smallest": relevance.min(axis=0).tolist(),
            "largest": relevance.max(axis=0).tolist(),
        }
        precision = np.array([row["precision"] for row in rows])
        found["median_precision"] = np.median(precision, axis=0).tolist()
        order = np.argsort(-relevance, axis=1)
        found["x1_first"] = int(np.sum(order[:, 0] == 0))
        found["x3_last"] = int(np.sum(order[:, -1] == len(INPUTS) - 1))
    return found


def summaries(fits: Sequence[Row]) -> list[Row]:
    """A summary for each width, prior and hyperprior."""
    found = []
    for n_hidden in sorted({row["n_hidden"] for row in fits}):
        for prior in PRIORS:
            for hyperprior in HYPERPRIORS:
                kind = {"n_hidden": n_hidden, "hyperprior": hyperprior}
                rows = select(fits, prior=prior, **kind)
                single = select(fits, prior="single", **kind)
                found.append(kind | {"prior": prior} | summary(rows, single))
    return found


def run(config: Config) -> dict[str, Any]:
    """All samples under all priors, printed as they come."""
    began, began_processor, fits = time.perf_counter(), time.process_time(), []
    given = product(range(config.n_seeds), config.widths, PRIORS, HYPERPRIORS)
    for row in each(fit_one, given, config.jobs):
        relevance = "  ".join(f"{value:.2g}" for value in row.get("relevance", []))
        print(
            f"{row['n_hidden']} units  seed {row['seed']}  {row['prior']:<10} hyperprior "
            f"{row['hyperprior']:<11}  test RMSE {row['test_rmse']:.4f}  {row['seconds']:5.1f} s  "
            f"{relevance}",
            flush=True,
        )
        fits.append(row)
    return {
        "estimator_settings": SETTINGS | {"random_state": "the sample's seed"},
        "n_train": N_TRAIN,
        "n_test": N_TEST,
        "noise_std": NOISE_STD,
        "copy_std": COPY_STD,
        "widths": list(config.widths),
        "n_seeds": config.n_seeds,
        "summary": summaries(fits),
        "fits": fits,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - began_processor, 1),
        "environment": environment(),
    }


def relevance_table(results: dict[str, Any]) -> str:
    """A line a width and hyperprior: relevances and precisions by input."""
    lines = []
    for found in select(results["summary"], prior="ard"):
        spread = zip(*found["relevance"].values(), strict=True)
        cells: list[object] = [found["n_hidden"], found["hyperprior"]]
        cells += [f"{median:.2g} ({low:.2g} … {high:.2g})" for median, low, high in spread]
        cells += [f"{value:.3g}" for value in found["median_precision"]]
        cells += [f"{found[key]} of {found['n_fits']}" for key in ("x1_first", "x3_last")]
        lines.append(cells)
    header = ["hidden units", "hyperprior", *(f"relevance of {name}" for name in INPUTS)]
    header += [*(f"α of {name}" for name in INPUTS), "x1 first", "x3 last"]
    return markdown_table(header, lines)


def error_table(results: dict[str, Any]) -> str:
    """A line a width, prior and hyperprior: test figures and evidence."""
    lines = []
    for found in results["summary"]:
        figures = (("test_rmse", 4), ("test_log_score", 3), ("log_evidence", 1))
        cells: list[object] = [found["n_hidden"], PRIORS[found["prior"]], found["hyperprior"]]
        cells += [
            plus_minus(found[key]["mean"], found[key]["standard_error"], digits)
            for key, digits in figures
        ]
        beaten = f"{found['better_than_single']} of {found['n_fits']}"
        lines.append([*cells, "" if found["prior"] == "single" else beaten])
    header = ["hidden units", "prior", "hyperprior", "test RMSE", "test LL a row", "log evidence"]
    return markdown_table([*header, "lower RMSE than one precision"], lines)


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    parts = [
        "# relevance",
        f"{results['n_seeds']} samples of {results['n_train']} training and {results['n_test']} "
        f"test rows; the noise of the targets has standard deviation {results['noise_std']:g}. "
        "Relevances √(mean w²) of an input's weights, for inputs scaled to standard deviation 1, "
        "with prior one an input: median (smallest … largest) over the samples; of α the median.",
        relevance_table(results),
        "Test figures and log evidence (without symmetry term): mean ± standard error over the "
        "samples.",
        error_table(results),
        f"{results['processor_seconds']:.0f} seconds of one core, {results['seconds']:.0f} on the "
        f"clock beside other work. {described(results['environment'])}",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """Relevances by input, and the test errors of the priors, of every sample."""
    import matplotlib.pyplot as plt

    widths = results["widths"]
    figure, panels = plt.subplots(
        len(widths), 2, figsize=(11.0, 3.9 * len(widths)), layout="constrained", squeeze=False
    )
    for (left, right), n_hidden in zip(panels, widths, strict=True):
        for shift, hyperprior in zip((-0.17, 0.17), HYPERPRIORS, strict=True):
            fits = select(results["fits"], n_hidden=n_hidden, hyperprior=hyperprior)
            relevance = np.array([row["relevance"] for row in select(fits, prior="ard")])
            strips(left, relevance.T, shift, hyperprior)
            errors = [[row["test_rmse"] for row in select(fits, prior=p)] for p in PRIORS]
            strips(right, np.array(errors), shift, hyperprior)
        left.set(yscale="log", ylabel="relevance, rms weight (inputs of std 1)")
        left.set_xticks(range(len(MEANING)), MEANING)
        right.axhline(results["noise_std"], color="0.5", linestyle=":", label="noise")
        right.set_ylabel("test RMSE [units of the target]")
        right.set_xticks(range(len(PRIORS)), [f"{key}\n{text}" for key, text in PRIORS.items()])
        left.set_title(f"prior=ard, {n_hidden} hidden units", fontsize="medium")
        right.set_title(f"{n_hidden} hidden units", fontsize="medium")
        for axes in (left, right):
            axes.set_xlim(-0.6, len(INPUTS) - 0.4)
            axes.grid(axis="y", alpha=0.3)
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def strips(axes: Any, values: np.ndarray, shift: float, hyperprior: str) -> None:
    """A strip of dots for each row of values, spread a little, with a bar at its median."""
    spread = np.linspace(-0.1, 0.1, values.shape[1])
    color = COLORS[hyperprior]
    for place, strip in enumerate(values):
        dots = {"marker": MARKERS[hyperprior], "linestyle": "none", "markeredgewidth": 0}
        label = LABELS[hyperprior] if place == 0 else None
        x = place + shift + spread
        axes.plot(x, strip, color=color, alpha=0.55, markersize=5, label=label, **dots)
        ends = [place + shift - 0.14, place + shift + 0.14]
        axes.plot(ends, [np.median(strip)] * 2, color=color, linewidth=2)


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    parts = {}
    for ard in select(results["summary"], prior="ard"):
        kind = {"n_hidden": ard["n_hidden"], "hyperprior": ard["hyperprior"]}
        (single,) = select(results["summary"], prior="single", **kind)
        where = f"{kind['n_hidden']} units, hyperprior {kind['hyperprior']}"
        first, *others = ard["relevance"]["median"]
        errors = [found["test_rmse"]["mean"] for found in (ard, single)]
        parts |= {
            f"{where}: x1 comes first in {ard['x1_first']} of {ard['n_fits']} samples, all": (
                ard["x1_first"] == ard["n_fits"]
            ),
            f"{where}: its relevance leads {first / max(others):.1f} times, {LEAD:g} or more": (
                first >= LEAD * max(others)
            ),
            f"{where}: test RMSE {errors[0]:.4f} is below the {errors[1]:.4f} of one precision": (
                errors[0] < errors[1]
            ),
        }
    return violated(parts)


def found(results: dict[str, Any]) -> str:
    """Median relevances and test errors of the wider network."""
    kind = {"n_hidden": max(results["widths"])}
    parts = []
    for hyperprior in HYPERPRIORS:
        (ard,) = select(results["summary"], prior="ard", hyperprior=hyperprior, **kind)
        (single,) = select(results["summary"], prior="single", hyperprior=hyperprior, **kind)
        medians = ", ".join(f"{value:.2g}" for value in ard["relevance"]["median"])
        errors = [found["test_rmse"]["mean"] for found in (ard, single)]
        parts.append(f"{LABELS[hyperprior]}: {medians}, RMSE {errors[0]:.4f} ({errors[1]:.4f})")
    return (
        f"median relevances of x1, x2 (its copy), x3 (irrelevant) at {kind['n_hidden']} units, and "
        f"test RMSE (with one precision): {'; '.join(parts)}"
    )


if __name__ == "__main__":
    main(sys.modules[__name__])
