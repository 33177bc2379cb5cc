"""Variable projection (Golub & Pereyra 1973): a linear last layer solved for, not searched.

With Gaussian noise the last layer's best weights follow from the hidden layers' by a linear
solve. What is left is a function of the hidden layers alone, whose valleys are far less curved
(Sjöberg & Viberg 1997 for networks).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from laplace_nn.likelihoods import Gaussian
from laplace_nn.linalg import cholesky, solve_from_factor
from laplace_nn.network import Tape, vjp
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.rows import CACHE_BUDGET, RowBlocks

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection:
    """E(u) = min_v E(u, v) over the last layer v, of the hidden layers' weights u.

    Its gradient is that of E with respect to u at the best v, where the other part vanishes.

    Parameters
    ----------
    objective : NegativeLogPosterior
        With a `Gaussian` likelihood and no anchor; see `Projection.applies`.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.projection import Projection
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rng = MLP((1, 2, 1)), np.random.default_rng(0)
    >>> rows = RowBlocks(rng.normal(size=(9, 1)), rng.normal(size=(9, 1)))
    >>> objective = NegativeLogPosterior(mlp, Gaussian(), single(mlp), rows)
    >>> projection = Projection(objective)
    >>> theta, energy, gradient = projection.at(rng.normal(size=projection.size))
    >>> bool(np.allclose(gradient[projection.size :], 0.0))
    True
    """

    objective: NegativeLogPosterior

    @staticmethod
    def applies(objective: NegativeLogPosterior) -> bool:
        """Whether E is quadratic in the last layer and there is another."""
        quadratic = isinstance(objective.likelihood, Gaussian) and objective.anchor is None
        return quadratic and objective.mlp.n_layers > 1

    @cached_property
    def size(self) -> int:
        """Number of weights and biases of the hidden layers."""
        return self.objective.mlp.slices[-1][0].start

    def value_and_gradient(self, hidden: np.ndarray) -> tuple[float, np.ndarray]:
        """E(u) and ∇E(u), of as many entries as u."""
        _, energy, gradient = self.at(hidden)
        return energy, gradient[: self.size]

    def at(self, hidden: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """All weights θ = (u, v) with the last layer at its best, (P,), E(θ), and ∇E(θ), (P,)."""
        mlp, prior = self.objective.mlp, self.objective.prior
        scale, tapes = self.objective.likelihood.scale, Tapes(self.objective, hidden)
        theta = self._solved(hidden, tapes)
        (W, b), nll, gradient = mlp.unpack(theta)[-1], 0.0, np.zeros(mlp.n_params)
        for block, tape in tapes:
            residuals = tape.activations[-1] @ W.T + b - block.targets  # PRML 5.18
            signals = block.weigh(residuals)
            nll += 0.5 * float(np.vdot(signals, residuals))
            gradient += vjp(mlp, theta, tape, signals)
        energy = scale * nll + prior.energy(theta)
        return theta, energy, scale * gradient + prior.gradient(theta)

    def _solved(self, hidden: np.ndarray, tapes: "Tapes") -> np.ndarray:
        """θ with (β Σ z zᵀ + Λ_k) v_k = β Σ z t_k + Λ_k m_k for every output k.

        Where z overflows v is NaN, and so is E: no search accepts it.
        """
        scale, (precisions, pulls) = self.objective.likelihood.scale, self._prior_terms
        squares, products = tapes.moments()
        targets = scale * products.T + pulls  # (K, H + 1)
        best = np.full_like(targets, np.nan)
        for k, precision in enumerate(precisions if np.isfinite(squares).all() else ()):
            A = scale * squares
            A.flat[:: len(A) + 1] += precision
            factor = cholesky(A, "The precision of the last layer's weights")
            best[k] = solve_from_factor(factor, targets[k])
        return np.concatenate([hidden, best[:, :-1].ravel(), best[:, -1]])

    @cached_property
    def _prior_terms(self) -> tuple[np.ndarray, np.ndarray]:
        """The last layer's Λ_k and Λ_k m_k, the bias last, (K, H + 1) each."""
        mlp, prior = self.objective.mlp, self.objective.prior
        mean = np.zeros(mlp.n_params) if prior.mean is None else prior.mean
        precisions, means = (np.column_stack(mlp.unpack(x)[-1]) for x in (prior.precision, mean))
        return precisions, precisions * means


class Tapes:
    """Blocks and their forward passes, kept between readings where all of them fit the budget."""

    def __init__(self, objective: NegativeLogPosterior, hidden: np.ndarray) -> None:
        mlp, rows = objective.mlp, objective.rows
        self.mlp, self.rows = mlp, rows
        self.theta = np.concatenate([hidden, np.zeros(mlp.n_params - len(hidden))])
        row_bytes = 8 * 3 * sum(mlp.layer_sizes)
        self.slices = replace(rows, memory_budget=CACHE_BUDGET).slices(row_bytes)
        fits = row_bytes * rows.n_rows <= rows.memory_budget
        self.kept = list(self._passes()) if fits else None

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ z zᵀ (H + 1, H + 1) and Σ z tᵀ (H + 1, K) of the last hidden layer, 1 appended."""
        n_hidden, n_outputs = self.mlp.layer_sizes[-2:]
        squares = np.zeros((n_hidden + 1, n_hidden + 1))
        products = np.zeros((n_hidden + 1, n_outputs))
        for block, tape in self:
            # √w on either side leaves a square, half the work; the column of ones is never formed.
            z, targets, root = tape.activations[-1], block.targets, np.ones((block.n_rows, 1))
            if block.sample_weight is not None:
                root = np.sqrt(block.weigh(root))
                z, targets = z * root, targets * root
            squares[:-1, :-1] += z.T @ z
            squares[-1:, :-1] += root.T @ z
            squares[-1:, -1:] += root.T @ root
            products[:-1] += z.T @ targets
            products[-1:] += root.T @ targets
        squares[:-1, -1] = squares[-1, :-1]
        return squares, products

    def __iter__(self) -> Iterator[tuple[RowBlocks, Tape]]:
        return self._passes() if self.kept is None else iter(self.kept)

    def _passes(self) -> Iterator[tuple[RowBlocks, Tape]]:
        for rows in self.slices:
            block = self.rows.block(rows)
            yield block, self.mlp.forward(self.theta, block.X)
