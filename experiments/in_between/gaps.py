"""Gap splits: the middle third of the rows along one input is left out, and then predicted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from experiments.common.parallel import each
from experiments.common.record import noted_warnings
from experiments.common.splits import gap_test_rows, load_rows
from experiments.uci_regression.run import scores
from laplace_nn import LaplaceMLPRegressor

Row = dict[str, Any]


def fit_gap(
    X: np.ndarray, y: np.ndarray, feature: int, test: np.ndarray, settings: dict[str, Any]
) -> Row:
    """Fit the outer thirds along an input; score the middle, beside knowing nothing of it.

    Knowing nothing: the Gaussian of the training targets.
    """
    train = np.setdiff1d(np.arange(len(y)), test)
    began = time.perf_counter()
    with noted_warnings() as sentences:
        model = LaplaceMLPRegressor(random_state=feature, **settings).fit(X[train], y[train])
    _, network, noise = model.predict_parts(X[test])
    _, network_inside, _ = model.predict_parts(X[train])
    return {
        "feature": feature,
        **scores(model, X[test], y[test]),
        "ll_knowing_nothing": float(norm.logpdf(y[test], y[train].mean(), y[train].std()).mean()),
        "loo": float(model.loo_log_score_),
        "widening": float(np.median(network) / np.median(network_inside)),
        "noise_std": float(noise[0]),
        "seconds": round(time.perf_counter() - began, 2),
        "warnings": sentences,
    }


def fit_all(
    names: Sequence[str], folder: Path | None, n_gaps: int | None, settings: Row, jobs: int
) -> dict[str, list[Row]]:
    """Every gap, or the first so many, of every set; printed as they come."""
    found: dict[str, list[Row]] = {}
    for name, (X, y) in {name: load_rows(name, folder) for name in names}.items():
        tests = gap_test_rows(X)[:n_gaps]
        given = [(X, y, feature, test, settings) for feature, test in enumerate(tests)]
        found[name] = []
        for row in each(fit_gap, given, jobs):
            print(
                f"{name:<9} gap along input {row['feature']:2d}  LL {row['ll']:8.3f}  (knowing "
                f"nothing {row['ll_knowing_nothing']:.3f})  in 95 % {row['coverage']:.3f}  "
                f"{row['seconds']:6.1f} s",
                flush=True,
            )
            found[name].append(row)
    return found
