"""With one prior precision a kind of weight, the evidence of the training rows chooses a network
that is as good on new rows as any, and orders networks much as their test error does.

After MacKay (1992), "A practical Bayesian framework for backpropagation networks": a robot arm with
two joints, networks of 2 to 20 hidden units, several starts each, and log evidence beside the
error on test rows. Twice, as there: with one precision for all weights, and with one for each kind
of weight. The 400 rows are drawn anew from MacKay's formula; they are not his sample.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, violated
from experiments.common.parallel import each
from experiments.common.record import described, environment, markdown_table, noted_warnings
from experiments.common.splits import find
from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays.base import BLUE, VERMILLION
from laplace_nn.model_selection import compare
from laplace_nn.units import separated_units

TIME = "2 minutes on one core"
DATA_SET = "robot_arm_regenerated"
PRIORS = {"single": "one precision", "layer_kind": "one a kind of weight"}
SUFFICIENT = 8  # hidden units from which more do not lower the test error much
CLOSE = 150.0  # nats below the best that the scatter shows
# A start alone, climbed to the top of its evidence. Both outputs have the same noise in their own
# units, which one β describes only if the targets are not standardised.
SETTINGS = {"n_restarts": 1, "committee": 1, "selection": "evidence", "normalize_y": False}
COLORS = {"single": VERMILLION, "layer_kind": BLUE}
MARKERS = {"single": "s", "layer_kind": "o"}
CHOICE = 1.05  # times the best test error of all fits, the largest that the choice may have
AGREEMENT = 0.5  # the smallest rank correlation of evidence and test error over all fits

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Which sizes, and how many random starts of each."""

    sizes: tuple[int, ...] = tuple(range(2, 21))
    n_starts: int = 4
    jobs: int = 1

    @classmethod
    def quick(cls) -> "Config":
        """Four sizes, one start."""
        return cls(sizes=(2, 4, 7, 10), n_starts=1)


def load() -> dict[str, np.ndarray]:
    """The robot arm's training and test rows."""
    with np.load(find(DATA_SET), allow_pickle=False) as archive:
        return dict(archive)


def fit_size(arm: dict[str, np.ndarray], prior: str, n_hidden: int, n_starts: int) -> list[Row]:
    """All starts of one size: what training rows say of each, and how it does on test rows."""
    models = {
        f"{start}": LaplaceMLPRegressor((n_hidden,), prior=prior, random_state=start, **SETTINGS)
        for start in range(n_starts)
    }
    with noted_warnings():  # the comparison notes what did not converge
        found = compare(
            models, arm["X_train"], arm["y_train"], X_test=arm["X_test"], y_test=arm["y_test"]
        )
    rows = []
    for name, model, record in zip(found.names, found.estimators, found.records, strict=True):
        distance = model.predict(arm["X_test"]) - arm["y_test_noiseless"]
        rows.append(
            {
                "prior": prior,
                "n_hidden": n_hidden,
                "random_state": int(name),
                "log_evidence": float(record["log_evidence"]),
                "log_symmetry": float(record["log_symmetry"]),
                "n_separated_units": sum(separated_units(model.mlp_, model.posterior_)),
                "loo_log_score": float(record["loo_log_score"]),
                "n_effective_params": float(record["n_effective_params"]),
                "n_params": int(record["n_params"]),
                "test_rmse": float(record["test_error"]),
                "test_distance": float(np.sqrt(np.mean(distance**2))),
                "test_log_score": float(record["test_log_score"]),
                "noise_std": float(np.mean(model.noise_precision_) ** -0.5),
                "converged": bool(record["converged"]),
                "seconds": round(float(record["seconds"]), 2),
            }
        )
    return sorted(rows, key=lambda row: row["random_state"])


def rank_correlation(rows: Sequence[Row]) -> float | None:
    """Spearman's, of the log evidence with minus the test error; 1 if they order alike."""
    if len(rows) < 3:
        return None
    evidence, error = ([row[key] for row in rows] for key in ("log_evidence", "test_rmse"))
    return float(spearmanr(evidence, np.negative(error)).statistic)


def best_of_each_size(rows: Sequence[Row]) -> list[Row]:
    """The start of best evidence at every size."""
    sizes = sorted({row["n_hidden"] for row in rows})
    return [
        max((row for row in rows if row["n_hidden"] == size), key=lambda row: row["log_evidence"])
        for size in sizes
    ]


def summary(rows: Sequence[Row]) -> Row:
    """What the evidence would have chosen, what the test rows would have, and how they agree."""
    chosen = max(rows, key=lambda row: row["log_evidence"])
    wide = [row for row in rows if row["n_hidden"] >= SUFFICIENT]
    return {
        "n_fits": len(rows),
        "n_converged": sum(row["converged"] for row in rows),
        "chosen": chosen,
        "best_test_rmse": min(row["test_rmse"] for row in rows),
        "median_test_rmse": float(np.median([row["test_rmse"] for row in rows])),
        "rank_correlation": rank_correlation(rows),
        f"rank_correlation_from_{SUFFICIENT}_units": rank_correlation(wide),
    }


def run(config: Config) -> dict[str, Any]:
    """All sizes under both priors, printed as they come."""
    arm, fits = load(), []
    began, began_processor = time.perf_counter(), time.process_time()
    given = [(arm, prior, size, config.n_starts) for prior in PRIORS for size in config.sizes]
    for rows in each(fit_size, given, config.jobs):
        best = max(rows, key=lambda row: row["log_evidence"])
        print(
            f"{best['prior']:<11} {best['n_hidden']:3d} units  best of {config.n_starts}: log "
            f"evidence {best['log_evidence']:8.2f}, test RMSE {best['test_rmse']:.4f}  "
            f"{sum(row['seconds'] for row in rows):6.1f} s",
            flush=True,
        )
        fits += rows
    return {
        "data": DATA_SET,
        "estimator_settings": SETTINGS | {"random_state": "the start's number"},
        "sizes": list(config.sizes),
        "n_starts": config.n_starts,
        "noise_std": float(arm["noise_std"]),
        "summary": {
            prior: summary([row for row in fits if row["prior"] == prior]) for prior in PRIORS
        },
        "fits": fits,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - began_processor, 1),
        "environment": environment(),
    }


def by_prior(results: dict[str, Any]) -> dict[str, list[Row]]:
    """The fits of each prior."""
    return {
        prior: [row for row in results["fits"] if row["prior"] == prior]
        for prior in results["summary"]
    }


def summary_table(results: dict[str, Any]) -> str:
    """A line a prior: the choice of the evidence and its agreement with the test error."""
    lines = []
    for prior, found in results["summary"].items():
        chosen = found["chosen"]
        rhos = (found[k] for k in ("rank_correlation", f"rank_correlation_from_{SUFFICIENT}_units"))
        lines.append(
            [
                PRIORS[prior],
                chosen["n_hidden"],
                f"{chosen['log_evidence']:.1f}",
                f"{chosen['test_rmse']:.4f}",
                f"{chosen['test_log_score']:.3f}",
                f"{found['best_test_rmse']:.4f}",
                f"{found['median_test_rmse']:.4f}",
                *("" if rho is None else f"{rho:.2f}" for rho in rhos),
            ]
        )
    header = ["prior", "units chosen", "its log evidence", "its test RMSE", "its test LL a row"]
    header += ["best test RMSE", "median test RMSE", "rank correlation", f"from {SUFFICIENT} units"]
    return markdown_table(header, lines)


def size_table(results: dict[str, Any]) -> str:
    """A line a size: the start of best evidence under each prior."""
    columns = [best_of_each_size(rows) for rows in by_prior(results).values()]
    lines = []
    for rows in zip(*columns, strict=True):
        cells: list[object] = [rows[0]["n_hidden"]]
        for row in rows:
            cells += [f"{row['log_evidence']:.1f}", f"{row['n_effective_params']:.1f}"]
            cells += [f"{row['test_rmse']:.4f}", f"{row['test_log_score']:.3f}"]
        lines.append(cells)
    header = ["units"]
    for prior in results["summary"]:
        header += [f"log evidence ({prior})", "γ", "test RMSE", "test LL a row"]
    return markdown_table(header, lines)


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    parts = [
        "# robot_arm",
        summary_table(results),
        f"Every size from {min(results['sizes'])} to {max(results['sizes'])} hidden tanh units, "
        f"{results['n_starts']} starts each; the noise of the targets has standard deviation "
        f"{results['noise_std']:g}. The log evidence includes the symmetry term. The rank "
        "correlation (Spearman) is that of evidence and minus test RMSE over the fits: 1 if they "
        "order alike.",
        "The start of best evidence at each size:",
        size_table(results),
        f"{results['processor_seconds']:.0f} seconds of one core, {results['seconds']:.0f} on the "
        f"clock beside other work. {described(results['environment'])}",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """Evidence and test figures against the size, and MacKay's scatter of one against the other."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(11.0, 8.0), layout="constrained")
    (evidence, error), (score, scatter) = panels
    top = max(row["log_evidence"] for row in results["fits"])
    for prior, rows in by_prior(results).items():
        style = {"color": COLORS[prior], "marker": MARKERS[prior], "linestyle": "none"}
        best = best_of_each_size(rows)
        shift = 0.12 if prior == "single" else -0.12  # so that the two priors stand side by side
        for axes, key in (
            (evidence, "log_evidence"),
            (error, "test_rmse"),
            (score, "test_log_score"),
        ):
            units = [row["n_hidden"] + shift for row in rows]
            values = [top - row[key] if axes is evidence else row[key] for row in rows]
            axes.plot(units, values, alpha=0.45, markersize=4, markeredgewidth=0, **style)
            units = [row["n_hidden"] + shift for row in best]
            values = [top - row[key] if axes is evidence else row[key] for row in best]
            axes.plot(units, values, color=COLORS[prior], linewidth=1.5, label=PRIORS[prior])
        near = [row for row in rows if row["log_evidence"] > top - CLOSE]
        scatter.plot(
            [row["log_evidence"] for row in near],
            [row["test_rmse"] for row in near],
            alpha=0.6,
            markersize=5,
            markeredgewidth=0,
            label=PRIORS[prior],
            **style,
        )
    evidence.set_yscale("symlog", linthresh=10.0)
    evidence.set_ylim(2.0 * max(top - row["log_evidence"] for row in results["fits"]) + 1.0, -3.0)
    evidence.set_yticks([0, 5, 10, 100, 1000], ["0", "5", "10", "100", "1000"])
    evidence.set_ylabel("log evidence below the best [nats]")
    zoom(error, results["fits"], "test_rmse", results["noise_std"] * np.array([0.97, 1.35]))
    error.set_ylabel("test RMSE [units of the targets]")
    high = max(row["test_log_score"] for row in results["fits"])
    zoom(score, results["fits"], "test_log_score", high + np.array([-0.6, 0.03]))
    score.set_ylabel("test log-likelihood [nats a row]")
    scatter.set(xlabel="log evidence [nats]", ylabel="test RMSE [units of the targets]")
    scatter.set_title(f"fits within {CLOSE:g} nats of the best", fontsize="medium")
    for axes in (error, scatter):
        axes.axhline(results["noise_std"], color="0.5", linestyle=":", label="noise")
    evidence.set_title("all fits (linear to 10 nats, then logarithmic)", fontsize="medium")
    for axes in (evidence, error, score):
        axes.set_xlabel("hidden units")
        axes.locator_params(axis="x", integer=True)
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    evidence.legend(title="best evidence at each size", loc="lower right")
    scatter.legend()
    return figure


def zoom(axes: Any, rows: Sequence[Row], key: str, limits: np.ndarray) -> None:
    """Show what lies between the limits, and say what does not."""
    axes.set_ylim(*limits)
    outside = [row for row in rows if not limits[0] <= row[key] <= limits[1]]
    if outside:
        units = max(row["n_hidden"] for row in outside)
        title = f"off the scale: {len(outside)} fits of {units} units or fewer"
        axes.set_title(title, fontsize="medium")


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    kind, single = (results["summary"][prior] for prior in ("layer_kind", "single"))
    chosen, rho = kind["chosen"], kind["rank_correlation"]
    ratio = chosen["test_rmse"] / kind["best_test_rmse"]
    lead = chosen["log_evidence"] - single["chosen"]["log_evidence"]
    return violated(
        {
            f"the choice errs {ratio:.3f} times as much as the best fit, {CHOICE:g} or less": (
                ratio <= CHOICE
            ),
            f"evidence and test error order the fits alike, {rho:.2f}, {AGREEMENT:g} or more": (
                rho >= AGREEMENT
            ),
            f"one precision a kind has more evidence than a single one, by {lead:.1f} nats": (
                lead > 0.0
            ),
        }
    )


def found(results: dict[str, Any]) -> str:
    """The choice under each prior."""
    return "; ".join(
        f"{PRIORS[prior]}: {found['chosen']['n_hidden']} units chosen, RMSE "
        f"{found['chosen']['test_rmse']:.4f} (best {found['best_test_rmse']:.4f}, median "
        f"{found['median_test_rmse']:.4f}), rank correlation {found['rank_correlation']:.2f}"
        for prior, found in results["summary"].items()
    )


if __name__ == "__main__":
    main(sys.modules[__name__])
