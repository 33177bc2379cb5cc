"""Gaussian priors over the weights, with one precision a group of weights.

A prior sees weights and never data. The functions below build the usual groups for a network;
any other grouping is an integer array of P labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from laplace_nn.network import MLP

__all__ = ["GaussianPrior", "ard", "by_kind", "by_layer", "by_unit", "single"]


#: The groups of a layer's weights, broadcast to (out, in), and of its biases, to (out,).
Labels = tuple[np.ndarray | int, np.ndarray | int]


@dataclass(frozen=True)
class GaussianPrior:
    """A Gaussian prior with a precision for each group of weights, about zero or another mean.

    p(w|α) = Π_g N(w_g | m_g, α_g⁻¹ I), energy ½ Σ_g α_g Σ_{i∈g} (w_i - m_i)² (PRML 5.112,
    5.161-5.162 with m = 0). With every weight a group of its own, ``groups=np.arange(P)``, it is
    any Gaussian of independent weights.

    Parameters
    ----------
    groups : ndarray of int, shape (P,)
        The group, 0 … G-1, of every weight.
    precisions : ndarray of shape (G,)
        α_g > 0.
    names : tuple of str, optional
        What the groups are called in tables and messages.
    mean : ndarray of shape (P,), optional
        m; zeros if not given.

    Raises
    ------
    ValueError
        If labels and precisions do not fit each other, a precision is not positive and finite, or
        the mean is not one finite number a weight.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.priors import GaussianPrior
    >>> prior = GaussianPrior(np.array([0, 0, 1]), np.array([2.0, 4.0]))
    >>> prior.energy(np.array([1.0, 1.0, 1.0]))
    4.0
    >>> about_ones = GaussianPrior(np.array([0, 0, 1]), np.array([2.0, 4.0]), mean=np.ones(3))
    >>> about_ones.energy(np.array([1.0, 1.0, 1.0]))
    0.0
    """

    groups: np.ndarray
    precisions: np.ndarray
    names: tuple[str, ...] = field(default=())
    mean: np.ndarray | None = None

    def __post_init__(self) -> None:
        groups = np.asarray(self.groups)
        precisions = np.atleast_1d(np.asarray(self.precisions, dtype=np.float64))
        if groups.ndim != 1 or groups.dtype.kind not in "iu" or len(groups) == 0:
            raise ValueError(
                "GaussianPrior.groups must be a one-dimensional array of integer labels, one a "
                f"weight; got shape {groups.shape} and dtype {groups.dtype}."
            )
        if not np.array_equal(np.unique(groups), np.arange(len(precisions))):
            raise ValueError(
                f"GaussianPrior.groups must use every label 0 … {len(precisions) - 1} of its "
                f"{len(precisions)} precisions; got labels {np.unique(groups).tolist()}."
            )
        if not (np.all(np.isfinite(precisions)) and np.all(precisions > 0)):
            raise ValueError(
                "GaussianPrior.precisions must be positive finite numbers; "
                f"got {precisions.tolist()}."
            )
        names = self.names or tuple(f"group_{g}" for g in range(len(precisions)))
        if len(names) != len(precisions):
            raise ValueError(
                f"GaussianPrior.names must name each of its {len(precisions)} groups; "
                f"got {len(names)} names."
            )
        if self.mean is not None:
            object.__setattr__(self, "mean", _finite_mean(self.mean, len(groups)))
        object.__setattr__(self, "groups", groups.astype(np.intp))
        object.__setattr__(self, "precisions", precisions)
        object.__setattr__(self, "names", tuple(names))

    @property
    def n_groups(self) -> int:
        """Number of groups, G."""
        return len(self.precisions)

    @property
    def n_params(self) -> int:
        """Number of weights, P."""
        return len(self.groups)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """n_g, (G,)."""
        return np.bincount(self.groups, minlength=self.n_groups)

    @cached_property
    def precision(self) -> np.ndarray:
        """Diagonal of Λ, (P,)."""
        return self.precisions[self.groups]

    def with_precisions(self, precisions: np.ndarray) -> "GaussianPrior":
        """The same groups and mean with other precisions."""
        return replace(self, precisions=np.asarray(precisions, dtype=np.float64))

    def subset(self, selected: np.ndarray) -> "GaussianPrior":
        """The prior of selected weights (Q,); groups that none of them belongs to are left out."""
        kept, groups = np.unique(self.groups[selected], return_inverse=True)
        names = tuple(self.names[g] for g in kept)
        mean = None if self.mean is None else self.mean[selected]
        return GaussianPrior(groups, self.precisions[kept], names, mean)

    def deviation(self, theta: np.ndarray) -> np.ndarray:
        """w - m, (P,); the weights themselves where the mean is zero."""
        return theta if self.mean is None else theta - self.mean

    def squared_norms(self, theta: np.ndarray) -> np.ndarray:
        """Σ_{i∈g} (w_i - m_i)² of every group, (G,)."""
        moved = self.deviation(theta)
        return np.bincount(self.groups, weights=moved * moved, minlength=self.n_groups)

    def energy(self, theta: np.ndarray) -> float:
        """½ Σ_g α_g Σ_{i∈g} (w_i - m_i)²."""
        return float(0.5 * self.precisions @ self.squared_norms(theta))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Λ (w - m), (P,)."""
        return self.precision * self.deviation(theta)

    def log_density(self, theta: np.ndarray) -> float:
        """ln p(w|α), its normaliser ½ Σ_g n_g ln(α_g / 2π) included."""
        normaliser = 0.5 * self.group_sizes @ np.log(self.precisions / (2.0 * np.pi))
        return float(normaliser - self.energy(theta))


def single(mlp: MLP, precision: float = 1.0) -> GaussianPrior:
    """One precision α for all weights and biases (PRML 5.112)."""
    return GaussianPrior(np.zeros(mlp.n_params, dtype=np.intp), np.array([precision]), ("all",))


def by_layer(mlp: MLP, precision: float = 1.0) -> GaussianPrior:
    """One precision a layer, its weights and biases together."""
    names = [f"layer_{index}" for index in range(mlp.n_layers)]
    return _from_layers(mlp, [(i, i) for i in range(mlp.n_layers)], precision, names)


def by_kind(mlp: MLP, precision: float = 1.0) -> GaussianPrior:
    """One precision for the weights and one for the biases of every layer (PRML 5.113)."""
    pairs = [(2 * index, 2 * index + 1) for index in range(mlp.n_layers)]
    names = [f"{kind}_{i}" for i in range(mlp.n_layers) for kind in ("weights", "biases")]
    return _from_layers(mlp, pairs, precision, names)


def by_unit(mlp: MLP, precision: float = 1.0) -> GaussianPrior:
    """One precision for each hidden unit's incoming weights and bias.

    Fan-in, as in priors that choose the number of units (Ghosh, Yao & Doshi-Velez 2019): with all
    that reaches a unit at zero, it is a constant, 0 for an odd activation, whatever its fan-out.
    Each hidden layer's weights fall into such groups without a rest, while groups of fan-out, as
    `ard` has for the inputs, leave the first layer and all biases out. Then one a remaining layer,
    the outputs', for weights and for biases.

    Parameters
    ----------
    mlp : MLP
        The network.
    precision : float, default=1.0
        The precision every group starts with.

    Returns
    -------
    GaussianPrior
        With a group a hidden unit, ``unit_0_3`` the fourth of the first layer, and two more.

    Examples
    --------
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import by_unit
    >>> by_unit(MLP((2, 2, 1))).names
    ('unit_0_0', 'unit_0_1', 'weights_1', 'biases_1')
    """
    names: list[str] = []
    labels: list[Labels] = []
    for layer, n_units in enumerate(mlp.layer_sizes[1:-1]):
        units = len(names) + np.arange(n_units)
        labels.append((units[:, None], units))
        names += [f"unit_{layer}_{unit}" for unit in range(n_units)]
    labels.append((len(names), len(names) + 1))
    names += [f"weights_{mlp.n_layers - 1}", f"biases_{mlp.n_layers - 1}"]
    return _from_layers(mlp, labels, precision, names)


def ard(
    mlp: MLP, precision: float = 1.0, input_names: Sequence[str] | None = None
) -> GaussianPrior:
    """Automatic relevance determination: one precision for each input's fan-out.

    MacKay (1994), Neal (1996), PRML 7.2.2: groups for each input's weights to the first layer,
    then one for the first layer's biases, and one a further layer for weights and for biases.

    Parameters
    ----------
    mlp : MLP
        The network.
    precision : float, default=1.0
        The precision every group starts with.
    input_names : sequence of str, optional
        Names of the D inputs; ``input_0`` … if not given.

    Returns
    -------
    GaussianPrior
        With D + 1 + 2 (L - 1) groups.
    """
    n_inputs = mlp.n_inputs
    names = list(input_names or [f"input_{index}" for index in range(n_inputs)])
    labels: list[Labels] = [(np.arange(n_inputs), n_inputs)]
    names.append("biases_0")
    for index in range(1, mlp.n_layers):
        labels.append((len(names), len(names) + 1))
        names += [f"weights_{index}", f"biases_{index}"]
    return _from_layers(mlp, labels, precision, names)


def _from_layers(
    mlp: MLP,
    labels: Sequence[Labels],
    precision: float,
    names: Sequence[str],
) -> GaussianPrior:
    """A prior from the labels of each layer's weights and biases."""
    layers = [
        (np.broadcast_to(weights, shape), np.full(shape[0], biases))
        for (weights, biases), shape in zip(labels, mlp.layer_shapes, strict=True)
    ]
    groups = mlp.pack(layers).astype(np.intp)
    return GaussianPrior(groups, np.full(len(names), float(precision)), tuple(names))


def _finite_mean(mean: np.ndarray, n_params: int) -> np.ndarray:
    """A prior's mean, (P,), checked."""
    checked = np.asarray(mean, dtype=np.float64)
    if checked.shape != (n_params,) or not np.all(np.isfinite(checked)):
        raise ValueError(
            f"GaussianPrior.mean must be one finite number for each of the {n_params} weights; "
            f"got shape {checked.shape} with {np.sum(~np.isfinite(checked))} not finite."
        )
    return checked
