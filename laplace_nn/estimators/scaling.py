"""The units that data come in, and those inside: inputs and targets standardised, and back."""

from typing import Any

import numpy as np

from laplace_nn.estimators.inputs import mean_and_scale
from laplace_nn.estimators.tails import LongTails
from laplace_nn.network import MLP
from laplace_nn.rows import RowBlocks

__all__ = ["ScaledInputs", "ScaledTargets"]


class ScaledInputs:
    """Long tails drawn in, inputs standardised, which ``coefs_`` and ``intercepts_`` undo."""

    mlp_: MLP
    theta_: np.ndarray
    standardize: bool | str

    def _fit_standardiser(
        self, X: np.ndarray, sample_weight: np.ndarray | None, draw_in: bool
    ) -> None:
        draw_in = draw_in and self.standardize == "auto"
        self.long_tails_ = LongTails.found(X, sample_weight) if draw_in else LongTails.none()
        if self.standardize:
            drawn = self.long_tails_(X)
            self.input_mean_, self.input_scale_ = mean_and_scale(drawn, sample_weight)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        return (self.long_tails_(X) - self.input_mean_) / self.input_scale_

    def _set_coefficients(self) -> None:
        """coefs_ (fan-in, fan-out) and intercepts_ of the network on inputs as passed.

        A column with a long tail enters as `long_tails_` has it. Outputs are in units of y.
        """
        layers = self.mlp_.unpack(self.theta_)
        (W, b), rest = layers[0], layers[1:]
        W = W / self.input_scale_
        layers = [(W, b - W @ self.input_mean_), *rest]
        W, b = layers[-1]
        scale, shift = self._output_scale_and_shift()
        layers[-1] = (W * scale[:, None], b * scale + shift)
        self.coefs_ = [W.T.copy() for W, _ in layers]
        self.intercepts_ = [b.copy() for _, b in layers]

    def _output_scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(self.mlp_.n_outputs), np.zeros(self.mlp_.n_outputs)

    def _log_jacobian(self, rows: RowBlocks) -> float:
        """ln |d standardised targets / d targets|, for densities in the units of y."""
        return 0.0

    def _noise_in_units(self, noise_precision: float) -> Any:
        """β in the units of y that were passed; 1 where the likelihood has none."""
        return noise_precision


class ScaledTargets(ScaledInputs):
    """A regression's targets are too."""

    normalize_y: bool
    _single_target: bool

    def _fit_target_scale(
        self, targets: np.ndarray, weights: np.ndarray | None, common: bool
    ) -> None:
        """Mean and scale of every target, or one scale for all of them."""
        n_outputs = targets.shape[1]
        if not self.normalize_y:
            self.target_mean_, self.target_scale_ = np.zeros(n_outputs), np.ones(n_outputs)
            return
        self.target_mean_, scale = mean_and_scale(targets, weights)
        if common:
            scale = np.full(n_outputs, np.sqrt(np.mean(scale**2)))
        self.target_scale_ = scale

    def _inner_targets(self, y: np.ndarray) -> np.ndarray:
        """Targets (N,) or (N, K) in the units of the first rows, standardised, (N, K)."""
        targets, n_targets = y.reshape(len(y), -1).astype(np.float64), len(self.target_scale_)
        if targets.shape[1] != n_targets:
            raise ValueError(
                f"y must have {n_targets} targets as in the first batch; got {targets.shape[1]}."
            )
        return (targets - self.target_mean_) / self.target_scale_

    def _log_jacobian(self, rows: RowBlocks) -> float:
        return -rows.total_weight * float(np.sum(np.log(self.target_scale_)))

    def _noise_in_units(self, noise_precision: float) -> Any:
        precisions = noise_precision / self.target_scale_**2
        return float(precisions[0]) if self._single_target else precisions

    def _output_scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        return self.target_scale_, self.target_mean_

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self._single_target else values
