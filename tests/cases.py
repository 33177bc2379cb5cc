"""Small problems that every test runs over; a new one is a line in `CASES`."""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laplace_nn import priors
from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, Poisson
from laplace_nn.network import MLP, LayerwiseJacobian, jacobian
from laplace_nn.network import activations as library
from laplace_nn.rows import RowBlocks
from tests import reference

ACTIVATIONS = [getattr(library, name) for name in reference.ACTIVATIONS]
NOISE_PRECISION = 2.5
LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": Gaussian(NOISE_PRECISION),
    "bernoulli": Bernoulli(),
    "categorical": Categorical(),
    "poisson": Poisson(),
}


def interleaved(mlp: MLP) -> priors.GaussianPrior:
    """Three groups that follow neither layers nor units."""
    return priors.GaussianPrior(np.arange(mlp.n_params) % 3, np.ones(3))


def pruned(mlp: MLP) -> priors.GaussianPrior:
    """Weights and biases of every layer apart, the last biases held by a precision of 1e6."""
    prior = priors.by_kind(mlp)
    return prior.with_precisions(np.r_[prior.precisions[:-1], 1e6])


GROUPINGS = {
    "single": priors.single,
    "by_layer": priors.by_layer,
    "by_kind": priors.by_kind,
    "ard": priors.ard,
    "interleaved": interleaved,
    "pruned": pruned,
}


def draw_targets(likelihood: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Targets (N, K) as the likelihood takes them."""
    if likelihood == "gaussian":
        return rng.normal(size=shape)
    if likelihood == "bernoulli":
        return rng.integers(0, 2, size=shape).astype(float)
    if likelihood == "poisson":
        return rng.poisson(2.0, size=shape).astype(float)
    return np.eye(shape[1])[rng.integers(0, shape[1], size=shape[0])]


@dataclass(frozen=True)
class Case:
    """A network at some weights, its data and its prior."""

    name: str
    layer_sizes: tuple[int, ...]
    activation: str
    likelihood_name: str
    grouping: str
    n_rows: int = 9
    weighted: bool = False
    seed: int = 0

    @cached_property
    def rng_seed(self) -> int:
        return zlib.crc32(self.name.encode()) + 10 * self.seed

    @cached_property
    def mlp(self) -> MLP:
        return MLP(self.layer_sizes, getattr(library, self.activation))

    @cached_property
    def likelihood(self) -> Likelihood:
        return LIKELIHOODS[self.likelihood_name]

    @cached_property
    def theta(self) -> np.ndarray:
        return np.random.default_rng(self.rng_seed).normal(size=self.mlp.n_params)

    @cached_property
    def rows(self) -> RowBlocks:
        rng = np.random.default_rng(self.rng_seed + 1)
        X = rng.normal(size=(self.n_rows, self.layer_sizes[0]))
        y = draw_targets(self.likelihood_name, (self.n_rows, self.layer_sizes[-1]), rng)
        weights = rng.uniform(0.2, 3.0, size=self.n_rows)
        weights[-1] = 0.0
        return RowBlocks(X, y, weights if self.weighted else None)

    @cached_property
    def prior(self) -> priors.GaussianPrior:
        prior = GROUPINGS[self.grouping](self.mlp)
        spread = np.random.default_rng(self.rng_seed + 2).uniform(0.3, 4.0, prior.n_groups)
        return prior.with_precisions(prior.precisions * spread)

    @cached_property
    def new_inputs(self) -> np.ndarray:
        return np.random.default_rng(self.rng_seed + 3).normal(size=(5, self.layer_sizes[0]))

    @cached_property
    def new_jacobian(self) -> LayerwiseJacobian:
        return jacobian(self.mlp, self.theta, self.mlp.forward(self.theta, self.new_inputs))

    @cached_property
    def ggn(self) -> GGN:
        return GGN(self.mlp, self.theta, self.likelihood, self.rows)

    @cached_property
    def exact(self) -> ExactHessian:
        return ExactHessian(self.mlp, self.theta, self.likelihood, self.rows)

    @cached_property
    def problem(self) -> reference.Problem:
        """The same as plain numbers, for the twins."""
        weights = self.rows.sample_weight
        return reference.Problem(
            self.layer_sizes,
            self.activation,
            self.likelihood_name,
            self.rows.X,
            self.rows.y,
            np.ones(self.n_rows) if weights is None else weights,
        )

    @cached_property
    def ggn_twin(self) -> np.ndarray:
        return reference.outer_products(self.problem, self.theta)

    @cached_property
    def exact_twin(self) -> np.ndarray:
        return reference.hessian(self.problem, self.theta)

    def precision_twin(self, H: np.ndarray, scale: float | None = None) -> np.ndarray:
        """A = scale·H + Λ, (P, P), symmetrised; the likelihood's scale if none is given."""
        if scale is None:
            scale = NOISE_PRECISION if self.likelihood_name == "gaussian" else 1.0
        alphas = [self.prior.precisions[group] for group in self.prior.groups]
        return 0.5 * scale * (H + H.T) + np.diag(alphas)

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("linear", (3, 1), "tanh", "gaussian", "single"),
    Case("linear-two-outputs", (2, 2), "tanh", "gaussian", "by_kind", weighted=True),
    Case("linear-softmax", (3, 3), "tanh", "categorical", "by_kind"),
    Case("linear-logistic", (2, 1), "tanh", "bernoulli", "single", weighted=True),
    Case("tanh", (2, 3, 1), "tanh", "gaussian", "single"),
    Case("tanh-two-outputs", (2, 3, 2), "tanh", "gaussian", "pruned", weighted=True),
    Case("logistic", (2, 3, 1), "logistic", "bernoulli", "by_layer"),
    Case("softplus", (2, 3, 2), "softplus", "bernoulli", "ard", weighted=True),
    Case("relu", (2, 4, 3), "relu", "categorical", "by_kind", seed=1),
    Case("identity", (2, 3, 1), "identity", "gaussian", "by_layer"),
    Case("two-hidden", (2, 3, 4, 1), "tanh", "gaussian", "ard"),
    Case("two-hidden-softmax", (2, 4, 3, 3), "softplus", "categorical", "single", weighted=True),
    Case("two-hidden-pruned", (1, 3, 2, 1), "tanh", "bernoulli", "pruned"),
    Case("three-hidden", (2, 3, 2, 3, 2), "logistic", "gaussian", "interleaved", weighted=True),
    Case("three-hidden-relu", (2, 3, 3, 2, 1), "relu", "bernoulli", "interleaved", seed=1),
    Case("more-weights-than-rows", (2, 8, 1), "tanh", "gaussian", "ard", n_rows=4),
    Case("one-row", (2, 3, 3), "tanh", "categorical", "by_layer", n_rows=1),
    Case("one-unit-layers", (1, 1, 1, 1), "softplus", "gaussian", "by_kind"),
    Case("silu", (2, 3, 2), "silu", "gaussian", "by_kind", weighted=True),
    Case("gelu", (2, 3, 2, 1), "gelu", "bernoulli", "by_layer"),
    Case("linear-poisson", (2, 1), "tanh", "poisson", "single"),
    Case("poisson-two-outputs", (2, 3, 2), "tanh", "poisson", "ard", weighted=True),
]

#: Whose hidden units can be permuted and change sign.
SYMMETRIC_CASES = [c for c in CASES if c.activation == "tanh" and len(c.layer_sizes) > 2]


def permuted(mlp, theta, rng):
    """The hidden units of every layer in another order, each with a random sign."""
    layers = [(W.copy(), b.copy()) for W, b in mlp.unpack(theta)]
    for index, n_units in enumerate(mlp.layer_sizes[1:-1]):
        order = np.roll(np.arange(n_units), 1)
        signs = rng.choice([-1.0, 1.0], size=n_units)
        signs[0] = -1.0
        (W, b), (V, c) = layers[index], layers[index + 1]
        layers[index] = (signs[:, None] * W[order], signs * b[order])
        layers[index + 1] = (V[:, order] * signs, c)
    return mlp.pack(layers)
