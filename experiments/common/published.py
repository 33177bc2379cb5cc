"""Figures of others on the same sets, to stand beside ours.

"Published" figures were typed from the papers; "measured" ones were run on the stored splits,
the number of splits in brackets. ± is the standard error over splits unless it says sd. The
published rows choose hyperparameters on validation rows or by a grid.
"""

import re
from dataclasses import dataclass

SOURCES = {
    "HLA15": "Hernandez-Lobato & Adams (2015), Probabilistic backpropagation for scalable learning "
    "of Bayesian neural networks, ICML",
    "GG16": "Gal & Ghahramani (2016), Dropout as a Bayesian approximation, ICML",
    "MSG18": "Mukhoti, Stenetorp & Gal (2018), On the importance of strong baselines in Bayesian "
    "deep learning",
    "LPB17": "Lakshminarayanan, Pritzel & Blundell (2017), Simple and scalable predictive "
    "uncertainty estimation using deep ensembles, NIPS",
    "IKB21": "Immer, Korzepa & Bauer (2021), Improving predictions of Bayesian neural nets via "
    "local linearization, AISTATS",
    "SFR23": "Scannell et al. (2023), Sparse function-space representation of neural networks",
    "measured": "run on the stored splits",
}


@dataclass(frozen=True)
class Figures:
    """A method's mean of one metric on some sets, as text."""

    method: str
    source: str
    metric: str
    values: dict[str, str]

    @property
    def label(self) -> str:
        """Method and source."""
        return f"{self.method} [{self.source}]"

    def number(self, name: str) -> tuple[float, float]:
        """Mean and standard error on a set; 0 where there is no standard error."""
        mean, error = re.match(r"(\S+)(?: ± (\S+))?", self.values[name]).groups()
        return float(mean), float(error or 0.0)


def _row(method: str, source: str, metric: str, sets: tuple[str, ...], *values: str) -> Figures:
    return Figures(method, source, metric, dict(zip(sets, values, strict=True)))


_R = ("yacht", "energy", "concrete", "boston", "wine")
_C = ("australian", "breast_cancer", "ionosphere", "glass")
_GP = "GaussianProcessRegressor, ARD RBF + noise"
_MLP = "MLPRegressor (tanh, lbfgs, alpha 1), training residual as noise"

REGRESSION = (
    _row("probabilistic backpropagation", "HLA15", "ll", _R,
         "-1.63 ± 0.02", "-2.04 ± 0.02", "-3.16 ± 0.02", "-2.57 ± 0.09", "-0.97 ± 0.01"),
    _row("MC dropout", "GG16", "ll", _R,
         "-1.55 ± 0.12", "-1.99 ± 0.09", "-3.04 ± 0.09", "-2.46 ± 0.25", "-0.93 ± 0.06"),
    _row("MC dropout, grid search, long training", "MSG18", "ll", _R,
         "-1.25 ± 0.01", "-1.21 ± 0.01", "-2.93 ± 0.02", "-2.40 ± 0.04", "-0.93 ± 0.01"),
    _row("deep ensembles", "LPB17", "ll", _R,
         "-1.18 ± 0.21", "-1.38 ± 0.22", "-3.06 ± 0.18", "-2.41 ± 0.25", "-0.94 ± 0.12"),
    _row(_GP, "measured", "ll", _R,
         "-0.15 ± 0.06 (20)", "-0.70 ± 0.04 (10)", "-3.08 ± 0.07 (5)", "-2.43 ± 0.07 (20)",
         "0.89 ± 0.18 (3)"),
    _row(_MLP, "measured", "ll", _R,
         "-1.61 ± 0.10 (20)", "-1.07 ± 0.05 (10)", "-3.26 ± 0.12 (5)", "-2.76 ± 0.15 (20)",
         "-3.62 ± 0.53 (3)"),
    _row("BayesianRidge", "measured", "ll", _R,
         "-3.62 ± 0.03 (20)", "-2.51 ± 0.03 (10)", "-3.78 ± 0.03 (5)", "-2.97 ± 0.05 (20)",
         "-1.03 ± 0.04 (3)"),
    _row("probabilistic backpropagation", "HLA15", "rmse", _R,
         "1.02 ± 0.05", "1.80 ± 0.05", "5.67 ± 0.09", "3.01 ± 0.18", "0.64 ± 0.01"),
    _row("MC dropout", "GG16", "rmse", _R,
         "1.11 ± 0.38", "1.66 ± 0.19", "5.23 ± 0.53", "2.97 ± 0.85", "0.62 ± 0.04"),
    _row("MC dropout, grid search, long training", "MSG18", "rmse", _R,
         "0.67 ± 0.05", "0.54 ± 0.06", "4.82 ± 0.16", "2.90 ± 0.18", "0.62 ± 0.01"),
    _row("deep ensembles", "LPB17", "rmse", _R,
         "1.58 ± 0.48", "2.09 ± 0.29", "6.03 ± 0.58", "3.28 ± 1.00", "0.64 ± 0.04"),
    _row(_GP, "measured", "rmse", _R,
         "0.34 ± 0.02 (20)", "0.48 ± 0.02 (10)", "5.34 ± 0.44 (5)", "2.76 ± 0.16 (20)",
         "0.68 ± 0.05 (3)"),
    _row(_MLP, "measured", "rmse", _R,
         "1.10 ± 0.10 (20)", "0.70 ± 0.03 (10)", "5.36 ± 0.27 (5)", "2.82 ± 0.15 (20)",
         "0.86 ± 0.06 (3)"),
    _row("BayesianRidge", "measured", "rmse", _R,
         "8.94 ± 0.29 (20)", "2.96 ± 0.08 (10)", "10.60 ± 0.32 (5)", "4.59 ± 0.22 (20)",
         "0.68 ± 0.02 (3)"),
)  # fmt: skip

CLASSIFICATION = (
    _row("MAP, prior by validation", "IKB21", "nll", _C,
         "0.31 ± 0.01", "0.11 ± 0.02", "0.35 ± 0.02", "0.95 ± 0.03"),
    _row("mean-field VI", "IKB21", "nll", _C,
         "0.34 ± 0.01", "0.11 ± 0.01", "0.41 ± 0.01", "1.06 ± 0.01"),
    _row("Laplace, sampled networks", "IKB21", "nll", _C,
         "0.42 ± 0.00", "0.19 ± 0.00", "0.50 ± 0.00", "1.41 ± 0.00"),
    _row("Laplace, linearised, prior by validation", "IKB21", "nll", _C,
         "0.32 ± 0.02", "0.10 ± 0.01", "0.29 ± 0.01", "0.86 ± 0.01"),
    _row("the same, diagonal", "IKB21", "nll", _C,
         "0.33 ± 0.01", "0.11 ± 0.01", "0.35 ± 0.01", "0.99 ± 0.01"),
    _row("Laplace, linearised, refined", "IKB21", "nll", _C,
         "0.32 ± 0.02", "0.11 ± 0.01", "0.35 ± 0.05", "0.98 ± 0.07"),
    _row("Laplace, linearised, refined, diagonal", "IKB21", "nll", _C,
         "0.31 ± 0.01", "0.12 ± 0.02", "0.32 ± 0.03", "0.83 ± 0.02"),
    _row("GP on the network's kernel", "SFR23", "nll", _C,
         "0.32 (sd 0.03)", "0.10 (sd 0.04)", "0.31 (sd 0.05)", "0.86 (sd 0.09)"),
    _row("GaussianProcessClassifier, RBF", "measured", "nll", _C,
         "0.311 ± 0.021 (5)", "0.076 ± 0.013 (5)", "0.295 ± 0.020 (10)", "1.030 ± 0.027 (10)"),
    _row("MLPClassifier (2x50 tanh, lbfgs), alpha by validation rows", "measured", "nll", _C,
         "0.310 ± 0.021 (5)", "0.077 ± 0.011 (5)", "0.316 ± 0.034 (10)", "1.082 ± 0.052 (10)"),
    _row("LogisticRegression, C by cross-validation", "measured", "nll", _C,
         "0.318 ± 0.024 (5)", "0.075 ± 0.013 (5)", "0.327 ± 0.033 (10)", "1.086 ± 0.072 (10)"),
)  # fmt: skip
