"""Draws of a mode's Gaussian, and what one and the same model says of the rows at each of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from laplace_nn.network import MLP, jacobian
from laplace_nn.posterior import (
    GaussianPosterior,
    SubsetPosterior,
)
from laplace_nn.rows import RowBlocks

__all__ = ["MODELS", "Draws", "free_part", "simulate"]

BATCH = 20  # draws at a time, so that what they pass through stays small

Outputs = Callable[[MLP, np.ndarray, np.ndarray, RowBlocks], np.ndarray]


def _linearised(mlp: MLP, at: np.ndarray, theta: np.ndarray, block: RowBlocks) -> np.ndarray:
    """f(x, w*) + J(x) (w - w*) (PRML 5.171), (n, S, K)."""
    tape = mlp.forward(at, block.X)
    moved = jacobian(mlp, at, tape).dense() @ (theta - at).T  # (n, K, S)
    return np.moveaxis(tape.outputs[:, :, None] + moved, 2, 1)


def _network(mlp: MLP, at: np.ndarray, theta: np.ndarray, block: RowBlocks) -> np.ndarray:
    """f(x, w), (n, S, K)."""
    return np.stack([mlp.forward(w, block.X).outputs for w in theta], axis=1)


#: The model by name: how weights (S, P) become outputs.
MODELS: dict[str, Outputs] = {"linearised": _linearised, "network": _network}


@dataclass(frozen=True)
class Draws:
    """Weights drawn from N(w*, A⁻¹), and a model's densities there.

    Parameters
    ----------
    theta : ndarray of shape (S, P)
        The draws.
    outputs : ndarray of shape (S, N, K)
        Of the model, inside.
    log_likelihood : ndarray of shape (S, N)
        w_n ln p(t_n|w), with the row's sample weight w_n.
    log_posterior : ndarray of shape (S,)
        ln p(D|w) p(w), of the weights that the Gaussian is over.
    log_gaussian : ndarray of shape (S,)
        ln N(w | w*, A⁻¹).

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.inference_data.draws import Draws
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rows = MLP((1, 1)), RowBlocks(np.zeros((1, 1)), np.array([[1.0]]))
    >>> theta = np.array([0.0, 0.5])
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> posterior = DensePosterior.from_curvature(theta, H, single(mlp), 1.0)
    >>> rng = np.random.default_rng(0)
    >>> found = Draws.of("linearised", mlp, posterior, Gaussian(), rows, 9, rng)
    >>> ratio = found.log_posterior - found.log_gaussian  # ln N(1 | 0, 2), whatever the draw
    >>> ratio.round(6)[:2].tolist()
    [-1.515512, -1.515512]
    """

    theta: np.ndarray
    outputs: np.ndarray
    log_likelihood: np.ndarray
    log_posterior: np.ndarray
    log_gaussian: np.ndarray

    @classmethod
    def of(
        cls,
        model: str,
        mlp: MLP,
        posterior: GaussianPosterior,
        likelihood: Likelihood,
        rows: RowBlocks,
        n_samples: int,
        rng: np.random.Generator,
        log_jacobian: float = 0.0,
    ) -> "Draws":
        """Draw weights, and evaluate a model of `MODELS` at them.

        Parameters
        ----------
        model : str
            A key of `MODELS`.
        mlp, posterior, likelihood, rows
            The network, its posterior and the training rows.
        n_samples : int
            Number of draws, S.
        rng : numpy.random.Generator
            Where they come from.
        log_jacobian : float, default=0.0
            ln |d inner targets / d targets| of a row, for densities in other units.

        Returns
        -------
        Draws
            With densities in nats.
        """
        theta, at = sample(posterior, n_samples, rng), posterior.theta_map
        row_bytes = 8 * mlp.n_outputs * (mlp.n_params + 2 * n_samples)
        by_rows = rows.concatenate(lambda block: MODELS[model](mlp, at, theta, block), row_bytes)
        outputs = np.moveaxis(by_rows, 0, 1)
        nll = np.array([likelihood.nll(rows.targets, f) for f in outputs])  # (S, N)
        normaliser = likelihood.log_normaliser(1.0, mlp.n_outputs) + log_jacobian
        fit = rows.weigh((normaliser - likelihood.scale * nll).T).T
        inner, free = free_part(posterior, theta)
        prior = np.array([inner.prior.log_density(w) for w in free])
        batches = (theta[start : start + BATCH] for start in range(0, n_samples, BATCH))
        log_gaussian = np.concatenate([posterior.log_density(some) for some in batches])
        return cls(theta, outputs, fit, fit.sum(axis=1) + prior, log_gaussian)


def sample(posterior: GaussianPosterior, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of the weights, a few at a time, (S, P)."""
    sizes = (min(BATCH, n_samples - start) for start in range(0, n_samples, BATCH))
    return np.concatenate([posterior.sample(size, rng) for size in sizes])


def free_part(
    posterior: GaussianPosterior, theta: np.ndarray
) -> tuple[GaussianPosterior, np.ndarray]:
    """The Gaussian over its free weights alone, and those of theta (S, P), (S, Q)."""
    if isinstance(posterior, SubsetPosterior):
        return posterior.inner, theta[:, posterior.selected]
    return posterior, theta


def simulate(likelihood: Likelihood, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Targets drawn under every draw's outputs.

    Parameters
    ----------
    likelihood : Gaussian, Bernoulli or Categorical
        With its noise precision, if it has one.
    outputs : ndarray of shape (S, N, K)
        Of the model.
    rng : numpy.random.Generator
        Where the noise comes from.

    Returns
    -------
    ndarray of shape (S, N, K), or of int, shape (S, N)
        Inner targets under Gaussian noise; else the number of the class.

    Raises
    ------
    TypeError
        If the likelihood is another.
    """
    if isinstance(likelihood, Gaussian):
        return outputs + rng.standard_normal(outputs.shape) / np.sqrt(likelihood.scale)
    if isinstance(likelihood, Bernoulli):
        return (rng.random(outputs.shape[:2]) < expit(outputs[..., 0])).astype(np.int64)
    if isinstance(likelihood, Categorical):
        # argmax of logits with Gumbel noise has the softmax's probabilities.
        return np.argmax(outputs + rng.gumbel(size=outputs.shape), axis=-1)
    raise TypeError(
        "simulate draws under Gaussian, Bernoulli and Categorical likelihoods; got "
        f"{type(likelihood).__name__}."
    )
