"""The census on networks whose dead and duplicate units were put there by hand; units told apart
beside images of the mode that are made one by one, and beside sampled evidences.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from laplace_nn import units
from laplace_nn.curvature import GGN
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood, symmetry_term
from laplace_nn.likelihoods import Categorical, Gaussian
from laplace_nn.network import MLP, activations
from laplace_nn.posterior import DensePosterior, DiagonalPosterior, KernelPosterior
from laplace_nn.priors import GaussianPrior, single
from laplace_nn.rows import RowBlocks
from laplace_nn.units import DEAD_SHARE, census, separated_units
from tests.cases import CASES, SYMMETRIC_CASES, permuted

X = np.random.default_rng(7).normal(size=(30, 2))


def with_layers(mlp, theta, change):
    """theta after change(layers) has written to copies of its layers."""
    layers = [(W.copy(), b.copy()) for W, b in mlp.unpack(theta)]
    change(layers)
    return mlp.pack(layers)


def drawn(sizes=(2, 5, 4, 1), activation="tanh"):
    mlp = MLP(sizes, getattr(activations, activation))
    return mlp, mlp.initialise(np.random.default_rng(3))


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        assert_array_equal(one.dead, other.dead)
        assert_array_equal(one.duplicates, other.duplicates)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_census_a_hidden_layer(case):
    found = census(case.mlp, case.theta, case.new_inputs)
    assert [layer.n_units for layer in found] == list(case.layer_sizes[1:-1])
    for layer in found:
        assert layer.n_distinct + layer.n_dead + layer.n_duplicates == layer.n_units


@pytest.mark.parametrize("sizes", [(2, 5, 1), (2, 5, 4, 1), (2, 3, 5, 4, 2)])
def test_random_weights_are_live_and_distinct(sizes):
    mlp, theta = drawn(sizes)
    for layer in census(mlp, theta, X):
        assert layer.n_distinct == layer.n_units and layer.n_dead == layer.n_duplicates == 0
        assert_array_equal(layer.duplicates, np.arange(layer.n_units))


@pytest.mark.parametrize("how", ["outgoing", "incoming"])
def test_a_unit_without_effect_is_dead(how):
    mlp, theta = drawn()

    def change(layers):
        if how == "outgoing":
            layers[1][0][:, 2] = 0.0
        else:
            layers[0][0][2] = 0.0  # a constant activation, whatever its bias

    first, second = census(mlp, with_layers(mlp, theta, change), X)
    assert_array_equal(first.dead, np.arange(5) == 2)
    assert (first.n_dead, first.n_distinct) == (1, 4)
    assert second.n_dead == 0


@pytest.mark.parametrize(("factor", "dead"), [(0.5, True), (2.0, False)])
def test_dead_is_a_share_of_the_layer(factor, dead):
    mlp, theta = drawn((2, 3, 1))
    spread = mlp.forward(theta, X).activations[1].std(axis=0)

    def change(layers, unit=1.0):
        layers[1][0][:] = unit * np.array([[1.0, 0.0, factor * DEAD_SHARE]]) / spread

    for unit in (1e-2, 1.0, 1e3):
        found = census(mlp, with_layers(mlp, theta, lambda layers, u=unit: change(layers, u)), X)
        assert found[0].dead.tolist() == [False, True, dead]


def test_a_layer_of_nothing_is_all_dead():
    mlp, theta = drawn()
    for scale in (0.0, 1e-7):
        (first, second) = census(mlp, scale * theta, X)
        assert first.dead.all() and second.dead.all()
        assert first.n_distinct == second.n_distinct == first.n_duplicates == 0


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_duplicates_agree_up_to_the_sign_of_odd_activations(activation, sign):
    mlp, theta = drawn(activation=activation)

    def change(layers):
        W, b = layers[1]
        W[3], b[3] = sign * W[1], sign * b[1]

    first, second = census(mlp, with_layers(mlp, theta, change), X)
    merged = sign > 0.0 or mlp.activation.odd
    assert second.duplicates.tolist() == ([0, 1, 2, 1] if merged else [0, 1, 2, 3])
    assert second.n_duplicates == int(merged)
    assert first.n_duplicates == 0


def test_a_bias_sets_units_apart_and_a_thousandth_does_not():
    mlp, theta = drawn((2, 3, 1))

    def change(layers):
        W, b = layers[0]
        W[:] = [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
        b[:] = [0.5, 0.5 + 1e-3, 0.6]

    (layer,) = census(mlp, with_layers(mlp, theta, change), X)
    assert layer.duplicates.tolist() == [0, 0, 2] and layer.n_distinct == 2


def test_dead_duplicates_are_counted_once():
    mlp, theta = drawn((2, 4, 1))

    def change(layers):
        W, b = layers[0]
        W[:3], b[:3] = W[0], b[0]
        layers[1][0][:, 0] = 0.0

    (layer,) = census(mlp, with_layers(mlp, theta, change), X)
    assert layer.duplicates.tolist() == [0, 0, 0, 3] and layer.dead.tolist() == [True] + [False] * 3
    assert (layer.n_dead, layer.n_duplicates, layer.n_distinct) == (1, 1, 2)


@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_symmetric_modes_have_the_same_census(case):
    moved = permuted(case.mlp, case.theta, np.random.default_rng(0))
    for one, other in zip(
        census(case.mlp, case.theta, case.new_inputs),
        census(case.mlp, moved, case.new_inputs),
        strict=True,
    ):
        assert (one.n_dead, one.n_distinct) == (other.n_dead, other.n_distinct)


def test_neither_weights_nor_rows_are_written_to():
    mlp, theta = drawn()
    before, rows = theta.copy(), X.copy()
    assert_same(census(mlp, theta, X), census(mlp, theta, X))
    assert_array_equal(theta, before)
    assert_array_equal(X, rows)


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="theta must have 9 entries"):
        census(MLP((2, 2, 1)), np.zeros(8), X)


# Units that the posterior tells apart

DATA = Path(__file__).parent / "data"
FORMS = [DensePosterior, KernelPosterior]


def of_case(case, form=DensePosterior):
    return form.from_curvature(case.theta, case.ggn, case.prior, case.likelihood.scale)


def fitted(mlp, theta, noise_precision=1.0, form=DensePosterior, precision=1.0):
    """A posterior at some weights, of one prior group."""
    rows = RowBlocks(X, np.zeros((len(X), mlp.n_outputs)))
    H = GGN(mlp, theta, Gaussian(), rows)
    return form.from_curvature(theta, H, single(mlp, precision), noise_precision)


def image(mlp, theta, layer, moves):
    """theta where unit i of a hidden layer has factor s times the weights of unit j, (i, j, s)."""
    old, new = mlp.unpack(theta), [(W.copy(), b.copy()) for W, b in mlp.unpack(theta)]
    for i, j, s in moves:
        new[layer][0][i], new[layer][1][i] = s * old[layer][0][j], s * old[layer][1][j]
        new[layer + 1][0][:, i] = s * old[layer + 1][0][:, j]
    return mlp.pack(new)


def squared_distances(case, layer):
    """Twins: dᵀAd of the flips (M,), and the smaller of the two swaps' (M, M)."""
    mlp, theta, odd = case.mlp, case.theta, case.mlp.activation.odd
    A = case.likelihood.scale * case.ggn.dense() + np.diag(case.prior.precision)

    def length(moved):
        return (moved - theta) @ A @ (moved - theta)

    def off(i):
        return with_layers(mlp, theta, lambda layers: layers[layer + 1][0][:, i].fill(0.0))

    width = range(mlp.layer_sizes[layer + 1])
    flips = [length(image(mlp, theta, layer, [(i, i, -1.0)]) if odd else off(i)) for i in width]
    swaps = np.zeros((len(width), len(width)))
    for i, j in ((i, j) for i in width for j in width if i != j):
        signs = (1.0, -1.0) if odd else (1.0,)
        moves = ([(i, j, s), (j, i, s)] for s in signs)
        swaps[i, j] = min(length(image(mlp, theta, layer, move)) for move in moves)
    return np.array(flips), swaps


def n_classes(live, same):
    """Classes of live units, by handing the smaller label on until nothing changes."""
    labels = list(range(len(live)))
    for _ in live:
        for i in np.flatnonzero(live):
            labels[i] = min(labels[j] for j in np.flatnonzero(same[i] & live))
    return len({labels[i] for i in np.flatnonzero(live)})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_units_told_apart_beside_images_made_one_by_one(case, form, monkeypatch):
    twins = [squared_distances(case, layer) for layer in range(case.mlp.n_layers - 1)]
    posterior = of_case(case, form=form)
    found = np.concatenate([np.r_[flips, swaps[swaps > 0.0]] for flips, swaps in twins] or [[1.0]])
    for limit in np.quantile(found, [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]) * (1.0 + 1e-6):
        monkeypatch.setattr(units, "SEPARATION", limit)
        expected = [n_classes(flips > limit, swaps <= limit) for flips, swaps in twins]
        assert separated_units(case.mlp, posterior) == expected


@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_symmetric_modes_tell_the_same_units_apart(case):
    moved = permuted(case.mlp, case.theta, np.random.default_rng(0))
    prior = single(case.mlp, 2.0)
    one, other = (
        separated_units(case.mlp, DensePosterior.from_curvature(theta, H, prior, 1.0))
        for theta in (case.theta, moved)
        for H in [GGN(case.mlp, theta, case.likelihood, case.rows)]
    )
    assert one == other


@pytest.mark.parametrize("form", FORMS)
def test_sure_data_tell_all_apart_and_none_tell_nothing(form):
    mlp, theta = drawn()
    assert separated_units(mlp, fitted(mlp, theta, 1e8, form)) == [5, 4]
    assert separated_units(mlp, fitted(mlp, theta, 1e-8, form, precision=1e-8)) == [0, 0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_twins_are_counted_once_and_units_that_are_off_never(form, sign):
    for activation in ("tanh", "softplus"):
        mlp, theta = drawn((2, 5, 1), activation)
        twins = image(mlp, theta, 0, [(3, 1, sign)])
        merged = sign > 0.0 or mlp.activation.odd
        assert separated_units(mlp, fitted(mlp, twins, 1e8, form)) == [4 if merged else 5]
        off = image(mlp, theta, 0, [(2, 2, 0.0)])
        assert separated_units(mlp, fitted(mlp, off, 1e8, form)) == [4]


def test_a_linear_network_has_no_units_and_other_posteriors_are_refused():
    mlp = MLP((2, 1))
    assert separated_units(mlp, fitted(mlp, np.zeros(3))) == []
    with pytest.raises(TypeError, match="a DensePosterior or a KernelPosterior; got Diagonal"):
        separated_units(mlp, fitted(mlp, np.zeros(3), form=DiagonalPosterior))


@pytest.mark.parametrize("name", ["demev1_fixed", "multiout_groups", "softmax_scalar"])
def test_evidence_with_the_symmetry_term_is_near_the_sampled_one(name):
    net, run = (dict(np.load(DATA / f"{kind}{name}.npz")) for kind in ("", "smc_"))
    mlp, theta = MLP(tuple(int(net[key]) for key in ("nin", "nhidden", "nout"))), net["w"]
    linear = str(net["outfn"]) == "linear"
    likelihood = Gaussian(float(net["beta"])) if linear else Categorical()
    groups = net.get("index", np.ones((mlp.n_params, 1))).argmax(axis=1)
    prior, rows = GaussianPrior(groups, np.atleast_1d(net["alpha"])), RowBlocks(net["x"], net["t"])
    H = GGN(mlp, theta, likelihood, rows)
    posterior = DensePosterior.from_curvature(theta, H, prior, likelihood.scale)
    fit = log_likelihood(mlp, theta, likelihood, rows)
    evidence = log_marginal_likelihood(posterior, fit).total
    evidence += symmetry_term(mlp, separated_units(mlp, posterior))
    assert abs(evidence - run["logZ"].mean()) <= 2.5
