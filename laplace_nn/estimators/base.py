"""What both estimators share: standardising, starts in parallel, choosing by evidence."""

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from laplace_nn.estimators.names import (
    check_parameters,
    make_curvature,
    make_mlp,
    make_prior,
    posterior_form,
)
from laplace_nn.estimators.progress import Progress
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.evidence_surface import State
from laplace_nn.leave_one_out import LeaveOneOut, leave_one_out
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP
from laplace_nn.objective import in_weight_space
from laplace_nn.priors import GaussianPrior
from laplace_nn.pushforward import linearised
from laplace_nn.reestimation import Reestimation, reestimate, start_strength
from laplace_nn.rows import RowBlocks
from laplace_nn.training import not_stationary

__all__ = ["BaseLaplaceMLP"]

# Below this size of the smaller of P and N·K, BLAS threads cost more than they bring.
ONE_THREAD_SIZE = 2000
N_MATRICES = 4  # of the covariance's size that are alive at the same time in a fit


@dataclass(frozen=True)
class Start:
    """Weights and hyperparameters that a climb of the evidence begins with."""

    theta: np.ndarray
    prior: GaussianPrior
    likelihood: Likelihood

    @classmethod
    def at(cls, state: State) -> "Start":
        """Where another climb ended."""
        return cls(state.map.theta, state.prior, state.likelihood)


class BaseLaplaceMLP(BaseEstimator):
    """Parameters and machinery of both estimators; not for use by itself."""

    def _fit_rows(
        self, X: np.ndarray, Y: np.ndarray, sample_weight: np.ndarray | None, likelihood: Likelihood
    ) -> None:
        """Fit standardised targets Y (N, K) on raw inputs X (N, D)."""
        self._fit_standardiser(X, sample_weight)
        rows = RowBlocks(self._standardised(X), Y, sample_weight)
        mlp = make_mlp(self.hidden_layer_sizes, self.activation, X.shape[1], Y.shape[1])
        size = min(mlp.n_params, rows.n_rows * mlp.n_outputs)
        _check_memory(size, mlp, rows)
        starts = self._starts(mlp, likelihood, rows.total_weight)
        with threadpool_limits(1 if size < ONE_THREAD_SIZE else None, user_api="blas"):
            found = self._climb(mlp, rows, starts)
            self._keep_best(mlp, rows, found)

    def _starts(self, mlp: MLP, likelihood: Likelihood, n_rows: float) -> list[Start]:
        """The starts: random weights, strengths in turn; the last fit first if warm."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        sequences = np.random.SeedSequence(seed).spawn(self.n_restarts)
        warm = self._warm_start(mlp, likelihood)
        if warm is not None:
            return [warm]
        # Without a hidden layer the posterior has one mode, and one start finds it.
        n_starts = self.n_restarts if mlp.n_layers > 1 else 1
        starts = []
        for index, sequence in enumerate(sequences[:n_starts]):
            alpha, beta = start_strength(index, n_rows)
            precision = alpha if self._is_auto("prior_precision") else self.prior_precision
            prior = self._make_prior(mlp, precision)
            noise = Gaussian(beta) if self._is_auto("noise_precision") else likelihood
            start_likelihood = noise if isinstance(likelihood, Gaussian) else likelihood
            theta = mlp.initialise(np.random.default_rng(sequence))
            starts.append(Start(theta, prior, start_likelihood))
        return starts

    def _make_prior(self, mlp: MLP, precision: float | np.ndarray) -> GaussianPrior:
        names = getattr(self, "feature_names_in_", None)
        return make_prior(self.prior, mlp, precision, None if names is None else list(names))

    def _warm_start(self, mlp: MLP, likelihood: Likelihood) -> Start | None:
        if not (self.warm_start and hasattr(self, "theta_")):
            return None
        if self.mlp_.layer_sizes != mlp.layer_sizes:
            raise ValueError(
                f"warm_start=True needs the network of the last fit, layer sizes "
                f"{self.mlp_.layer_sizes}; the parameters and data now ask for "
                f"{mlp.layer_sizes}: set warm_start=False."
            )
        prior = self._make_prior(mlp, 1.0)
        if self._is_auto("prior_precision"):
            # Every group begins at the geometric mean of what its weights had.
            logs = np.bincount(prior.groups, np.log(self.prior_.precision), prior.n_groups)
            prior = prior.with_precisions(np.exp(logs / prior.group_sizes))
        else:
            prior = self._make_prior(mlp, self.prior_precision)
        auto_noise = isinstance(likelihood, Gaussian) and self._is_auto("noise_precision")
        return Start(self.theta_, prior, self.likelihood_ if auto_noise else likelihood)

    def _climb(self, mlp: MLP, rows: RowBlocks, starts: list[Start]) -> list[Reestimation]:
        """One climb of the evidence a start, in parallel where asked for."""
        settings = {
            "fit_prior": self._is_auto("prior_precision"),
            "fit_noise": self._is_auto("noise_precision"),
            "solver": self.solver,
            "tol": self.tol,
            "gradient_tol": self.gradient_tol,
            "max_cycles": self.max_cycles,
            "max_iter": self.max_iter,
        }
        with Progress(len(starts) + 1, self._log_jacobian(rows), bool(self.verbose)) as progress:
            settings["refine"] = len(starts) == 1
            if self.n_jobs in (None, 1) or len(starts) == 1:
                found = [
                    _climb_one(mlp, rows, start, settings, progress.callback(index))
                    for index, start in enumerate(starts)
                ]
            else:
                climbs = Parallel(n_jobs=self.n_jobs, return_as="generator")(
                    delayed(_climb_one)(mlp, rows, start, settings, None) for start in starts
                )
                found = [progress.finished(index, climbed) for index, climbed in enumerate(climbs)]
            if len(starts) > 1 and (settings["fit_prior"] or settings["fit_noise"]):
                scores = [
                    self._selection_score(mlp, rows, climbed.state, climbed.state.evidence.total)
                    for climbed in found
                ]
                best = int(np.argmax(scores))
                settings["refine"] = True
                start = Start.at(found[best].state)
                refined = _climb_one(mlp, rows, start, settings, progress.callback(best))
                found[best] = refined.after(found[best])
            return found

    def _keep_best(self, mlp: MLP, rows: RowBlocks, found: list[Reestimation]) -> None:
        """Set the fitted attributes from the climb that ended with the best score."""
        best, posterior, evidence = self._choose(mlp, rows, found)
        state = best.state
        self.mlp_, self.theta_ = mlp, state.map.theta
        self.likelihood_, self.prior_ = state.likelihood, state.prior
        self.posterior_ = posterior
        self.prior_precision_ = state.prior.precisions
        self.n_effective_params_ = state.n_effective_params
        self.pruned_groups_ = state.pruned
        self.log_marginal_likelihood_ = evidence + self._log_jacobian(rows)
        self.history_ = self._history(found, self._log_jacobian(rows))
        self.n_iter_ = max(1, sum(entry["n_iter"] for entry in self.history_))
        self._loo = leave_one_out(mlp, state.posterior, state.likelihood, rows, warn=False)
        self.loo_log_score_ = self._loo_log_score(self._loo, rows, state.likelihood)
        self._set_coefficients()
        self._warn(best)

    def _selection_score(self, mlp: MLP, rows: RowBlocks, state: State, evidence: float) -> float:
        """What starts are ranked by."""
        if self.selection == "evidence":
            return evidence
        loo = leave_one_out(mlp, state.posterior, state.likelihood, rows, warn=False)
        summed = rows.total_weight * self._loo_log_score(loo, rows, state.likelihood)
        if self.selection == "loo":
            return summed
        return evidence + self._log_jacobian(rows) + 2.0 * summed

    def _loo_log_score(self, loo: LeaveOneOut, rows: RowBlocks, likelihood: Likelihood) -> float:
        """Mean leave-one-out log score of the training rows, in nats and in the units of y."""
        scores = self._log_scores(loo.mean, loo.covariance, rows.targets, likelihood)
        return float(np.average(scores, weights=rows.sample_weight))

    def _log_scores(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        targets: np.ndarray,
        likelihood: Likelihood,
    ) -> np.ndarray:
        """ln p of inner targets (N, K) under Gaussians of the outputs, in the units of y."""
        raise NotImplementedError

    def _history(self, found: list[Reestimation], shift: float) -> list[dict[str, Any]]:
        """Every cycle of every start, in the units of the targets that were passed."""
        history = []
        for index, climbed in enumerate(found):
            for entry in climbed.history:
                moved = {
                    name: entry[name] + shift
                    for name in ("log_marginal_likelihood", "log_likelihood")
                }
                noise = self._noise_in_units(entry["noise_precision"])
                history.append({"start": index, **entry, **moved, "noise_precision": noise})
        return history

    def _noise_in_units(self, noise_precision: float) -> Any:
        """β in the units of y that were passed; 1 where the likelihood has none."""
        return noise_precision

    def _choose(
        self, mlp: MLP, rows: RowBlocks, found: list[Reestimation]
    ) -> tuple[Reestimation, Any, float]:
        """The climb of best evidence under the asked-for curvature, with its posterior."""
        form = posterior_form(self.posterior, self.curvature, in_weight_space(mlp, rows))
        build: Any = getattr(form, "from_curvature", form)
        ranked, refused = [], None
        for climbed in found:
            state = climbed.state
            if self.curvature == "ggn" and form is type(state.posterior):
                ranked.append((climbed, state.posterior, state.evidence.total))
                continue
            curvature = make_curvature(self.curvature, mlp, state.map.theta, state.likelihood, rows)
            fit = log_likelihood(mlp, state.map.theta, state.likelihood, rows)
            try:
                posterior = build(state.map.theta, curvature, state.prior, state.likelihood.scale)
                evidence = log_marginal_likelihood(posterior, fit).total
            except NotPositiveDefiniteError as error:
                refused = error
                continue
            ranked.append((climbed, posterior, evidence))
        if not ranked:
            assert refused is not None
            raise refused
        return max(ranked, key=lambda r: self._selection_score(mlp, rows, r[0].state, r[2]))

    def _warn(self, best: Reestimation) -> None:
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

    def _log_jacobian(self, rows: RowBlocks) -> float:
        """ln |d standardised targets / d targets|, for densities in the units of y."""
        return 0.0

    # Inputs: standardised inside, and undone in coefs_ and intercepts_.
    def _fit_standardiser(self, X: np.ndarray, sample_weight: np.ndarray | None) -> None:
        if self.standardize:
            self.input_mean_, self.input_scale_ = mean_and_scale(X, sample_weight)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        return (X - self.input_mean_) / self.input_scale_

    def _set_coefficients(self) -> None:
        """coefs_ (fan-in, fan-out) and intercepts_ of the network on raw inputs and outputs."""
        layers = self.mlp_.unpack(self.theta_)
        (W, b), rest = layers[0], layers[1:]
        W = W / self.input_scale_
        layers = [(W, b - W @ self.input_mean_), *rest]
        W, b = layers[-1]
        scale, shift = self._output_scale_and_shift()
        layers[-1] = (W * scale[:, None], b * scale + shift)
        self.coefs_ = [W.T.copy() for W, _ in layers]
        self.intercepts_ = [b.copy() for _, b in layers]

    def _output_scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(self.mlp_.n_outputs), np.zeros(self.mlp_.n_outputs)

    def _rows(self, X: Any) -> RowBlocks:
        """Validated, standardised inputs of a fitted estimator."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        return RowBlocks(self._standardised(X))

    def _linearised(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, K) and covariance (n, K, K) of the linearised network's outputs."""
        return linearised(self.mlp_, self.posterior_, self._rows(X))

    def _is_auto(self, name: str) -> bool:
        value = getattr(self, name, "auto")
        return isinstance(value, str) and value == "auto"

    def _check_parameters(self) -> None:
        check_parameters(self.get_params(deep=False))


def _check_memory(size: int, mlp: MLP, rows: RowBlocks) -> None:
    """Refuse a covariance that cannot fit, before anything is computed."""
    needed = N_MATRICES * 8.0 * size**2
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a platform that does not say
        return
    if needed > physical:
        raise MemoryError(
            f"A full covariance of this network needs about {needed / 1e9:.0f} GB: it is held as a "
            f"matrix of P = {mlp.n_params} weights or of N*K = {rows.n_rows * mlp.n_outputs} "
            f"training values, whichever is smaller, and this machine has {physical / 1e9:.0f} GB. "
            "Use fewer hidden units or fewer rows."
        )


def _climb_one(
    mlp: MLP, rows: RowBlocks, start: Start, settings: dict[str, Any], callback: Any
) -> Reestimation:
    size = min(mlp.n_params, rows.n_rows * mlp.n_outputs)
    with threadpool_limits(1 if size < ONE_THREAD_SIZE else None, user_api="blas"):
        return reestimate(
            mlp, start.likelihood, start.prior, rows, start.theta, **settings, callback=callback
        )


def mean_and_scale(
    values: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted column means and standard deviations, a constant column's scale being 1."""
    mean = np.average(values, axis=0, weights=sample_weight)
    scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=sample_weight))
    # Rounding leaves a constant column a scale of a few units in the last place, not 0.
    constant = scale <= 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    return mean, np.where(constant, 1.0, scale)


def checked_weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    """Sample weights (N,) that are finite, not negative and not all zero; None for none.

    Raises
    ------
    ValueError
        Otherwise, in one sentence.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if np.any(weights < 0):
        raise ValueError(f"sample_weight must not be negative; got {weights.min()}.")
    if not np.any(weights > 0):
        raise ValueError("sample_weight must have a positive entry; all weights are zero.")
    return weights
