"""Which hidden units are alive and distinct: the width that a trained network makes use of.

`census` looks at the weights at the mode alone; `separated_units` asks the posterior whether it
tells the mode from its images under the symmetries of PRML 5.1.1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from laplace_nn.curvature.regularised import WeightSpace
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.posterior.base import fully_held

__all__ = ["LayerUnits", "census", "separated_units"]

DEAD_SHARE = 1e-3  # of the layer's contribution, below which a unit is dead
DEAD_LAYER = 1e-5  # of the next layer's pre-activations, below which they are constants
DUPLICATE_DISTANCE = 1e-3  # of two units' incoming weights, relative to the larger
# dᵀAd of a mode and its image: two standard deviations of each of two equal Gaussians. Nearer ones
# are one peak, or nearly so, that counted twice would hold the same volume twice.
SEPARATION = 16.0


@dataclass(frozen=True)
class LayerUnits:
    """The units of one hidden layer, by what they do.

    Parameters
    ----------
    dead : ndarray of bool, shape (M,)
        Whether the unit's contribution to the next layer's pre-activations hardly varies.
    duplicates : ndarray of int, shape (M,)
        The first unit with the same incoming weights, up to sign where the activation is odd: the
        unit's own index if there is none before it.
    """

    dead: np.ndarray
    duplicates: np.ndarray

    @property
    def n_units(self) -> int:
        """Units of the layer, M."""
        return len(self.dead)

    @property
    def n_dead(self) -> int:
        """Units without effect."""
        return int(self.dead.sum())

    @property
    def n_distinct(self) -> int:
        """Live units, those with the same incoming weights counted once."""
        return len(np.unique(self.duplicates[~self.dead]))

    @property
    def n_duplicates(self) -> int:
        """Live units that another live unit could do the work of."""
        return self.n_units - self.n_dead - self.n_distinct


def census(mlp: MLP, theta: np.ndarray, X: np.ndarray) -> list[LayerUnits]:
    """The live and distinct units of every hidden layer.

    A unit's contribution is c_j = sd_n(z_nj)·‖w_j‖ with its outgoing weights w_j. It is dead where
    c_j ≤ 1e-3·√Σ c², and a whole layer is where √Σ c² ≤ 1e-5. Units i and j are duplicates where
    their incoming weights v, biases included, have ‖v_i - v_j‖ ≤ 1e-3·max(‖v_i‖, ‖v_j‖), or for
    an odd activation ‖v_i + v_j‖ (the symmetries of PRML 5.1.1 are then fewer).

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    X : ndarray of shape (N, D)
        The rows over which the units' activations are compared.

    Returns
    -------
    list of LayerUnits
        One a hidden layer; empty for a linear network.

    Raises
    ------
    ValueError
        If theta does not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.units import census
    >>> mlp = MLP((1, 3, 1))
    >>> W, b = np.array([[1.0], [-1.0], [2.0]]), np.zeros(3)
    >>> theta = mlp.pack([(W, b), (np.array([[1.0, -1.0, 0.0]]), np.zeros(1))])
    >>> units = census(mlp, theta, np.array([[-1.0], [0.0], [1.0]]))[0]
    >>> units.dead.tolist(), units.duplicates.tolist(), units.n_distinct
    ([False, False, True], [0, 0, 2], 1)
    """
    layers, activations = mlp.unpack(theta), mlp.forward(theta, X).activations
    found = []
    for (W, b), z, (W_out, _) in zip(layers[:-1], activations[1:], layers[1:], strict=True):
        incoming = np.column_stack([W, b])
        found.append(LayerUnits(_dead(z, W_out), _duplicates(incoming, mlp.activation.odd)))
    return found


def _dead(z: np.ndarray, W_out: np.ndarray) -> np.ndarray:
    """Units with a contribution sd_n(z_nj)·‖w_j‖ of next to nothing, (M,)."""
    contribution = z.std(axis=0) * np.linalg.norm(W_out, axis=0)
    total = float(np.linalg.norm(contribution))
    if total <= DEAD_LAYER:
        return np.ones(len(contribution), dtype=bool)
    return contribution <= DEAD_SHARE * total


def _duplicates(incoming: np.ndarray, odd: bool) -> np.ndarray:
    """The first unit with the incoming weights (M, n_in + 1) of each, (M,)."""
    norms = np.linalg.norm(incoming, axis=1)
    limit = DUPLICATE_DISTANCE * np.maximum(norms[:, None], norms)
    same = _distances(incoming, incoming) <= limit
    if odd:
        same |= _distances(incoming, -incoming) <= limit
    labels = connected_components(same, directed=False)[1]
    return np.unique(labels, return_index=True)[1][labels]


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """‖u_i - v_j‖, (M, M), a row at a time."""
    return np.array([np.linalg.norm(right - u, axis=1) for u in left])


def separated_units(mlp: MLP, posterior: GaussianPosterior) -> list[int]:
    """How many hidden units of every layer the posterior tells from nothing and from each other.

    An image of the mode is another mode only where dᵀAd > 16 for the step d to it: otherwise one
    Gaussian covers both. A unit is live if the flip of all its weights' signs is such an image (for
    activations that are not odd: its outgoing weights set to 0), and two live units are distinct
    if their swap is (with and without a flip of both, for odd activations). Units that are not
    distinct, directly or by way of others, are counted once; `symmetry_term` takes the result.

    Parameters
    ----------
    mlp : MLP
        The network.
    posterior : DensePosterior or KernelPosterior
        At the mode.

    Returns
    -------
    list of int
        One a hidden layer; empty for a linear network.

    Raises
    ------
    TypeError
        If the posterior is of another form.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> from laplace_nn.units import separated_units
    >>> mlp, rows = MLP((1, 2, 1)), RowBlocks(np.linspace(-3, 3, 50)[:, None], np.zeros((50, 1)))
    >>> theta = np.array([1.0, 1.1, 0.0, 0.1, 1.0, 1.0, 0.0])  # two units with nearly the same task
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> for noise_precision in (1e-3, 1.0, 1e4):
    ...     built = DensePosterior.from_curvature(theta, H, single(mlp), noise_precision)
    ...     print(separated_units(mlp, built))
    [0]
    [1]
    [2]
    """
    held = fully_held(posterior, "separated_units")
    form = _WeightImages if isinstance(held, WeightSpace) else _FunctionImages
    layers = range(mlp.n_layers - 1)
    return [_n_separated(form(mlp, posterior, layer), mlp.activation.odd) for layer in layers]


def _n_separated(images: "_Images", odd: bool) -> int:
    """Classes of live units that are not distinct."""
    live = images.flips(odd) > SEPARATION
    signs = (1.0, -1.0) if odd else (1.0,)
    same = np.any([images.swaps(sign) <= SEPARATION for sign in signs], axis=0)
    n_classes, _ = connected_components(same[np.ix_(live, live)], directed=False)
    return n_classes


@dataclass(frozen=True)
class _Images(ABC):
    """dᵀAd of the mode's images under the flips and swaps of one layer's M units.

    Only a unit's own Q = n_in + 1 + n_out weights u_i move: by -2 u_i, or where units i and j swap
    by d_i = ±u_j - u_i and d_j = ∓d_i.
    """

    mlp: MLP
    posterior: Any
    layer: int

    @cached_property
    def places(self) -> np.ndarray:
        """Where a unit's weights stand in theta: incoming, bias, outgoing, (M, Q)."""
        layers = self.mlp.unpack(np.arange(self.mlp.n_params))
        (W, b), (W_out, _) = layers[self.layer], layers[self.layer + 1]
        return np.column_stack([W, b, W_out.T])

    @cached_property
    def weights(self) -> np.ndarray:
        """u, (M, Q)."""
        return self.posterior.theta_map[self.places]

    def flips(self, odd: bool) -> np.ndarray:
        """Of every unit's flip, or of its switching off, (M,)."""
        d = -2.0 * self.weights if odd else -self.weights
        if not odd:
            d[:, : self.mlp.layer_sizes[self.layer] + 1] = 0.0
        prior_part = np.sum(self.posterior.prior.precision[self.places] * d * d, axis=1)
        return self.posterior.scale * self._flipped(d) + prior_part

    def swaps(self, sign: float) -> np.ndarray:
        """Of the swaps of all pairs, signs flipped where ``sign`` is -1, (M, M).

        The prior's part is Σ_q (λ_iq + λ_jq) (±u_jq - u_iq)².
        """
        u, precisions = self.weights, self.posterior.prior.precision[self.places]
        squares, products = precisions @ (u * u).T, (precisions * u) @ u.T
        prior_part = squares + np.diag(squares)[:, None] - 2.0 * sign * products
        return self.posterior.scale * self._swapped(sign) + prior_part + prior_part.T

    @abstractmethod
    def _flipped(self, d: np.ndarray) -> np.ndarray:
        """The data's part of every flip d (M, Q) at unit noise precision, (M,)."""

    @abstractmethod
    def _swapped(self, sign: float) -> np.ndarray:
        """The data's part of all swaps at unit noise precision, (M, M)."""


class _WeightImages(_Images):
    """From the units' blocks of H: d_iᵀ (H_ii + H_jj ∓ 2 H_ij) d_i, a row of pairs at a time."""

    @cached_property
    def blocks(self) -> np.ndarray:
        """H_ii, (M, Q, Q)."""
        H, places = self.posterior.regularised.hessian, self.places
        return H[places[:, :, None], places[:, None, :]]

    def _flipped(self, d: np.ndarray) -> np.ndarray:
        return _quadratic(d, self.blocks)

    def _swapped(self, sign: float) -> np.ndarray:
        H, places, u = self.posterior.regularised.hessian, self.places, self.weights
        rows = []
        for unit, own in enumerate(self.blocks):
            cross = H[places[unit][None, :, None], places[:, None, :]]  # H_ij, (M, Q, Q)
            rows.append(_quadratic(sign * u - u[unit], own + self.blocks - 2.0 * sign * cross))
        return np.array(rows)


class _FunctionImages(_Images):
    """From ‖F d‖², F being S_i ⊗ (z_in, 1) for incoming and S_out ⊗ z_i for outgoing weights.

    With a = W z_in + b and c = S_out W_out, the images' F d are sums of X_ij = S_i a_j + z_i c_j:
    a swap's is ±(X_ij + X_ji) - (K_i + K_j) with K_i = X_ii, and its square, multiplied out, takes
    a few products of matrices (N·R, M) for all pairs together.
    """

    @cached_property
    def parts(self) -> tuple[np.ndarray, ...]:
        """S, z, a and c, each (N·R, M)."""
        jacobian = self.posterior.regularised.jacobian
        S, S_out = jacobian.signals[self.layer : self.layer + 2]
        z_in, z = jacobian.activations[self.layer : self.layer + 2]
        layers = self.mlp.unpack(self.posterior.theta_map)
        (W, b), (W_out, _) = layers[self.layer], layers[self.layer + 1]
        a, c = z_in @ W.T + b, S_out @ W_out
        repeated = (np.repeat(of_row, S.shape[1], axis=0) for of_row in (z, a))
        return S.reshape(-1, len(W)), *repeated, c.reshape(-1, len(W))

    def _flipped(self, d: np.ndarray) -> np.ndarray:
        S, z, a, c = self.parts
        moved = -2.0 * (S * a + z * c) if self.mlp.activation.odd else -z * c
        return np.einsum("nm,nm->m", moved, moved)

    def _swapped(self, sign: float) -> np.ndarray:
        S, z, a, c = self.parts
        K = S * a + z * c
        squares = _gram([S * S, 2.0 * S * z, z * z], [a * a, a * c, c * c])  # ‖X_ij‖²
        crossed = _gram([S * a, S * c, z * a, z * c], [S * a, z * a, S * c, z * c])  # X_ij·X_ji
        with_K = _gram([S * K, z * K], [a, c]) + _gram([S, z], [a * K, c * K])  # X_ij·(K_i + K_j)
        half = squares + crossed - 2.0 * sign * with_K + K.T @ K + np.sum(K * K, axis=0)
        return half + half.T


def _gram(left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    """Σ_k L_kᵀ R_k, (M, M)."""
    return np.concatenate(left).T @ np.concatenate(right)


def _quadratic(d: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """d_jᵀ B_j d_j for d (M, Q) and B (M, Q, Q), (M,)."""
    return ((d[:, None, :] @ blocks)[:, 0, :] * d).sum(axis=1)
