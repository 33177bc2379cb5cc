"""Priors: densities against scipy.stats, and which weights the usual groups hold."""

import numpy as np
import pytest
from scipy import stats

from laplace_nn.network import MLP
from laplace_nn.priors import GaussianPrior, ard, by_kind, by_layer, single
from tests import reference
from tests.cases import CASES

MLP_321 = MLP((3, 2, 1))  # theta: W0 0-5, b0 6-7, W1 8-9, b1 10


@pytest.mark.parametrize("case", CASES, ids=str)
def test_density_energy_and_gradient(case):
    prior, theta = case.prior, case.theta
    sd = [1.0 / np.sqrt(prior.precisions[group]) for group in prior.groups]
    expected = stats.norm.logpdf(theta, 0.0, sd).sum()
    np.testing.assert_allclose(prior.log_density(theta), expected, rtol=1e-12)
    at_zero = stats.norm.logpdf(0.0, 0.0, sd).sum()
    np.testing.assert_allclose(prior.energy(theta), at_zero - expected, rtol=1e-8)

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
