"""Hamiltonian Monte Carlo of a network's weights: a long way to the posterior, but its own."""

from dataclasses import dataclass

import numpy as np

from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.training import find_map

TARGET = 0.8  # rate of accepted proposals that the step is fitted to
FIRST_STEP, GAIN = 0.01, 0.1  # of the step, and of its adaptation


@dataclass(frozen=True)
class Chain:
    """Draws of the weights (n, P), and the share of proposals that were accepted."""

    draws: np.ndarray
    accepted: float


def sample(E: NegativeLogPosterior, rng: np.random.Generator, n_draws: int, n_steps: int) -> Chain:
    """One chain, from a mode that a random start has led to.

    Leapfrog steps of p(θ, m) ∝ exp(-E(θ) - ½ Σ m² / α), the prior's precisions being the masses
    (Duane et al. 1987; Neal 2011, Handbook of Markov Chain Monte Carlo, chapter 5). A quarter as
    many draws again come first and are thrown away: in them the step is fitted.
    """
    theta = find_map(E, E.mlp.initialise(rng), warn=False).theta
    energy, gradient = E.value_and_gradient(theta)
    step, mass, kept, rates = FIRST_STEP, E.prior.precision, [], []
    n_warm = n_draws // 4
    for index in range(n_warm + n_draws):
        momentum = np.sqrt(mass) * rng.standard_normal(len(theta))
        before = energy + 0.5 * np.sum(momentum**2 / mass)
        h = step * rng.uniform(0.8, 1.2)  # no orbit is followed twice
        proposal = leap(E, theta, gradient, momentum, h, n_steps)
        after = proposal[1] + 0.5 * np.sum(proposal[3] ** 2 / mass)
        rate = float(np.exp(min(0.0, before - after))) if np.isfinite(after) else 0.0
        if rng.uniform() < rate:
            theta, energy, gradient = proposal[:3]
        if index < n_warm:
            step *= float(np.exp(GAIN * (rate - TARGET)))
        else:
            kept.append(theta)
            rates.append(rate)
    return Chain(np.array(kept), float(np.mean(rates)))


def leap(
    E: NegativeLogPosterior,
    theta: np.ndarray,
    gradient: np.ndarray,
    momentum: np.ndarray,
    h: float,
    n_steps: int,
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Weights, energy, gradient and momentum after so many leapfrog steps."""
    energy = np.inf
    momentum = momentum - 0.5 * h * gradient
    for index in range(n_steps):
        theta = theta + h * momentum / E.prior.precision
        energy, gradient = E.value_and_gradient(theta)
        momentum = momentum - (h if index + 1 < n_steps else 0.5 * h) * gradient
    return theta, energy, gradient, momentum
