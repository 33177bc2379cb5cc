"""The exact full-covariance Laplace approximation of a network of a million weights fits into
four gigabytes, takes seconds once the network is trained, and gives intervals that hold.

A 50-1000-1000-1 tanh network (P = 1 053 001) on 2 000 synthetic rows: trained to its MAP
solution, then the posterior in function space, log evidence, and predictive standard deviations of
500 new rows. The P x P precision would take 8.9 TB; the 2 000 x 2 000 form takes 32 MB.
"""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy.stats import binom

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, violated
from experiments.common.record import described, environment, markdown_table
from laplace_nn.curvature import GGN
from laplace_nn.displays.base import BLUE, GREY, VERMILLION
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

TIME = "ten minutes on one core, nearly all of it training"
NOISE_STD = 0.5
MEMORY_LIMIT = 4.0  # GB
LEVEL = 0.999  # of the binomial interval within which the share of new targets inside must lie

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """The network, its rows and its training."""

    layer_sizes: tuple[int, ...] = (50, 1000, 1000, 1)
    rows: int = 2000
    n_new: int = 500
    solver: str = "lbfgs"
    tol: float = 1e-6  # of max|gradient| / max(1, |E|)
    max_iter: int = 200
    seed: int = 0

    @classmethod
    def quick(cls) -> "Config":
        """Some thousand weights."""
        return cls(layer_sizes=(10, 60, 60, 1), rows=300, n_new=200)


@dataclass(frozen=True)
class Problem:
    """A regression problem with known noise, and rows that training does not see."""

    objective: NegativeLogPosterior
    new: RowBlocks

    @property
    def mlp(self) -> MLP:
        """The network."""
        return self.objective.mlp


def make_problem(config: Config) -> Problem:
    """Standard normal inputs; a smooth target that depends on five of them, plus noise."""
    mlp, rng = MLP(config.layer_sizes), np.random.default_rng(config.seed)
    n_rows, n_new = config.rows, config.n_new
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


def train(problem: Problem, config: Config) -> MAPResult:
    """Train to the MAP solution, a line an iteration."""
    theta = problem.mlp.initialise(np.random.default_rng(config.seed))
    began, count = time.time(), [0]

    def show(_: np.ndarray) -> None:
        count[0] += 1
        print(f"\r  iteration {count[0]}, {time.time() - began:.0f} s", end="", flush=True)

    settings = {"solver": config.solver, "tol": config.tol, "max_iter": config.max_iter}
    result = find_map(problem.objective, theta, callback=show, **settings)
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


def run(config: Config) -> dict[str, Any]:
    """All stages: figures, and seconds and memory by stage."""
    problem, stages = make_problem(config), []
    print(f"{'-'.join(map(str, problem.mlp.layer_sizes))}, P = {problem.mlp.n_params}")
    fitted = staged(stages, "training", partial(train, problem, config))
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
    return {
        "settings": asdict(config),
        "figures": figures,
        "stages": stages,
        "environment": environment(),
    }


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    figures, memory = results["figures"], results["stages"][-1]["peak_gb"]
    low, high = binom.interval(LEVEL, figures["n_new"], 0.95)
    held = figures["within_1.96_std"]
    return violated(
        {
            f"training is stationary, max|gradient| {figures['max_gradient']:.1e}": (
                figures["converged"]
            ),
            f"peak memory {memory:.2f} GB is below {MEMORY_LIMIT:g} GB": memory < MEMORY_LIMIT,
            f"{held:.1%} of {figures['n_new']} new targets lie within 1.96 standard deviations": (
                low <= held * figures["n_new"] <= high
            ),
            f"every std, {figures['smallest_std']:.4f} at least, is above the noise's": (
                figures["smallest_std"] > NOISE_STD
            ),
            f"γ = {figures['n_effective_params']:.1f} is below the number of rows": (
                0.0 < figures["n_effective_params"] < figures["n_rows"]
            ),
        }
    )


def found(results: dict[str, Any]) -> str:
    """Size, memory, seconds."""
    figures, stages = results["figures"], results["stages"]
    seconds = sum(stage["seconds"] for stage in stages[1:])
    n_params = f"{figures['n_params']:,}".replace(",", " ")
    return (
        f"{n_params} weights, {figures['n_rows']} rows: {stages[-1]['peak_gb']:.2f} GB, "
        f"training {stages[0]['seconds']:.0f} s, posterior, evidence and predictions "
        f"{seconds:.1f} s; {figures['within_1.96_std']:.1%} of new targets within 1.96 standard "
        "deviations"
    )


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    lines = [list(stage.values()) for stage in results["stages"]]
    parts = [
        "# million_weights",
        markdown_table(["stage", "seconds", "peak memory so far, GB"], lines),
        markdown_table(["figure", "value"], list(results["figures"].items())),
        described(results["environment"]),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """Seconds and memory of the stages, beside the memory that the P x P precision would take."""
    import matplotlib.pyplot as plt

    stages, n_params = results["stages"], results["figures"]["n_params"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 2.6), layout="constrained")
    names = [stage["stage"] for stage in stages]
    bars = left.barh(names, [stage["seconds"] for stage in stages], color=BLUE)
    left.bar_label(bars, fmt="{:,.3g}", padding=3, fontsize="small")
    left.set(xscale="log", xlabel="seconds")
    memory = {
        "peak of the run": stages[-1]["peak_gb"],
        "limit of the claim": MEMORY_LIMIT,
        "one P x P matrix": 8e-9 * n_params**2,
    }
    bars = right.barh(list(memory), list(memory.values()), color=[BLUE, GREY, VERMILLION])
    sizes = [f"{value:,.0f}" if value > 1.0 else f"{value:.2f}" for value in memory.values()]
    right.bar_label(bars, sizes, padding=3, fontsize="small")
    right.set(xscale="log", xlabel="memory [GB]")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.margins(x=0.3)
    return figure


if __name__ == "__main__":
    main(sys.modules[__name__])
