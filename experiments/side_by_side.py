"""Seconds of a default fit beside what one would run instead, in one run, one after the other.

Regression: GaussianProcessRegressor with an ARD kernel and one start. Classification: a grid
search over ten values of alpha in five folds of MLPClassifier of the same shape.
"""

import os

# One BLAS thread on purpose, for all sides alike and before NumPy is loaded: see uci_regression.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, environment, markdown_table, write_json, write_text
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from splits import CLASSIFICATION_SETS, REGRESSION_SETS, DataSet, Split, load

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor

ALPHAS = np.logspace(-4, 2, 10)
HIDDEN = {"regression": (50,), "classification": (50, 50)}


def our_regressor(X: np.ndarray, y: np.ndarray, seed: int) -> Callable[..., np.ndarray]:
    """The log density of new rows under the default fit."""
    model = LaplaceMLPRegressor(HIDDEN["regression"], random_state=seed).fit(X, y)
    return model.log_predictive_density


def gaussian_process(X: np.ndarray, y: np.ndarray, seed: int) -> Callable[..., np.ndarray]:
    """The same under a Gaussian process on standardised inputs."""
    scaler = StandardScaler().fit(X)
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1])) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    model.fit(scaler.transform(X), y)

    def log_density(X_new: np.ndarray, y_new: np.ndarray) -> np.ndarray:
        mean, std = model.predict(scaler.transform(X_new), return_std=True)
        return -0.5 * np.log(2.0 * np.pi * std**2) - 0.5 * ((y_new - mean) / std) ** 2

    return log_density


def our_classifier(X: np.ndarray, y: np.ndarray, seed: int) -> Callable[..., np.ndarray]:
    """The log probability of new labels under the default fit."""
    model = LaplaceMLPClassifier(HIDDEN["classification"], random_state=seed).fit(X, y)
    return model.log_predictive_density


def grid_search(X: np.ndarray, y: np.ndarray, seed: int) -> Callable[..., np.ndarray]:
    """The same under the best of ten penalties in five folds."""
    network = MLPClassifier(
        HIDDEN["classification"], activation="tanh", solver="lbfgs", random_state=seed
    )
    grid = {"mlpclassifier__alpha": ALPHAS}
    model = GridSearchCV(
        make_pipeline(StandardScaler(), network), grid, cv=5, scoring="neg_log_loss"
    ).fit(X, y)

    def log_density(X_new: np.ndarray, y_new: np.ndarray) -> np.ndarray:
        column = np.searchsorted(model.classes_, y_new)
        chosen = model.predict_proba(X_new)[np.arange(len(y_new)), column]
        return np.log(np.maximum(chosen, np.finfo(float).tiny))

    return log_density


SIDES = {
    "regression": {"laplace_nn": our_regressor, "GaussianProcessRegressor": gaussian_process},
    "classification": {"laplace_nn": our_classifier, "GridSearchCV": grid_search},
}


def side_by_side(data: DataSet, split: Split) -> list[dict[str, Any]]:
    """Seconds and mean test log score of both sides on one split."""
    rows = []
    for name, fit in SIDES[data.task].items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a grid's unconverged corners, among others
            score = fit(data.X[split.train], data.y[split.train], split.seed)
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


def table(rows: list[dict[str, Any]]) -> str:
    """A line a set: the median seconds of both sides, their ratio, and the mean log scores."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        other = next(row["side"] for row in of_set if row["side"] != "laplace_nn")
        cells = []
        for key, middle in (("seconds", np.median), ("log_score", np.mean)):
            for side in ("laplace_nn", other):
                cells.append(middle([row[key] for row in of_set if row["side"] == side]))
        ratio = f"{cells[0] / cells[1]:.2f}"
        scores = [f"{cell:.3f}" for cell in cells[2:]]
        lines.append([name, other, *(f"{c:.1f}" for c in cells[:2]), ratio, *scores])
    header = [
        "set",
        "other",
        "seconds, ours",
        "other's",
        "ratio",
        "test log score, ours",
        "other's",
    ]
    return markdown_table(header, lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=[*REGRESSION_SETS, *CLASSIFICATION_SETS])
    parser.add_argument("--splits", type=int, default=2, help="the first so many splits")
    parser.add_argument("--data", type=Path, default=None, help="a folder with further sets")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    rows = []
    for name in chosen.sets:
        task = "classification" if name in CLASSIFICATION_SETS else "regression"
        data = load(name, task, chosen.data)
        for split in data.first(chosen.splits):
            rows += side_by_side(data, split)
    content = {"rows": rows, "environment": environment()}
    write_json(chosen.out / "side_by_side.json", content)
    write_text(chosen.out / "side_by_side.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
