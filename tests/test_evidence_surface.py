"""The evidence over the hyperparameters: its gradient against differences of whole MAP fits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.ascent import Secants
from laplace_nn.evidence_surface import MAX_PRECISION, EvidenceSurface
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.priors import by_kind, by_layer, single
from laplace_nn.rows import RowBlocks


def gaussian(n_rows=60, n_outputs=1):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 2))
    return RowBlocks(X, np.sin(2.0 * X[:, :1]) + 0.3 * rng.normal(size=(n_rows, n_outputs)))


def labels(n_classes, n_rows=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 2))
    label = np.digitize(
        X[:, 0] + 0.5 * rng.normal(size=n_rows), np.linspace(-0.5, 0.5, n_classes - 1)
    )
    Y = np.eye(n_classes)[label]
    return RowBlocks(X, Y[:, 1:] if n_classes == 2 else Y)


CASES = {
    "single": ((2, 4, 1), single, [0.8], Gaussian(5.0), gaussian()),
    "layer": ((2, 6, 1), by_layer, [0.5, 0.8], Gaussian(5.0), gaussian()),
    "two-outputs": ((2, 3, 2), by_kind, [0.5, 0.8, 1.0, 2.0], Gaussian(5.0), gaussian(30, 2)),
    "function-space": ((2, 20, 1), by_layer, [0.5, 0.8], Gaussian(5.0), gaussian(20)),
    "weighted": (
        (2, 4, 1),
        by_layer,
        [0.5, 0.8],
        Gaussian(5.0),
        RowBlocks(gaussian().X, gaussian().y, np.linspace(0.5, 2.0, 60)),
    ),
    "bernoulli": ((2, 3, 1), by_layer, [0.6, 0.4], Bernoulli(), labels(2)),
    "categorical": ((2, 3, 3), by_layer, [0.6, 0.4], Categorical(), labels(3)),
}


def surface_and_state(name, fit_prior=True, fit_noise=True):
    layer_sizes, grouping, precisions, likelihood, rows = CASES[name]
    mlp = MLP(layer_sizes)
    noise = fit_noise and isinstance(likelihood, Gaussian)
    surface = EvidenceSurface(mlp, rows, fit_prior, noise, "auto", 1e-6)
    prior = grouping(mlp).with_precisions(np.array(precisions))
    theta = mlp.initialise(np.random.default_rng(1))
    return surface, surface.evaluate(prior, likelihood, theta, 1000)


@pytest.mark.parametrize("name", ["single", "function-space", "bernoulli"])
def test_the_outer_products_of_the_state_before_are_taken_over(name, monkeypatch):
    surface, before = surface_and_state(name)
    prior, likelihood = surface.moved(before, surface.mackay(before))
    theta, formed = before.map.theta, []
    expected = surface.evaluate(prior, likelihood, theta, 3, 1e-5)
    form = NegativeLogPosterior.gauss_newton
    monkeypatch.setattr(
        NegativeLogPosterior,
        "gauss_newton",
        lambda self, theta: formed.append(theta) or form(self, theta),
    )
    state = surface.evaluate(prior, likelihood, theta, 3, 1e-5, near=before)
    assert_array_equal(state.map.theta, expected.map.theta)
    assert state.merit == expected.merit
    assert not any(at is theta for at in formed)
    n_formed = len(formed)
    surface.evaluate(prior, likelihood, theta.copy(), 3, 1e-5, near=before)
    assert len(formed) == 2 * n_formed + 1


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_the_evidence_of_refitted_modes(name):
    surface, state = surface_and_state(name)

    def evidence(change):
        prior, likelihood = surface.moved(state, state.log_hyperparameters + change)
        return surface.evaluate(prior, likelihood, state.map.theta, 1000).evidence.total

    h, free = 1e-3, surface.moves(state)
    directions = np.eye(len(free))[free]
    slopes = [(evidence(h * e) - evidence(-h * e)) / (2 * h) for e in directions]
    # Central differences of step 1e-3, on both sides.
    assert_allclose(surface.gradient(state)[free], slopes, rtol=1e-4, atol=1e-4)
    assert_array_equal(surface.gradient(state)[~free], 0.0)


def test_without_a_drifting_mode_the_gradient_vanishes_at_mackays_fixed_point():
    """A linear model's determinant does not depend on its weights."""
    rows, mlp = gaussian(), MLP((2, 1))
    surface = EvidenceSurface(mlp, rows, True, True, "auto", 1e-6)
    state = surface.evaluate(single(mlp), Gaussian(1.0), np.zeros(3), 100)
    for _ in range(200):
        prior, likelihood = surface.moved(state, surface.mackay(state))
        state = surface.evaluate(prior, likelihood, state.map.theta, 100)
    assert_allclose(surface.gradient(state), 0.0, atol=1e-6)


@pytest.mark.parametrize(("fit_prior", "fit_noise"), [(True, False), (False, True)])
def test_only_what_may_move_has_a_slope(fit_prior, fit_noise):
    surface, state = surface_and_state("layer", fit_prior, fit_noise)
    moves = np.array([fit_prior, fit_prior, fit_noise])
    assert_array_equal(surface.moves(state), moves)
    assert_array_equal(surface.gradient(state) != 0.0, moves)


def test_a_capped_precision_does_not_move():
    surface, state = surface_and_state("layer")
    prior = state.prior.with_precisions(np.array([0.5, MAX_PRECISION]))
    capped = surface.evaluate(prior, state.likelihood, state.map.theta, 100)
    assert_array_equal(surface.moves(capped), [True, False, True])
    assert surface.bounded(capped.log_hyperparameters + 1.0)[1] == np.log(MAX_PRECISION)


def test_a_network_is_dead_when_its_outputs_do_not_respond():
    surface, state = surface_and_state("layer")
    layers = surface.mlp.unpack(state.map.theta)
    (W, b), (V, c) = layers
    assert not surface.is_dead(state.map.theta)
    assert surface.is_dead(surface.mlp.pack([(W, b), (0.0 * V, c)]))
    assert surface.is_dead(surface.mlp.pack([(0.0 * W, b), (V, c)]))
    fixed, _ = surface_and_state("layer", fit_prior=False)
    assert not fixed.is_dead(np.zeros(surface.mlp.n_params))


def test_secants_find_the_top_of_a_quadratic():
    """BFGS with exact line searches ends after as many steps as dimensions, or a few more."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    A, top = root @ root.T + np.eye(3), np.array([0.5, -0.3, 0.2])
    secants, x = Secants(), np.zeros(3)

    class Hill:
        def gradient(self, state):
            return -A @ (state.log_hyperparameters - top)

        def moves(self, state):
            return np.ones(3, dtype=bool)

        def n_free(self, state):
            return 2.0

    class At:
        n_effective_params = np.array([1.0, 1.0])

        def __init__(self, x):
            self.log_hyperparameters = x

    for _ in range(12):
        step = secants.step(Hill(), At(x))
        if np.linalg.norm(x - top) < 1e-10:
            break
        slope = -A @ (x - top)
        x = x + (slope @ step) / (step @ A @ step) * step
    assert_allclose(x, top, atol=1e-8)
