"""Test NLL on UCI classification sets: two hidden layers of 50 tanh units, no tuning.

The ten stored splits; training rows only, the validation rows stay untouched; every setting
that is not the architecture is the estimator's default.
"""

import os

# One BLAS thread on purpose, before NumPy is loaded: the matrices are small, where threads cost
# more than they bring, and --jobs already puts a process on every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from typing import Any

import numpy as np
from benchmark import Benchmark, main
from published import CLASSIFICATION
from splits import CLASSIFICATION_SETS, DataSet, Split

from laplace_nn import LaplaceMLPClassifier

N_BINS = 15


def evaluate(data: DataSet, split: Split, settings: dict[str, Any]) -> dict[str, float]:
    """Fit the training rows, score the test rows."""
    model = LaplaceMLPClassifier(random_state=split.seed, **settings)
    model.fit(data.X[split.train], data.y[split.train])
    X, y = data.X[split.test], data.y[split.test]
    probabilities, column = model.predict_proba(X), np.searchsorted(model.classes_, y)
    map_probabilities = model.map_proba(X)
    at_map = map_probabilities[np.arange(len(y)), column]
    return {
        "nll": float(-np.mean(model.log_predictive_density(X, y))),
        "accuracy": float(np.mean(np.argmax(probabilities, axis=1) == column)),
        # The MAP network can be so sure and wrong that its probability underflows to 0.
        "map_nll": float(-np.mean(np.log(np.maximum(at_map, np.finfo(float).tiny)))),
        "ece": expected_calibration_error(probabilities, column),
        "map_ece": expected_calibration_error(map_probabilities, column),
        "loo": float(model.loo_log_score_),
        "weights": [member.weight for member in model.committee_],
        "log_evidence": float(model.log_marginal_likelihood_),
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "n_params": model.mlp_.n_params,
        "prior_precision": np.ravel(model.prior_precision_).tolist(),
    }


def expected_calibration_error(
    probabilities: np.ndarray, column: np.ndarray, n_bins: int = N_BINS
) -> float:
    """Σ_bins (n_bin / n) |accuracy - mean confidence| over equal bins (Guo et al. 2017).

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
    gaps = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(column))


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
    reference=CLASSIFICATION,
)

if __name__ == "__main__":
    main(BENCHMARK, __doc__.splitlines()[0])
