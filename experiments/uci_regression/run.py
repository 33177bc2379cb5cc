"""Fifty tanh units at default settings, fitted to training rows alone, predict the UCI regression
sets as well as the best published networks of that size, and their intervals hold.

The 20 standard splits, no validation set; every setting that is not the architecture is the
estimator's default.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common import benchmark
from experiments.common.benchmark import Benchmark, SplitsConfig, mean_of
from experiments.common.harness import main, violated
from experiments.common.published import REGRESSION
from experiments.common.splits import REGRESSION_SETS, DataSet, Split
from laplace_nn import LaplaceMLPRegressor

TIME = "5 to 30 seconds a split on one core: a quarter of an hour with `--jobs 2`"
PARTS = "sets"
COVERAGE = (0.90, 0.99)  # within which the share inside 95 % intervals must lie
WINE_RMSE = 0.64  # on wine, whose log-likelihood alone could be won on duplicated rows


def evaluate(data: DataSet, split: Split, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit the training rows, score the test rows, in the units of the target."""
    model = LaplaceMLPRegressor(random_state=split.seed, **settings)
    model.fit(data.X[split.train], data.y[split.train])
    return scores(model, data.X[split.test], data.y[split.test]) | {
        "loo": float(model.loo_log_score_),
        "weights": [member.weight for member in model.committee_],
        "log_evidence": float(model.log_marginal_likelihood_),
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "n_params": model.mlp_.n_params,
        "noise_std": float(model.noise_precision_**-0.5),
        "prior_precision": np.ravel(model.prior_precision_).tolist(),
    }


def scores(model: LaplaceMLPRegressor, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Mean log density, error and coverage of new rows."""
    lower, upper = model.predict_interval(X, coverage=0.95).T
    return {
        "ll": float(np.mean(model.log_predictive_density(X, y))),
        "rmse": float(np.sqrt(np.mean((model.predict(X) - y) ** 2))),
        "coverage": float(np.mean((lower <= y) & (y <= upper))),
    }


BENCHMARK = Benchmark(
    name="uci_regression",
    task="regression",
    sets=REGRESSION_SETS,
    settings={"hidden_layer_sizes": (50,), "activation": "tanh"},
    evaluate=evaluate,
    columns={
        "ll": "LL",
        "rmse": "RMSE",
        "coverage": "in 95 %",
        "loo": "leave-one-out",
        "log_evidence": "log evidence",
        "n_effective_params": "γ",
    },
    sign=1,
    reference=REGRESSION,
)


@dataclass(frozen=True)
class Config(SplitsConfig):
    """All sets and splits."""

    benchmark: Benchmark = BENCHMARK
    sets: tuple[str, ...] = REGRESSION_SETS

    @classmethod
    def quick(cls) -> "Config":
        """Two splits of one set, a smaller network."""
        settings = {"hidden_layer_sizes": (10,), "n_restarts": 2}
        return cls(sets=("yacht",), splits=2, settings=settings)


def run(config: Config) -> dict[str, Any]:
    """Every split of every set."""
    return benchmark.run_benchmark(config)


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    parts = benchmark.beside_published(BENCHMARK, results)
    for name, content in results["sets"].items():
        held = mean_of(content, "coverage")[0]
        parts[f"{name}: {held:.1%} inside 95 % intervals, 90 to 99 %"] = (
            COVERAGE[0] <= held <= COVERAGE[1]
        )
        if name == "wine":
            rmse, error = mean_of(content, "rmse")
            sentence = f"wine: RMSE {rmse:.3f} is at most {WINE_RMSE} within {2 * error:.3f}"
            parts[sentence] = rmse <= WINE_RMSE + 2.0 * error
    return violated(parts)


def found(results: dict[str, Any]) -> str:
    """Log-likelihoods and coverages."""
    held = [mean_of(content, "coverage")[0] for content in results["sets"].values()]
    said = benchmark.in_a_sentence(BENCHMARK, results)
    return f"{said}; 95 % intervals hold {min(held):.1%} to {max(held):.1%}"


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    return benchmark.report(BENCHMARK, results)


def draw(results: dict[str, Any]) -> Any:
    """Ours beside others."""
    return benchmark.draw(BENCHMARK, results, "mean test log-likelihood [nats a row]")


if __name__ == "__main__":
    main(sys.modules[__name__])
