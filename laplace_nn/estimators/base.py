"""What both estimators share: standardising, starts in parallel, the committee of their modes."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from laplace_nn.diagnostics import Diagnostics, UntrustworthyFitWarning, diagnose
from laplace_nn.estimators.climbs import Climb, Climbs, Settings
from laplace_nn.estimators.committee import Member, elect
from laplace_nn.estimators.inputs import seed_from
from laplace_nn.estimators.machine import blas_threads, check_room
from laplace_nn.estimators.names import (
    check_parameters,
    given_precisions,
    make_curvature,
    make_hyperprior,
    make_mlp,
    make_prior,
    posterior_form,
    prior_of_start,
)
from laplace_nn.estimators.progress import Progress
from laplace_nn.estimators.scaling import ScaledInputs
from laplace_nn.estimators.sequential import Sequential
from laplace_nn.estimators.starts import Start
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.evidence_surface import State, pruned_groups
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.objective import NegativeLogPosterior, in_weight_space, matrix_size
from laplace_nn.priors import GaussianPrior
from laplace_nn.pushforward import linearised
from laplace_nn.reestimation import (
    STRONGER,
    WALK_RATIO,
    Reestimation,
    start_strength,
    walk_start,
)
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import LogScores, Selection, left_out
from laplace_nn.training import not_stationary, step_cost

__all__ = ["BaseLaplaceMLP"]


class BaseLaplaceMLP(Sequential, ScaledInputs, BaseEstimator):
    """Parameters and machinery of both estimators; not for use by itself."""

    relevance_: np.ndarray

    def _fit_rows(
        self, X: np.ndarray, Y: np.ndarray, sample_weight: np.ndarray | None, likelihood: Likelihood
    ) -> None:
        """Fit standardised targets Y (N, K) on raw inputs X (N, D)."""
        mlp = make_mlp(self.hidden_layer_sizes, self.activation, X.shape[1], Y.shape[1])
        # A network without hidden layers is there to be linear in its inputs.
        self._fit_standardiser(X, sample_weight, draw_in=mlp.n_layers > 1)
        rows = RowBlocks(self._standardised(X), Y, sample_weight)
        size = matrix_size(mlp, rows)
        check_room(
            size,
            f"A full covariance of this network is held as a matrix of P = {mlp.n_params} weights "
            f"or of N*K = {rows.n_rows * mlp.n_outputs} training values, whichever is smaller",
            "use fewer hidden units or fewer rows",
        )
        starts = self._starts(mlp, likelihood, rows.total_weight)
        with blas_threads(size):
            found, candidates = self._climb(mlp, rows, starts)
            self._keep(mlp, rows, found, candidates)

    def _starts(self, mlp: MLP, likelihood: Likelihood, n_rows: float) -> list[Start]:
        """The starts: random weights, strengths in turn or weak; the last fit alone if warm."""
        sequences = np.random.SeedSequence(seed_from(self.random_state)).spawn(self.n_restarts)
        warm = self._warm_start(mlp, likelihood)
        if warm is not None:
            return [warm]
        # Without a hidden layer the posterior has one mode, and one start finds it.
        n_starts = self.n_restarts if mlp.n_layers > 1 else 1
        starts = []
        has_noise = isinstance(likelihood, Gaussian)
        # The evidence has too little to say of how strong the prior of classes should be.
        walking = not has_noise and self._selection_of(mlp).loo > 0.0
        ratio = WALK_RATIO if walking else None
        for index, sequence in enumerate(sequences[:n_starts]):
            alpha, beta = start_strength(index, n_rows, has_noise)
            alpha = walk_start(n_rows) if walking else alpha
            prior = self._make_prior(mlp, alpha, index)
            found = has_noise and self._is_auto("noise_precision")
            start_likelihood = Gaussian(beta) if found else likelihood
            theta = mlp.initialise(np.random.default_rng(sequence))
            starts.append(Start(theta, prior, start_likelihood, self._moving(prior), ratio))
        return starts

    def _make_prior(self, mlp: MLP, precision: float, index: int) -> GaussianPrior:
        """The prior of start number ``index``, with this precision where none is given."""
        names = getattr(self, "feature_names_in_", None)
        kind = prior_of_start(self.prior, self.prior_precision, index, is_regressor(self))
        prior = make_prior(kind, mlp, None if names is None else list(names))
        given = given_precisions(prior, self.prior_precision)
        return prior.with_precisions(np.where(np.isnan(given), precision, given))

    def _warm_start(self, mlp: MLP, likelihood: Likelihood) -> Start | None:
        if not (self.warm_start and hasattr(self, "theta_")):
            return None
        if self.mlp_.layer_sizes != mlp.layer_sizes:
            raise ValueError(
                f"warm_start=True needs the network of the last fit, layer sizes "
                f"{self.mlp_.layer_sizes}; the parameters and data now ask for "
                f"{mlp.layer_sizes}: set warm_start=False."
            )
        prior = self._make_prior(mlp, 1.0, 0)
        # Every group begins at the geometric mean of what its weights had.
        logs = np.bincount(prior.groups, np.log(self.prior_.precision), prior.n_groups)
        moved = np.where(self._moving(prior), np.exp(logs / prior.group_sizes), prior.precisions)
        prior = prior.with_precisions(moved)
        auto_noise = isinstance(likelihood, Gaussian) and self._is_auto("noise_precision")
        noise = self.likelihood_ if auto_noise else likelihood
        return Start(self.theta_, prior, noise, self._moving(prior))

    def _climb(
        self, mlp: MLP, rows: RowBlocks, starts: list[Start]
    ) -> tuple[list[Climb], list[Member]]:
        """One climb of the evidence a start, and its modes; one that is kept alone goes to the top.

        A mode that the asked-for curvature does not allow is no candidate, unless none is.
        """
        settings = self._climb_settings(mlp, starts)
        moving = settings.fit_noise or any(np.any(start.moving) for start in starts)
        climbing = moving and settings.selection.loo == 0.0
        refined = climbing and len(starts) > 1 and self.committee == 1
        first, shift = starts[0], self._log_jacobian(rows)
        cost = step_cost(NegativeLogPosterior(mlp, first.likelihood, first.prior, rows))
        with Progress(len(starts) + int(refined), shift, bool(self.verbose)) as progress:
            climbs = Climbs(mlp, rows, settings, self.n_jobs, cost, progress)
            found = climbs.run(starts)
            candidates = self._candidates(mlp, rows, dict(enumerate(found)))
            if refined:
                top = max(candidates, key=lambda member: member.score)
                climbs = replace(climbs, settings=replace(settings, refine=True))
                climbed = climbs.run([starts[top.start].moved_to(top.state)])[0]
                found[top.start] = climbed.after(found[top.start])
                candidates = self._candidates(mlp, rows, {top.start: found[top.start]})
        return found, candidates

    def _climb_settings(self, mlp: MLP, starts: list[Start]) -> Settings:
        has_noise = isinstance(starts[0].likelihood, Gaussian)
        return Settings(
            fit_noise=has_noise and self._is_auto("noise_precision"),
            hyperprior=make_hyperprior(self.hyperprior),
            selection=self._selection_of(mlp),
            refine=len(starts) == 1,
            finish_all=self.committee != "auto",
            stronger=None if self.committee == 1 else STRONGER,
            solver=self.solver,
            tol=self.tol,
            gradient_tol=self.gradient_tol,
            max_cycles=self.max_cycles,
            max_iter=self.max_iter,
        )

    def _keep(
        self, mlp: MLP, rows: RowBlocks, found: list[Climb], candidates: list[Member]
    ) -> None:
        """Set the fitted attributes from the committee of the modes that were found."""
        self.committee_ = elect(
            candidates, self.committee, self.committee_weights, rows.sample_weight
        )
        self.mlp_ = mlp
        self._recalibrate(rows)
        self.history_ = self._history(found, rows)
        self._speak_of_committee(rows)
        self.diagnostics_ = self._diagnose(self.committee_[0], rows)
        for finding in self.diagnostics_.findings:
            warnings.warn(finding, UntrustworthyFitWarning, stacklevel=4)
        self._warn_of_budgets(self.committee_[0])

    def _speak_of_committee(self, rows: RowBlocks) -> None:
        """Set the fitted attributes that follow from the committee, whose first speaks for it."""
        best = self.committee_[0]
        self.theta_, self.posterior_ = best.theta, best.posterior
        self.likelihood_, self.prior_ = best.state.likelihood, best.prior
        self.prior_precision_ = best.prior.precisions
        self.n_effective_params_ = best.state.n_effective_params
        self.pruned_groups_ = pruned_groups(best.prior)
        self.log_marginal_likelihood_ = best.log_evidence
        self.n_iter_ = max(1, sum(entry["n_iter"] for entry in self.history_))
        self.loo_log_score_ = float(np.average(self._loo_scores(rows), weights=rows.sample_weight))
        self._set_relevance()
        self._set_coefficients()

    def _recalibrate(self, rows: RowBlocks) -> None:
        """Set what the committee's predictions are corrected by, from the rows; nothing here."""

    def _loo_scores(self, rows: RowBlocks) -> np.ndarray:
        """Leave-one-out log scores of the committee, (N,)."""
        scores = np.array([member.loo_log_scores for member in self.committee_])
        return logsumexp(scores, axis=0, b=self._weights[:, None])

    def _set_relevance(self) -> None:
        """√(mean w²) of every input's weights."""
        if hasattr(self, "relevance_"):
            del self.relevance_
        member = self._with_relevance()
        if member is not None:
            W = self.mlp_.unpack(member.theta)[0][0]
            self.relevance_ = np.sqrt(np.mean(W * W, axis=0))

    def _with_relevance(self) -> Member | None:
        """The best mode whose prior has a precision for each input, if there is one."""
        inputs = np.arange(self.mlp_.n_inputs)
        for member in self.committee_:
            weights, biases = self.mlp_.unpack(member.prior.groups)[0]
            shared = np.any(np.isin(biases, inputs))
            if np.array_equal(weights, np.broadcast_to(inputs, weights.shape)) and not shared:
                return member
        return None

    def _candidates(self, mlp: MLP, rows: RowBlocks, found: dict[int, Climb]) -> list[Member]:
        """The starts' modes under the asked-for curvature, unless it allows none of them."""
        members, refused = [], None
        for start, climbed in found.items():
            for state in filter(None, (climbed.mode, climbed.stronger)):
                try:
                    member = self._candidate(mlp, rows, start, state, climbed.converged)
                    members.append(replace(member, stronger=state is climbed.stronger))
                except NotPositiveDefiniteError as error:
                    refused = error
        if not members:
            assert refused is not None
            raise refused
        return members

    def _candidate(
        self, mlp: MLP, rows: RowBlocks, start: int, state: State, converged: bool
    ) -> Member:
        posterior, evidence = self._posterior(mlp, rows, state)
        evidence += self._log_jacobian(rows)
        held = state.held
        if held is None:
            held = left_out(mlp, state.posterior, state.likelihood, rows, self._log_scores)
        scores = held.log_scores + self._log_jacobian(rows) / rows.total_weight
        score = self._selection.score(evidence, replace(held, log_scores=scores), rows)
        mean = float(np.average(scores, weights=rows.sample_weight))
        return Member(start, state, posterior, evidence, held.out, scores, mean, score, converged)

    def _posterior(self, mlp: MLP, rows: RowBlocks, state: State) -> tuple[Any, float]:
        """The posterior and evidence at a mode under the asked-for curvature."""
        form = posterior_form(self.posterior, self.curvature, in_weight_space(mlp, rows))
        if self.curvature == "ggn" and form is type(state.posterior):
            return state.posterior, state.evidence.total
        build: Any = getattr(form, "from_curvature", form)
        curvature = make_curvature(self.curvature, mlp, state.map.theta, state.likelihood, rows)
        posterior = build(state.map.theta, curvature, state.prior, state.likelihood.scale)
        fit = log_likelihood(mlp, state.map.theta, state.likelihood, rows)
        return posterior, log_marginal_likelihood(posterior, fit).total

    @property
    def _selection(self) -> Selection:
        """What ranks modes."""
        return Selection.named(self.selection, self._log_scores)

    def _selection_of(self, mlp: MLP) -> Selection:
        """What ranks states on the way to a mode.

        Without hidden layers the evidence is that of the whole posterior, and enough.
        """
        return self._selection if mlp.n_layers > 1 else Selection()

    @property
    def _log_scores(self) -> LogScores:
        """ln p of inner targets under Gaussians of the outputs."""
        raise NotImplementedError

    def _history(
        self, found: Sequence[Climb | Reestimation], rows: RowBlocks
    ) -> list[dict[str, Any]]:
        """Every cycle of every start, in the units of the targets that were passed."""
        history, shift = [], self._log_jacobian(rows)
        for index, climbed in enumerate(found):
            for entry in climbed.history:
                moved = {
                    name: entry[name] + shift
                    for name in ("log_marginal_likelihood", "log_likelihood")
                }
                if entry["loo_log_score"] is not None:
                    moved["loo_log_score"] = entry["loo_log_score"] + shift / rows.total_weight
                noise = self._noise_in_units(entry["noise_precision"])
                history.append({"start": index, **entry, **moved, "noise_precision": noise})
        return history

    def _diagnose(self, best: Member, rows: RowBlocks) -> Diagnostics:
        """What can be known of the best mode's trustworthiness from the training rows."""
        state = best.state
        return diagnose(
            NegativeLogPosterior(self.mlp_, state.likelihood, state.prior, rows),
            state.posterior,
            log_evidence=best.log_evidence,
            loo_score=float(np.sum(rows.weigh(best.loo_log_scores))),
            loo=best.loo,
            rng=np.random.default_rng(0),
        )

    def _warn_of_budgets(self, best: Member) -> None:
        """Warn where training or re-estimation ran out of steps."""
        state = best.state
        if not state.map.converged:
            warnings.warn(
                not_stationary(state.map, self.gradient_tol), ConvergenceWarning, stacklevel=5
            )
        if not best.converged:
            warnings.warn(
                f"Re-estimation stopped after max_cycles = {self.max_cycles} cycles with the "
                "evidence still rising: raise max_cycles or tol.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _rows(self, X: Any) -> RowBlocks:
        """Validated, standardised inputs of a fitted estimator."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        return RowBlocks(self._standardised(X))

    def _outputs(self, rows: RowBlocks) -> np.ndarray:
        """MAP outputs inside of every member, (C, n, K)."""
        return np.array([self._outputs_of(member, rows) for member in self.committee_])

    def _outputs_of(self, member: Member, rows: RowBlocks) -> np.ndarray:
        return rows.concatenate(
            lambda block: self.mlp_.forward(member.theta, block.X).outputs,
            row_bytes=16 * sum(self.mlp_.layer_sizes),
        )

    def _linearised(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means (C, n, K) and covariances (C, n, K, K) of every member's linearised outputs."""
        rows = self._rows(X)
        pairs = [linearised(self.mlp_, member.posterior, rows) for member in self.committee_]
        means, covariances = zip(*pairs, strict=True)
        return np.array(means), np.array(covariances)

    @property
    def _left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of the training rows, each by leave-one-out."""
        loos = [member.loo for member in self.committee_]
        return np.array([loo.mean for loo in loos]), np.array([loo.covariance for loo in loos])

    @property
    def _weights(self) -> np.ndarray:
        """Weights of the committee's members, (C,)."""
        return np.array([member.weight for member in self.committee_])

    def _moving(self, prior: GaussianPrior) -> np.ndarray:
        """The prior's groups whose precision is re-estimated, (G,)."""
        return np.isnan(given_precisions(prior, self.prior_precision))

    def _is_auto(self, name: str) -> bool:
        value = getattr(self, name, "auto")
        return isinstance(value, str) and value == "auto"

    def _check_parameters(self) -> None:
        check_parameters(self.get_params(deep=False))
