"""Predictive bands hold what they say and widen beyond the data, and averaging over the weights
draws class probabilities towards one half without moving the boundary (PRML figure 5.23).

Bands: noisy sines, with the true function and noise known, so that what a band holds is computed,
not sampled. Contours: the source notes' two classes, one mode, over the plane well beyond the rows.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

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
from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.band import PredictiveBandDisplay
from laplace_nn.displays.decision_boundary import DecisionBoundaryDisplay

TIME = "a minute"
HIDDEN = (8,)
NOISE_STD, N_ROWS = 0.2, 60
BAND = 2.0  # standard deviations
NOMINAL = float(norm.cdf(BAND) - norm.cdf(-BAND))
HELD = 0.04  # by which the mean share inside the band may differ from the nominal one
NOISE = 0.10  # by which the mean ratio of found and true noise may differ from 1
WIDER = 3.0  # times as wide as inside, the least that the network's part is beyond the data
FORMULA = 0.018  # the largest error of MacKay's formula (PRML 5.190) for the averaged logistic
REACH = (-0.8, 1.9)  # of both inputs in the plane
COLUMNS = {
    "held": "new targets in the band",
    "function_held": "function in the network's band",
    "noise_ratio": "noise found / true",
    "widening": "network std beyond / inside",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """How many noisy sines, and how many points of the plane along each input."""

    n_samples: int = 40
    n_grid: int = 41
    jobs: int = 1

    @classmethod
    def quick(cls) -> "Config":
        """Six sines, a coarse plane."""
        return cls(n_samples=6, n_grid=15)


def function(x: np.ndarray) -> np.ndarray:
    """What the sines are drawn about."""
    return np.sin(2.0 * np.pi * x)


def share_within(error: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Share of new targets within ± half of a mean that is off the function by an error, (n,)."""
    return norm.cdf((error + half) / NOISE_STD) - norm.cdf((error - half) / NOISE_STD)


def fit_sine(seed: int) -> Row:
    """One sample between 0 and 1: what its bands hold there, and how wide they are beyond."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=N_ROWS)
    y = function(x) + NOISE_STD * rng.standard_normal(N_ROWS)
    began = time.perf_counter()
    with noted_warnings() as sentences:
        model = LaplaceMLPRegressor(HIDDEN, random_state=seed).fit(x[:, None], y)
    grid = np.linspace(-0.5, 1.5, 201)
    mean, network, noise = model.predict_parts(grid[:, None])
    error, total = mean - function(grid), np.hypot(network, noise)
    held = share_within(error, BAND * total)
    inside = (grid >= 0.0) & (grid <= 1.0)
    return {
        "seed": seed,
        "held": float(held[inside].mean()),
        "function_held": float(np.mean(np.abs(error[inside]) <= BAND * network[inside])),
        "noise_ratio": float(noise[0] / NOISE_STD),
        "widening": float(network[[0, -1]].min() / np.median(network[inside])),
        "seconds": round(time.perf_counter() - began, 2),
        "warnings": sentences,
    } | ({"shown": shown(x, y, grid, mean, network, noise)} if seed == 0 else {})


def shown(*arrays: np.ndarray) -> Row:
    """What the picture of a band needs."""
    names = ("X", "y", "x", "mean", "network_std", "noise_std")
    return {name: rounded(array) for name, array in zip(names, arrays, strict=True)}


def moderate(n_grid: int) -> Row:
    """Probabilities of class 1 over the plane, at the best weights and averaged over them."""
    X, y = clouds.draw(np.random.default_rng(1))
    # The book's average has no temperature, which would come after it.
    settings = {"committee": 1, "temperature": 1.0, "random_state": 0}
    with noted_warnings():
        model = LaplaceMLPClassifier(HIDDEN, **settings).fit(X, y)
        formula = LaplaceMLPClassifier(HIDDEN, link="probit", **settings).fit(X, y)
    ticks = np.linspace(*REACH, n_grid)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    best, averaged = model.map_proba(points)[:, 1], model.predict_proba(points)[:, 1]
    std = np.sqrt(model.latent_mean_and_covariance(points)[1][:, 0, 0])
    std_at_rows = np.sqrt(model.latent_mean_and_covariance(X)[1][:, 0, 0])
    beyond = np.any((points < X.min(axis=0)) | (points > X.max(axis=0)), axis=1)
    excess = np.abs(averaged - 0.5) - np.abs(best - 0.5)
    return {
        "largest_excess": float(excess.max()),
        "n_crossed": int(np.sum((averaged - 0.5) * (best - 0.5) < 0.0)),
        "formula_error": float(np.abs(formula.predict_proba(points)[:, 1] - averaged).max()),
        "std_at_rows": float(np.median(std_at_rows)),
        "std_beyond": float(np.median(std[beyond])),
        "confidence_beyond": [
            float(np.mean(np.abs(p[beyond] - 0.5)) + 0.5) for p in (best, averaged)
        ],
        "map": rounded(best.reshape(n_grid, n_grid), 3),
        "predictive": rounded(averaged.reshape(n_grid, n_grid), 3),
        "std": rounded(std.reshape(n_grid, n_grid), 3),
        "X": rounded(X),
        "y": y.tolist(),
    }


def run(config: Config) -> dict[str, Any]:
    """All sines, and one plane."""
    bands = []
    for row in each(fit_sine, [(seed,) for seed in range(config.n_samples)], config.jobs):
        print(f"seed {row['seed']:2d}", *(f"{k} {row[k]:.3f}" for k in COLUMNS), flush=True)
        bands.append(row)
    return {
        "config": asdict(config),
        "bands": bands,
        "contours": moderate(config.n_grid),
        "environment": environment(),
    }


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    mean = {key: float(np.mean([row[key] for row in results["bands"]])) for key in COLUMNS}
    contours = results["contours"]
    spread = contours["std_beyond"] / contours["std_at_rows"]
    return violated(
        {
            f"the band holds {mean['held']:.3f} of new targets, {NOMINAL:.3f} ± {HELD:g}": (
                abs(mean["held"] - NOMINAL) <= HELD
            ),
            f"the noise found is {mean['noise_ratio']:.3f} of the true one, 1 ± {NOISE:g}": (
                abs(mean["noise_ratio"] - 1.0) <= NOISE
            ),
            f"beyond the data the network's band is {mean['widening']:.1f} times as wide, "
            f"{WIDER:g} at least": mean["widening"] >= WIDER,
            f"no averaged probability is farther from ½, {contours['largest_excess']:.0e}": (
                contours["largest_excess"] <= 1e-9
            ),
            f"{contours['n_crossed']} points change their class": contours["n_crossed"] == 0,
            f"MacKay's formula is off by {contours['formula_error']:.4f}, {FORMULA:g} at most": (
                contours["formula_error"] <= FORMULA
            ),
            f"the log odds spread {spread:.1f} times as much beyond the rows": spread > 1.0,
        }
    )


def found(results: dict[str, Any]) -> str:
    """What bands hold, and what averaging does."""
    held, function_held = (
        np.mean([row[key] for row in results["bands"]]) for key in ("held", "function_held")
    )
    best, averaged = results["contours"]["confidence_beyond"]
    return (
        f"± 2 std holds {held:.1%} of new targets (nominal {NOMINAL:.1%}), the network's part "
        f"alone {function_held:.1%} of the function; beyond the rows the mean confidence is "
        f"{best:.2f} at the best weights and {averaged:.2f} averaged"
    )


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    cells = [plus_minus(*mean_and_error([row[k] for row in results["bands"]])) for k in COLUMNS]
    contours = results["contours"]
    best, averaged = contours["confidence_beyond"]
    lines = [
        ["largest rise of the distance from ½ by averaging", f"{contours['largest_excess']:.1e}"],
        ["points that change their class", contours["n_crossed"]],
        ["largest error of MacKay's formula", f"{contours['formula_error']:.4f}"],
        ["median std of the log odds at the rows", f"{contours['std_at_rows']:.2f}"],
        ["median std of the log odds beyond", f"{contours['std_beyond']:.2f}"],
        ["mean confidence beyond, best weights", f"{best:.3f}"],
        ["mean confidence beyond, averaged", f"{averaged:.3f}"],
    ]
    parts = [
        "# predictive_distributions",
        f"Bands of ± {BAND:g} standard deviations over {len(results['bands'])} samples of {N_ROWS} "
        "rows: mean ± standard error over the samples.",
        markdown_table(list(COLUMNS.values()), [cells]),
        f"Contours over the plane of the two classes, {results['config']['n_grid']}² points:",
        markdown_table(["figure", "value"], lines),
        described(results["environment"]),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """The first sample's band above, the contours below."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(14.0, 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.15])
    band = {name: np.array(values) for name, values in results["bands"][0]["shown"].items()}
    columns = {name: band[name][:, None] for name in ("mean", "network_std", "noise_std", "y")}
    axes = above.subplots()
    PredictiveBandDisplay(x=band["x"], X=band["X"], **columns).plot(axes)
    axes.plot(band["x"], function(band["x"]), color="black", linestyle=":", label="function")
    axes.legend(title=f"bands: ± {BAND:g} standard deviations", fontsize="small", ncols=2)
    contours = results["contours"]
    ticks = np.linspace(*REACH, len(contours["map"]))
    values = {name: np.array(contours[name]) for name in ("map", "predictive", "std")}
    values |= {k: np.stack([1.0 - values[k], values[k]], axis=-1) for k in ("map", "predictive")}
    DecisionBoundaryDisplay(
        x0=ticks,
        x1=ticks,
        values=values,
        classes=np.array([0, 1]),
        X=np.array(contours["X"]),
        y=np.array(contours["y"]),
        feature_names=("input 1", "input 2"),
    ).plot(below.subplots(1, 3))
    return figure


if __name__ == "__main__":
    main(sys.modules[__name__])
