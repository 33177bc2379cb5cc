"""Between two clusters of rows the full covariance is as unsure as sampling says, where diagonal
and last-layer ones are not; and on most gap splits the default fit's intervals and score hold.

After Foong, Li, Hernandez-Lobato and Turner (2019), 'In-between' uncertainty in Bayesian neural
networks. The gap splits leave out the middle third along each input in turn.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, stored, violated
from experiments.common.record import (
    described,
    environment,
    markdown_table,
    mean_and_error,
    plus_minus,
)
from experiments.common.splits import REGRESSION_SETS
from experiments.in_between import curve, gaps
from experiments.uci_regression import run as uci_regression
from laplace_nn.displays.band import PredictiveBandDisplay
from laplace_nn.displays.base import BLUE, COLORS, GREY, LINES, VERMILLION

TIME = "a quarter of an hour with `--jobs 2`, two minutes of it sampling"
FULL = "full covariance"
NEAR = 1.5  # times the sampled standard deviation in the gap, the most either way
WIDER = 3.0  # times as wide in the gap as at the rows, the least of the full covariance
NARROW = 0.6  # of the sampled standard deviation in the gap, the most of the others
BETTER = 0.75  # of all gap splits, the least on which the fit predicts better than knowing nothing
MEDIAN_COVERAGE = 0.85  # over all gap splits, of the 95 % intervals

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Length of the chains, and which gap splits."""

    n_hidden: int = 10
    n_chains: int = 4
    n_draws: int = 800
    n_steps: int = 150
    sets: tuple[str, ...] = REGRESSION_SETS
    n_gaps: int | None = None
    jobs: int = 1
    data: Path | None = None
    settings: dict[str, Any] = field(default_factory=uci_regression.BENCHMARK.settings.copy)

    @classmethod
    def quick(cls) -> "Config":
        """Short chains, one gap of two sets and a smaller network."""
        return cls(
            n_chains=2,
            n_draws=100,
            n_steps=100,
            sets=("concrete", "wine"),
            n_gaps=1,
            settings={"hidden_layer_sizes": (10,), "n_restarts": 2},
        )


def run(config: Config) -> dict[str, Any]:
    """The curve, then all gaps."""
    chains = (config.n_chains, config.n_draws, config.n_steps)
    return {
        "config": asdict(config) | {"data": None},
        "curve": curve.compare(0, config.n_hidden, *chains),
        "gaps": gaps.fit_all(config.sets, config.data, config.n_gaps, config.settings, config.jobs),
        "environment": environment(),
    }


def over_all_gaps(results: Row) -> tuple[float, float]:
    """Share of gap splits that are predicted better than by knowing nothing; median coverage."""
    rows = [row for of_set in results["gaps"].values() for row in of_set]
    better = np.mean([row["ll"] > row["ll_knowing_nothing"] for row in rows])
    return float(better), float(np.median([row["coverage"] for row in rows]))


def check(results: Row) -> list[str]:
    """What does not hold."""
    found = results["curve"]
    sampled = curve.in_the_middle(found, curve.SAMPLED)
    share = {name: curve.in_the_middle(found, name) / sampled for name in curve.POSTERIORS}
    wider, (better, coverage) = curve.widening(found, FULL), over_all_gaps(results)
    parts = {
        f"in the gap the full covariance's std is {share[FULL]:.2f} of the sampled one, within a "
        f"factor {NEAR:g}": 1.0 / NEAR <= share[FULL] <= NEAR,
        f"and {wider:.1f} times that at the rows, {WIDER:g} at least": wider >= WIDER,
        f"on {better:.0%} of the gap splits the fit predicts better than knowing nothing, "
        f"{BETTER:.0%} at least": better >= BETTER,
        f"the median coverage of 95 % intervals is {coverage:.1%}, {MEDIAN_COVERAGE:.0%} at "
        "least": coverage >= MEDIAN_COVERAGE,
    }
    for name, of_sampled in share.items():
        if name != FULL:
            sentence = f"in the gap the std of {name} is {of_sampled:.2f} of the sampled one"
            parts[f"{sentence}, {NARROW:g} at most"] = of_sampled <= NARROW
    return violated(parts)


def found(results: Row) -> str:
    """Standard deviations in the gap, and the gap splits together."""
    of_curve = results["curve"]
    pairs = [(name, curve.in_the_middle(of_curve, name)) for name in of_curve["std"]]
    stds = ", ".join(f"{name} {std:.2f}" for name, std in pairs)
    better, coverage = over_all_gaps(results)
    n_gaps = sum(map(len, results["gaps"].values()))
    return (
        f"std in the middle of the gap: {stds}; of {n_gaps} gap splits {better:.0%} are predicted "
        f"better than by knowing nothing, median coverage of 95 % intervals {coverage:.1%}"
    )


def curve_table(of_curve: Row) -> str:
    """A line a posterior."""
    lines = [
        [
            name,
            f"{curve.in_the_middle(of_curve, name):.3f}",
            f"{float(np.median(np.array(of_curve['std'][name])[curve.INSIDE])):.3f}",
            f"{curve.widening(of_curve, name):.1f}",
        ]
        for name in of_curve["std"]
    ]
    return markdown_table(["posterior", "std in the gap", "std at the rows", "ratio"], lines)


def set_table(results: Row) -> str:
    """A line a set: standard splits, where they have been run, beside gap splits."""
    standard = stored(uci_regression)["sets"]
    lines = []
    for name, rows in results["gaps"].items():
        cells: list[object] = [name, len(rows)]
        for key in ("ll", "coverage", "rmse"):
            figure = standard[name]["summary"][key] if name in standard else None
            cells.append("" if figure is None else plus_minus(*figure.values()))
            cells.append(plus_minus(*mean_and_error([row[key] for row in rows])))
        nothing = [row["ll_knowing_nothing"] for row in rows]
        worse = [row["feature"] for row in rows if row["ll"] <= row["ll_knowing_nothing"]]
        cells.append(plus_minus(*mean_and_error(nothing)))
        lines.append([*cells, ", ".join(map(str, worse)) or "none"])
    header = ["set", "gaps"]
    for heading in ("LL", "in 95 %", "RMSE"):
        header += [f"{heading}, standard splits", f"{heading}, gap splits"]
    return markdown_table([*header, "LL, knowing nothing", "inputs where that is better"], lines)


def gap_table(results: Row) -> str:
    """A line a gap."""
    lines = [
        [
            name,
            row["feature"],
            f"{row['ll']:.3f}",
            f"{row['ll_knowing_nothing']:.3f}",
            f"{row['coverage']:.3f}",
            f"{row['rmse']:.3f}",
            f"{row['widening']:.1f}",
            f"{row['seconds']:.1f}",
        ]
        for name, rows in results["gaps"].items()
        for row in rows
    ]
    header = ["set", "input", "LL", "LL, knowing nothing", "in 95 %", "RMSE"]
    return markdown_table([*header, "network std in the gap / at the rows", "seconds"], lines)


def report(results: Row) -> str:
    """Tables in markdown."""
    of_curve, config = results["curve"], results["config"]
    between = ", ".join(f"{std:.2f}" for std in of_curve["chains"]["std_in_the_middle"])
    parts = [
        "# in_between",
        f"Two clusters of rows, {config['n_hidden']} tanh units: the network's standard deviation, "
        "without noise, under the precisions that the evidence has found.",
        curve_table(of_curve),
        f"Sampling: {config['n_chains']} chains of Hamiltonian Monte Carlo, {config['n_draws']} "
        f"draws of {config['n_steps']} leapfrog steps each; the chains' own std in the gap are "
        f"{between}.",
        "Gap splits, the middle third of the rows along each input left out; ± is the standard "
        "error over splits. Knowing nothing: the Gaussian of the training targets.",
        set_table(results),
        gap_table(results),
        described(results["environment"]),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: Row) -> Any:
    """The band over the gap, the posteriors' standard deviations, and the gap splits."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(15.0, 4.2), layout="constrained")
    of_curve = results["curve"]
    PredictiveBandDisplay(
        x=curve.GRID,
        mean=np.array(of_curve["mean"])[:, None],
        network_std=np.array(of_curve["std"][FULL])[:, None],
        noise_std=np.full((len(curve.GRID), 1), of_curve["noise_std"]),
        X=np.array(of_curve["X"]),
        y=np.array(of_curve["y"])[:, None],
    ).plot(panels[0])
    panels[0].plot(curve.GRID, curve.function(curve.GRID), "k:", label="function")
    panels[0].legend(fontsize="small")
    for (name, std), color, line in zip(of_curve["std"].items(), COLORS, LINES, strict=False):
        sampled = name == curve.SAMPLED
        style = {"color": "black", "linestyle": "-"} if sampled else {"color": color}
        panels[1].plot(curve.GRID, std, **({"linestyle": line} | style), label=name)
    panels[1].axvspan(*curve.GAP, color=GREY, alpha=0.12, linewidth=0, label="no rows")
    panels[1].set(xlabel="x", ylabel="std of the network [units of y]", ylim=(0.0, None))
    panels[1].legend(fontsize="small")
    draw_gaps(panels[2], results)
    return figure


def draw_gaps(axes: Any, results: Row) -> None:
    """Gain over knowing nothing of every gap split, a line a set."""
    for place, rows in enumerate(results["gaps"].values()):
        gain = [row["ll"] - row["ll_knowing_nothing"] for row in rows]
        held = [row["coverage"] for row in rows]
        colors = [BLUE if share >= MEDIAN_COVERAGE else VERMILLION for share in held]
        spread = place + np.linspace(-0.2, 0.2, len(rows))
        axes.scatter(gain, spread, c=colors, s=22, linewidths=0)
    axes.scatter([], [], c=BLUE, s=22, label=f"{MEDIAN_COVERAGE:.0%} or more inside 95 %")
    axes.scatter([], [], c=VERMILLION, s=22, label="fewer")
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=2.0)
    axes.set_yticks(range(len(results["gaps"])), list(results["gaps"]))
    axes.set_ylim(len(results["gaps"]) - 0.5, -0.5)
    axes.set_xlabel("log score in the gap beside knowing nothing [nats a row]")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small", title="gap splits")


if __name__ == "__main__":
    main(sys.modules[__name__])
