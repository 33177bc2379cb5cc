"""Kronecker factors against loops over rows, and where they are exact."""

from dataclasses import replace

import numpy as np
import pytest

from laplace_nn.curvature import GGN
from laplace_nn.curvature.base import MissingCapabilityError
from laplace_nn.curvature.kfac import KFAC, join_layers, split_layers
from laplace_nn.likelihoods import Gaussian
from laplace_nn.posterior import KernelPosterior
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES, Case
from tests.contracts import assert_close, check_curvature

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)
LINEAR_GAUSSIAN = [
    case
    for case in CASES
    if case.likelihood_name == "gaussian"
    and (len(case.layer_sizes) == 2 or case.activation == "identity")
]
ONE_ROW = [
    Case("one-row-softmax", (2, 3, 3), "tanh", "categorical", "single", n_rows=1),
    Case("one-row-deep", (2, 3, 2, 2), "softplus", "bernoulli", "single", n_rows=1),
    Case("one-row-flat", (3, 3), "tanh", "categorical", "single", n_rows=1),
]


def build(case, rows=None):
    return KFAC(case.mlp, case.theta, case.likelihood, rows or case.rows)


def layer_places(problem):
    """Where weight (j, i) of every layer stands in theta, (n_out, n_in + 1), the bias last."""
    start, places = 0, []
    for n_in, n_out in zip(problem.layer_sizes, problem.layer_sizes[1:], strict=False):
        place = np.empty((n_out, n_in + 1), dtype=int)
        for j in range(n_out):
            place[j, :n_in] = start + j * n_in + np.arange(n_in)
            place[j, n_in] = start + n_out * n_in + j
        start += n_out * (n_in + 1)
        places.append(place)
    return places


def layer_inputs(problem, theta, layer):
    """(z, 1) of every row, (N, n_in + 1): the outputs of a network that ends there."""
    z = problem.X
    if layer > 0:
        shorter = replace(problem, layer_sizes=problem.layer_sizes[: layer + 1])
        a = reference.outputs(shorter, theta[: shorter.n_params], problem.X)
        z = reference.ACTIVATIONS[problem.activation](a)
    return np.column_stack([z, np.ones(len(z))])


def kronecker_twin(problem, theta):
    """B_l ⊗ A_l on the diagonal of a (P, P) matrix, a row at a time; S_l is ∂outputs/∂b_l."""
    H = np.zeros((problem.n_params, problem.n_params))
    J = reference.jacobian(problem, theta, problem.X)
    f = reference.outputs(problem, theta, problem.X)
    for layer, place in enumerate(layer_places(problem)):
        z = layer_inputs(problem, theta, layer)
        B, A = 0.0, 0.0
        for n, weight in enumerate(problem.weights):
            S = J[n][:, place[:, -1]]
            M = reference.output_hessian(problem.likelihood, f[n])
            B = B + weight * S.T @ M @ S
            A = A + weight * np.outer(z[n], z[n])
        order = place.ravel()
        H[np.ix_(order, order)] = np.kron(B / np.sum(problem.weights), A)
    return H


def layer_blocks(case, H):
    """The layers' own blocks of a (P, P) matrix, the rest zero."""
    blocks = np.zeros_like(H)
    for place in layer_places(case.problem):
        inside = np.ix_(place.ravel(), place.ravel())
        blocks[inside] = H[inside]
    return blocks


@EACH_CASE
def test_contract(case):
    check_curvature(build(case), kronecker_twin(case.problem, case.theta))


@EACH_CASE
def test_factors_are_small_and_their_product_is_the_matrix(case):
    H = np.zeros((case.mlp.n_params, case.mlp.n_params))
    parts = zip(build(case).kronecker(), layer_places(case.problem), strict=True)
    for (B, A), place in parts:
        assert B.shape[0] == place.shape[0] and A.shape[0] == place.shape[1]
        H[np.ix_(place.ravel(), place.ravel())] = np.kron(B, A)
    assert_close(build(case).dense(), H, rtol=1e-14)


@pytest.mark.parametrize("case", ONE_ROW, ids=str)
def test_one_row_gives_the_blocks_of_the_outer_products(case):
    assert_close(build(case).dense(), layer_blocks(case, case.ggn_twin))


@pytest.mark.parametrize("case", LINEAR_GAUSSIAN, ids=str)
def test_a_linear_network_with_gaussian_noise_gives_the_blocks_of_the_outer_products(case):
    """C^{ll} is the same for every row; sample weights change nothing."""
    assert_close(build(case).dense(), layer_blocks(case, case.ggn_twin))


@pytest.mark.parametrize("case", [*LINEAR_GAUSSIAN, *ONE_ROW], ids=str)
def test_one_layer_gives_the_whole_matrix(case):
    equal = np.allclose(build(case).dense(), case.ggn_twin, rtol=1e-8, atol=1e-8)
    assert equal == (len(case.layer_sizes) == 2)


@pytest.mark.parametrize("name", ["tanh-two-outputs", "two-hidden-softmax", "linear-softmax"])
def test_elsewhere_the_blocks_differ(name):
    case = next(case for case in CASES if case.name == name)
    difference = build(case).dense() - layer_blocks(case, case.ggn_twin)
    assert np.abs(difference).max() > 1e-2 * np.abs(case.ggn_twin).max()


@EACH_CASE
def test_it_is_never_negative(case):
    eigenvalues = np.linalg.eigvalsh(build(case).dense())
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


@pytest.mark.parametrize("case", [CASES[5], CASES[8]], ids=str)
def test_weight_two_is_the_row_twice(case):
    X, y = case.rows.X, case.rows.y
    times = np.arange(len(X)) % 3
    repeated = RowBlocks(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0))
    weighted = RowBlocks(X, y, times.astype(float))
    assert_close(build(case, weighted).dense(), build(case, repeated).dense(), rtol=1e-13)


def test_noise_precision_is_left_out():
    case = LINEAR_GAUSSIAN[0]
    quiet, loud = (KFAC(case.mlp, case.theta, Gaussian(beta), case.rows) for beta in (1.0, 1e4))
    np.testing.assert_array_equal(quiet.dense(), loud.dense())


def test_its_factors_can_be_changed_without_changing_it():
    curvature = build(CASES[5])
    before = curvature.dense()
    for B, A in curvature.kronecker():
        B[:], A[:] = 0.0, 0.0
    np.testing.assert_array_equal(curvature.dense(), before)


@EACH_CASE
def test_layers_are_split_as_they_were_joined(case):
    v = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    matrices = join_layers(case.mlp, v)
    np.testing.assert_array_equal(split_layers(case.mlp, matrices), v)
    for place, matrix in zip(layer_places(case.problem), matrices, strict=True):
        np.testing.assert_array_equal(matrix, v[..., place])


def test_it_has_no_factor_over_rows_and_others_no_kronecker_factors():
    case = CASES[4]
    with pytest.raises(MissingCapabilityError, match="KFAC does not offer"):
        KernelPosterior.from_curvature(case.theta, build(case), case.prior, 1.0)
    assert "kronecker" not in GGN.capabilities
