"""The network as a value: shapes, order of the weights, forward propagation."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from laplace_nn.network import MLP
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_loops(case):
    tape = case.mlp.forward(case.theta, case.rows.X)
    twin = reference.outputs(case.problem, case.theta, case.rows.X)
    assert_close(tape.outputs, twin, rtol=1e-13)
    assert case.mlp.n_params == case.problem.n_params


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pack_is_the_inverse_of_unpack(case):
    theta = np.random.default_rng(0).normal(size=(2, 3, case.mlp.n_params))
    layers = case.mlp.unpack(theta)
    for (W, b), shape in zip(layers, case.mlp.layer_shapes, strict=True):
        assert (W.shape, b.shape) == ((2, 3, *shape), (2, 3, shape[0]))
    np.testing.assert_array_equal(case.mlp.pack(layers), theta)


def test_weights_stand_row_by_row_before_the_biases_of_their_layer():
    mlp = MLP((2, 3, 1))
    (W0, b0), (W1, b1) = mlp.unpack(np.arange(13))
    np.testing.assert_array_equal(W0, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(b0, [6, 7, 8])
    np.testing.assert_array_equal(W1, [[9, 10, 11]])
    np.testing.assert_array_equal(b1, [12])
    assert mlp.slices == ((slice(0, 6), slice(6, 9)), (slice(9, 12), slice(12, 13)))


def test_sizes():
    mlp = MLP((4, 3, 2))
    assert (mlp.n_layers, mlp.n_inputs, mlp.n_outputs, mlp.n_params) == (2, 4, 2, 23)
    assert mlp.layer_shapes == ((3, 4), (2, 3))


@pytest.mark.parametrize("sizes", [(), (3,), (2, 0, 1), (2, -1)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"MLP\.layer_sizes must hold"):
        MLP(sizes)


def test_weights_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match="theta must have 13 entries"):
        MLP((2, 3, 1)).forward(np.zeros(12), np.zeros((1, 2)))


def test_start_weights_have_the_stated_spread_and_come_from_the_rng():
    mlp = MLP((9, 4000, 1))
    theta = mlp.initialise(np.random.default_rng(5), gain=2.0)
    (W, b), (V, _) = mlp.unpack(theta)
    # 40 000 draws of variance gain²/(fan-in + 1) = 0.4: six standard errors are 6 √(2/40 000).
    drawn = np.concatenate([W.ravel(), b])
    np.testing.assert_allclose(drawn.var(), 4.0 / 10.0, rtol=6.0 * np.sqrt(2.0 / drawn.size))
    np.testing.assert_allclose(V.var(), 4.0 / 4001.0, rtol=6.0 * np.sqrt(2.0 / V.size))
    np.testing.assert_array_equal(theta, mlp.initialise(np.random.default_rng(5), gain=2.0))
    assert not np.array_equal(theta, mlp.initialise(np.random.default_rng(6), gain=2.0))


def test_is_a_frozen_value():
    mlp = MLP((2, 1))
    assert mlp == MLP((2, 1)) and hash(mlp) == hash(MLP((2, 1)))
    with pytest.raises(FrozenInstanceError):
        mlp.layer_sizes = (3, 1)


def test_tape_holds_every_layer():
    mlp = MLP((2, 3, 4, 1))
    X = np.ones((5, 2))
    tape = mlp.forward(np.ones(mlp.n_params), X)
    assert [z.shape for z in tape.activations] == [(5, 2), (5, 3), (5, 4)]
    assert [a.shape for a in tape.pre_activations] == [(5, 3), (5, 4), (5, 1)]
    assert tape.activations[0] is X
    assert tape.outputs is tape.pre_activations[-1]
    assert [len(tape.slopes), len(tape.bends)] == [2, 2]
