"""Second derivatives by central differences: what every other curvature can be checked against."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from laplace_nn.curvature.base import Curvature
from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP, vjp
from laplace_nn.rows import RowBlocks

__all__ = ["FiniteDifferences"]

EPSILON = float(np.finfo(np.float64).eps)

#: Where truncation, h², and rounding, ε/h for gradients and ε/h² for errors, are balanced.
DEFAULT_STEPS = {"gradients": EPSILON ** (1 / 3), "errors": EPSILON ** (1 / 4)}


class FiniteDifferences(Curvature):
    """Second derivatives of the data term by central differences.

    Of gradients, H_ij = [∂E/∂w_j(w + h_i e_i) - ∂E/∂w_j(w - h_i e_i)] / 2h_i, symmetrised
    (PRML 5.91): 2P backpropagations, O(P²) a row. Of errors, H_ij = [E(++) - E(+-) - E(-+) +
    E(--)] / 4h_i h_j with w_i ± h_i and w_j ± h_j (PRML 5.90): O(P³) a row, and no derivative
    is needed but nll. The step is h_i = step·max(1, |w_i|).

    Accurate to about 1e-10 of the largest entry from gradients and 1e-7 from errors, which
    `error_estimate` tells; not at all where a kink (relu) lies within a step. For checks.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Where the derivatives are taken.
    likelihood : Likelihood
        Its ``scale`` (noise precision) is left out.
    rows : RowBlocks
        Inputs, targets and sample weights.
    of : {"gradients", "errors"}, default="gradients"
        What is differenced.
    step : float, optional
        Relative step; ε^(1/3) for gradients and ε^(1/4) for errors if not given, ε = 2.2e-16.

    Raises
    ------
    ValueError
        If ``of`` is neither of the two, or the step is not a positive finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature.finite_difference import FiniteDifferences
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> H = FiniteDifferences(MLP((1, 1)), np.zeros(2), Gaussian(), rows)
    >>> H.dense().round(6)
    array([[5., 3.],
           [3., 2.]])
    """

    def __init__(
        self,
        mlp: MLP,
        theta: np.ndarray,
        likelihood: Likelihood,
        rows: RowBlocks,
        *,
        of: str = "gradients",
        step: float | None = None,
    ) -> None:
        super().__init__(mlp, theta, likelihood, rows)
        if of not in DEFAULT_STEPS:
            raise ValueError(
                f"FiniteDifferences.of must be one of {', '.join(DEFAULT_STEPS)}; got {of!r}."
            )
        if step is not None and not (np.isfinite(step) and step > 0):
            raise ValueError(
                "FiniteDifferences.step must be a positive finite number, or None for the "
                f"default; got {step!r}."
            )
        self.of = of
        self.step = DEFAULT_STEPS[of] if step is None else float(step)

    def products(self, v: np.ndarray) -> np.ndarray:
        """H v for directions v (..., P): a difference of gradients along each, or dense() v.

        H v = [∇E(w + hv) - ∇E(w - hv)] / 2h with h = step / ‖v / max(1, |w|)‖, so that along a
        single weight it is a row of PRML 5.91.
        """
        if self.of == "errors":
            return v @ self._matrix
        return super().products(v)

    def error_estimate(self) -> np.ndarray:
        """Estimated size of the error of every entry of `dense`, (P, P).

        With the truncation error c h², H(h) - H(h/2) = ¾ c h², so its estimate is
        ⁴/₃ |H(h) - H(h/2)| (Richardson). To this the rounding is added, of gradients or errors
        whose weights are known to ε: ε (max_k |∇E_k| + Σ_k |H_jk w_k|) / h_i, since a small entry
        may be what large terms leave, or ε (|E| + Σ_k |w_k ∂E/∂w_k|) / h_i h_j.
        """
        finer = type(self)(
            self.mlp, self.theta, self.likelihood, self.rows, of=self.of, step=0.5 * self.step
        )
        H = self._matrix
        return 4.0 / 3.0 * np.abs(H - finer.dense()) + self._rounding(H)

    def _rounding(self, H: np.ndarray) -> np.ndarray:
        """Of differences with step h, (P, P)."""
        h, size = self._steps, np.abs(self.theta)
        gradient = np.abs(self._at_weights(self._gradient))
        if self.of == "gradients":
            rounding = EPSILON * (gradient.max() + np.abs(H) @ size) / h[:, None]
            return 0.5 * (rounding + rounding.T)
        error = abs(self._at_weights(self._error))
        return EPSILON * (error + gradient @ size) / np.outer(h, h)

    def _at_weights(self, term: Callable) -> Any:
        return self.rows.sum(partial(term, theta=self.theta), row_bytes=self._pass_row_bytes)

    def _dense_block(self, block: RowBlocks) -> np.ndarray:
        if self.of == "gradients":
            H = np.array([self._gradient_difference(block, d) for d in np.diag(self._steps)])
            H /= self._steps[:, None]
            return 0.5 * (H + H.T)
        H = np.zeros(self.shape)
        for i in range(len(H)):
            for j in range(i + 1):
                H[i, j] = H[j, i] = self._error_difference(block, i, j)
        return H

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        indices = range(self.shape[0])
        if self.of == "errors":
            return np.array([self._error_difference(block, i, i) for i in indices])
        moves = np.diag(self._steps)
        entries = [self._gradient_difference(block, moves[i])[i] for i in indices]
        return np.array(entries) / self._steps

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        directions = v.reshape(-1, v.shape[-1])
        result = np.zeros_like(directions)
        for index, direction in enumerate(directions):
            length = np.linalg.norm(direction / np.maximum(1.0, np.abs(self.theta)))
            if length > 0:
                h = self.step / length
                result[index] = self._gradient_difference(block, h * direction) / h
        return result.reshape(v.shape)

    def _gradient_difference(self, block: RowBlocks, move: np.ndarray) -> np.ndarray:
        """[∇E(w + move) - ∇E(w - move)] / 2 of a block, (P,)."""
        ahead = self._gradient(block, self.theta + move)
        return 0.5 * (ahead - self._gradient(block, self.theta - move))

    def _error_difference(self, block: RowBlocks, i: int, j: int) -> float:
        """PRML 5.90 for one entry; on the diagonal its two middle terms are E(w)."""
        h, total = self._steps, 0.0
        for sign_i in (1.0, -1.0):
            for sign_j in (1.0, -1.0):
                theta = self.theta.copy()
                theta[i] += sign_i * h[i]
                theta[j] += sign_j * h[j]
                total += sign_i * sign_j * self._error(block, theta)
        return total / (4.0 * h[i] * h[j])

    def _gradient(self, block: RowBlocks, theta: np.ndarray) -> np.ndarray:
        tape = self.mlp.forward(theta, block.X)
        signal = self.likelihood.gradient(block.targets, tape.outputs)
        return vjp(self.mlp, theta, tape, block.weigh(signal))

    def _error(self, block: RowBlocks, theta: np.ndarray) -> float:
        outputs = self.mlp.forward(theta, block.X).outputs
        return float(block.weigh(self.likelihood.nll(block.targets, outputs)).sum())

    @property
    def _steps(self) -> np.ndarray:
        """h (P,), rounded so that w + h - w is h but for the last digit of w."""
        h = self.step * np.maximum(1.0, np.abs(self.theta))
        return (self.theta + h) - self.theta

    @property
    def _dense_row_bytes(self) -> int:
        """One pass at a time."""
        return self._pass_row_bytes

    @cached_property
    def _matrix(self) -> np.ndarray:
        return self.dense()
