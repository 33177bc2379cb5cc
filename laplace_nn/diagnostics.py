"""Whether a fit may be trusted: stationarity, the curvature left out, freedom, units, outliers.

Laplace's approximation is made at one mode, with the outer products; every number here says how
far one of its assumptions is from holding.
"""

from dataclasses import dataclass

import numpy as np

from laplace_nn.curvature import ResidualTerm
from laplace_nn.curvature.extremes import Extremes, dense_extremes, iterated_extremes
from laplace_nn.curvature.regularised import Regularised
from laplace_nn.importance import importance_log_weights, pareto_k
from laplace_nn.leave_one_out import LeaveOneOut
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.posterior.base import fully_held
from laplace_nn.rows import RowBlocks
from laplace_nn.units import LayerUnits, census, separated_units

__all__ = ["Diagnostics", "UntrustworthyFitWarning", "diagnose"]

DENSE_SIZE = 600  # weights, up to which eigenvalues are those of dense matrices
STATIONARY = 1e-6  # relative gradient
LARGE_RESIDUAL = 0.5  # relative curvature left out, above which variances are off by half
OVERFITTED = 0.9  # γ over the data's degrees of freedom
USELESS = -0.1  # leave-one-out skill: clearly worse than a constant
LARGE_K = 0.7  # Vehtari et al. (2024)


class UntrustworthyFitWarning(UserWarning):
    """A fit breaks an assumption without which its posterior and evidence mean little."""


@dataclass(frozen=True)
class Diagnostics:
    """The assumptions of a fit in numbers; printed, a table with a verdict where one fails.

    Parameters
    ----------
    max_gradient, relative_gradient : float
        max |∇E| and max |∇E| / max(1, |E|) at the mode.
    smallest_eigenvalue : float
        Of the exact A = scale·H + Λ; beyond 600 weights an upper bound from a short search, within
        a few per cent at a mode, negative wherever ``smallest_relative_eigenvalue`` is.
    residual_curvature : float
        ‖A^-½ (A_exact - A) A^-½‖₂, what the outer products A leave out: 0 where they are exact.
        Beyond 600 weights by Lanczos: too low, by at most 1e-2 of itself and usually 1e-4.
    smallest_relative_eigenvalue : float
        1 + the smallest eigenvalue of that matrix; not positive where the mode is a saddle.
    group_names : tuple of str
        The prior's groups.
    group_sizes : ndarray of shape (G,)
        Their weights.
    n_effective_params : ndarray of shape (G,)
        γ_g.
    n_values : float
        What γ may at most be: the data's degrees of freedom, N·K or N·(K - 1) for K classes.
    units : list of LayerUnits
        The census of every hidden layer.
    n_separated_units : list of int
        Units of every hidden layer that the posterior tells apart.
    log_evidence, loo_score : float
        ln p(D), and Σ_n w_n ln p(t_n | the other rows).
    loo_skill : float
        1 - leave-one-out loss / that of a constant: of squared errors for a Gaussian likelihood,
        otherwise of log scores. 1 is perfect, 0 no better than the constant.
    n_rows : float
        Σ_n w_n.
    n_influential_rows : int
        Rows with a leverage above 1 - 1e-10, or without which their outputs move by more than
        3 leave-one-out standard deviations.
    pareto_k : float
        Of the importance ratios of the Gaussian's draws; above 0.7 in most networks of hundreds
        of weights.
    """

    max_gradient: float
    relative_gradient: float
    smallest_eigenvalue: float
    residual_curvature: float
    smallest_relative_eigenvalue: float
    group_names: tuple[str, ...]
    group_sizes: np.ndarray
    n_effective_params: np.ndarray
    n_values: float
    units: list[LayerUnits]
    n_separated_units: list[int]
    log_evidence: float
    loo_score: float
    loo_skill: float
    n_rows: float
    n_influential_rows: int
    pareto_k: float

    @property
    def n_dead_units(self) -> int:
        """Hidden units without effect."""
        return sum(layer.n_dead for layer in self.units)

    @property
    def n_duplicate_units(self) -> int:
        """Live hidden units that repeat another."""
        return sum(layer.n_duplicates for layer in self.units)

    @property
    def evidence_minus_loo(self) -> float:
        """(ln p(D) - leave-one-out score) / N: what the rows cost before the others were seen."""
        return (self.log_evidence - self.loo_score) / self.n_rows

    @property
    def is_saddle(self) -> bool:
        """Whether the exact A has an eigenvalue that is not positive."""
        return self.smallest_relative_eigenvalue <= 0.0 or self.smallest_eigenvalue <= 0.0

    @property
    def is_overfitted(self) -> bool:
        """Whether the weights use up nine tenths of the data."""
        return float(self.n_effective_params.sum()) >= OVERFITTED * self.n_values

    @property
    def findings(self) -> list[str]:
        """What makes the fit untrustworthy, one sentence each with what to do; empty is good."""
        found = []
        if self.is_saddle:
            moving = self.relative_gradient > STATIONARY
            found.append(
                f"{'Training stopped at' if moving else 'The mode is'} a saddle: the exact Hessian "
                "of the negative log posterior has an eigenvalue that is not positive "
                f"({self.smallest_eigenvalue:.3g}), so that variances and evidence from the outer "
                f"products mean little; use {'more iterations, ' if moving else ''}more random "
                "starts, a stronger prior or fewer hidden units."
            )
        if self.is_overfitted:
            found.append(
                f"The data determine {self.n_effective_params.sum():.1f} weights, of at most "
                f"{self.n_values:.0f}, and leave next to nothing to tell noise from signal; use a "
                "stronger prior, fewer hidden units or more rows."
            )
        if self.loo_skill < USELESS:
            found.append(
                "The leave-one-out predictions are worse than a constant's (skill "
                f"{self.loo_skill:.3g}); use a stronger prior, fewer hidden units or other inputs."
            )
        return found

    def __str__(self) -> str:
        entries = [*self._mode(), *self._freedom(), *self._predictions()]
        width = max(len(name) for name, _, _ in entries)
        size = max(len(value) for _, value, _ in entries)
        lines = (f"{name:<{width}}  {value:>{size}}  {verdict}" for name, value, verdict in entries)
        return "\n".join(line.rstrip() for line in lines)

    def _mode(self) -> list[tuple[str, str, str]]:
        """Entries (name, value, verdict) on the mode and its Gaussian."""
        moving = "not stationary" if self.relative_gradient > STATIONARY else ""
        saddle = "a saddle, no minimum" if self.is_saddle else ""
        rough = "outer products leave out much" if self.residual_curvature > LARGE_RESIDUAL else ""
        heavy = "not close to Gaussian, as is usual" if self.pareto_k > LARGE_K else ""
        return [
            ("max |gradient|", f"{self.max_gradient:.2e}", ""),
            ("relative gradient", f"{self.relative_gradient:.2e}", moving),
            ("smallest eigenvalue of A", f"{self.smallest_eigenvalue:.3g}", saddle),
            ("  relative to outer products", f"{self.smallest_relative_eigenvalue:.3g}", saddle),
            ("residual curvature", f"{self.residual_curvature:.3g}", rough),
            ("Pareto k of the Gaussian", f"{self.pareto_k:.2f}", heavy),
        ]

    def _freedom(self) -> list[tuple[str, str, str]]:
        """Entries on effective weights and hidden units."""
        used = "nearly all data used up" if self.is_overfitted else ""
        total = f"{self.n_effective_params.sum():.1f} of {self.group_sizes.sum()}"
        entries = [("effective weights", total, used)]
        groups = zip(self.group_names, self.n_effective_params, self.group_sizes, strict=True)
        entries += [(f"  {name}", f"{gamma:.1f} of {size}", "") for name, gamma, size in groups]
        return entries + self._hidden()

    def _hidden(self) -> list[tuple[str, str, str]]:
        """Entries on the units of every hidden layer."""
        entries = []
        layers = zip(self.units, self.n_separated_units, strict=True)
        for index, (layer, n_separated) in enumerate(layers):
            faults = {"dead": layer.n_dead, "duplicate": layer.n_duplicates}
            verdict = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
            count, apart = (f"{n} of {layer.n_units}" for n in (layer.n_distinct, n_separated))
            entries.append((f"distinct units of layer {index}", count, verdict))
            entries.append(("  told apart by the posterior", apart, ""))
        return entries

    def _predictions(self) -> list[tuple[str, str, str]]:
        """Entries on the evidence and the rows left out."""
        poor = "worse than a constant" if self.loo_skill < USELESS else ""
        far = f"of {self.n_rows:g} determine their fit or lie far off"
        odd = far if self.n_influential_rows else ""
        return [
            ("log evidence", f"{self.log_evidence:.2f}", ""),
            ("leave-one-out score", f"{self.loo_score:.2f}", ""),
            ("  evidence minus it, per row", f"{self.evidence_minus_loo:.3f}", ""),
            ("leave-one-out skill", f"{self.loo_skill:.3g}", poor),
            ("influential rows", f"{self.n_influential_rows}", odd),
        ]


def diagnose(
    objective: NegativeLogPosterior,
    posterior: GaussianPosterior,
    *,
    log_evidence: float,
    loo_score: float,
    loo: LeaveOneOut,
    rng: np.random.Generator,
    n_samples: int = 200,
) -> Diagnostics:
    """Check a fit against the assumptions of Laplace's approximation.

    Parameters
    ----------
    objective : NegativeLogPosterior
        What was minimised: network, likelihood, prior and rows.
    posterior : DensePosterior or KernelPosterior
        At the mode, with the outer products and the objective's prior and scale.
    log_evidence : float
        ln p(D), in the units of ``loo_score``.
    loo_score : float
        Σ_n w_n ln p(t_n | the other rows).
    loo : LeaveOneOut
        From `leave_one_out`.
    rng : numpy.random.Generator
        For the draws behind ``pareto_k``; everything else is deterministic.
    n_samples : int, default=200
        Number of draws.

    Returns
    -------
    Diagnostics
        Numbers, ``findings`` and a table.

    Raises
    ------
    TypeError
        If the posterior is of another form.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.diagnostics import diagnose
    >>> from laplace_nn.leave_one_out import leave_one_out
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.objective import NegativeLogPosterior
    >>> from laplace_nn.posterior import DensePosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, X = MLP((1, 1)), np.array([[-1.0], [0.0], [1.0]])
    >>> objective = NegativeLogPosterior(mlp, Gaussian(), single(mlp), RowBlocks(X, 3.0 * X))
    >>> theta = np.array([2.0, 0.0])  # 6 / (2 + 1)
    >>> H = GGN(mlp, theta, Gaussian(), objective.rows)
    >>> posterior = DensePosterior.from_curvature(theta, H, single(mlp), 1.0)
    >>> loo = leave_one_out(mlp, posterior, Gaussian(), objective.rows)
    >>> rng = np.random.default_rng(0)
    >>> found = diagnose(objective, posterior, log_evidence=-6.0, loo_score=-5.5, loo=loo, rng=rng)
    >>> found.smallest_eigenvalue, found.residual_curvature, found.findings
    (3.0, 0.0, [])
    """
    held = fully_held(posterior, "diagnose")
    mlp, rows, prior, theta = objective.mlp, objective.rows, objective.prior, posterior.theta_map
    energy, gradient = objective.value_and_gradient(theta)
    largest = float(np.max(np.abs(gradient)))
    found = _extremes(objective, posterior.theta_map, held)
    return Diagnostics(
        max_gradient=largest,
        relative_gradient=largest / max(1.0, abs(energy)),
        smallest_eigenvalue=found.smallest,
        residual_curvature=max(abs(found.lowest), abs(found.highest)),
        smallest_relative_eigenvalue=1.0 + found.lowest,
        group_names=prior.names,
        group_sizes=prior.group_sizes,
        n_effective_params=posterior.n_effective_params(),
        n_values=_degrees_of_freedom(objective),
        units=census(mlp, theta, rows.X),
        n_separated_units=separated_units(mlp, posterior),
        log_evidence=log_evidence,
        loo_score=loo_score,
        loo_skill=_skill(loo, loo_score, objective.likelihood, rows),
        n_rows=rows.total_weight,
        n_influential_rows=int(np.sum(loo.influential)),
        pareto_k=pareto_k(importance_log_weights(objective, posterior, n_samples, rng)),
    )


def _extremes(objective: NegativeLogPosterior, theta: np.ndarray, held: Regularised) -> Extremes:
    """Eigenvalues of the exact A, from dense matrices while they are small."""
    residual = ResidualTerm(objective.mlp, theta, objective.likelihood, objective.rows)
    scale, precision = objective.likelihood.scale, held.prior.precision
    if objective.mlp.n_params <= DENSE_SIZE:
        return dense_extremes(held.precision(), scale * residual.dense(), precision)
    exact = objective.hessian_products(theta)
    return iterated_extremes(exact, lambda v: scale * residual.products(v), held.solve, precision)


def _degrees_of_freedom(objective: NegativeLogPosterior) -> float:
    """N·K, or N·(K - 1) for K classes, whose probabilities sum to 1."""
    rows, n_outputs = objective.rows, objective.mlp.n_outputs
    n_rows = rows.total_weight
    if rows.sample_weight is not None:
        n_rows = min(n_rows, float(np.count_nonzero(rows.sample_weight)))
    return n_rows * (n_outputs - isinstance(objective.likelihood, Categorical))


def _skill(loo: LeaveOneOut, loo_score: float, likelihood: Likelihood, rows: RowBlocks) -> float:
    """1 - loss / loss of a constant, each row predicted from the others; NaN for one row."""

    def loss(outputs: np.ndarray) -> float:
        return float(rows.weigh(likelihood.nll(rows.targets, outputs)).sum())

    reached = loss(loo.mean) if isinstance(likelihood, Gaussian) else -loo_score
    least = loss(_constant_outputs(likelihood, rows))
    return 1.0 - reached / least if least > 0.0 else np.nan


def _constant_outputs(likelihood: Likelihood, rows: RowBlocks) -> np.ndarray:
    """Outputs (N, K) of the constant that the other rows give, half a count added to each."""
    weights = np.ones(rows.n_rows) if rows.sample_weight is None else rows.sample_weight
    y = rows.targets
    sums = weights @ y - weights[:, None] * y
    counts = (weights.sum() - weights)[:, None]
    if isinstance(likelihood, Gaussian):
        return sums / np.where(counts > 0.0, counts, 1.0)
    if isinstance(likelihood, Bernoulli):
        return np.log(sums + 0.5) - np.log(counts - sums + 0.5)
    if isinstance(likelihood, Categorical):
        return np.log(sums + 0.5)  # softmax takes any multiple
    return np.log(sums + 0.5) - np.log(counts + 0.5)
