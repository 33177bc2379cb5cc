"""Hyperparameters from the training rows, along MacKay's updates and by what they lead to.

MacKay's fixed point (PRML 3.91-3.95, 5.178-5.180) alternates a MAP fit with
α_g = γ_g / Σ_{i∈g} w_i² and β = (NK - γ) / SSE. Iterated blindly it fails in known ways: the modes
move under it, so an update can lower the evidence, overfit (γ near N), or kill every hidden unit.
Here steps and precisions are bounded (a pruned group), and a score says which state is kept: the
evidence is climbed (`laplace_nn.ascent`), a score with leave-one-out in it watches a walk
(`laplace_nn.walk`). The cure for a poor mode is another start; see `start_strength`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from laplace_nn.ascent import OUT_OF_CYCLES, Ascent
from laplace_nn.curvature import Anchor
from laplace_nn.evidence_surface import EvidenceSurface, State
from laplace_nn.hyperpriors import Hyperprior
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.network import MLP
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import Selection
from laplace_nn.trail import History, Note, Trail, finish, strengthen
from laplace_nn.walk import MACKAY, STRENGTHS, Walk

__all__ = [
    "CLASS_SHARES",
    "START_NOISE_PRECISION",
    "START_SHARE",
    "STRONGER",
    "WALK_RATIO",
    "WALK_SHARE",
    "Reestimation",
    "explore",
    "reestimate",
    "start_strength",
    "walk_start",
]

# What starts begin with, for standardised inputs and targets: a prior precision as a share of
# the number of rows, and a noise precision. They are strong: from above, the way leads along a
# branch of well-conditioned modes, where a weak start settles on an overfitted one.
START_SHARE, START_NOISE_PRECISION = 0.1, 10.0
# The shares for classes, in turn. Their rows have at most a quarter of the curvature of a
# regression's with noise precision 1, so that these starts are the stronger: three like the above
# may all end in straight boundaries, as on two moons, and weak ones alone overfit small tables.
CLASS_SHARES = (0.1, 0.3, 0.00075, 0.03)
# Where a walk through strengths starts for classes, as a share, and its ratio. The way up sheds
# what the rows do not ask for and keeps the bends that they do, which a way down from a strong
# prior may never find. Rows that ask for more than the start allows turn the walk round.
WALK_SHARE, WALK_RATIO = 0.003, 2.0
# How much stronger the prior of a start's second mode is than that of the best. The score knows the
# right strength to a factor of a few at most: the best state errs by bends that are too sharp, this
# one by bends that it lacks, so that they err on different rows.
STRONGER = 8.0
START_PRECISIONS = (0.3, 100.0)  # between which the prior precision of a start is kept
WEAKENING = 3.0  # of the prior precision where a start has led to the dead network

NEAR_ITERATIONS = 100  # of the first MAP fit; the last one has the whole budget


@dataclass(frozen=True)
class Reestimation:
    """Where a climb of the evidence ended, and how it went.

    Parameters
    ----------
    state : State
        The best state seen, trained to the end.
    converged : bool
        Whether ln α, ln β and the evidence stopped changing, or no step raises the
        evidence any more.
    reason : str
        Which of these it was, or that the cycles ran out.
    history : list of dict
        A record of every cycle, rejected ones included.
    stronger : State, optional
        Where it was asked for, another of stronger priors.
    """

    state: State
    converged: bool
    reason: str
    history: list[dict[str, Any]] = field(repr=False)
    stronger: State | None = None


def start_strength(index: int, n_rows: float, has_noise: bool) -> tuple[float, float]:
    """Prior and noise precision of the start number ``index``.

    Without noise the prior's is in turn from `CLASS_SHARES`, and the noise precision is 1.
    """
    share, noise_precision = START_SHARE, START_NOISE_PRECISION
    if not has_noise:
        share, noise_precision = CLASS_SHARES[index % len(CLASS_SHARES)], 1.0
    return float(np.clip(share * n_rows, *START_PRECISIONS)), noise_precision


def walk_start(n_rows: float) -> float:
    """Prior precision that a walk through strengths starts with, by `WALK_SHARE`."""
    return float(np.clip(WALK_SHARE * n_rows, *START_PRECISIONS))


def reestimate(
    mlp: MLP,
    likelihood: Likelihood,
    prior: GaussianPrior,
    rows: RowBlocks,
    theta: np.ndarray,
    *,
    fit_prior: bool | np.ndarray = True,
    fit_noise: bool = True,
    hyperprior: Hyperprior | None = None,
    selection: Selection | None = None,
    anchor: Anchor | None = None,
    refine: bool = True,
    strength_ratio: float | None = None,
    stronger: float | None = None,
    solver: str = "auto",
    tol: float = 1e-3,
    gradient_tol: float = 1e-6,
    max_cycles: int = 100,
    max_iter: int = 1000,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Reestimation:
    """Find hyperparameters from one start, alternating MAP fits and MacKay's updates.

    α_g = γ_g / Σ_{i∈g} w_i², β = (NK - γ) / SSE (PRML 3.92, 3.95, 5.178-5.180), γ from the outer
    products, so that 0 ≤ γ_g ≤ n_g; at most a factor 3 a cycle. A cycle that lowers the evidence is
    taken back and its step shortened; where MacKay's direction no longer leads up, quasi-Newton
    steps along the evidence's gradient do the rest. A start at which every hidden unit is dead is
    taken again with a third of its precision.

    With leave-one-out in the selection nothing is taken back: the walk goes on past worse states,
    twice as far as MacKay's updates say where they keep their direction, and the best that it has
    seen is trained to the end. Where that is a network without bends, the start is taken again
    under weak precisions, and the better walk counts.

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
    fit_prior : bool or ndarray of bool, shape (G,), default=True
        Whether the prior's precisions may move, or which of them.
    fit_noise : bool, default=True
        Whether the noise of a `Gaussian` may.
    hyperprior : Hyperprior, optional
        Over the precisions that move; its log density is climbed too.
    selection : Selection, optional
        What says which state is the best; the log evidence if not given.
    anchor : Anchor, optional
        Of earlier rows, from `as_prior`; nothing may move under it, the noise included: see
        `EvidenceSurface`. The start should be its mean.
    refine : bool, default=True
        Whether the evidence's gradient takes over where MacKay's updates no longer lead up: dearer
        and better, with up to 10 prior groups, and where nothing but the evidence is climbed.
    strength_ratio : float, optional
        Where leave-one-out counts, the walk begins by multiplying all precisions that may move by
        this ratio, again and again, until the score falls, or by its inverse, where the start has
        stayed the best. One precision without noise has nothing but its strength; others then move
        on along MacKay's updates, each for itself.
    stronger : float, optional
        Where leave-one-out counts, how many times the moving precisions of the best state a second
        one is to have, with the noise that belongs to them; it is left out where every hidden unit
        is dead under them.
    solver : str, default="auto"
        See `find_map`.
    tol : float, default=1e-3
        Converged where ln α, ln β and the log evidence change by at most ``tol`` times
        the larger of 1 and their size. A walk ends where the score rises by no more than so many
        nats a row.
    gradient_tol : float, default=1e-6
        See `find_map`.
    max_cycles : int, default=100
        Budget of cycles.
    max_iter : int, default=1000
        Budget of the last MAP fit.
    callback : callable, optional
        Called with every new entry of the history.

    Returns
    -------
    Reestimation
        The best state, converged or not, with the history.

    Raises
    ------
    ValueError
        If hyperparameters may move under an anchor.

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
    surface = EvidenceSurface(
        mlp,
        rows,
        fit_prior,
        fit_noise,
        solver,
        gradient_tol,
        hyperprior,
        selection or Selection(),
        anchor,
    )
    history = History(rows.sample_weight, callback)
    trail = explore(
        surface,
        prior,
        likelihood,
        theta,
        history.note,
        tol=tol,
        max_cycles=max_cycles,
        max_iter=max_iter,
        refine=refine,
        strength_ratio=strength_ratio,
    )
    best = finish(surface, trail, max_iter)
    other = None if stronger is None else strengthen(surface, trail, stronger, max_iter)
    if surface.moves_anything:
        history.note_ends(best, other)
    return Reestimation(best, trail.converged, trail.reason, list(history), other)


def explore(
    surface: EvidenceSurface,
    prior: GaussianPrior,
    likelihood: Likelihood,
    theta: np.ndarray,
    note: Note,
    *,
    tol: float,
    max_cycles: int,
    max_iter: int,
    refine: bool = True,
    strength_ratio: float | None = None,
) -> Trail:
    """The way of `reestimate`, without the trainings that end it."""
    if not surface.moves_anything:
        state = surface.evaluate(prior, likelihood, theta, max_iter)
        note(state, "fixed")
        return Trail(state, state, state.map.theta, False, True, "nothing to re-estimate")
    walking, dead = surface.selection.loo > 0.0, None
    if walking and strength_ratio is not None:
        budget = min(STRENGTHS.n_iter, max_iter)
        start = surface.evaluate(prior, likelihood, theta, budget, STRENGTHS.gradient)
        note(start, "start")
    else:
        enough = MACKAY.gradient if walking else None
        start, dead = _living_start(surface, prior, likelihood, theta, note, max_iter, enough)

    def way(state: State) -> Trail:
        if walking:
            walk = Walk(surface, state, theta, note, tol, max_iter, strength_ratio)
            return _trail(walk, walk.run(max_cycles))
        climb = Ascent(surface, state, note, tol, max_iter, refine)
        return _trail(climb, climb.run(max_cycles))

    trail = way(start)
    if dead is not None and dead.merit > trail.best.merit:
        trail = way(dead)
    weakest = _weakest(surface, prior)
    weaker = walking and strength_ratio is None and np.any(weakest.precisions < prior.precisions)
    if weaker and surface.is_straight(trail.best.map.theta):
        # A strong prior holds the units in their linear range, and no update leads out of it.
        start = surface.evaluate(weakest, likelihood, theta, min(NEAR_ITERATIONS, max_iter))
        note(start, "straight")
        trail = max(trail, way(start), key=lambda tried: tried.best.merit)
    return trail


def _trail(path: Ascent | Walk, reason: str) -> Trail:
    walked = isinstance(path, Walk)
    last = path.here if isinstance(path, Walk) else path.best
    ended = reason != OUT_OF_CYCLES
    return Trail(path.best, path.mode, last.map.theta, walked, ended, reason)


def _living_start(
    surface: EvidenceSurface,
    prior: GaussianPrior,
    likelihood: Likelihood,
    theta: np.ndarray,
    note: Note,
    max_iter: int,
    enough: float | None,
) -> tuple[State, State | None]:
    """The strongest start whose network responds to its inputs, and the dead one if there was."""
    budget, dead = min(NEAR_ITERATIONS, max_iter), None

    def trained(prior: GaussianPrior) -> State:
        state = surface.evaluate(prior, likelihood, theta, budget, enough)
        if enough is None or not surface.is_dead(state.map.theta):
            return state
        return surface.evaluate(prior, likelihood, state.map.theta, budget)  # off a saddle

    state = trained(prior)
    if surface.is_dead(theta):
        note(state, "start")
        return state, None
    moving = surface.moving(prior)
    weaker = np.where(moving, WEAKENING, 1.0)
    while surface.is_dead(state.map.theta) and prior.precisions[moving].max() > START_PRECISIONS[0]:
        note(state, "dead")
        dead = state if dead is None else dead
        prior = prior.with_precisions(prior.precisions / weaker)
        state = trained(prior)
    note(state, "start")
    return state, dead


def _weakest(surface: EvidenceSurface, prior: GaussianPrior) -> GaussianPrior:
    """With no moving precision above the weakest that a start may have."""
    weakest = np.minimum(prior.precisions, START_PRECISIONS[0])
    return prior.with_precisions(np.where(surface.moving(prior), weakest, prior.precisions))
