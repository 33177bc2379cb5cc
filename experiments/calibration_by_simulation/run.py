"""Where weights and noise are drawn from the prior and data from the network, what the fit
predicts comes true as often as it says, with the hyperparameters known and with them found.

Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari and Gelman 2018): under an exact
posterior the rank of the true value among posterior draws is uniform, intervals hold their share,
and events come as often as their probability. Laplace's approximation is held to the same, within
what chance allows in so many simulations.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import binom

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
    rounded,
)
from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.base import BLUE, GREY
from laplace_nn.displays.coverage import CoverageDisplay
from laplace_nn.displays.reliability import ReliabilityDisplay
from laplace_nn.mixture import GaussianMixture
from laplace_nn.network import MLP
from laplace_nn.priors import by_layer
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks

TIME = "five minutes on one core"
TASKS = ("regression", "classification")
KNOWN = {"known": "known hyperparameters", "found": "found by the fit"}
N_INPUTS, N_HIDDEN = 2, 3
NOISE = (0.1, 0.5)  # between which the noise's standard deviation is drawn, evenly on a log scale
N_NEW = 20  # new rows of a simulation; the first is the one that is ranked
N_DRAWS, N_BINS = 19, 5  # of the posterior for a rank, 0 to 19, and groups of four ranks
NOMINAL = 0.95  # coverage of the intervals
CHANCE = 0.001  # of a part of the claim to fail though all is right: binomial, counts together
N_ERRORS = 3.0  # standard errors that a mean may be off

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """How many simulations of each kind, and training rows of each."""

    n_simulations: int = 400
    n_rows: int = 60
    jobs: int = 1

    @classmethod
    def quick(cls) -> "Config":
        """Few simulations."""
        return cls(n_simulations=15, n_rows=40)


@dataclass(frozen=True)
class Simulation:
    """Rows drawn from a network that is drawn from the prior.

    Both layers' weights have a standard deviation from the default hyperprior, |N(0, 1)|.
    """

    precisions: np.ndarray
    noise_std: float
    X: np.ndarray
    outputs: np.ndarray
    y: np.ndarray


def simulate(task: str, seed: int, n_rows: int) -> Simulation:
    """Training rows and new ones, one after the other."""
    rng, mlp = np.random.default_rng(seed), MLP((N_INPUTS, N_HIDDEN, 1))
    precisions = np.abs(rng.standard_normal(2)) ** -2.0
    noise_std = float(np.exp(rng.uniform(*np.log(NOISE))))
    prior = by_layer(mlp).with_precisions(precisions)
    theta = rng.standard_normal(mlp.n_params) * prior.precision**-0.5
    X = rng.standard_normal((n_rows + N_NEW, N_INPUTS))
    outputs = mlp.forward(theta, X).outputs[:, 0]
    if task == "regression":
        y = outputs + noise_std * rng.standard_normal(len(X))
    else:
        y = (rng.uniform(size=len(X)) < expit(outputs)).astype(int)
    return Simulation(precisions, noise_std, X, outputs, y)


def fit(task: str, known: bool, data: Simulation, seed: int, n_rows: int) -> Any:
    """The model that the data are from, its hyperparameters given or to be found."""
    settings: Row = {"prior": "layer", "standardize": False, "n_restarts": 2, "random_state": seed}
    if known:
        settings["prior_precision"] = data.precisions
    if task == "classification":
        model = LaplaceMLPClassifier(N_HIDDEN, **settings)
    else:
        noise = {"noise_precision": data.noise_std**-2} if known else {}
        model = LaplaceMLPRegressor(N_HIDDEN, normalize_y=False, **settings, **noise)
    return model.fit(data.X[:n_rows], data.y[:n_rows])


def outputs_of(model: Any, X: np.ndarray) -> GaussianMixture:
    """The committee's distribution of the network's outputs, without noise or link."""
    pairs = [linearised(model.mlp_, one.posterior, RowBlocks(X)) for one in model.committee_]
    weights = np.array([member.weight for member in model.committee_])
    means, covariances = zip(*pairs, strict=True)
    return GaussianMixture(weights, np.array(means), np.array(covariances))


def one_simulation(task: str, known: bool, seed: int, n_rows: int) -> Row | None:
    """Rank of a new output, and how the predictions of new rows came out.

    None where all labels are the same, which no classifier can be fitted to.
    """
    data = simulate(task, seed, n_rows)
    if task == "classification" and len(set(data.y[:n_rows])) < 2:
        return None
    with noted_warnings():
        model = fit(task, known, data, seed, n_rows)
    X, outputs, y = data.X[n_rows:], data.outputs[n_rows:], data.y[n_rows:]
    draws = draw_outputs(outputs_of(model, X[:1]), np.random.default_rng((seed, 1)))
    row: Row = {"rank": int(np.sum(draws < outputs[0]))}
    if task == "classification":
        p = model.predict_proba(X)[:, 1]
        return row | {"p": rounded(p[0]), "came": int(y[0]), "bias": rounded(np.mean(p - y))}
    u = predictive(model, X).cdf(y[:, None])[:, 0]
    held = np.abs(2.0 * u - 1.0) <= NOMINAL
    return row | {"u": rounded(u[0]), "held": rounded(held.mean())}


def draw_outputs(mixture: GaussianMixture, rng: np.random.Generator) -> np.ndarray:
    """Draws of one output, (N_DRAWS,)."""
    member = rng.choice(len(mixture.weights), size=N_DRAWS, p=mixture.weights)
    std = np.sqrt(mixture.covariances[member, 0, 0, 0])
    return mixture.means[member, 0, 0] + std * rng.standard_normal(N_DRAWS)


def predictive(model: Any, X: np.ndarray) -> GaussianMixture:
    """The committee's distribution of new targets: every mode's outputs and its noise."""
    outputs = outputs_of(model, X)
    noise = np.array([1.0 / member.state.likelihood.scale for member in model.committee_])
    covariances = outputs.covariances + noise[:, None, None, None]
    return GaussianMixture(outputs.weights, outputs.means, covariances)


def run(config: Config) -> Row:
    """All simulations of both tasks, hyperparameters known and found."""
    results: Row = {"config": asdict(config), "seconds": {}}
    for task in TASKS:
        results[task] = {}
        for kind in KNOWN:
            began = time.perf_counter()
            seeds = range(config.n_simulations)
            given = [(task, kind == "known", seed, config.n_rows) for seed in seeds]
            rows = [row for row in each(one_simulation, given, config.jobs) if row is not None]
            results[task][kind] = {key: [row[key] for row in rows] for key in rows[0]}
            seconds = round(time.perf_counter() - began, 1)
            results["seconds"][f"{task}, {kind}"] = seconds
            print(f"{task}, {KNOWN[kind]}: {len(rows)} simulations, {seconds:.0f} s", flush=True)
    return results | {"environment": environment()}


def within_chance(count: int, n: int, p: float, n_counts: int = 1) -> bool:
    """Whether a count lies in its binomial interval, one of so many that are looked at."""
    low, high = binom.interval(1.0 - CHANCE / n_counts, n, p)
    return bool(low <= count <= high)


def rank_counts(ranks: Sequence[int]) -> list[int]:
    """How many ranks lie in each group."""
    groups = np.array(ranks) * N_BINS // (N_DRAWS + 1)
    return np.bincount(groups, minlength=N_BINS).tolist()


def rank_groups() -> list[str]:
    """What the groups of ranks are called."""
    size = (N_DRAWS + 1) // N_BINS
    return [f"{size * group} to {size * (group + 1) - 1}" for group in range(N_BINS)]


def bins_of(found: Row) -> Iterator[tuple[int, float, int]]:
    """Rows, mean probability and events of every bin of predicted probabilities that has any."""
    p, came = np.array(found["p"]), np.array(found["came"])
    places = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    for place in np.unique(places):
        inside = places == place
        yield int(inside.sum()), float(p[inside].mean()), int(came[inside].sum())


def check(results: Row) -> list[str]:
    """What does not hold."""
    parts: dict[str, bool] = {}
    for task in TASKS:
        for kind, found in results[task].items():
            where, counts = f"{task}, {KNOWN[kind]}", rank_counts(found["rank"])
            n = len(found["rank"])
            parts[f"{where}: ranks in groups {counts} are uniform"] = all(
                within_chance(count, n, 1.0 / N_BINS, N_BINS) for count in counts
            )
            parts |= check_events(where, found) if "p" in found else check_intervals(where, found)
    return violated(parts)


def check_intervals(where: str, found: Row) -> dict[str, bool]:
    """Coverage of one new target a simulation, and of all of them."""
    n, inside = len(found["u"]), int(np.sum(np.abs(2.0 * np.array(found["u"]) - 1.0) <= NOMINAL))
    mean, error = mean_and_error(found["held"])
    return {
        f"{where}: {inside} of {n} targets inside {NOMINAL:.0%}": within_chance(inside, n, NOMINAL),
        f"{where}: {plus_minus(mean, error)} of all targets inside, {NOMINAL:g}": (
            abs(mean - NOMINAL) <= N_ERRORS * (error or 0.0)
        ),
    }


def check_events(where: str, found: Row) -> dict[str, bool]:
    """Frequencies of one new label a simulation by its probability, and the bias over all."""
    bins = list(bins_of(found))
    mean, error = mean_and_error(found["bias"])
    shown = ", ".join(f"{came} of {n} at {p:.2f}" for n, p, came in bins)
    return {
        f"{where}: events come as often as said ({shown})": all(
            within_chance(came, n, p, len(bins)) for n, p, came in bins
        ),
        f"{where}: probabilities are off by {plus_minus(mean, error)} in the mean": (
            abs(mean) <= N_ERRORS * (error or 0.0)
        ),
    }


def found(results: Row) -> str:
    """Coverage and bias."""
    n = results["config"]["n_simulations"]
    parts = []
    for kind, label in KNOWN.items():
        held = plus_minus(*mean_and_error(results["regression"][kind]["held"]))
        bias = plus_minus(*mean_and_error(results["classification"][kind]["bias"]))
        parts.append(f"{label}: {held} of new targets inside 95 %, probabilities off by {bias}")
    return f"{n} simulations each; {'; '.join(parts)}"


def report(results: Row) -> str:
    """Tables in markdown."""
    ranks = [
        [task, label, len(results[task][kind]["rank"]), *rank_counts(results[task][kind]["rank"])]
        for task in TASKS
        for kind, label in KNOWN.items()
    ]
    held = [
        [label, plus_minus(*mean_and_error(results["regression"][kind]["held"]))]
        for kind, label in KNOWN.items()
    ]
    events = []
    for kind, label in KNOWN.items():
        bins = bins_of(results["classification"][kind])
        events.append([label, *(f"{came} of {n} at {p:.2f}" for n, p, came in bins)])
    config = results["config"]
    parts = [
        "# calibration_by_simulation",
        f"{config['n_simulations']} networks of {N_INPUTS}-{N_HIDDEN}-1 tanh units drawn from the "
        f"prior, {config['n_rows']} training rows each. Ranks of a new output among {N_DRAWS} "
        "posterior draws, how many of each:",
        markdown_table(["task", "hyperparameters", "simulations", *rank_groups()], ranks),
        "Share of new targets inside 95 % intervals, ± standard error over simulations:",
        markdown_table(["hyperparameters", "inside"], held),
        "Events beside the mean probability, one new label a simulation, by probability:",
        markdown_table(["hyperparameters", *(f"bin {b + 1}" for b in range(N_BINS))], events),
        described(results["environment"]),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: Row) -> Any:
    """Ranks, coverage of the intervals, and reliability of the probabilities."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(15.0, 8.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[0.9, 1.1])
    kinds = [(task, kind) for task in TASKS for kind in KNOWN]
    panels = above.subplots(1, len(kinds), sharey=True)
    for axes, (task, kind) in zip(panels, kinds, strict=True):
        draw_ranks(axes, results[task][kind]["rank"], f"{task}, {KNOWN[kind]}")
    panels[0].set_ylabel("simulations")
    panels[0].legend(fontsize="small", loc="lower right")
    left, right = below.subfigures(1, 2, width_ratios=[1.6, 1.0])
    pit = np.column_stack([results["regression"][kind]["u"] for kind in KNOWN])
    CoverageDisplay.from_predictions(pit, target_names=list(KNOWN.values()), ax=left.subplots(1, 2))
    labels = results["classification"]["found"]
    axes = right.subplots(2, 1, height_ratios=[3.0, 1.0])
    ReliabilityDisplay.from_predictions(
        labels["came"], labels["p"], n_bins=N_BINS, name=KNOWN["found"], ax=axes
    )
    return figure


def draw_ranks(axes: Any, ranks: Sequence[int], title: str) -> None:
    """Histogram of the ranks in groups, over the binomial band."""
    counts, n = rank_counts(ranks), len(ranks)
    low, high = binom.interval(NOMINAL, n, 1.0 / N_BINS)
    axes.bar(range(N_BINS), counts, width=0.9, color=BLUE, alpha=0.5)
    axes.axhspan(low, high, color=GREY, alpha=0.3, linewidth=0, label="95 % if calibrated")
    axes.axhline(n / N_BINS, color=GREY, linestyle=":")
    axes.set_xticks(range(N_BINS), rank_groups())
    axes.set_xlabel(f"rank of the true output among {N_DRAWS} draws")
    axes.set_title(title, fontsize="medium")


if __name__ == "__main__":
    main(sys.modules[__name__])
