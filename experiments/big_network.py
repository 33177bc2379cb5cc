"""The exact full-covariance Laplace approximation of a network with a million weights.

A 50-1000-1000-1 tanh network (P = 1 053 001) on 2 000 synthetic rows: trained to its MAP
solution, then posterior in function space, log evidence, and predictive standard deviations of
500 new rows. The P x P precision would take 8.9 TB; the 2 000 x 2 000 form takes 32 MB.
"""

import os

# One BLAS thread on purpose, before NumPy is loaded: L-BFGS makes many small BLAS calls, where
# threads that wait for each other cost more than they bring on a busy machine. Set these
# variables yourself for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from record import RESULTS, described, environment, markdown_table, write_json, write_text

from laplace_nn.curvature import GGN
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import KernelPosterior
from laplace_nn.predictive import gaussian_log_density
from laplace_nn.priors import GaussianPrior, by_layer
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks
from laplace_nn.training import MAPResult, find_map

LAYER_SIZES = (50, 1000, 1000, 1)
N_ROWS, N_NEW = 2000, 500
NOISE_STD = 0.5
MEMORY_LIMIT = 4.0  # GB

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A regression problem with known noise, and rows that training does not see."""

    objective: NegativeLogPosterior
    new: RowBlocks

    @property
    def mlp(self) -> MLP:
        """The network."""
        return self.objective.mlp


def make_problem(
    layer_sizes: tuple[int, ...] = LAYER_SIZES,
    n_rows: int = N_ROWS,
    n_new: int = N_NEW,
    seed: int = 0,
) -> Problem:
    """Standard normal inputs; a smooth target that depends on five of them, plus noise."""
    mlp, rng = MLP(layer_sizes), np.random.default_rng(seed)
    X = rng.standard_normal((n_rows + n_new, mlp.n_inputs))
    y = target(X) + NOISE_STD * rng.standard_normal(len(X))
    train, new = RowBlocks(X[:n_rows], y[:n_rows, None]), RowBlocks(X[n_rows:], y[n_rows:, None])
    likelihood = Gaussian(noise_precision=NOISE_STD**-2)
    return Problem(NegativeLogPosterior(mlp, likelihood, fan_in_prior(mlp), train), new)


def target(X: np.ndarray) -> np.ndarray:
    """1.5 sin(u·x) with u the unit vector of the first five inputs' diagonal; variance 0.97."""
    return 1.5 * np.sin(X[:, :5].sum(axis=1) / np.sqrt(5.0))


def fan_in_prior(mlp: MLP) -> GaussianPrior:
    """One precision a layer, its fan-in: pre-activations keep their size whatever the width."""
    return by_layer(mlp).with_precisions(np.array([n_in + 1.0 for _, n_in in mlp.layer_shapes]))


def train(problem: Problem, solver: str, tol: float, max_iter: int, seed: int) -> MAPResult:
    """Train to the MAP solution, a line an iteration."""
    theta, began, count = problem.mlp.initialise(np.random.default_rng(seed)), time.time(), [0]

    def show(_: np.ndarray) -> None:
        count[0] += 1
        print(f"\r  iteration {count[0]}, {time.time() - began:.0f} s", end="", flush=True)

    result = find_map(
        problem.objective, theta, solver=solver, tol=tol, max_iter=max_iter, callback=show
    )
    print()
    return result


def fit_posterior(problem: Problem, theta: np.ndarray) -> KernelPosterior:
    """Gram matrices of the outer products, and the factor of I + β F Λ⁻¹ Fᵀ."""
    objective = problem.objective
    curvature = GGN(problem.mlp, theta, objective.likelihood, objective.rows)
    posterior = KernelPosterior.from_curvature(
        theta, curvature, objective.prior, objective.likelihood.scale
    )
    assert np.isfinite(posterior.logdet_precision)  # the Cholesky factorisation happens here
    return posterior


def evidence(problem: Problem, posterior: KernelPosterior) -> dict[str, float]:
    """Log evidence and the number of weights that the data determine."""
    objective = problem.objective
    fit = log_likelihood(problem.mlp, posterior.theta_map, objective.likelihood, objective.rows)
    return {
        "log_evidence": log_marginal_likelihood(posterior, fit).total,
        "n_effective_params": float(posterior.n_effective_params().sum()),
    }


def predict(problem: Problem, posterior: KernelPosterior) -> dict[str, float]:
    """Predictive standard deviations of the new rows, and how they stand to the targets."""
    mean, covariance = linearised(problem.mlp, posterior, problem.new)
    y, covariance = problem.new.targets, covariance + NOISE_STD**2  # (n, 1), (n, 1, 1)
    std, error = np.sqrt(covariance[:, 0, 0]), (y - mean)[:, 0]
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "log_predictive_density": float(gaussian_log_density(y, mean, covariance).mean()),
        "smallest_std": float(std.min()),
        "median_std": float(np.median(std)),
        "largest_std": float(std.max()),
        "within_1.96_std": float(np.mean(np.abs(error) < 1.96 * std)),
    }


def peak_memory() -> float:
    """Largest resident set of this process so far, in GB (1e9 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def staged(stages: list[dict[str, Any]], name: str, step: Callable[[], T]) -> T:
    """Run a step; note and print its seconds and the memory high-water mark after it."""
    began = time.perf_counter()
    result = step()
    seconds, memory = time.perf_counter() - began, peak_memory()
    stages.append({"stage": name, "seconds": round(seconds, 2), "peak_gb": round(memory, 3)})
    print(f"{name:<34} {seconds:8.1f} s   peak memory {memory:.2f} GB", flush=True)
    return result


def run(
    problem: Problem, solver: str, tol: float, max_iter: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All stages; the figures, and seconds and memory by stage."""
    stages: list[dict[str, Any]] = []
    fitted = staged(stages, "training", partial(train, problem, solver, tol, max_iter, seed))
    posterior = staged(stages, "posterior", partial(fit_posterior, problem, fitted.theta))
    figures: dict[str, Any] = {
        "n_params": problem.mlp.n_params,
        "n_rows": problem.objective.rows.n_rows,
        "n_new": problem.new.n_rows,
        "converged": fitted.converged,
        "n_iter": fitted.n_iter,
        "energy": fitted.energy,
        "max_gradient": fitted.max_gradient,
    }
    figures |= staged(stages, "evidence", partial(evidence, problem, posterior))
    figures |= staged(stages, "predictions", partial(predict, problem, posterior))
    return figures, stages


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=N_ROWS)
    parser.add_argument("--solver", default="lbfgs", help="auto, lm, lbfgs or cg")
    parser.add_argument("--tol", type=float, default=1e-6, help="of max|gradient| / max(1, |E|)")
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run, print, store, and hold the memory limit."""
    options = parse(arguments)
    problem = make_problem(n_rows=options.rows, seed=options.seed)
    print(f"{'-'.join(map(str, problem.mlp.layer_sizes))}, P = {problem.mlp.n_params}")
    figures, stages = run(problem, options.solver, options.tol, options.max_iter, options.seed)
    for name, value in figures.items():
        print(f"{name:<24} {value:.6g}" if isinstance(value, float) else f"{name:<24} {value}")
    store(options, figures, stages)
    assert figures["converged"], "Training did not reach its tolerance: raise --max-iter."
    assert peak_memory() < MEMORY_LIMIT, f"{peak_memory():.2f} GB is not under {MEMORY_LIMIT} GB."


def store(
    options: argparse.Namespace, figures: dict[str, Any], stages: list[dict[str, Any]]
) -> None:
    """Write big_network.json and big_network.md."""
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    where = environment()
    content = {"settings": settings, "figures": figures, "stages": stages, "environment": where}
    write_json(options.out / "big_network.json", content)
    text = markdown_table(
        ["stage", "seconds", "peak memory so far, GB"], [list(stage.values()) for stage in stages]
    )
    text += "\n" + markdown_table(["figure", "value"], list(figures.items()))
    write_text(options.out / "big_network.md", f"{text}\n{described(where)}\n")


if __name__ == "__main__":
    main()
