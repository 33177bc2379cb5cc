"""The residual term: what the exact Hessian has over the outer products."""

import numpy as np
import pytest

from laplace_nn.curvature import GGN, ExactHessian, ResidualTerm
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.rows import RowBlocks
from tests.cases import CASES
from tests.contracts import assert_close, check_curvature

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def residual(case):
    return ResidualTerm(case.mlp, case.theta, case.likelihood, case.rows)


#: The term of a relu or identity network has a diagonal of zeros: no relative error of that.
CURVED = [c for c in CASES if len(c.layer_sizes) > 2 and c.activation not in ("relu", "identity")]


@pytest.mark.parametrize("case", CURVED, ids=str)
def test_contract(case):
    check_curvature(residual(case), case.exact_twin - case.ggn_twin)


@EACH_CASE
def test_the_exact_hessian_is_the_outer_products_and_the_residual_term(case):
    whole = case.ggn.dense() + residual(case).dense()
    assert_close(whole, case.exact.dense(), rtol=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if len(c.layer_sizes) == 2], ids=str)
def test_without_hidden_layers_there_is_none(case):
    assert np.abs(residual(case).dense()).max() == 0.0


def test_it_falls_like_one_over_the_root_of_the_rows_where_the_outputs_are_the_regression():
    """At the true function residual and ∇∇a are uncorrelated: the term is noise (PRML 5.4.2)."""
    mlp, rng = MLP((1, 3, 1)), np.random.default_rng(0)
    theta = rng.normal(size=mlp.n_params)

    def share(n_rows, shift):
        X = rng.normal(size=(n_rows, 1))
        y = mlp.forward(theta, X).outputs + 0.5 * rng.normal(size=(n_rows, 1)) + shift
        parts = [c(mlp, theta, Gaussian(), RowBlocks(X, y)).dense() for c in (ResidualTerm, GGN)]
        return np.linalg.norm(parts[0]) / np.linalg.norm(parts[1])

    few, many = np.mean([share(100, 0.0) for _ in range(20)]), share(40_000, 0.0)
    assert many < 0.2 * few
    # A wrong function leaves a term that does not average out.
    assert share(40_000, 1.0) > 10.0 * many


def test_exact_and_residual_share_the_products():
    case = CASES[5]
    v = np.random.default_rng(0).normal(size=case.mlp.n_params)
    exact = ExactHessian(case.mlp, case.theta, case.likelihood, case.rows) @ v
    assert_close(residual(case) @ v + case.ggn @ v, exact, rtol=1e-12)
