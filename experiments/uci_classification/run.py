"""Two hidden layers of fifty tanh units at default settings, fitted to training rows alone, predict
four UCI classification sets as well as the best published Laplace approximations, and are better
calibrated than the MAP network.

The ten stored splits; the validation rows, on which the published ones choose their prior, stay
untouched; every setting that is not the architecture is the estimator's default.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common import benchmark
from experiments.common.benchmark import Benchmark, SplitsConfig
from experiments.common.harness import main, violated
from experiments.common.published import CLASSIFICATION
from experiments.common.record import markdown_table
from experiments.common.splits import CLASSIFICATION_SETS, DataSet, Split
from laplace_nn import LaplaceMLPClassifier

TIME = "5 to 60 seconds a split on one core: ten minutes with `--jobs 2`"
PARTS = "sets"
N_BINS = 15
ENOUGH_SPLITS = 10  # for a calibration error that is more than luck; see `pooled`


def evaluate(data: DataSet, split: Split, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit the training rows, score the test rows."""
    model = LaplaceMLPClassifier(random_state=split.seed, **settings)
    model.fit(data.X[split.train], data.y[split.train])
    X, y = data.X[split.test], data.y[split.test]
    probabilities, column = model.predict_proba(X), np.searchsorted(model.classes_, y)
    map_probabilities = model.map_proba(X)
    at_map = map_probabilities[np.arange(len(y)), column]
    gaps, map_gaps = (calibration_gaps(p, column) for p in (probabilities, map_probabilities))
    return {
        "nll": float(-np.mean(model.log_predictive_density(X, y))),
        "accuracy": float(np.mean(np.argmax(probabilities, axis=1) == column)),
        # The MAP network can be so sure and wrong that its probability underflows to 0.
        "map_nll": float(-np.mean(np.log(np.maximum(at_map, np.finfo(float).tiny)))),
        "ece": expected_calibration_error(gaps, len(y)),
        "map_ece": expected_calibration_error(map_gaps, len(y)),
        "n_test": len(y),
        "gaps": gaps.tolist(),
        "map_gaps": map_gaps.tolist(),
        "loo": float(model.loo_log_score_),
        "weights": [member.weight for member in model.committee_],
        "log_evidence": float(model.log_marginal_likelihood_),
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "n_params": model.mlp_.n_params,
        "prior_precision": np.ravel(model.prior_precision_).tolist(),
    }


def calibration_gaps(
    probabilities: np.ndarray, column: np.ndarray, n_bins: int = N_BINS
) -> np.ndarray:
    """Σ (correct - confidence) of the rows in each of equal bins, (n_bins,).

    Parameters
    ----------
    probabilities : ndarray of shape (n, C)
        Predicted.
    column : ndarray of shape (n,)
        The true class's column.
    n_bins : int
        Bins of the largest probability, each closed above.
    """
    confidence = probabilities.max(axis=1)
    correct = np.argmax(probabilities, axis=1) == column
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    return np.bincount(bins, weights=correct - confidence, minlength=n_bins)


def expected_calibration_error(gaps: np.ndarray, n_rows: int) -> float:
    """Σ_bins (n_bin / n) |accuracy - mean confidence| (Guo et al. 2017) from the bins' gaps."""
    return float(np.abs(gaps).sum() / n_rows)


def pooled(rows: Sequence[dict[str, Any]], gaps: str) -> float:
    """The calibration error of all splits' test rows together.

    A bin of a single split's hundred rows holds a few, whose luck the absolute value counts as
    error, whoever predicts; its mean over splits can hardly tell two predictions apart.
    """
    total = np.sum([row[gaps] for row in rows], axis=0)
    return expected_calibration_error(total, sum(row["n_test"] for row in rows))


BENCHMARK = Benchmark(
    name="uci_classification",
    task="classification",
    sets=CLASSIFICATION_SETS,
    settings={"hidden_layer_sizes": (50, 50), "activation": "tanh"},
    evaluate=evaluate,
    columns={
        "nll": "NLL",
        "accuracy": "accuracy",
        "map_nll": "MAP NLL",
        "ece": "ECE",
        "map_ece": "MAP ECE",
        "loo": "leave-one-out",
        "log_evidence": "log evidence",
        "n_effective_params": "γ",
    },
    sign=-1,
    reference=CLASSIFICATION,
)


@dataclass(frozen=True)
class Config(SplitsConfig):
    """All sets and splits."""

    benchmark: Benchmark = BENCHMARK
    sets: tuple[str, ...] = CLASSIFICATION_SETS

    @classmethod
    def quick(cls) -> "Config":
        """Two splits of two sets, a smaller network."""
        settings = {"hidden_layer_sizes": (5,), "n_restarts": 2}
        return cls(sets=("australian", "breast_cancer"), splits=2, settings=settings)


def run(config: Config) -> dict[str, Any]:
    """Every split of every set."""
    return benchmark.run_benchmark(config)


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    parts = benchmark.beside_published(BENCHMARK, results)
    for name, ours, at_map in _calibration(results):
        if len(results["sets"][name]["splits"]) >= ENOUGH_SPLITS:
            sentence = f"{name}: calibration error {ours:.4f} is below MAP's {at_map:.4f}"
            parts[sentence] = ours < at_map
    return violated(parts)


def _calibration(results: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Every set with the pooled calibration errors of ours and of the MAP network."""
    return [
        (content["set"], pooled(content["splits"], "gaps"), pooled(content["splits"], "map_gaps"))
        for content in benchmark.ordered(BENCHMARK, results)
    ]


def found(results: dict[str, Any]) -> str:
    """Negative log-likelihoods and calibration."""
    errors = ", ".join(f"{name} {a:.3f} ({b:.3f})" for name, a, b in _calibration(results))
    likelihoods = benchmark.in_a_sentence(BENCHMARK, results)
    return f"{likelihoods}; calibration error (MAP's): {errors}"


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    rows = [[name, f"{a:.4f}", f"{b:.4f}"] for name, a, b in _calibration(results)]
    table = markdown_table(["all test rows together", "ECE", "MAP ECE"], rows)
    return f"{benchmark.report(BENCHMARK, results)}\n{table}"


def draw(results: dict[str, Any]) -> Any:
    """Ours beside others."""
    return benchmark.draw(BENCHMARK, results, "mean test NLL [nats a row]")


if __name__ == "__main__":
    main(sys.modules[__name__])
