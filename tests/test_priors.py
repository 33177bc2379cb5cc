"""Priors: densities against scipy.stats, and which weights the usual groups hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from laplace_nn.network import MLP
from laplace_nn.priors import GaussianPrior, ard, by_kind, by_layer, by_unit, single
from tests import reference
from tests.cases import CASES

MLP_321 = MLP((3, 2, 1))  # theta: W0 0-5, b0 6-7, W1 8-9, b1 10


def about(prior, seed=0):
    """The same prior about another mean."""
    return replace(prior, mean=np.random.default_rng(seed).normal(size=prior.n_params))


@pytest.mark.parametrize("moved", [False, True], ids=["about-zero", "about-a-mean"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_density_energy_and_gradient(case, moved):
    prior, theta = about(case.prior) if moved else case.prior, case.theta
    sd = [1.0 / np.sqrt(prior.precisions[group]) for group in prior.groups]
    mean = 0.0 if prior.mean is None else prior.mean
    expected = stats.norm.logpdf(theta, mean, sd).sum()
    np.testing.assert_allclose(prior.log_density(theta), expected, rtol=1e-12)
    at_mean = stats.norm.logpdf(0.0, 0.0, sd).sum()
    np.testing.assert_allclose(prior.energy(theta), at_mean - expected, rtol=1e-8)

    def energies(points):
        flat = points.reshape(-1, points.shape[-1])
        return np.array([prior.energy(p) for p in flat]).reshape(points.shape[:-1])

    difference = reference.five_point(energies, theta)
    # Rounding of five points is 1e-16/STEP of the energy.
    atol = 1e-11 * max(1.0, prior.energy(theta))
    np.testing.assert_allclose(prior.gradient(theta), difference, rtol=1e-8, atol=atol)


@pytest.mark.parametrize(
    ("build", "groups", "names"),
    [
        (single, [0] * 11, ("all",)),
        (by_layer, [0] * 8 + [1] * 3, ("layer_0", "layer_1")),
        (
            by_kind,
            [0] * 6 + [1] * 2 + [2] * 2 + [3],
            ("weights_0", "biases_0", "weights_1", "biases_1"),
        ),
        (
            ard,
            [0, 1, 2, 0, 1, 2, 3, 3, 4, 4, 5],
            ("input_0", "input_1", "input_2", "biases_0", "weights_1", "biases_1"),
        ),
        (
            by_unit,
            [0] * 3 + [1] * 3 + [0, 1] + [2] * 2 + [3],
            ("unit_0_0", "unit_0_1", "weights_1", "biases_1"),
        ),
    ],
)
def test_groups(build, groups, names):
    prior = build(MLP_321, 2.5)
    assert prior.groups.tolist() == groups
    assert prior.names == names
    assert prior.precisions.tolist() == [2.5] * len(names)
    assert (prior.n_groups, prior.n_params) == (len(names), 11)
    assert prior.group_sizes.tolist() == [groups.count(g) for g in range(len(names))]


def test_ard_takes_the_inputs_names():
    names = ard(MLP_321, input_names=["age", "height", "weight"]).names
    assert names[:3] == ("age", "height", "weight")


def test_units_of_every_hidden_layer_have_their_fan_in():
    mlp = MLP((2, 3, 2, 2))
    prior = by_unit(mlp, 0.5)
    names = [f"unit_0_{unit}" for unit in range(3)] + ["unit_1_0", "unit_1_1"]
    assert prior.names == (*names, "weights_2", "biases_2")
    layers = mlp.unpack(prior.groups)
    for layer, first in ((0, 0), (1, 3)):
        weights, biases = layers[layer]
        for unit in range(len(biases)):
            assert set(weights[unit]) == {biases[unit]} == {first + unit}
    assert [set(part.ravel()) for part in layers[2]] == [{5}, {6}]


def test_without_hidden_units_there_are_weights_and_biases():
    mlp = MLP((3, 2))
    np.testing.assert_array_equal(by_unit(mlp).groups, by_kind(mlp).groups)
    assert by_unit(mlp).names == by_kind(mlp).names


def test_every_weight_its_own_group_is_a_diagonal_precision():
    rng = np.random.default_rng(0)
    alpha, mean, theta = rng.uniform(0.5, 2.0, 4), rng.normal(size=4), rng.normal(size=4)
    prior = GaussianPrior(np.arange(4), alpha, mean=mean)
    expected = stats.multivariate_normal.logpdf(theta, mean, np.diag(1.0 / alpha))
    np.testing.assert_allclose(prior.log_density(theta), expected, rtol=1e-12)


def test_precision_and_norms_follow_the_groups():
    prior = GaussianPrior(np.array([1, 0, 1]), np.array([2.0, 5.0]))
    assert prior.precision.tolist() == [5.0, 2.0, 5.0]
    assert prior.squared_norms(np.array([1.0, 2.0, 3.0])).tolist() == [4.0, 10.0]
    assert prior.names == ("group_0", "group_1")


def test_new_precisions_make_a_new_prior():
    prior = by_layer(MLP_321)
    other = prior.with_precisions([3.0, 4.0])
    assert prior.precisions.tolist() == [1.0, 1.0]
    assert other.precision.tolist() == [3.0] * 8 + [4.0] * 3
    assert other.names == prior.names


@pytest.mark.parametrize("precisions", [[0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_precisions_that_are_none_are_refused(precisions):
    with pytest.raises(ValueError, match="positive finite"):
        GaussianPrior(np.array([0, 1]), np.array(precisions))


@pytest.mark.parametrize("groups", [[0, 0], [0, 2], [-1, 0, 1], [0, 1, 2]])
def test_labels_that_do_not_fit_the_precisions_are_refused(groups):
    with pytest.raises(ValueError, match="must use every label 0 … 1"):
        GaussianPrior(np.array(groups), np.ones(2))


@pytest.mark.parametrize("groups", [np.zeros((2, 1), int), np.zeros(2), np.zeros(0, int)])
def test_labels_that_are_none_are_refused(groups):
    with pytest.raises(ValueError, match="one-dimensional array of integer labels"):
        GaussianPrior(groups, np.ones(1))


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must name each of its 2 groups; got 1"):
        GaussianPrior(np.array([0, 1]), np.ones(2), ("all",))


def test_norms_are_about_the_mean():
    prior = GaussianPrior(np.array([1, 0, 1]), np.ones(2), mean=np.array([1.0, 2.0, 1.0]))
    assert prior.squared_norms(np.array([1.0, 3.0, 3.0])).tolist() == [1.0, 4.0]
    assert prior.deviation(np.array([1.0, 3.0, 3.0])).tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mean_of_zero_changes_no_bit(case):
    plain, theta = case.prior, case.theta
    zero = replace(plain, mean=np.zeros(plain.n_params))
    assert plain.mean is None
    assert plain.deviation(theta) is theta
    assert zero.energy(theta) == plain.energy(theta)
    assert zero.log_density(theta) == plain.log_density(theta)
    np.testing.assert_array_equal(zero.gradient(theta), plain.gradient(theta))


def test_the_mean_stays_with_its_weights():
    prior = about(by_layer(MLP_321))
    np.testing.assert_array_equal(prior.with_precisions([3.0, 4.0]).mean, prior.mean)
    np.testing.assert_array_equal(prior.subset(np.array([1, 9])).mean, prior.mean[[1, 9]])
    mask = np.arange(11) > 7
    assert prior.subset(mask).names == ("layer_1",)
    np.testing.assert_array_equal(prior.subset(mask).mean, prior.mean[8:])
    assert by_layer(MLP_321).subset(mask).mean is None


@pytest.mark.parametrize("mean", [np.zeros(2), np.zeros((3, 1)), np.array([0.0, np.nan, np.inf])])
def test_means_that_are_none_are_refused(mean):
    with pytest.raises(ValueError, match="one finite number for each of the 3 weights"):
        GaussianPrior(np.array([0, 1, 1]), np.ones(2), mean=mean)
