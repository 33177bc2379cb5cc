"""The exact Hessian of PRML 5.4.5 agrees with differences of gradients to eight digits, and the
outer products' distance from it falls to a tenth or less on the way to the regression function.

Three questions. How far is each member of PRML 5.4 from the exact Hessian, at random weights and at
the MAP solution, and what does it cost? Does the outer products' error fall as the fit approaches
the regression function, as the chapter says? And what does each do to the evidence, to γ and to
the predictive variance, beside long sampling runs of the same posteriors?
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from experiments.common.harness import main, violated
from experiments.common.record import described, environment, markdown_table
from laplace_nn.curvature import (
    GGN,
    KFAC,
    BackpropDiagonal,
    EmpiricalFisher,
    ExactHessian,
    FiniteDifferences,
    PositivePart,
)
from laplace_nn.displays.base import BLUE, VERMILLION
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood, symmetry_term
from laplace_nn.likelihoods import Categorical, Gaussian
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    KroneckerPosterior,
    LowRankPosterior,
    SubsetPosterior,
)
from laplace_nn.priors import GaussianPrior, by_layer
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map

TIME = "half a minute"
REFERENCE = Path(__file__).resolve().parents[2] / "tests" / "data"
REFERENCES = ("demev1_fixed", "multiout_groups", "softmax_scalar")
LAYER_SIZES = (2, 8, 8, 1)
NOISE_STD = 0.1
EXACT, OUTER = "exact (5.92-5.95)", "outer products (5.84)"
LIMITS = {  # of the relative errors, at random weights and at the MAP
    "differences of gradients (5.91)": 1e-8,
    "differences of errors (5.90)": 1e-5,
    "diagonal of the exact Hessian": 1e-12,
}
FALL = 0.1  # of the outer products' error, from random weights to the MAP and along the run

MATRICES: dict[str, Callable[..., Any]] = {
    EXACT: ExactHessian,
    OUTER: GGN,
    "differences of gradients (5.91)": FiniteDifferences,
    "differences of errors (5.90)": partial(FiniteDifferences, of="errors"),
    "Kronecker factors": KFAC,
    "empirical Fisher": EmpiricalFisher,
}
DIAGONALS: dict[str, Callable[..., Any]] = {
    "diagonal of the exact Hessian": ExactHessian,
    "diagonal recursion (5.81)": BackpropDiagonal,
    "diagonal of the outer products": GGN,
}
POSTERIORS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "exact": (ExactHessian, DensePosterior.from_curvature),
    "exact, positive part": (
        lambda *at: PositivePart(ExactHessian(*at)),
        DensePosterior.from_curvature,
    ),
    "outer products": (GGN, DensePosterior.from_curvature),
    "outer products, rank 5": (GGN, partial(LowRankPosterior.from_curvature, rank=5)),
    "outer products, last layer": (GGN, SubsetPosterior.from_curvature),
    "outer products, diagonal": (GGN, DiagonalPosterior.from_curvature),
    "diagonal recursion": (BackpropDiagonal, DiagonalPosterior.from_curvature),
    "Kronecker factors": (KFAC, KroneckerPosterior.from_curvature),
    "empirical Fisher": (EmpiricalFisher, DensePosterior.from_curvature),
}


@dataclass(frozen=True)
class Config:
    """How many rows, and how many points of the training run are looked at."""

    n_rows: int = 500
    n_points: int = 150  # evenly on a log scale

    @classmethod
    def quick(cls) -> "Config":
        """Few of both."""
        return cls(n_rows=60, n_points=40)


@dataclass(frozen=True)
class Problem:
    """Rows whose regression function is a network of the same kind, and random weights."""

    objective: NegativeLogPosterior
    teacher: np.ndarray
    start: np.ndarray


def make_problem(n_rows: int, seed: int = 0) -> Problem:
    """Standard normal inputs, a random network's outputs, and noise of standard deviation 0.1."""
    mlp, rng = MLP(LAYER_SIZES), np.random.default_rng(seed)
    X, teacher = rng.standard_normal((n_rows, 2)), rng.standard_normal(mlp.n_params)
    y = mlp.forward(teacher, X).outputs + NOISE_STD * rng.standard_normal((n_rows, 1))
    likelihood = Gaussian(NOISE_STD**-2)
    objective = NegativeLogPosterior(mlp, likelihood, by_layer(mlp), RowBlocks(X, y))
    return Problem(objective, teacher, mlp.initialise(rng))


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call; one of more than a second is timed once."""
    times: list[float] = []
    while len(times) < repeats and sum(times) < 1.0:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def agreement(problem: Problem, theta: np.ndarray) -> list[dict[str, Any]]:
    """Relative Frobenius error and time of every member at some weights."""
    E, found = problem.objective, []
    at = (E.mlp, theta, E.likelihood, E.rows)
    exact = ExactHessian(*at).dense()
    for name, build in MATRICES.items():
        error = np.linalg.norm(build(*at).dense() - exact) / np.linalg.norm(exact)
        # A new curvature every time: it keeps its forward pass.
        found.append(
            {"member": name, "error": error, "seconds": seconds(lambda b=build: b(*at).dense())}
        )
    diagonal = np.diag(exact)
    for name, build in DIAGONALS.items():
        error = np.linalg.norm(build(*at).diagonal() - diagonal) / np.linalg.norm(diagonal)
        time_taken = seconds(lambda b=build: b(*at).diagonal())
        found.append({"member": name, "error": error, "seconds": time_taken})
    return found


def approach(problem: Problem, n_points: int) -> list[dict[str, float]]:
    """The outer products' error along a training run, beside the distance to the function."""
    E, path = problem.objective, [problem.start]
    find_map(E, problem.start, solver="lbfgs", callback=lambda theta: path.append(theta.copy()))
    function = E.mlp.forward(problem.teacher, E.rows.X).outputs
    found = []
    for index in np.unique(np.geomspace(1, len(path), n_points).astype(int)) - 1:
        theta = path[index]
        at = (E.mlp, theta, E.likelihood, E.rows)
        distance = np.sqrt(np.mean((E.mlp.forward(theta, E.rows.X).outputs - function) ** 2))
        exact = ExactHessian(*at).dense()
        error = np.linalg.norm(GGN(*at).dense() - exact) / np.linalg.norm(exact)
        figures = {"distance": float(distance), "error": float(error)}
        found.append({"iteration": int(index), **figures})
    return found


@dataclass(frozen=True)
class Reference:
    """A stored MAP solution, and a long sampling run of its posterior."""

    mlp: MLP
    theta: np.ndarray
    likelihood: Gaussian | Categorical
    prior: GaussianPrior
    rows: RowBlocks
    new: RowBlocks
    log_evidence: float
    variance: np.ndarray


def load_reference(name: str) -> Reference:
    """A reference network from the tests' data."""
    with np.load(REFERENCE / f"{name}.npz") as file:
        net = dict(file)
    with np.load(REFERENCE / f"smc_{name}.npz") as file:
        run = dict(file)
    mlp = MLP(tuple(int(net[key]) for key in ("nin", "nhidden", "nout")))
    linear = str(net["outfn"]) == "linear"
    groups = net.get("index", np.ones((mlp.n_params, 1))).argmax(axis=1)
    return Reference(
        mlp,
        net["w"],
        Gaussian(float(net["beta"])) if linear else Categorical(),
        GaussianPrior(groups, np.atleast_1d(net["alpha"])),
        RowBlocks(net["x"], net["t"]),
        RowBlocks(run["x_test"]),
        float(np.mean(run["logZ"])),
        run["act_var"],
    )


def consequences(reference: Reference) -> list[dict[str, Any]]:
    """Evidence with the symmetry term, γ, and the outputs' variance beside the sampled one."""
    net, found = reference, []
    fit = log_likelihood(net.mlp, net.theta, net.likelihood, net.rows)
    for name, (matrix, form) in POSTERIORS.items():
        H = matrix(net.mlp, net.theta, net.likelihood, net.rows)
        try:
            posterior = form(net.theta, H, net.prior, net.likelihood.scale)
            evidence = log_marginal_likelihood(posterior, fit).total + symmetry_term(net.mlp)
        except NotPositiveDefiniteError:
            found.append({"posterior": name, "refused": "not positive definite"})
            continue
        _, covariance = linearised(net.mlp, posterior, net.new)
        variance = np.einsum("nkk->nk", covariance)
        ratio = np.exp(np.median(np.log(variance / net.variance)))
        found.append(
            {
                "posterior": name,
                "log_evidence": evidence,
                "n_effective_params": float(posterior.n_effective_params().sum()),
                "variance_ratio": float(ratio),
            }
        )
    return found


def report(results: dict[str, Any]) -> str:
    """Tables in markdown."""
    places = list(results["agreement"])
    rows = [
        [
            first["member"],
            *(f"{results['agreement'][place][i]['error']:.1e}" for place in places),
            f"{1e3 * first['seconds']:.2f}",
        ]
        for i, first in enumerate(results["agreement"][places[0]])
    ]
    header = ["member", *(f"error at {place}" for place in places), "ms"]
    parts = ["# hessian_agreement", markdown_table(header, rows)]
    for name, found in results["consequences"].items():
        table = [
            [
                row["posterior"],
                *(
                    [row["refused"], "", ""]
                    if "refused" in row
                    else [
                        f"{row['log_evidence']:.2f}",
                        f"{row['n_effective_params']:.2f}",
                        f"{row['variance_ratio']:.2f}",
                    ]
                ),
            ]
            for row in found
        ]
        table.append(["sampling", f"{results['sampled_log_evidence'][name]:.2f}", "", "1"])
        header = ["posterior", "log evidence", "γ", "variance / sampled (median)"]
        parts.append(f"## {name}\n\n" + markdown_table(header, table))
    parts.append(described(results["environment"]))
    return "\n\n".join(parts) + "\n"


def draw(results: dict[str, Any]) -> Any:
    """Errors of the members, and the outer products' error along the training run."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
    names = [row["member"] for row in next(iter(results["agreement"].values()))][1:]
    for place, marker, color in zip(results["agreement"], "os", (BLUE, VERMILLION), strict=True):
        rows = {row["member"]: row["error"] for row in results["agreement"][place]}
        errors = [max(rows[name], 1e-17) for name in names]
        left.plot(errors, range(len(names)), marker, color=color, label=f"at {place}")
    left.set(xscale="log", xlabel="relative error (Frobenius norm)")
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.grid(axis="x", alpha=0.3)
    left.legend()
    distances = [row["distance"] for row in results["approach"]]
    errors = [row["error"] for row in results["approach"]]
    right.plot(distances, errors, "-", color="0.8", zorder=0)
    iterations = [row["iteration"] + 1 for row in results["approach"]]
    colours = right.scatter(distances, errors, c=iterations, s=16, cmap="viridis", norm="log")
    figure.colorbar(colours, ax=right, label="iteration")
    right.axvline(NOISE_STD, color="0.5", linestyle=":", label="noise")
    right.set(xscale="log", yscale="log", xlabel="distance to the regression function (RMS)")
    right.set_ylabel("relative error of the outer products")
    right.legend()
    return figure


def run(config: Config) -> dict[str, Any]:
    """All three answers."""
    problem = make_problem(config.n_rows)
    solution = find_map(problem.objective, problem.start)
    references = {name: load_reference(name) for name in REFERENCES}
    return {
        "layer_sizes": list(LAYER_SIZES),
        "n_rows": config.n_rows,
        "agreement": {
            "random weights": agreement(problem, problem.start),
            "the MAP": agreement(problem, solution.theta),
        },
        "approach": approach(problem, config.n_points),
        "consequences": {name: consequences(net) for name, net in references.items()},
        "sampled_log_evidence": {name: net.log_evidence for name, net in references.items()},
        "environment": environment(),
    }


def check(results: dict[str, Any]) -> list[str]:
    """What does not hold."""
    start, end = (
        {row["member"]: row["error"] for row in found} for found in results["agreement"].values()
    )
    parts = {
        f"{member}: error {max(start[member], end[member]):.1e} below {limit:g}": (
            max(start[member], end[member]) < limit
        )
        for member, limit in LIMITS.items()
    }
    run = results["approach"]
    for of, fall in {
        "from random weights to the MAP": end[OUTER] / start[OUTER],
        "along the training run": run[-1]["error"] / run[0]["error"],
    }.items():
        parts[f"the outer products' error falls {of} to {fall:.2g} of itself, {FALL:g} or less"] = (
            fall <= FALL
        )
    for name, rows in results["consequences"].items():
        off = distances(rows, results["sampled_log_evidence"][name])
        best = min(off["exact"], off["outer products"])
        sentence = (
            f"{name}: full covariance is nearer to the sampled log evidence ({best:.2f} nats) than "
            f"diagonal ({off['outer products, diagonal']:.2f})"
        )
        parts[sentence] = best < off["outer products, diagonal"]
    return violated(parts)


def distances(rows: list[dict[str, Any]], sampled: float) -> dict[str, float]:
    """How far every posterior's log evidence is from the sampled one."""
    return {row["posterior"]: abs(row["log_evidence"] - sampled) for row in rows if len(row) > 2}


def found(results: dict[str, Any]) -> str:
    """Errors, and distances to sampling."""
    start, end = (
        {row["member"]: row["error"] for row in found} for found in results["agreement"].values()
    )
    off = [
        distances(rows, results["sampled_log_evidence"][name])["outer products"]
        for name, rows in results["consequences"].items()
    ]
    gradients = max(at["differences of gradients (5.91)"] for at in (start, end))
    return (
        f"relative errors: differences of gradients {gradients:.0e}, outer products "
        f"{start[OUTER]:.2g} at random weights and {end[OUTER]:.1e} at the MAP; log evidence by "
        f"outer products: {min(off):.1f} to {max(off):.1f} nats from long sampling runs"
    )


if __name__ == "__main__":
    main(sys.modules[__name__])
