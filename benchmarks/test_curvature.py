"""What curvatures cost, as ratios to a yardstick measured in the same run.

Goals are in benchmarks/README.md. A ratio is printed and kept, never asserted: only memory, which
does not depend on what else the machine does, can fail.
"""

import importlib.util
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.likelihoods import Categorical, Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import SequentialPosterior
from laplace_nn.priors import single
from laplace_nn.rows import RowBlocks

N_ROWS = 4000
SMALLER = (18, 100, 1)  # P = 2001
ONE_OUTPUT = (24, 120, 1)  # P = 3121
TEN_CLASSES = (20, 100, 10)  # P = 3110
THREE_LAYERS = (16, 48, 40, 1)  # P = 2817
FOUR_LAYERS = (16, 36, 36, 32, 1)  # P = 3161
THREE_LAYERS_TEN = (16, 40, 36, 10)  # P = 2526


class LayerPairs(GGN):
    """Outer products by layer pairs, for one output too."""

    by_rows = False


@dataclass(frozen=True)
class Problem:
    """Random rows and weights of a network, with everything that is measured on them."""

    layer_sizes: tuple[int, ...]
    n_rows: int = N_ROWS
    memory_budget: int = 2**27

    @cached_property
    def mlp(self) -> MLP:
        """The network."""
        return MLP(self.layer_sizes)

    @cached_property
    def theta(self) -> np.ndarray:
        """Random weights, (P,)."""
        return self.mlp.initialise(np.random.default_rng(1))

    @property
    def likelihood(self) -> Gaussian | Categorical:
        """Classes where there are several outputs."""
        return Gaussian() if self.mlp.n_outputs == 1 else Categorical()

    @cached_property
    def rows(self) -> RowBlocks:
        """Standard normal inputs; normal targets, or random classes."""
        rng, n_outputs = np.random.default_rng(0), self.mlp.n_outputs
        X = rng.normal(size=(self.n_rows, self.mlp.n_inputs))
        if n_outputs == 1:
            return RowBlocks(X, rng.normal(size=(self.n_rows, 1)), None, self.memory_budget)
        labels = rng.integers(n_outputs, size=self.n_rows)
        return RowBlocks(X, np.eye(n_outputs)[labels], None, self.memory_budget)

    def make(self, curvature: type[GGN] | type[ExactHessian]) -> GGN | ExactHessian:
        """A curvature that has computed nothing yet."""
        return curvature(self.mlp, self.theta, self.likelihood, self.rows)

    def square(self) -> Callable[[], np.ndarray]:
        """F.T @ F of N rows that are in memory."""
        F = np.random.default_rng(2).normal(size=(self.n_rows, self.mlp.n_params))
        return lambda: F.T @ F

    def gradient(self) -> tuple[float, np.ndarray]:
        """One value and gradient of the objective."""
        prior = single(self.mlp)
        objective = NegativeLogPosterior(self.mlp, self.likelihood, prior, self.rows)
        return objective.value_and_gradient(self.theta)


@pytest.fixture
def compare(benchmark, record):
    """Time two functions by turns; the yardstick is each round's set-up."""

    def run(measured, yardstick, goal, text, rounds):
        yardstick_times = []

        def time_yardstick():
            start = perf_counter()
            yardstick()
            yardstick_times.append(perf_counter() - start)

        benchmark.pedantic(measured, setup=time_yardstick, rounds=rounds, warmup_rounds=1)
        times, base = np.array(benchmark.stats.stats.data), np.array(yardstick_times[1:])
        row = {
            "measured": text,
            "ratio": round(float(np.median(times) / np.median(base)), 3),
            "ratio_of_minima": round(float(times.min() / base.min()), 3),
            "goal": goal,
            "median_seconds": float(f"{np.median(times):.4g}"),
            "median_yardstick_seconds": float(f"{np.median(base):.4g}"),
            "rounds": rounds,
        }
        benchmark.extra_info.update(row)
        record.append(row)

    return run


@pytest.mark.parametrize(("layer_sizes", "goal"), [(ONE_OUTPUT, 1.2), (TEN_CLASSES, 1.5)])
def test_outer_products(compare, layer_sizes, goal):
    """Everything included, against one product of N rows."""
    problem = Problem(layer_sizes)
    text = f"outer products {layer_sizes} / F.T @ F"
    compare(lambda: problem.make(GGN).dense(), problem.square(), goal, text, 7)


@pytest.mark.parametrize(
    ("layer_sizes", "goal"),
    [
        (ONE_OUTPUT, 1.3),
        (TEN_CLASSES, 1.3),
        (THREE_LAYERS, 2.5),
        (THREE_LAYERS_TEN, 2.5),
        (FOUR_LAYERS, 2.5),
    ],
)
def test_exact_hessian(compare, layer_sizes, goal):
    """Against the outer products of the same network by layer pairs."""
    problem = Problem(layer_sizes)
    text = f"exact Hessian {layer_sizes} / outer products by layer pairs"
    compare(
        lambda: problem.make(ExactHessian).dense(),
        lambda: problem.make(LayerPairs).dense(),
        goal,
        text,
        7,
    )


@pytest.mark.parametrize("layer_sizes", [ONE_OUTPUT, TEN_CLASSES, THREE_LAYERS])
def test_hessian_vector_product(compare, layer_sizes):
    """With the forward pass kept, against one gradient."""
    problem = Problem(layer_sizes)
    exact, v = problem.make(ExactHessian), problem.theta[::-1].copy()
    text = f"Hessian-vector product {layer_sizes} / gradient"
    compare(lambda: exact.products(v), problem.gradient, 2.0, text, 61)


def test_diagonal(compare):
    """Diagonal of the outer products against one gradient."""
    problem = Problem(ONE_OUTPUT)
    text = f"diagonal {ONE_OUTPUT} / gradient"
    compare(lambda: problem.make(GGN).diagonal(), problem.gradient, 2.0, text, 61)


@pytest.mark.skipif(
    importlib.util.find_spec("laplace_nn.curvature.kfac") is None, reason="no Kronecker factors"
)
def test_kronecker_factors(compare):
    """Kronecker factors against one gradient."""
    from laplace_nn.curvature.kfac import KFAC

    problem = Problem(ONE_OUTPUT)
    text = f"Kronecker factors {ONE_OUTPUT} / gradient"
    compare(lambda: problem.make(KFAC).kronecker(), problem.gradient, 4.0, text, 61)


def test_sequential_inverse(compare):
    """All rows absorbed in blocks, against the inversion of their sum; F is in memory for both."""
    problem = Problem(SMALLER)
    F = problem.make(GGN).factor().dense()[:, 0, :]
    start = SequentialPosterior.from_prior(problem.theta, single(problem.mlp), 1.0)

    def invert_the_sum():
        A = F.T @ F
        A.flat[:: len(A) + 1] += 1.0
        return cho_solve(cho_factor(A), np.eye(len(A)))

    text = f"sequential inverse {SMALLER} / Cholesky inversion of the sum"
    compare(lambda: start.absorb_factor(F), invert_the_sum, 3.0, text, 5)


@pytest.mark.parametrize(
    ("curvature", "layer_sizes", "matrices"),
    [
        (GGN, (12, 60, 1), 1),
        (GGN, (12, 60, 5), 2),
        (LayerPairs, (12, 24, 20, 1), 2),
        (ExactHessian, (12, 60, 1), 2),
        (ExactHessian, (12, 60, 5), 2),
        (ExactHessian, (12, 24, 20, 1), 2),
        (ExactHessian, (12, 20, 20, 16, 1), 2),
    ],
)
def test_memory_of_a_dense_build(record, curvature, layer_sizes, matrices):
    """At most so many P x P arrays, plus the budget of a row block."""
    budget = 2**21
    problem = Problem(layer_sizes, n_rows=1000, memory_budget=budget)
    build = problem.make(curvature)
    matrix = 8 * problem.mlp.n_params**2
    tracemalloc.start()
    try:
        build.dense()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = f"peak memory {curvature.__name__} {layer_sizes} / {matrices} P x P and the row budget"
    ratio = round(peak / (matrices * matrix + budget), 3)
    record.append({"measured": text, "ratio": ratio, "ratio_of_minima": ratio, "goal": 1.0})
    assert ratio <= 1.0
