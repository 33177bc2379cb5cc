"""A 2-8-1 tanh network learns the source notes' two overlapping classes nearly as well as anyone
can, because the evidence holds its weights; hardly any prior overfits badly (PRML figure 5.22).

The classes are clouds whose densities are known, and with them the best probabilities. Besides,
on one sample: how the outer products (PRML 5.85) approach the exact Hessian while the network
learns, and whether the inverse that is gathered row by row (5.87-5.89) is that of all rows.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common import clouds
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
from laplace_nn import LaplaceMLPClassifier
from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.displays.base import BLUE, VERMILLION
from laplace_nn.displays.plane import (
    draw_probabilities,
    draw_probability_bar,
    draw_rows,
    finish,
)
from laplace_nn.likelihoods import Bernoulli
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, SequentialPosterior
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map

TIME = "half a minute"
HIDDEN = (8,)
WEAK = {"prior": "single", "prior_precision": 1e-4, "n_restarts": 1, "committee": 1}
SIDES = {
    "optimum": "the clouds' densities",
    "evidence": "default fit",
    "evidence_map": "its best weights alone",
    "weak": "best weights, α = 1e-4",
    "weak_averaged": "averaged, α = 1e-4",
}
EXCESS_NLL = 0.1  # nats a row above the optimum, the most that a default fit may have
EXCESS_ERROR = 0.03  # of the error rate
WEAK_SHARE = 0.25  # of the excess NLL without a prior, the most that the default fit may have
ROUNDING = 1e-8  # relative, of the gathered inverse
LOW, HIGH = -0.4, 1.5  # of the contours' plane

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """How many samples of 100 rows, new rows of each, and points of the training run."""

    n_samples: int = 20
    n_new: int = 10_000
    n_points: int = 40
    n_grid: int = 41
    jobs: int = 1

    @classmethod
    def quick(cls) -> "Config":
        """Three samples."""
        return cls(n_samples=3, n_new=2_000, n_points=10, n_grid=21)


def sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """100 rows, and where new ones come from."""
    rng = np.random.default_rng(seed)
    return *clouds.draw(rng), rng


def fit_one(seed: int, n_new: int) -> Row:
    """One sample: scores of the fits and of the best probabilities on new rows."""
    X, y, rng = sample(seed)
    X_new, y_new = clouds.draw(rng, n_new // clouds.N_ROWS)
    began = time.perf_counter()
    with noted_warnings() as sentences:
        model = LaplaceMLPClassifier(HIDDEN, random_state=seed).fit(X, y)
        weak = LaplaceMLPClassifier(HIDDEN, random_state=seed, **WEAK).fit(X, y)
    probabilities = {
        "optimum": clouds.optimum(X_new),
        "evidence": model.predict_proba(X_new)[:, 1],
        "evidence_map": model.map_proba(X_new)[:, 1],
        "weak": weak.map_proba(X_new)[:, 1],
        "weak_averaged": weak.predict_proba(X_new)[:, 1],
    }
    return {
        "seed": seed,
        "scores": {name: clouds.scores(p, y_new) for name, p in probabilities.items()},
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "seconds": round(time.perf_counter() - began, 2),
        "warnings": sentences,
    }


def learn(config: Config) -> Row:
    """The first sample's training run under the prior that its fit has found."""
    X, y, _ = sample(0)
    with noted_warnings():
        settings = {"standardize": True, "committee": 1, "random_state": 0}
        model = LaplaceMLPClassifier(HIDDEN, **settings).fit(X, y)
    rows = RowBlocks((X - model.input_mean_) / model.input_scale_, y[:, None].astype(float))
    E = NegativeLogPosterior(model.mlp_, Bernoulli(), model.prior_, rows)
    path = [model.mlp_.initialise(np.random.default_rng(0), gain=0.3)]
    find_map(E, path[0], solver="lbfgs", callback=lambda theta: path.append(theta.copy()))
    steps = np.unique(np.geomspace(1, len(path), config.n_points).astype(int)) - 1
    return {
        "iterations": steps.tolist(),
        "energy": [E.value(path[step]) for step in steps],
        "outer_product_error": [outer_product_error(E, path[step]) for step in steps],
        "gathered_difference": gathered_difference(E, path[-1]),
        "plane": plane(model, [path[steps[len(steps) // 3]], path[-1]], config.n_grid),
        "shown": int(steps[len(steps) // 3]),
        "X": rounded(X),
        "y": y.tolist(),
    }


def outer_product_error(E: NegativeLogPosterior, theta: np.ndarray) -> float:
    """Relative distance of the outer products (5.85) from the exact Hessian (5.92-5.95)."""
    at = (E.mlp, theta, E.likelihood, E.rows)
    exact = ExactHessian(*at).dense()
    return float(np.linalg.norm(GGN(*at).dense() - exact) / np.linalg.norm(exact))


def gathered_difference(E: NegativeLogPosterior, theta: np.ndarray) -> float:
    """Relative difference of the covariance gathered row by row from that of all rows at once."""
    one_by_one = (
        GGN(E.mlp, theta, E.likelihood, RowBlocks(x[None], t[None]))
        for x, t in zip(E.rows.X, E.rows.targets, strict=True)
    )
    gathered = SequentialPosterior.from_batches(theta, one_by_one, E.prior, 1.0)
    at_once = GGN(E.mlp, theta, E.likelihood, E.rows)
    inverse = DensePosterior.from_curvature(theta, at_once, E.prior, 1.0).solve(np.eye(len(theta)))
    difference = gathered.solve(np.eye(len(theta))) - inverse
    return float(np.linalg.norm(difference) / np.linalg.norm(inverse))


def plane(model: Any, thetas: Sequence[np.ndarray], n_grid: int) -> list[Any]:
    """Probabilities of class 1 over the plane: of some weights, and the best; (n, n) each."""
    ticks = np.linspace(LOW, HIGH, n_grid)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    inner = (points - model.input_mean_) / model.input_scale_
    shown = [expit(model.mlp_.forward(theta, inner).outputs[:, 0]) for theta in thetas]
    return [rounded(p.reshape(n_grid, n_grid), 3) for p in (*shown, clouds.optimum(points))]


def run(config: Config) -> dict[str, Any]:
    """All samples, and one training run."""
    samples = []
    given = [(seed, config.n_new) for seed in range(config.n_samples)]
    for row in each(fit_one, given, config.jobs):
        nll = {name: row["scores"][name]["nll"] for name in ("optimum", "evidence", "weak")}
        print(f"seed {row['seed']:2d}", *(f"{k} {v:.3f}" for k, v in nll.items()), flush=True)
        samples.append(row)
    return {
        "config": asdict(config),
        "samples": samples,
        "learning": learn(config),
        "environment": environment(),
    }


def means(results: dict[str, Any], metric: str) -> dict[str, float]:
    """A metric's mean over the samples, side by side."""
    return {
        side: float(np.mean([row["scores"][side][metric] for row in results["samples"]]))
        for side in SIDES
    }


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    nll, error = means(results, "nll"), means(results, "error")
    excess = {side: nll[side] - nll["optimum"] for side in SIDES}
    more_errors = error["evidence"] - error["optimum"]
    learning = results["learning"]
    errors, gathered = learning["outer_product_error"], learning["gathered_difference"]
    return violated(
        {
            f"NLL {excess['evidence']:.3f} above the best, {EXCESS_NLL:g} at most": (
                excess["evidence"] <= EXCESS_NLL
            ),
            f"error rate {more_errors:.3f} above the best, {EXCESS_ERROR:g} at most": (
                more_errors <= EXCESS_ERROR
            ),
            f"that is {excess['evidence'] / excess['weak']:.2f} of what it is with hardly any "
            f"prior, {WEAK_SHARE:g} at most": excess["evidence"] <= WEAK_SHARE * excess["weak"],
            f"outer products come nearer to the exact Hessian, {errors[0]:.2f}, {errors[-1]:.2f}": (
                errors[-1] < errors[0]
            ),
            f"the gathered inverse is off by {gathered:.0e}, {ROUNDING:g} at most": (
                gathered <= ROUNDING
            ),
        }
    )


def found(results: dict[str, Any]) -> str:
    """Scores beside the optimum."""
    nll, error = means(results, "nll"), means(results, "error")
    return (
        f"mean test NLL {nll['evidence']:.3f}, error rate {error['evidence']:.3f}; at best "
        f"{nll['optimum']:.3f}, {error['optimum']:.3f}; with hardly any prior {nll['weak']:.3f}, "
        f"{error['weak']:.3f}"
    )


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    lines = [
        [SIDES[side], *(plus_minus(*mean_and_error(values)) for values in (nll, error))]
        for side in SIDES
        for nll, error in [
            [[row["scores"][side][key] for row in results["samples"]] for key in ("nll", "error")]
        ]
    ]
    learning = results["learning"]
    ways = zip(*(learning[k] for k in ("iterations", "energy", "outer_product_error")), strict=True)
    steps = [[step, f"{energy:.2f}", f"{error:.3f}"] for step, energy, error in list(ways)[::4]]
    parts = [
        "# two_classes",
        f"Mean ± standard error over {len(results['samples'])} samples of {clouds.N_ROWS} rows, on "
        f"{results['config']['n_new']} new rows each.",
        markdown_table(["probabilities of", "test NLL", "error rate"], lines),
        "On the way of the first sample's network from small random weights to a mode:",
        markdown_table(["iteration", "energy", "relative error of the outer products"], steps),
        "The covariance that is gathered row by row differs from that of all rows at once by "
        f"{learning['gathered_difference']:.1e} of its size.",
        described(results["environment"]),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """Contours while the network learns, at the end and at best, and the outer products' error."""
    import matplotlib.pyplot as plt

    learning, classes = results["learning"], np.array([0, 1])
    X, y = np.array(learning["X"]), np.array(learning["y"])
    figure, panels = plt.subplots(1, 4, figsize=(16.0, 3.8), layout="constrained")
    titles = (f"iteration {learning['shown']}", "the end of training", "the best possible")
    for axes, values, title in zip(panels, learning["plane"], titles, strict=False):
        ticks, p = np.linspace(LOW, HIGH, len(values)), np.array(values)
        draw_probabilities(axes, ticks, ticks, np.stack([1.0 - p, p], axis=-1))
        draw_rows(axes, X, y, classes)
        finish(axes, ticks, ticks, ("input 1", "input 2"))
        axes.set_title(title, fontsize="medium")
    panels[0].legend(title="class", fontsize="small", loc="lower right")
    draw_probability_bar(figure, classes, ax=panels[:3], pad=0.01)
    draw_learning(panels[3], learning)
    return figure


def draw_learning(axes: Any, learning: Row) -> None:
    """Energy, and the outer products' error, along the training run."""
    steps = np.array(learning["iterations"]) + 1
    axes.plot(steps, learning["outer_product_error"], color=BLUE, marker="o", markersize=3)
    axes.set(xscale="log", xlabel="iteration + 1", ylim=(0.0, None))
    axes.set_ylabel("relative error of the outer products", color=BLUE)
    energy = axes.twinx()
    energy.plot(steps, learning["energy"], color=VERMILLION, linestyle="--")
    energy.set_ylabel("energy [nats]", color=VERMILLION)


if __name__ == "__main__":
    main(sys.modules[__name__])
