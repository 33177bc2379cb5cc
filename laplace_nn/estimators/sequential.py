"""Batch after batch: every member's posterior is its prior of the rows that come next.

p(w|D₁, D₂) ∝ p(D₂|w) p(w|D₁) (PRML 3.3.1), a Laplace approximation a batch, and the members'
weights by what they had predicted of it (PRML 3.66). See `laplace_nn.posterior.as_prior`.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import _check_sample_weight, validate_data

from laplace_nn.curvature import Anchor, Anchored
from laplace_nn.estimators.committee import Member
from laplace_nn.estimators.inputs import checked_weights
from laplace_nn.estimators.machine import blas_threads, check_room
from laplace_nn.estimators.names import make_curvature
from laplace_nn.evidence import log_marginal_likelihood
from laplace_nn.evidence_surface import State
from laplace_nn.mixture import evidence_weights
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    GaussianPosterior,
    KernelPosterior,
    as_prior,
)
from laplace_nn.priors import GaussianPrior
from laplace_nn.reestimation import reestimate
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import left_out

__all__ = ["Sequential", "SequentialMember"]

# Weight below which a member is dropped for good: farther than a batch is likely to bring it back.
# A fit drops earlier, but its batch is not followed by another that may say otherwise.
FORGOTTEN = 1e-9


@dataclass(frozen=True)
class SequentialMember(Member):
    """A mode that has moved on with further rows.

    ``state`` and ``posterior`` have seen all batches, their prior is the posterior before the last
    one; ``log_evidence`` is summed over the batches, ``loo`` is of the last one's rows, each left
    out of all rows so far; ``score`` is the log weight.

    Parameters
    ----------
    first_prior : GaussianPrior
        That of the first batch, and so of all rows; γ is counted beyond it.
    """

    first_prior: GaussianPrior = field(kw_only=True)

    @property
    def prior(self) -> GaussianPrior:
        """That of the first batch."""
        return self.first_prior


class Sequential(BaseEstimator):
    """`partial_fit` of both estimators; not for use by itself."""

    committee_: tuple[Member, ...]
    history_: list[dict[str, Any]]

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        full: bool = True,
    ) -> Self:
        """Learn from a batch of rows on top of those before, which are not needed again.

        The first call is `fit`. From then on the standardisation of inputs and targets, the prior
        and the noise of every member, and the temperature of classes stay as they are: the first
        batch should be large enough to find them. Every member's posterior is the prior under which
        its mode is found again, from where it was, and its weight is multiplied by
        p(new rows | rows so far) under it (PRML 3.66), whatever `committee_weights` said of the
        first batch.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Inputs of the batch.
        y : array-like of shape (N,) or (N, K)
            Its targets or labels.
        classes : array-like of shape (C,), optional
            For a classifier only: all labels there will be. The first batch must have rows of
            each of them, with or without this list, which refuses a batch that has not.
        sample_weight : array-like of shape (N,), optional
            A row of weight 2 counts as two rows.
        full : bool, default=True
            Whether correlations of the weights are handed on, in P x P numbers and a
            `DensePosterior` whatever ``posterior`` says, but for "diagonal", which has none; else
            the diagonal of the precision is, which holds any network but forgets how weights make
            up for each other.

        Returns
        -------
        self : estimator
            Fitted to all rows so far.

        Raises
        ------
        ValueError
            If a label is new, columns or targets are others than before, the posterior is over
            some of the weights only, or it has Kronecker factors, which take no diagonal. The
            estimator is then as it was.
        MemoryError
            If P x P numbers do not fit; ``full=False`` needs none.

        Warns
        -----
        ConvergenceWarning
            If training ran out of its budget.

        Notes
        -----
        Fitted attributes speak of all rows so far and of the heaviest member, which comes first:
        ``log_marginal_likelihood_`` is the sum over batches, ``n_effective_params_`` is counted
        beyond the first prior, which stays ``prior_``. The ``loo_…`` are of the last batch's
        rows, each left out of all rows so far. ``diagnostics_`` are of one fit and go; `fit`
        starts anew.

        Without a hidden layer and with Gaussian noise, batches are all rows at once, exactly.
        Otherwise each batch's likelihood is replaced by its quadratic at the mode then: expect
        predictions between those of the first batch alone and those of all rows at once.

        Examples
        --------
        >>> import numpy as np
        >>> from laplace_nn import LaplaceMLPRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-2, 2, size=(90, 1))
        >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=90)
        >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0)
        >>> _ = model.partial_fit(X[:30], y[:30])
        >>> before = model.posterior_.logdet_precision
        >>> _ = model.partial_fit(X[30:], y[30:])
        >>> bool(model.posterior_.logdet_precision > before)  # it is surer of its weights
        True
        """
        self._check_classes(y, classes, sample_weight)
        if not hasattr(self, "theta_"):
            return self.fit(X, y, sample_weight)
        self._check_parameters()
        self._learn(self._rows_with_targets(X, y, sample_weight), full)
        return self

    def _learn(self, rows: RowBlocks, full: bool) -> None:
        """Move every member on, and only then the attributes."""
        size = self._matrix_size(rows, full)
        check_room(
            size,
            f"partial_fit factors matrices of {size} rows",
            "use full=False, smaller batches or fewer hidden units",
        )
        with blas_threads(size):
            moved = [self._moved_on(member, rows, full) for member in self.committee_]
            self._keep_moved(rows, moved)

    def _moved_on(
        self, member: Member, rows: RowBlocks, full: bool
    ) -> tuple[SequentialMember, list[dict[str, Any]]]:
        """A member after further rows, its weight not yet among the others', and its history."""
        earlier = _in_weight_space(member.posterior) if full else member.posterior
        prior, anchor = as_prior(earlier, full=full)
        # γ counts the earlier rows too, so that MacKay's update of the noise would not hold.
        climbed = reestimate(
            self.mlp_,
            member.state.likelihood,
            prior,
            rows,
            member.theta,
            fit_prior=False,
            fit_noise=False,
            anchor=anchor,
            solver=self.solver,
            gradient_tol=self.gradient_tol,
            max_iter=self.max_iter,
        )
        posterior, evidence = self._posterior_on(rows, climbed.state, anchor)
        evidence += self._log_jacobian(rows)
        first = member.prior
        gamma = _determined(climbed.state.posterior, first)
        state = replace(climbed.state, n_effective_params=gamma)
        held = left_out(self.mlp_, state.posterior, state.likelihood, rows, self._log_scores)
        scores = held.log_scores + self._log_jacobian(rows) / rows.total_weight
        after = SequentialMember(
            member.start,
            state,
            posterior,
            member.log_evidence + evidence,
            held.out,
            scores,
            float(np.average(scores, weights=rows.sample_weight)),
            float(np.log(member.weight)) + evidence,
            climbed.converged,
            member.stronger,
            first_prior=first,
        )
        own = {"start": member.start, "event": "further rows"}
        own |= {"prior_precision": first.precisions, "n_effective_params": gamma}
        entries = self._history([climbed], rows)
        return after, [{**entry, **own} for entry in entries]

    def _posterior_on(
        self, rows: RowBlocks, state: State, anchor: Anchor | None
    ) -> tuple[GaussianPosterior, float]:
        """The posterior and ln p(new rows | rows so far) under the asked-for curvature."""
        if anchor is None:
            return self._posterior(self.mlp_, rows, state)
        if self.curvature == "ggn":
            return state.posterior, state.evidence.total
        theta, prior, scale = state.map.theta, state.prior, state.likelihood.scale
        own = make_curvature(self.curvature, self.mlp_, theta, state.likelihood, rows)
        H = Anchored(own, anchor, scale)
        posterior = DensePosterior.from_curvature(theta, H, prior, scale)
        evidence = log_marginal_likelihood(posterior, state.evidence.log_likelihood)
        return posterior, replace(evidence, log_prior=anchor.log_density(theta, prior)).total

    def _keep_moved(
        self, rows: RowBlocks, moved: list[tuple[SequentialMember, list[dict[str, Any]]]]
    ) -> None:
        """The committee, w_c ← w_c p(new rows | rows so far, c), and what follows from it."""
        self.committee_ = _reweighted([member for member, _ in moved])
        self.history_ = [*self.history_, *(entry for _, own in moved for entry in own)]
        self._places = np.arange(rows.n_rows)
        self._speak_of_committee(rows)
        if hasattr(self, "noise_precision_"):
            self.noise_precision_ = self._noise_in_units(self.likelihood_.scale)
        if hasattr(self, "diagnostics_"):
            del self.diagnostics_  # of the first batch's fit
        self._warn_of_budgets(self.committee_[0])

    def _rows_with_targets(self, X: Any, y: Any, sample_weight: Any) -> RowBlocks:
        """Validated rows that carry weight, in the units of the first batch."""
        numbers = {} if is_classifier(self) else {"multi_output": True, "y_numeric": True}
        X, y = validate_data(self, X, y, reset=False, dtype=np.float64, order="C", **numbers)
        targets = self._inner_targets(y)
        X = self._standardised(X)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            kept = weights > 0.0
            X, targets, weights = X[kept], targets[kept], weights[kept]
        return RowBlocks(X, targets, weights)

    def _check_classes(self, y: Any, classes: Any, sample_weight: Any) -> None:
        """Refuse classes that are not those of the first batch, before it is fitted."""
        if classes is None:
            return
        if not is_classifier(self):
            raise ValueError(
                "partial_fit takes classes for a classifier only; got some for a regressor: pass "
                "weights by name, sample_weight=..."
            )
        known = getattr(self, "classes_", None)
        if known is None:
            labels = np.ravel(np.asarray(y))
            known = np.unique(labels[_check_sample_weight(sample_weight, labels) > 0])
        if not np.array_equal(np.unique(classes), known):
            raise ValueError(
                f"classes must be those of the first batch's rows, {known.tolist()}, from which "
                f"the network's outputs are made; got {np.unique(classes).tolist()}: begin with a "
                "batch that has rows of every class."
            )

    def _matrix_size(self, rows: RowBlocks, full: bool) -> int:
        """Of the largest matrix that is factored: P, or N·K where that is smaller and will do."""
        smaller = min(self.mlp_.n_params, rows.n_rows * self.mlp_.n_outputs)
        diagonal = all(isinstance(m.posterior, DiagonalPosterior) for m in self.committee_)
        return self.mlp_.n_params if full and not diagonal else smaller


def _determined(posterior: GaussianPosterior, prior: GaussianPrior) -> np.ndarray:
    """γ_g = n_g - α_g tr_g A⁻¹ beyond a prior that need not be the posterior's own, (G,)."""
    shares = 1.0 - prior.precision * posterior.variance()
    return np.bincount(prior.groups, weights=shares, minlength=prior.n_groups)


def _in_weight_space(posterior: GaussianPosterior) -> GaussianPosterior:
    """A posterior in function space with its P x P precision formed; others as they are."""
    if not isinstance(posterior, KernelPosterior):
        return posterior
    return DensePosterior(posterior.theta_map, posterior.regularised.in_weight_space())


def _reweighted(members: list[SequentialMember]) -> tuple[SequentialMember, ...]:
    """By their scores, the unnormalised log weights: heaviest first, forgotten ones left out."""
    shares = evidence_weights(np.array([member.score for member in members]))
    order = np.argsort(-shares, kind="stable")
    kept = [i for i in order if shares[i] >= FORGOTTEN]
    shares = shares[kept] / shares[kept].sum()
    return tuple(
        replace(members[i], weight=float(share), score=float(np.log(share)))
        for i, share in zip(kept, shares, strict=True)
    )
