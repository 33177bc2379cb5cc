"""Test log-likelihood on UCI regression sets: one hidden layer of 50 tanh units, no tuning.

The standard splits; training rows only, no validation set; every setting that is not the
architecture is the estimator's default.
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
from published import REGRESSION
from splits import REGRESSION_SETS, DataSet, Split

from laplace_nn import LaplaceMLPRegressor


def evaluate(data: DataSet, split: Split, settings: dict[str, Any]) -> dict[str, float]:
    """Fit the training rows, score the test rows, in the units of the target."""
    model = LaplaceMLPRegressor(random_state=split.seed, **settings)
    model.fit(data.X[split.train], data.y[split.train])
    X, y = data.X[split.test], data.y[split.test]
    lower, upper = model.predict_interval(X, coverage=0.95).T
    return {
        "ll": float(np.mean(model.log_predictive_density(X, y))),
        "rmse": float(np.sqrt(np.mean((model.predict(X) - y) ** 2))),
        "coverage": float(np.mean((lower <= y) & (y <= upper))),
        "loo": float(model.loo_log_score_),
        "weights": [member.weight for member in model.committee_],
        "log_evidence": float(model.log_marginal_likelihood_),
        "n_effective_params": float(np.sum(model.n_effective_params_)),
        "n_params": model.mlp_.n_params,
        "noise_std": float(model.noise_precision_**-0.5),
        "prior_precision": np.ravel(model.prior_precision_).tolist(),
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
    reference=REGRESSION,
)

if __name__ == "__main__":
    main(BENCHMARK, __doc__.splitlines()[0])
