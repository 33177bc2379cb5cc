"""The layerwise Jacobian and its Gram matrices against dense ones."""

import numpy as np
import pytest

from laplace_nn.network import MLP, jacobian
from laplace_nn.network.jacobian import rectangles
from tests import reference
from tests.cases import CASES, GROUPINGS
from tests.contracts import assert_close

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


@EACH_CASE
def test_dense_equals_complex_steps(case):
    J = case.new_jacobian
    twin = reference.jacobian(case.problem, case.theta, case.new_inputs)
    assert J.shape == twin.shape
    assert_close(J.dense(), twin, rtol=1e-12)


@EACH_CASE
def test_products_equal_dense_ones(case):
    J, dense = case.new_jacobian, case.new_jacobian.dense()
    rng = np.random.default_rng(0)
    v, u = rng.normal(size=(2, 3, J.shape[2])), rng.normal(size=(2, 3, *J.shape[:2]))
    assert_close(J.matvec(v), np.einsum("nkp,abp->abnk", dense, v), rtol=1e-12)
    assert_close(J.rmatvec(u), np.einsum("nkp,abnk->abp", dense, u), rtol=1e-12)
    assert_close(J.matvec(v[0, 0]), dense @ v[0, 0], rtol=1e-12)
    assert_close(J.rmatvec(u[0, 0]), np.einsum("nkp,nk->p", dense, u[0, 0]), rtol=1e-12)


@EACH_CASE
def test_functionals_multiply_the_outputs(case):
    tape = case.mlp.forward(case.theta, case.new_inputs)
    functionals = np.random.default_rng(0).normal(size=(5, 4, case.mlp.n_outputs))
    mixed = jacobian(case.mlp, case.theta, tape, functionals)
    assert_close(mixed.dense(), functionals @ case.new_jacobian.dense(), rtol=1e-12)


@EACH_CASE
def test_slices_are_the_rows(case):
    part = case.new_jacobian[1:3]
    np.testing.assert_array_equal(part.dense(), case.new_jacobian.dense()[1:3])


@EACH_CASE
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_gram_matrices_equal_dense_ones(case, grouping):
    prior = GROUPINGS[grouping](case.mlp)
    tape = case.mlp.forward(case.theta, case.rows.X)
    J, other = jacobian(case.mlp, case.theta, tape), case.new_jacobian
    flat, other_flat = J.dense().reshape(-1, J.shape[2]), other.dense().reshape(-1, J.shape[2])
    variances = np.linspace(0.5, 2.0, prior.n_groups)[prior.groups]
    assert_close(J.gram(variances), (flat * variances) @ flat.T, rtol=1e-12)
    assert_close(J.gram(variances, other), (flat * variances) @ other_flat.T, rtol=1e-12)
    C = np.cov(np.random.default_rng(0).normal(size=(len(flat), 2 * len(flat))))
    C = np.atleast_2d(C)
    expected = [
        np.trace(C @ flat[:, prior.groups == g] @ flat[:, prior.groups == g].T)
        for g in range(prior.n_groups)
    ]
    np.testing.assert_allclose(J.overlaps(C, prior.groups, prior.n_groups), expected, rtol=1e-11)


@EACH_CASE
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_row_gram_matrices_equal_dense_ones(case, grouping):
    prior = GROUPINGS[grouping](case.mlp)
    variances = np.linspace(0.5, 2.0, prior.n_groups)[prior.groups]
    dense = case.new_jacobian.dense()
    expected = (dense * variances) @ dense.mT
    assert_close(case.new_jacobian.row_grams(variances), expected, rtol=1e-12)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_rectangles_cover_every_weight_once(grouping):
    mlp = MLP((3, 4, 5, 2))
    prior = GROUPINGS[grouping](mlp)
    labels = [np.column_stack([W, b]) for W, b in mlp.unpack(prior.groups)]
    count = [np.zeros_like(layer) for layer in labels]
    for part in rectangles(mlp, prior.groups):
        place = np.ix_(part.units, part.columns)
        count[part.layer][place] += 1
        assert np.all(labels[part.layer][place] == part.group)
    assert all(np.all(layer == 1) for layer in count)


def test_a_layer_of_one_group_is_one_rectangle():
    mlp = MLP((3, 4, 2))
    assert len(rectangles(mlp, np.zeros(mlp.n_params, dtype=int))) == 2
