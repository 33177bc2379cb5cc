"""Two clusters of rows along one input, and what each posterior knows of the gap between them.

Drawn after Snelson and Ghahramani's set (whose points state no licence): a wave over [0, 6], noise
of a fifth of its range, no rows in the middle third.
"""

import time
from typing import Any

import numpy as np

from experiments.common.record import noted_warnings, rounded
from experiments.in_between import hamiltonian
from laplace_nn import LaplaceMLPRegressor
from laplace_nn.curvature import GGN
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, DiagonalPosterior, SubsetPosterior
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks

N_ROWS, NOISE_STD = 150, 0.3
GAP = (2.0, 4.0)
GRID = np.linspace(-1.0, 7.0, 97)
MIDDLE = (GRID > 2.5) & (GRID < 3.5)
INSIDE = ((GRID >= 0.0) & (GRID <= 1.75)) | ((GRID >= 4.25) & (GRID <= 6.0))
POSTERIORS = {
    "full covariance": DensePosterior.from_curvature,
    "diagonal": DiagonalPosterior.from_curvature,
    "last layer": SubsetPosterior.from_curvature,
}
SAMPLED = "sampling"


def function(x: np.ndarray) -> np.ndarray:
    """1.5 sin 1.2x + 0.3 cos 3x."""
    return 1.5 * np.sin(1.2 * x) + 0.3 * np.cos(3.0 * x)


def draw_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (N,) outside the gap, and targets (N,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 4.0, N_ROWS)
    x = np.where(x < GAP[0], x, x + GAP[1] - GAP[0])
    return x, function(x) + NOISE_STD * rng.standard_normal(N_ROWS)


def compare(seed: int, n_hidden: int, n_chains: int, n_draws: int, n_steps: int) -> dict[str, Any]:
    """The network's standard deviation along the input, by every posterior of one mode.

    All of them, and the chains, under the precisions and noise that the evidence has found.
    """
    x, y = draw_rows(seed)
    with noted_warnings() as sentences:
        settings = {"prior": "layer", "standardize": True, "committee": 1}
        model = LaplaceMLPRegressor((n_hidden,), random_state=seed, **settings)
        model.fit(x[:, None], y)
    rows = RowBlocks(inner(model, x), (y[:, None] - model.target_mean_) / model.target_scale_)
    E = NegativeLogPosterior(model.mlp_, model.likelihood_, model.prior_, rows)
    scale, std = float(model.target_scale_[0]), {}
    curvature = GGN(model.mlp_, model.theta_, model.likelihood_, rows)
    for name, form in POSTERIORS.items():
        posterior = form(model.theta_, curvature, model.prior_, model.likelihood_.scale)
        _, covariance = linearised(model.mlp_, posterior, RowBlocks(inner(model, GRID)))
        std[name] = scale * np.sqrt(covariance[:, 0, 0])
    began = time.perf_counter()
    outputs, accepted = chains(model, E, n_chains, n_draws, n_steps)
    seconds = time.perf_counter() - began
    print(f"{n_chains} chains, accepted {accepted}, {seconds:.0f} s", flush=True)
    std[SAMPLED] = scale * outputs.reshape(-1, len(GRID)).std(axis=0)
    between = scale * outputs.std(axis=1)[:, MIDDLE].mean(axis=1)
    return {
        "X": rounded(x),
        "y": rounded(y),
        "mean": rounded(model.predict(GRID[:, None])),
        "noise_std": float(model.noise_precision_**-0.5),
        "prior_precision": model.prior_precision_.tolist(),
        "std": {name: rounded(values) for name, values in std.items()},
        "chains": {"accepted": accepted, "std_in_the_middle": rounded(between)},
        "seconds": round(seconds, 1),
        "warnings": sentences,
    }


def inner(model: LaplaceMLPRegressor, x: np.ndarray) -> np.ndarray:
    """Standardised inputs (n, 1)."""
    return (x[:, None] - model.input_mean_) / model.input_scale_


def chains(
    model: LaplaceMLPRegressor,
    E: NegativeLogPosterior,
    n_chains: int,
    n_draws: int,
    n_steps: int,
) -> tuple[np.ndarray, list[float]]:
    """Outputs of every draw, (chains, draws, points), and rates of acceptance."""
    outputs, accepted = [], []
    for seed in range(n_chains):
        chain = hamiltonian.sample(E, np.random.default_rng(seed), n_draws, n_steps)
        of_draws = [model.mlp_.forward(theta, inner(model, GRID)) for theta in chain.draws]
        outputs.append([tape.outputs[:, 0] for tape in of_draws])
        accepted.append(round(chain.accepted, 2))
    return np.array(outputs), accepted


def in_the_middle(found: dict[str, Any], name: str) -> float:
    """Mean standard deviation in the middle half of the gap."""
    return float(np.array(found["std"][name])[MIDDLE].mean())


def widening(found: dict[str, Any], name: str) -> float:
    """That, as a multiple of the median one where the rows are."""
    return in_the_middle(found, name) / float(np.median(np.array(found["std"][name])[INSIDE]))
