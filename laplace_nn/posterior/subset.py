"""The posterior over some of the weights, the others held at the MAP solution."""

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np

from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.subset import Subset
from laplace_nn.network import MLP, LayerwiseJacobian
from laplace_nn.posterior.base import GaussianPosterior
from laplace_nn.posterior.dense import DensePosterior
from laplace_nn.priors import GaussianPrior

__all__ = ["SubsetPosterior", "last_layer"]


def last_layer(mlp: MLP) -> np.ndarray:
    """Which weights belong to the last layer, (P,) of bool.

    Parameters
    ----------
    mlp : MLP
        The network.
    """
    selected = np.zeros(mlp.n_params, dtype=bool)
    for part in mlp.slices[-1]:
        selected[part] = True
    return selected


@dataclass(frozen=True)
class SelectedColumns:
    """Some columns of a layerwise Jacobian, as far as `DensePosterior` asks for them.

    Parameters
    ----------
    jacobian : LayerwiseJacobian
        J, (N, R, P).
    selected : ndarray of int, shape (Q,)
        Indices of weights, sorted.
    """

    jacobian: LayerwiseJacobian
    selected: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, R, Q)."""
        return *self.jacobian.shape[:2], len(self.selected)

    def __getitem__(self, rows: slice) -> "SelectedColumns":
        """The same columns for a slice of the rows."""
        return replace(self, jacobian=self.jacobian[rows])

    def dense(self) -> np.ndarray:
        """The selected columns alone, (N, R, Q): S_l[unit] z_{l-1}[input] for each of them."""
        parts, jacobian = [], self.jacobian
        layers = zip(jacobian.mlp.slices, jacobian.signals, jacobian.activations, strict=True)
        for (weights, biases), S, z in layers:
            chosen = self.selected[(self.selected >= weights.start) & (self.selected < biases.stop)]
            within = chosen[chosen < weights.stop] - weights.start
            units, inputs = np.divmod(within, z.shape[1])
            parts.append(S[:, :, units] * z[:, None, inputs])
            parts.append(S[:, :, chosen[chosen >= biases.start] - biases.start])
        return np.concatenate(parts, axis=2)


@dataclass(frozen=True)
class SubsetPosterior(GaussianPosterior):
    """Gaussian posterior over selected weights, A_ss = scale·H_ss + Λ_ss.

    What is conditioned on the others at θ_map (Daxberger et al. 2021, sub-network inference; the
    last layer alone: Snoek et al. 2015). Variances are too small by what the others would add, and
    the evidence is that of a model whose other weights are constants.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean; the values of the weights that are held.
    selected : ndarray of bool, shape (P,)
        The weights that the Gaussian is over.
    inner : DensePosterior
        Over the Q selected weights.
    prior : GaussianPrior
        Λ of all weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import SubsetPosterior, last_layer
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rng = MLP((1, 3, 1)), np.random.default_rng(0)
    >>> theta, rows = mlp.initialise(rng), RowBlocks(rng.normal(size=(9, 1)), np.ones((9, 1)))
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> posterior = SubsetPosterior.from_curvature(
    ...     theta, H, single(mlp), 1.0, selected=last_layer(mlp)
    ... )
    >>> posterior.variance().round(2)[:6].tolist(), posterior.n_free
    ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 4)
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    theta_map: np.ndarray
    selected: np.ndarray
    inner: DensePosterior
    prior: GaussianPrior

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
        *,
        selected: np.ndarray | None = None,
    ) -> "SubsetPosterior":
        """Build the inner posterior on the selected rows and columns of a curvature.

        Parameters
        ----------
        theta_map, curvature, prior, scale
            As of every posterior, over all weights.
        selected : ndarray of shape (P,), optional
            A mask of the weights, or their indices; the last layer's if not given.
        """
        if selected is None:
            selected = last_layer(curvature.mlp)
        block = Subset(curvature, selected)
        inner = DensePosterior.from_curvature(
            theta_map[block.selected], block, prior.subset(block.selected), scale
        )
        return cls(theta_map, block.selected, inner, prior)

    @property
    def scale(self) -> float:
        """Factor of the curvature."""
        return self.inner.scale

    @property
    def n_free(self) -> int:
        """How many weights the Gaussian is over, Q."""
        return self.inner.n_free

    @property
    def log_prior(self) -> float:
        """ln p of the selected weights under their prior."""
        return self.inner.log_prior

    @property
    def logdet_precision(self) -> float:
        """ln det A_ss."""
        return self.inner.logdet_precision

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "SubsetPosterior":
        """The posterior under other precisions and noise, at the same weights."""
        inner = self.inner.with_hyperparameters(prior.subset(self.selected), scale)
        return replace(self, inner=inner, prior=prior)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S), zero in the rows of the weights that are held."""
        result = np.zeros_like(V, dtype=np.float64)
        result[self.selected] = self.inner.solve(V[self.selected])
        return result

    def variance(self) -> np.ndarray:
        """Of every weight, (P,), zero where it is held."""
        result = np.zeros(len(self.theta_map))
        result[self.selected] = self.inner.variance()
        return result

    def n_effective_params(self) -> np.ndarray:
        """γ_g of the selected weights of every prior group, (G,)."""
        result = np.zeros(self.prior.n_groups)
        result[np.unique(self.prior.groups[self.selected])] = self.inner.n_effective_params()
        return result

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d over the free weights of every row d of D (S, P), (S,)."""
        return self.inner.squared_lengths(D[:, self.selected])

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J_s A_ss⁻¹ J_sᵀ: (n, K, K), or (n·K, n·K) where joint."""
        columns = cast(LayerwiseJacobian, SelectedColumns(jacobian, self.selected))
        return self.inner.functional_covariance(columns, joint)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of all weights, (n_samples, P); those that are held stay the same."""
        draws = np.tile(self.theta_map, (n_samples, 1))
        draws[:, self.selected] = self.inner.sample(n_samples, rng)
        return draws
