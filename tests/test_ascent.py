"""The climb on a surface of which every height is known."""

from types import SimpleNamespace

import numpy as np

from laplace_nn.ascent import SETTLING_ITERATIONS, Ascent

FLATTERY = 10.0


class Flattering:
    """A parabola whose heights, before a state is trained, look higher by `FLATTERY`.

    The proposals lead away from its top at 0, where every untrained step seems to rise.
    """

    def __init__(self):
        self.merits = []

    def evaluate(self, prior, likelihood, theta, max_iter):
        trained = max_iter >= SETTLING_ITERATIONS
        merit = -float(prior @ prior) + (0.0 if trained else FLATTERY)
        result = SimpleNamespace(
            theta=theta, converged=trained, max_gradient=0.0 if trained else 1.0, energy=1.0
        )
        groups = SimpleNamespace(n_groups=1)
        return SimpleNamespace(
            map=result, prior=groups, likelihood=None, log_hyperparameters=prior, merit=merit
        )

    def moved(self, state, log_hyperparameters):
        return log_hyperparameters, None

    def along_mackay(self, state):
        return state.log_hyperparameters + np.array([1.0, 0.0])

    def bounded(self, log_hyperparameters):
        return log_hyperparameters


def test_a_climb_that_flattery_has_led_astray_goes_back_to_the_best_true_mode_once():
    surface, events = Flattering(), []
    top = surface.evaluate(np.zeros(2), None, None, 1000)
    trained = surface.evaluate

    def evaluate(prior, likelihood, theta, max_iter):
        # The surface is asked for priors of states by the climb: hand it what it moves.
        moved = prior if isinstance(prior, np.ndarray) else ascent.best.log_hyperparameters
        return trained(moved, likelihood, theta, max_iter)

    surface.evaluate = evaluate
    ascent = Ascent(surface, top, lambda state, event: events.append(event), 1e-3, 1000, False)
    reason = ascent.run(50)
    assert reason == "no step raises the evidence"
    assert ascent.best is top
    assert events.count("gone back") == 1
    assert events[0] == "step"  # it was led astray indeed
    assert "trained on" in events
