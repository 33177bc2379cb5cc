"""Hyperparameters from the training rows: the evidence climbed along MacKay's updates.

MacKay's fixed point (PRML 3.91-3.95, 5.178-5.180) alternates a MAP fit with
α_g = γ_g / Σ_{i∈g} w_i² and β = (NK - γ) / SSE. Iterated blindly it fails in known ways: the modes
move under it, so an update can lower the evidence, overfit (γ near N), or kill every hidden unit.
Here an update is a direction in (ln α, ln β), and the evidence is the merit: the step's length is
bounded, a step that lowers the evidence is shortened from the best state seen, and precisions
are bounded with a name (a pruned group). The cure for a poor mode is another start; see
`start_strength`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from laplace_nn.curvature import GGN
from laplace_nn.descent import ENOUGH_GRADIENT
from laplace_nn.evidence import Evidence, log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior, in_weight_space
from laplace_nn.posterior import DensePosterior, GaussianPosterior, KernelPosterior
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from laplace_nn.training import MAPResult, find_map

__all__ = [
    "MAX_NOISE_PRECISION",
    "MAX_PRECISION",
    "MIN_PRECISION",
    "START_STRENGTHS",
    "Reestimation",
    "State",
    "reestimate",
    "start_strength",
]

# What starts begin with, for standardised inputs and targets: a prior precision as a share of
# the number of rows, and a noise precision. Most are strong: from above, the evidence is climbed
# along a branch of well-conditioned modes, where a weak start settles on an overfitted one.
START_STRENGTHS = ((0.1, 10.0), (0.3, 3.0), (0.03, 3.0), (0.03, 10.0))
START_PRECISIONS = (0.3, 100.0)  # between which the prior precision of a start is kept
WEAKENING = 3.0  # of the prior precision where a start has led to the dead network
DEAD_RANGE = 1e-3  # of the outputs over the rows, below which no hidden unit is alive

MAX_PRECISION = 1e8  # of a prior group, which is then called pruned
MIN_PRECISION = 1e-6  # of a prior group: a standard deviation of 1000 for its weights
MAX_NOISE_PRECISION = 1e6  # of standardised targets: noise of a thousandth of their spread
PRUNED_SHARE = 1e-4  # γ_g / n_g below which a group is sent to MAX_PRECISION at once

LONGEST_STEP = np.log(3.0)  # of ln α or ln β in one cycle
LEAST_SHARE = 0.3  # of its own step that a precision takes when another's is longer
SHORTENING = 0.25  # of a step that lowered the evidence
MAX_SHORTENINGS = 2
LARGE_RISE = 0.2  # of the evidence, relative: below it a step counts only once it is stationary
FLAT_CYCLES = 3  # in a row, with hardly any rise, that end the climb
ROUNDING = 1e-10  # relative fall of the evidence that is none
OUT_OF_CYCLES = "the cycles ran out"
# MAP iterations in a cycle: few while hyperparameters still take their longest steps, more when
# they settle or the evidence falls; the last fit has the whole budget.
FAR_ITERATIONS, NEAR_ITERATIONS, SETTLING_ITERATIONS = 30, 100, 200


@dataclass(frozen=True)
class State:
    """A MAP solution with the posterior, evidence and γ at its hyperparameters."""

    map: MAPResult
    likelihood: Likelihood
    posterior: GaussianPosterior = field(repr=False)
    evidence: Evidence
    n_effective_params: np.ndarray

    @property
    def prior(self) -> GaussianPrior:
        """The prior under which the weights are the mode."""
        return self.posterior.prior

    @property
    def log_hyperparameters(self) -> np.ndarray:
        """(ln α_1, …, ln α_G, ln β)."""
        return np.log(np.append(self.prior.precisions, self.likelihood.scale))

    @property
    def pruned(self) -> tuple[str, ...]:
        """Names of the groups whose precision has reached its cap."""
        at_cap = self.prior.precisions >= MAX_PRECISION
        return tuple(n for n, capped in zip(self.prior.names, at_cap, strict=True) if capped)


@dataclass(frozen=True)
class Reestimation:
    """Where a climb of the evidence ended, and how it went.

    Parameters
    ----------
    state : State
        The best state seen, trained to the end.
    converged : bool
        Whether ln α, ln β and the evidence stopped changing, or no step along MacKay's
        direction raises the evidence any more.
    reason : str
        Which of these it was, or that the cycles ran out.
    history : list of dict
        A record of every cycle, rejected ones included.
    """

    state: State
    converged: bool
    reason: str
    history: list[dict[str, Any]] = field(repr=False)


def start_strength(index: int, n_rows: float) -> tuple[float, float]:
    """Prior and noise precision of the start number ``index``, in turn from `START_STRENGTHS`."""
    share, noise_precision = START_STRENGTHS[index % len(START_STRENGTHS)]
    return float(np.clip(share * n_rows, *START_PRECISIONS)), noise_precision


@dataclass(frozen=True)
class _Climb:
    """What stays fixed while hyperparameters move."""

    mlp: MLP
    rows: RowBlocks
    fit_prior: bool
    fit_noise: bool
    solver: str
    tol: float

    def evaluate(
        self,
        prior: GaussianPrior,
        likelihood: Likelihood,
        theta: np.ndarray,
        max_iter: int,
    ) -> State:
        """MAP fit from theta, and everything that follows from it."""
        objective = NegativeLogPosterior(self.mlp, likelihood, prior, self.rows)
        result = find_map(
            objective, theta, solver=self.solver, tol=self.tol, max_iter=max_iter, warn=False
        )
        curvature = GGN(self.mlp, result.theta, likelihood, self.rows)
        in_weights = in_weight_space(self.mlp, self.rows)
        form = DensePosterior if in_weights else KernelPosterior
        posterior = form.from_curvature(result.theta, curvature, prior, likelihood.scale)
        fit = log_likelihood(self.mlp, result.theta, likelihood, self.rows)
        evidence = log_marginal_likelihood(posterior, fit)
        return State(result, likelihood, posterior, evidence, posterior.n_effective_params())

    def is_dead(self, state: State) -> bool:
        """Whether the prior has switched every hidden unit off: the outputs are constants."""
        if self.mlp.n_layers == 1 or not self.fit_prior:
            return False
        outputs = self.rows.concatenate(
            lambda block: self.mlp.forward(state.map.theta, block.X).outputs,
            8 * sum(self.mlp.layer_sizes),
        )
        return bool(np.max(np.ptp(outputs, axis=0)) < DEAD_RANGE)

    def update(self, state: State) -> np.ndarray:
        """MacKay's (ln α, ln β), or a bounded step in their direction, within their caps."""
        old = state.log_hyperparameters
        step, pruned = np.zeros(len(old)), np.zeros(len(old), dtype=bool)
        if self.fit_prior:
            step[:-1] = self._log_precisions(state) - old[:-1]
            pruned[:-1] = state.n_effective_params < PRUNED_SHARE * state.prior.group_sizes
        if self.fit_noise:
            step[-1] = self._log_noise_precision(state) - old[-1]
        # Shortened as a whole: a precision that is nearly right must not run ahead of the others.
        longest = np.max(np.abs(step[~pruned]), initial=LONGEST_STEP)
        step = np.clip(max(LONGEST_STEP / longest, LEAST_SHARE) * step, -LONGEST_STEP, LONGEST_STEP)
        step[pruned] = np.log(MAX_PRECISION) - old[pruned]
        lowest = np.append(np.full(len(old) - 1, MIN_PRECISION), np.finfo(float).tiny)
        highest = np.append(np.full(len(old) - 1, MAX_PRECISION), MAX_NOISE_PRECISION)
        moves = np.append(np.full(len(old) - 1, self.fit_prior), self.fit_noise)
        return np.where(moves, np.clip(old + step, np.log(lowest), np.log(highest)), old)

    def _log_precisions(self, state: State) -> np.ndarray:
        """ln α_g = ln γ_g - ln Σ_g w² (PRML 3.92, 5.178 with groups)."""
        smallest = np.finfo(float).tiny
        norms = state.prior.squared_norms(state.map.theta)
        gamma = np.maximum(state.n_effective_params, smallest)
        return np.log(gamma) - np.log(np.maximum(norms, smallest))

    def _log_noise_precision(self, state: State) -> float:
        """ln β = ln(NK - γ) - ln SSE (PRML 3.95, 5.180)."""
        n_values = self.rows.total_weight * self.mlp.n_outputs
        likelihood = state.likelihood
        normaliser = likelihood.log_normaliser(self.rows.total_weight, self.mlp.n_outputs)
        sse = 2.0 * (normaliser - state.evidence.log_likelihood) / likelihood.scale
        smallest = np.finfo(float).tiny
        free = max(n_values - state.n_effective_params.sum(), smallest)
        return float(np.log(free) - np.log(max(sse, smallest)))

    def moved(
        self, state: State, log_hyperparameters: np.ndarray
    ) -> tuple[GaussianPrior, Likelihood]:
        """The state's prior and likelihood with other hyperparameters."""
        values = np.exp(log_hyperparameters)
        prior = state.prior.with_precisions(values[:-1]) if self.fit_prior else state.prior
        likelihood = state.likelihood
        if self.fit_noise and isinstance(likelihood, Gaussian):
            likelihood = replace(likelihood, noise_precision=float(values[-1]))
        return prior, likelihood


def reestimate(
    mlp: MLP,
    likelihood: Likelihood,
    prior: GaussianPrior,
    rows: RowBlocks,
    theta: np.ndarray,
    *,
    fit_prior: bool = True,
    fit_noise: bool = True,
    solver: str = "auto",
    tol: float = 1e-3,
    gradient_tol: float = 1e-6,
    max_cycles: int = 50,
    max_iter: int = 1000,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Reestimation:
    """Climb the evidence from one start, alternating MAP fits and MacKay's updates.

    α_g = γ_g / Σ_{i∈g} w_i², β = (NK - γ) / SSE (PRML 3.92, 3.95, 5.178-5.180), γ from the outer
    products, so that 0 ≤ γ_g ≤ n_g; at most a factor 3 a cycle. A cycle that lowers the evidence is
    taken back and its step shortened.

    Parameters
    ----------
    mlp : MLP
        The network.
    likelihood : Likelihood
        With the noise precision to start from, if it has one.
    prior : GaussianPrior
        With the precisions to start from.
    rows : RowBlocks
        The training rows.
    theta : ndarray of shape (P,)
        Start weights.
    fit_prior, fit_noise : bool, default=True
        Which hyperparameters may move; noise only that of a `Gaussian`.
    solver : str, default="auto"
        See `find_map`.
    tol : float, default=1e-3
        Converged where ln α, ln β and the log evidence change by at most ``tol`` times
        the larger of 1 and their size.
    gradient_tol : float, default=1e-6
        See `find_map`.
    max_cycles : int, default=50
        Budget of cycles.
    max_iter : int, default=1000
        Budget of the last MAP fit.
    callback : callable, optional
        Called with every new entry of the history.

    Returns
    -------
    Reestimation
        The best state, converged or not, with the history.

    Notes
    -----
    After `FLAT_CYCLES` cycles whose rise is below ``tol**2`` the climb ends too: a precision that
    drifts where the evidence is flat never stops changing.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.reestimation import reestimate
    >>> from laplace_nn.rows import RowBlocks
    >>> rng, mlp = np.random.default_rng(0), MLP((1, 1))
    >>> X = rng.normal(size=(200, 1))
    >>> rows = RowBlocks(X, 2 * X + 0.1 * rng.normal(size=(200, 1)))
    >>> found = reestimate(mlp, Gaussian(), single(mlp), rows, np.zeros(2))
    >>> found.converged, bool(80 < found.state.likelihood.scale < 125)
    (True, True)
    """
    fit_noise = fit_noise and isinstance(likelihood, Gaussian)
    climb = _Climb(mlp, rows, fit_prior, fit_noise, solver, gradient_tol)
    history: list[dict[str, Any]] = []

    def note(state: State, event: str) -> None:
        history.append(_entry(len(history), state, event))
        if callback is not None:
            callback(history[-1])

    if not (fit_prior or fit_noise):
        state = climb.evaluate(prior, likelihood, theta, max_iter)
        note(state, "fixed")
        return Reestimation(state, True, "nothing to re-estimate", history)
    budget = tol, max_cycles, max_iter
    start, dead = _living_start(climb, prior, likelihood, theta, note, max_iter)
    best, reason = _ascend(climb, start, note, *budget)
    if dead is not None and dead.evidence.total > best.evidence.total:
        best, reason = _ascend(climb, dead, note, *budget)
    best = climb.evaluate(best.prior, best.likelihood, best.map.theta, max_iter)
    note(best, "end")
    return Reestimation(best, reason != OUT_OF_CYCLES, reason, history)


def _living_start(
    climb: _Climb,
    prior: GaussianPrior,
    likelihood: Likelihood,
    theta: np.ndarray,
    note: Callable[[State, str], None],
    max_iter: int,
) -> tuple[State, State | None]:
    """The strongest start whose network responds to its inputs, and the dead one if there was."""
    budget, dead = min(NEAR_ITERATIONS, max_iter), None
    state = climb.evaluate(prior, likelihood, theta, budget)
    while climb.is_dead(state) and prior.precisions.max() > START_PRECISIONS[0]:
        note(state, "dead")
        dead = state if dead is None else dead
        prior = prior.with_precisions(prior.precisions / WEAKENING)
        state = climb.evaluate(prior, likelihood, theta, budget)
    note(state, "start")
    return state, dead


def _ascend(
    climb: _Climb,
    best: State,
    note: Callable[[State, str], None],
    tol: float,
    max_cycles: int,
    max_iter: int,
) -> tuple[State, str]:
    """MacKay's updates with the evidence as merit; the best state and why the climb ended."""
    proposal, shortenings, flat, trained = climb.update(best), 0, 0, False
    for _ in range(max_cycles):
        size = max(1.0, abs(best.evidence.total))
        state, rise = _try(climb, best, proposal, max_iter)
        settling = not (rise >= -ROUNDING * size or trained or _settled(best))
        if settling:
            # Only stationary points may be compared, and near a saddle the gradient is small too:
            # train the best state to the end first; once, since where rounding keeps the gradient
            # up a second time ends like it.
            trained = True
            budget = min(SETTLING_ITERATIONS, max_iter)
            best = climb.evaluate(best.prior, best.likelihood, best.map.theta, budget)
            note(best, "trained on")
            if np.isfinite(rise) and state.map.converged:
                rise = state.evidence.total - best.evidence.total
        if not rise >= -ROUNDING * size:
            note(state, "taken back" if np.isfinite(rise) else "refused")
            if settling:
                proposal = climb.update(best)
                continue
            shortenings += 1
            if shortenings > MAX_SHORTENINGS:
                return best, "no step along MacKay's direction raises the evidence"
            current = best.log_hyperparameters
            proposal = current + SHORTENING * (proposal - current)
            continue
        note(state, "step")
        old, best, shortenings, trained = best.log_hyperparameters, state, 0, False
        change = np.abs(best.log_hyperparameters - old) / np.maximum(1.0, np.abs(old))
        if rise <= tol * size and np.all(change <= tol):
            return best, "hyperparameters and evidence stopped changing"
        flat = flat + 1 if rise <= tol**2 * size else 0
        if flat >= FLAT_CYCLES:
            return best, "the evidence stopped rising"
        proposal = climb.update(best)
    return best, OUT_OF_CYCLES


def _settled(state: State) -> bool:
    """Whether training on could hardly change the state."""
    return state.map.max_gradient <= ENOUGH_GRADIENT * max(1.0, abs(state.map.energy))


def _try(climb: _Climb, best: State, proposal: np.ndarray, max_iter: int) -> tuple[State, float]:
    """The state at proposed hyperparameters, and how far its evidence rises above the best."""
    prior, likelihood = climb.moved(best, proposal)
    longest = np.max(np.abs(proposal - best.log_hyperparameters))
    n_iter = FAR_ITERATIONS if longest > 0.9 * LONGEST_STEP else NEAR_ITERATIONS
    size = max(1.0, abs(best.evidence.total))
    try:
        state = climb.evaluate(prior, likelihood, best.map.theta, min(n_iter, max_iter))
        rise = state.evidence.total - best.evidence.total
        if not state.map.converged and 0.0 <= rise < LARGE_RISE * size:
            # The slow part of training often leaves a saddle, whose evidence flatters.
            budget = min(SETTLING_ITERATIONS, max_iter)
            state = climb.evaluate(prior, likelihood, state.map.theta, budget)
    except NotPositiveDefiniteError:
        # So extreme that rounding hides the data or the prior: no better than a fall.
        return best, -np.inf
    return state, state.evidence.total - best.evidence.total


def _entry(cycle: int, state: State, event: str) -> dict[str, Any]:
    """A line of the history: plain numbers only."""
    return {
        "cycle": cycle,
        "event": event,
        "log_marginal_likelihood": state.evidence.total,
        "log_likelihood": state.evidence.log_likelihood,
        "prior_precision": state.prior.precisions.copy(),
        "noise_precision": state.likelihood.scale,
        "n_effective_params": state.n_effective_params.copy(),
        "max_gradient": state.map.max_gradient,
        "n_iter": state.map.n_iter,
        "stationary": state.map.converged,
    }
