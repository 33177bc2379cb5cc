"""A default fit, with its uncertainty and no grid, takes at most twice as long as what one
would run instead, and predicts new rows about as well.

Both in one run, one after the other, each with what it does with the machine's cores by default:
ours takes a process a start where that pays, a Gaussian process BLAS on all cores, a grid search
one core. Regression: GaussianProcessRegressor with an ARD kernel and one start. Classification: a
grid search over ten values of alpha in five folds of MLPClassifier of the same shape.
"""

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, violated
from experiments.common.record import described, environment, markdown_table
from experiments.common.splits import CLASSIFICATION_SETS, REGRESSION_SETS, DataSet, Split, load
from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays.base import BLUE, VERMILLION

TIME = "a quarter of an hour on two cores with `--splits 10`"
LEAST_SPLITS = 3  # of every set, if so many are asked for
ENOUGH_SECONDS = 100.0  # spent on a set, after which no further split is begun
SLOWDOWN = 2.0  # times the other's seconds, the most that a fit may take on any set
LOSS = 0.2  # nats a row behind the other's log score, the most on any set
COLLAPSED = ("wine",)  # where the other lets its noise collapse on duplicated rows
ALPHAS = np.logspace(-4, 2, 10)

Hidden = tuple[int, ...]  # units of every hidden layer
Fit = Callable[[np.ndarray, np.ndarray, int, Hidden], Callable[..., np.ndarray]]


@dataclass(frozen=True)
class Config:
    """Which sets, and how many of their splits at most."""

    sets: tuple[str, ...] = (*REGRESSION_SETS, *CLASSIFICATION_SETS)
    splits: int = 2
    data: Path | None = None
    hidden_regression: Hidden = (50,)
    hidden_classification: Hidden = (50, 50)

    @classmethod
    def quick(cls) -> "Config":
        """One split of a small set, small networks."""
        return cls(sets=("breast_cancer",), splits=1, hidden_classification=(5,))


def our_regressor(
    X: np.ndarray, y: np.ndarray, seed: int, hidden: Hidden
) -> Callable[..., np.ndarray]:
    """The log density of new rows under the default fit."""
    model = LaplaceMLPRegressor(hidden, random_state=seed).fit(X, y)
    return model.log_predictive_density


def gaussian_process(
    X: np.ndarray, y: np.ndarray, seed: int, hidden: Hidden
) -> Callable[..., np.ndarray]:
    """The same under a Gaussian process on standardised inputs; it has no hidden units."""
    scaler = StandardScaler().fit(X)
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1])) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with threadpool_limits(joblib.cpu_count(), user_api="blas"):
        model.fit(scaler.transform(X), y)

    def log_density(X_new: np.ndarray, y_new: np.ndarray) -> np.ndarray:
        mean, std = model.predict(scaler.transform(X_new), return_std=True)
        return -0.5 * np.log(2.0 * np.pi * std**2) - 0.5 * ((y_new - mean) / std) ** 2

    return log_density


def our_classifier(
    X: np.ndarray, y: np.ndarray, seed: int, hidden: Hidden
) -> Callable[..., np.ndarray]:
    """The log probability of new labels under the default fit."""
    model = LaplaceMLPClassifier(hidden, random_state=seed).fit(X, y)
    return model.log_predictive_density


def grid_search(
    X: np.ndarray, y: np.ndarray, seed: int, hidden: Hidden
) -> Callable[..., np.ndarray]:
    """The same under the best of ten penalties in five folds."""
    network = MLPClassifier(hidden, activation="tanh", solver="lbfgs", random_state=seed)
    grid = {"mlpclassifier__alpha": ALPHAS}
    model = GridSearchCV(
        make_pipeline(StandardScaler(), network), grid, cv=5, scoring="neg_log_loss"
    ).fit(X, y)

    def log_density(X_new: np.ndarray, y_new: np.ndarray) -> np.ndarray:
        column = np.searchsorted(model.classes_, y_new)
        chosen = model.predict_proba(X_new)[np.arange(len(y_new)), column]
        return np.log(np.maximum(chosen, np.finfo(float).tiny))

    return log_density


SIDES: dict[str, dict[str, Fit]] = {
    "regression": {"laplace_nn": our_regressor, "GaussianProcessRegressor": gaussian_process},
    "classification": {"laplace_nn": our_classifier, "GridSearchCV": grid_search},
}


def side_by_side(data: DataSet, split: Split, hidden: Hidden) -> list[dict[str, Any]]:
    """Seconds and mean test log score of both sides on one split."""
    rows = []
    for name, fit in SIDES[data.task].items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a grid's unconverged corners, among others
            score = fit(data.X[split.train], data.y[split.train], split.seed, hidden)
        seconds = time.perf_counter() - began
        test_score = float(np.mean(score(data.X[split.test], data.y[split.test])))
        rows.append(
            {
                "set": data.name,
                "split": split.number,
                "side": name,
                "seconds": seconds,
                "log_score": test_score,
            }
        )
        print(f"{data.name:<14} split {split.number}  {name:<26} {seconds:7.1f} s", flush=True)
    return rows


def run(config: Config) -> dict[str, Any]:
    """Both sides on every split."""
    rows = []
    for name in config.sets:
        task = "classification" if name in CLASSIFICATION_SETS else "regression"
        data, began = load(name, task, config.data), time.perf_counter()
        for index, split in enumerate(data.first(config.splits)):
            if index >= LEAST_SPLITS and time.perf_counter() - began > ENOUGH_SECONDS:
                break
            rows += side_by_side(data, split, getattr(config, f"hidden_{task}"))
    return {"rows": rows, "environment": environment()}


def compared(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A set each: the other's name, median seconds and mean log scores of both, ours first."""
    found = []
    for name in dict.fromkeys(row["set"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["set"] == name]
        other = next(row["side"] for row in rows if row["side"] != "laplace_nn")
        sides = [[row for row in rows if row["side"] == side] for side in ("laplace_nn", other)]
        seconds = [float(np.median([row["seconds"] for row in side])) for side in sides]
        scores = [float(np.mean([row["log_score"] for row in side])) for side in sides]
        line = {"set": name, "n_splits": len(sides[0]), "other": other}
        line |= {"seconds": seconds, "log_score": scores}
        found.append(line | {"ratio": seconds[0] / seconds[1], "lead": scores[0] - scores[1]})
    return found


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    parts = {}
    for row in compared(results):
        sentence = f"{row['set']}: {row['ratio']:.2f} times the seconds, {SLOWDOWN:g} at most"
        parts[sentence] = row["ratio"] <= SLOWDOWN
        if row["set"] not in COLLAPSED:
            sentence = f"{row['set']}: log score {row['lead']:+.3f} beside the other, not -{LOSS:g}"
            parts[sentence] = row["lead"] >= -LOSS
    return violated(parts)


def found(results: dict[str, Any]) -> str:
    """Ratios, set by set."""
    ratios = ", ".join(f"{row['set']} {row['ratio']:.2f}" for row in compared(results))
    leads = [row["lead"] for row in compared(results) if row["set"] not in COLLAPSED]
    return (
        f"seconds as a share of the other's: {ratios}; log score {min(leads):+.2f} to "
        f"{max(leads):+.2f} nats a row beside it (without {', '.join(COLLAPSED)})"
    )


def report(results: dict[str, Any]) -> str:
    """A line a set: the median seconds of both sides, their ratio, and the mean log scores."""
    lines = [
        [
            row["set"],
            row["n_splits"],
            row["other"],
            *(f"{value:.1f}" for value in row["seconds"]),
            f"{row['ratio']:.2f}",
            *(f"{value:.3f}" for value in row["log_score"]),
        ]
        for row in compared(results)
    ]
    header = ["set", "splits", "other", "seconds, ours", "other's", "ratio", "test log score, ours"]
    table = markdown_table([*header, "other's"], lines)
    return f"# side_by_side\n\n{table}\n{described(results['environment'])}\n"


def draw(results: dict[str, Any]) -> Any:
    """Seconds of both sides, set by set, and the difference of their log scores."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    rows = compared(results)
    size = (9.6, 1.2 + 0.36 * len(rows))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    places = range(len(rows))
    for side, (color, marker) in enumerate(((BLUE, "o"), (VERMILLION, "s"))):
        label = ("laplace_nn", "the other")[side]
        style = {"color": color, "marker": marker, "linestyle": "none", "label": label}
        left.plot([row["seconds"][side] for row in rows], places, **style)
    left.set(xscale="log", xlabel="seconds of a fit (median)")
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_formatter("")
    left.set_yticks(places, [f"{row['set']}\n{row['other']}" for row in rows], fontsize="small")
    left.invert_yaxis()
    left.legend(fontsize="small")
    shown = [np.nan if row["set"] in COLLAPSED else row["lead"] for row in rows]
    right.barh(places, shown, color=BLUE, height=0.5)
    right.axvline(0.0, color="black", linewidth=0.8)
    right.set_xlabel(f"log score beside the other [nats a row] (not {', '.join(COLLAPSED)})")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return figure


if __name__ == "__main__":
    main(sys.modules[__name__])
