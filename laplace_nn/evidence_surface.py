"""The log evidence as a function of the hyperparameters, its gradient and MacKay's updates.

A point of the surface costs a MAP fit: the mode, the posterior there, γ and the evidence. MacKay's
updates (PRML 3.91-3.95, 5.178-5.180) leave out that the mode moves under them; the gradient
does not.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from laplace_nn.curvature import GGN, Anchor, Anchored
from laplace_nn.evidence import Evidence, log_likelihood, log_marginal_likelihood
from laplace_nn.hyperpriors import Hyperprior
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.linalg import conjugate_gradients
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior, GaussianPosterior, KernelPosterior
from laplace_nn.posterior.base import fully_held
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import Held, Selection
from laplace_nn.training import MAPResult, find_map

__all__ = [
    "LONGEST_STEP",
    "MAX_NOISE_PRECISION",
    "MAX_PRECISION",
    "MIN_PRECISION",
    "EvidenceSurface",
    "State",
    "pruned_groups",
]

MAX_PRECISION = 1e8  # of a prior group, which is then called pruned
MIN_PRECISION = 1e-6  # of a prior group: a standard deviation of 1000 for its weights
MAX_NOISE_PRECISION = 1e6  # of standardised targets: noise of a thousandth of their spread
PRUNED_SHARE = 1e-4  # γ_g / n_g below which a group is sent to MAX_PRECISION at once
LONGEST_STEP = np.log(3.0)  # of ln α or ln β in one cycle
LEAST_SHARE = 0.3  # of its own step that a precision takes when another's is longer
DEAD_RANGE = 1e-3  # of the outputs over the rows, below which no hidden unit is alive
STRAIGHT = 0.01  # of the outputs' variance: bends below it are none
DRIFT_STEP = 1e-3  # of a central difference, relative to the weights
DRIFT_ACCURACY = 1e-4  # to which the mode's motion is solved for


@dataclass(frozen=True)
class State:
    """A MAP solution with the posterior, evidence and γ at its hyperparameters."""

    map: MAPResult
    likelihood: Likelihood
    posterior: GaussianPosterior = field(repr=False)
    evidence: Evidence
    n_effective_params: np.ndarray
    held: Held | None = field(repr=False)
    merit: float
    """What states are compared by: the selection's score and what the hyperprior adds to it."""

    @property
    def prior(self) -> GaussianPrior:
        """The prior under which the weights are the mode."""
        return self.posterior.prior

    @property
    def log_hyperparameters(self) -> np.ndarray:
        """(ln α_1, …, ln α_G, ln β)."""
        return np.log(np.append(self.prior.precisions, self.likelihood.scale))


@dataclass(frozen=True)
class EvidenceSurface:
    """What stays fixed while hyperparameters move, and the evidence they lead to.

    Parameters
    ----------
    mlp : MLP
        The network.
    rows : RowBlocks
        The training rows.
    fit_prior : bool or ndarray of bool, shape (G,)
        Whether the prior's precisions may move, or which of them.
    fit_noise : bool
        Whether the noise of a `Gaussian` may.
    solver : str
        See `find_map`.
    tol : float
        See `find_map`.
    hyperprior : Hyperprior, optional
        Over the precisions that move.
    selection : Selection, optional
        What states are compared by; the log evidence if not given.
    anchor : Anchor, optional
        Of earlier rows, from `as_prior`. The evidence is then ln p(rows | earlier rows), and
        nothing may move: its mean is the mode under these hyperparameters, and γ counts the
        weights that the earlier rows determine too, which MacKay's updates of these rows' noise
        must not.

    Raises
    ------
    ValueError
        If hyperparameters may move under an anchor.
    """

    mlp: MLP
    rows: RowBlocks
    fit_prior: bool | np.ndarray
    fit_noise: bool
    solver: str
    tol: float
    hyperprior: Hyperprior | None = None
    selection: Selection = field(default_factory=Selection)
    anchor: Anchor | None = None

    def __post_init__(self) -> None:
        if self.anchor is not None and self.moves_anything:
            raise ValueError(
                "With an anchor the hyperparameters are those of the earlier rows and may not "
                f"move; got fit_prior={self.fit_prior!r} and fit_noise={self.fit_noise!r}: set "
                "both to False."
            )

    @property
    def moves_anything(self) -> bool:
        """Whether any hyperparameter may move."""
        return bool(np.any(self.fit_prior)) or self.fit_noise

    def evaluate(
        self,
        prior: GaussianPrior,
        likelihood: Likelihood,
        theta: np.ndarray,
        max_iter: int,
        enough: float | None = None,
        near: State | None = None,
    ) -> State:
        """MAP fit from theta, and everything that follows from it.

        A state that is only passed may end at a larger relative gradient, ``enough``. The outer
        products of a state, ``near``, whose weights theta is are not formed again.
        """
        objective, known = self.objective(prior, likelihood), None
        if near is not None and near.map.theta is theta and self.anchor is None:
            before = fully_held(near.posterior, "EvidenceSurface.evaluate")
            known = before.with_hyperparameters(prior, likelihood.scale)
        result = find_map(
            objective,
            theta,
            solver=self.solver,
            tol=self.tol if enough is None else max(self.tol, enough),
            rough=enough is not None,
            max_iter=max_iter,
            warn=False,
            known=known,
        )
        form = DensePosterior if objective.in_weight_space else KernelPosterior
        curvature: GGN | Anchored = GGN(self.mlp, result.theta, likelihood, self.rows)
        if self.anchor is not None:
            curvature = Anchored(curvature, self.anchor, likelihood.scale)
        posterior = form.from_curvature(result.theta, curvature, prior, likelihood.scale)
        fit = log_likelihood(self.mlp, result.theta, likelihood, self.rows)
        evidence = log_marginal_likelihood(posterior, fit)
        if self.anchor is not None:
            log_prior = self.anchor.log_density(result.theta, prior)
            evidence = replace(evidence, log_prior=log_prior)
        gamma = posterior.n_effective_params()
        held = self.selection.left_out(self.mlp, posterior, likelihood, self.rows)
        merit = self.selection.score(evidence.total, held, self.rows)
        if self.hyperprior is not None:
            merit += self.hyperprior.log_density(prior.precisions[self.moving(prior)])
        return State(result, likelihood, posterior, evidence, gamma, held, merit)

    def is_dead(self, theta: np.ndarray) -> bool:
        """Whether the prior has switched every hidden unit off: the outputs are constants."""
        if self.mlp.n_layers == 1 or not np.any(self.fit_prior):
            return False
        outputs = self.rows.concatenate(
            lambda block: self.mlp.forward(theta, block.X).outputs,
            8 * sum(self.mlp.layer_sizes),
        )
        return bool(np.max(np.ptp(outputs, axis=0)) < DEAD_RANGE)

    def is_straight(self, theta: np.ndarray) -> bool:
        """Whether hidden units bend nothing: the outputs are nearly linear in the inputs."""
        if self.mlp.n_layers == 1 or not np.any(self.fit_prior):
            return False

        def moments(block: RowBlocks) -> np.ndarray:
            outputs = self.mlp.forward(theta, block.X).outputs
            z = np.column_stack([block.X, np.ones(block.n_rows), outputs])
            return z.T @ z

        n = self.mlp.n_inputs + 1
        M = self.rows.sum(moments, 8 * sum(self.mlp.layer_sizes))
        explained = np.vdot(M[:n, n:], np.linalg.lstsq(M[:n, :n], M[:n, n:])[0])
        squares, mean_squares = np.trace(M[n:, n:]), np.sum(M[n - 1, n:] ** 2) / self.rows.n_rows
        return bool(squares - explained <= STRAIGHT * (squares - mean_squares))

    def mackay(self, state: State) -> np.ndarray:
        """MacKay's (ln α, ln β) within their caps, groups without effect at theirs."""
        target = state.log_hyperparameters
        moving = self.moving(state.prior)
        target[:-1][moving] = self._log_precisions(state)[moving]
        target[:-1][self.without_effect(state)] = np.log(MAX_PRECISION)
        if self.fit_noise:
            target[-1] = self._log_noise_precision(state)
        return self.bounded(target)

    def along_mackay(self, state: State, stride: np.ndarray | float = 1.0) -> np.ndarray:
        """MacKay's (ln α, ln β), or as much of the way there as one cycle may go.

        A stride above 1 goes as many times as far, at most as far as one cycle may.
        """
        old = state.log_hyperparameters
        full = stride * (self.mackay(state) - old)
        pruned = np.append(self.without_effect(state), False)
        # Shortened as a whole: a precision that is nearly right must not run ahead of the others.
        longest = np.max(np.abs(full[~pruned]), initial=LONGEST_STEP)
        share = max(LONGEST_STEP / longest, LEAST_SHARE)
        step = np.clip(share * full, -LONGEST_STEP, LONGEST_STEP)
        return self.bounded(old + np.where(pruned, full, step))

    def scaled(self, state: State, ratio: float) -> np.ndarray:
        """(ln α, ln β) with every precision that may move multiplied by the same ratio."""
        moving = np.append(self.moving(state.prior), False)
        step = np.where(moving, np.log(ratio), 0.0)
        return self.bounded(state.log_hyperparameters + step)

    def with_own_noise(self, state: State) -> np.ndarray:
        """(ln α, ln β) with MacKay's noise precision, and the others as they are."""
        target = state.log_hyperparameters
        target[-1] = self._log_noise_precision(state)
        return self.bounded(target)

    def without_effect(self, state: State) -> np.ndarray:
        """The groups whose weights the data leave to the prior, (G,).

        None where a hyperprior says what to believe then.
        """
        free = self.moving(state.prior) & (self.hyperprior is None)
        return free & (state.n_effective_params < PRUNED_SHARE * state.prior.group_sizes)

    def gradient(self, state: State) -> np.ndarray:
        """Of log evidence and hyperprior in (ln α, ln β), the mode's motion included, (G + 1,).

        For the log evidence ½(γ_g - α_g Σ_{i∈g} w² - D_g) and ½(NK - γ - β·SSE + Σ_g D_g), where
        D_g = d ln det A / d ln α_g by way of the mode (PRML 3.89-3.95 without D). Zero where
        nothing may move.
        """
        drift = self._drift(state)
        weight_part = state.prior.precisions * state.prior.squared_norms(state.map.theta)
        gamma = state.n_effective_params - drift
        free = self._n_values - gamma.sum() - state.likelihood.scale * self._sse(state)
        gradient = 0.5 * np.append(gamma - weight_part, free)
        if self.hyperprior is not None:
            gradient[:-1] += self.hyperprior.gradient(state.prior.precisions)
        return np.where(self.moves(state), gradient, 0.0)

    def moves(self, state: State) -> np.ndarray:
        """Which of (ln α, ln β) may move and are not at their caps, (G + 1,)."""
        free = np.append(self.moving(state.prior), self.fit_noise)
        lowest, highest = _bounds(len(free))
        values = state.log_hyperparameters
        return free & (values > lowest + 1e-9) & (values < highest - 1e-9)

    def n_free(self, state: State) -> float:
        """NK - γ, the data that are left to the noise."""
        return float(max(self._n_values - state.n_effective_params.sum(), np.finfo(float).tiny))

    def bounded(self, log_hyperparameters: np.ndarray) -> np.ndarray:
        """(ln α, ln β) within their caps."""
        return np.clip(log_hyperparameters, *_bounds(len(log_hyperparameters)))

    def _drift(self, state: State) -> np.ndarray:
        """D_g = d ln det A / d ln α_g by way of the mode, (G,).

        The mode moves by d_g = -A⁻¹ (α_g w_g), with the exact A; along it the outer products'
        determinant is differenced.
        """
        theta, prior = state.map.theta, state.prior
        objective = self.objective(prior, state.likelihood)
        product, solve = objective.hessian_products(theta), state.posterior.solve
        drift = np.zeros(prior.n_groups)
        for group in np.flatnonzero(prior.squared_norms(theta) > 0.0):
            pull = np.where(prior.groups == group, prior.gradient(theta), 0.0)
            motion, _, convex = conjugate_gradients(product, -pull, solve, DRIFT_ACCURACY)
            motion = motion if convex else -solve(pull)
            h = DRIFT_STEP * np.linalg.norm(theta) / np.linalg.norm(motion)
            above, below = (objective.gauss_newton(theta + t * motion).logdet for t in (h, -h))
            drift[group] = (above - below) / (2.0 * h)
        return drift

    def _log_precisions(self, state: State) -> np.ndarray:
        """ln α_g = ln γ_g - ln Σ_g w² (PRML 3.92, 5.178 with groups), or with the hyperprior."""
        smallest = np.finfo(float).tiny
        norms = state.prior.squared_norms(state.map.theta)
        if self.hyperprior is not None:
            return np.log(self.hyperprior.update(state.n_effective_params, norms))
        gamma = np.maximum(state.n_effective_params, smallest)
        return np.log(gamma) - np.log(np.maximum(norms, smallest))

    def _log_noise_precision(self, state: State) -> float:
        """ln β = ln(NK - γ) - ln SSE (PRML 3.95, 5.180)."""
        sse = max(self._sse(state), np.finfo(float).tiny)
        return float(np.log(self.n_free(state)) - np.log(sse))

    def _sse(self, state: State) -> float:
        """Σ (t - y)², from the log likelihood."""
        likelihood = state.likelihood
        normaliser = likelihood.log_normaliser(self.rows.total_weight, self.mlp.n_outputs)
        return 2.0 * (normaliser - state.evidence.log_likelihood) / likelihood.scale

    def moving(self, prior: GaussianPrior) -> np.ndarray:
        """The groups whose precision may move, (G,)."""
        return np.broadcast_to(np.asarray(self.fit_prior, dtype=bool), (prior.n_groups,))

    @property
    def _n_values(self) -> float:
        """NK."""
        return self.rows.total_weight * self.mlp.n_outputs

    def objective(self, prior: GaussianPrior, likelihood: Likelihood) -> NegativeLogPosterior:
        """What a MAP fit at a point of the surface minimises."""
        return NegativeLogPosterior(self.mlp, likelihood, prior, self.rows, self.anchor)

    def moved(
        self, state: State, log_hyperparameters: np.ndarray
    ) -> tuple[GaussianPrior, Likelihood]:
        """The state's prior and likelihood with other hyperparameters."""
        values = np.exp(log_hyperparameters)
        moving = self.moving(state.prior)
        precisions = np.where(moving, values[:-1], state.prior.precisions)
        prior = state.prior.with_precisions(precisions)
        likelihood = state.likelihood
        if self.fit_noise and isinstance(likelihood, Gaussian):
            likelihood = replace(likelihood, noise_precision=float(values[-1]))
        return prior, likelihood


def pruned_groups(prior: GaussianPrior) -> tuple[str, ...]:
    """Names of the groups whose precision has reached its cap."""
    at_cap = prior.precisions >= MAX_PRECISION
    return tuple(name for name, capped in zip(prior.names, at_cap, strict=True) if capped)


def _bounds(n_hyperparameters: int) -> tuple[np.ndarray, np.ndarray]:
    """The caps of (ln α, ln β)."""
    lowest = np.full(n_hyperparameters, np.log(MIN_PRECISION))
    highest = np.full(n_hyperparameters, np.log(MAX_PRECISION))
    lowest[-1], highest[-1] = np.log(np.finfo(float).tiny), np.log(MAX_NOISE_PRECISION)
    return lowest, highest
