"""The tables from strings to classes, and the checks of what users pass."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from laplace_nn import network, priors
from laplace_nn.curvature import (
    GGN,
    KFAC,
    BackpropDiagonal,
    Curvature,
    EmpiricalFisher,
    ExactHessian,
    FiniteDifferences,
    PositivePart,
)
from laplace_nn.curvature.base import require
from laplace_nn.estimators.committee import WEIGHTS
from laplace_nn.hyperpriors import HalfNormal, Hyperprior, LogNormal
from laplace_nn.network import MLP, Activation
from laplace_nn.posterior import (
    DensePosterior,
    DiagonalPosterior,
    GaussianPosterior,
    KernelPosterior,
    KroneckerPosterior,
    LowRankPosterior,
    SequentialPosterior,
    SubsetPosterior,
)
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import SELECTIONS
from laplace_nn.training import SOLVERS

__all__ = [
    "ACTIVATIONS",
    "CURVATURES",
    "POSTERIORS",
    "PRIORS",
    "check_parameters",
    "given_precisions",
    "make_hyperprior",
    "make_mlp",
    "make_prior",
    "posterior_form",
    "prior_of_start",
]

ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        network.tanh,
        network.logistic,
        network.relu,
        network.softplus,
        network.identity,
        network.silu,
        network.gelu,
    )
}
PRIORS: dict[str, Callable[..., GaussianPrior]] = {
    "single": priors.single,
    "layer": priors.by_layer,
    "layer_kind": priors.by_kind,
    "ard": priors.ard,
    "unit": priors.by_unit,
}

#: The priors of the starts in turn, with ``prior="auto"``: of a regression, and of classes.
AUTO_PRIORS = ("ard", "layer")
CLASS_PRIORS = ("single",)
HYPERPRIORS: dict[str, type[Hyperprior]] = {"half_normal": HalfNormal}

Build = Callable[..., Any]

CURVATURES: dict[str, type[Curvature] | type[PositivePart]] = {
    "ggn": GGN,
    "exact": ExactHessian,
    "exact_positive": PositivePart,
    "kfac": KFAC,
    "backprop_diagonal": BackpropDiagonal,
    "finite_differences": FiniteDifferences,
    "empirical_fisher": EmpiricalFisher,
}
#: Parameters that take a callable too, and what it must be.
OPEN = {
    "curvature": "a callable of (mlp, theta, likelihood, rows) such as a Curvature class",
    "posterior": "a callable of (theta_map, curvature, prior, scale) such as a from_curvature",
}
POSTERIORS: dict[str, type[GaussianPosterior]] = {
    "dense": DensePosterior,
    "kernel": KernelPosterior,
    "diagonal": DiagonalPosterior,
    "kronecker": KroneckerPosterior,
    "low_rank": LowRankPosterior,
    "sequential": SequentialPosterior,
    "last_layer": SubsetPosterior,
}


def make_mlp(
    hidden_layer_sizes: int | Sequence[int],
    activation: str | Activation,
    n_inputs: int,
    n_outputs: int,
) -> MLP:
    """The network that the estimator's parameters describe."""
    hidden = np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object)).tolist()
    if not all(_is_count(size) for size in hidden):
        raise ValueError(
            "hidden_layer_sizes must be a positive integer or a sequence of them, () for no "
            f"hidden layer; got {hidden_layer_sizes!r}."
        )
    sizes = (n_inputs, *(int(size) for size in hidden), n_outputs)
    if isinstance(activation, Activation):
        return MLP(sizes, activation)
    return MLP(sizes, _look_up("activation", activation, ACTIVATIONS))


def prior_of_start(prior: Any, prior_precision: Any, index: int, has_noise: bool) -> Any:
    """What "auto" stands for in start number ``index``, and anything else as it is.

    Relevance determination and one precision a layer take turns; classes have one precision.
    Where precisions are given group by group, the groups must be the same in all starts, and are
    those of relevance determination.
    """
    if not (isinstance(prior, str) and prior == "auto"):
        return prior
    if isinstance(prior_precision, dict) or np.ndim(prior_precision) > 0:
        return "ard"
    kinds = AUTO_PRIORS if has_noise else CLASS_PRIORS
    return kinds[index % len(kinds)]


def make_prior(
    prior: str | GaussianPrior | np.ndarray, mlp: MLP, input_names: Sequence[str] | None
) -> GaussianPrior:
    """The prior by name, by group labels or as it is; the precisions are yet to be set."""
    if isinstance(prior, str):
        build = _look_up("prior", prior, PRIORS, known=("auto",))
        made = build(mlp, 1.0, input_names) if prior == "ard" else build(mlp, 1.0)
    elif isinstance(prior, GaussianPrior):
        made = prior
    else:
        groups = np.asarray(prior)
        if groups.ndim != 1 or groups.dtype.kind not in "iu":
            got = (
                f"an array of {groups.dtype}, shape {groups.shape}" if groups.ndim else repr(prior)
            )
            raise ValueError(
                f"prior must be one of 'auto', {', '.join(map(repr, PRIORS))}, a GaussianPrior or "
                f"one integer group label a weight; got {got}."
            )
        made = GaussianPrior(groups, np.ones(int(groups.max(initial=0)) + 1))
    if made.n_params != mlp.n_params:
        raise ValueError(
            f"prior has {made.n_params} weights, the network {mlp.layer_sizes} has "
            f"{mlp.n_params}: give one group label a weight, layer by layer."
        )
    return made


def given_precisions(prior: GaussianPrior, prior_precision: Any) -> np.ndarray:
    """The precisions that are given, and NaN where they are to be found, (G,).

    Raises
    ------
    ValueError
        If a dictionary names a group that there is not, or an array does not fit the groups.
    """
    given = np.full(prior.n_groups, np.nan)
    if isinstance(prior_precision, str):
        return given
    if isinstance(prior_precision, dict):
        for name, value in prior_precision.items():
            if name not in prior.names:
                raise ValueError(
                    f"prior_precision fixes the group {name!r}, which the prior does not have; "
                    f"its groups are {', '.join(prior.names)}."
                )
            given[prior.names.index(name)] = value
        return given
    precisions = np.asarray(prior_precision, dtype=np.float64)
    if precisions.ndim and precisions.shape != (prior.n_groups,):
        raise ValueError(
            f"prior_precision must be a number or one number for each of the {prior.n_groups} "
            f"prior groups ({', '.join(prior.names)}); got shape {precisions.shape}."
        )
    given[:] = precisions
    return given


def make_hyperprior(hyperprior: Any) -> Hyperprior | None:
    """The hyperprior by name or by the log-normal one's factor, as it is, or none."""
    if hyperprior is None or isinstance(hyperprior, Hyperprior):
        return hyperprior
    if isinstance(hyperprior, str):
        return HYPERPRIORS[hyperprior]()
    return LogNormal(float(hyperprior))


def make_curvature(
    curvature: str | Build, mlp: MLP, theta: np.ndarray, likelihood: Any, rows: RowBlocks
) -> Curvature | PositivePart:
    """The curvature by name, or by what makes one, at the weights."""
    kind = _look_up("curvature", curvature, CURVATURES)
    if kind is PositivePart:
        return PositivePart(ExactHessian(mlp, theta, likelihood, rows))
    return kind(mlp, theta, likelihood, rows)


def posterior_form(
    posterior: str | Build, curvature: str | Build, in_weights: bool
) -> type[GaussianPosterior] | Build:
    """The posterior's class, or what makes one of (theta_map, curvature, prior, scale).

    "auto" is the form that suits the curvature: Kronecker factors and diagonals in theirs;
    otherwise function space where P > N·K and the curvature has a factor, else weight space.
    """
    if posterior != "auto":
        return _look_up("posterior", posterior, POSTERIORS, also=("auto",))
    kind = _look_up("curvature", curvature, CURVATURES)
    offered: frozenset[str] = getattr(kind, "capabilities", frozenset())
    if kind is BackpropDiagonal:
        return DiagonalPosterior
    if "kronecker" in offered:
        return KroneckerPosterior
    return KernelPosterior if "factor" in offered and not in_weights else DensePosterior


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse what no fit could use, one sentence each.

    Raises
    ------
    ValueError
        With the parameter, what was expected and what came.
    MissingCapabilityError
        For a curvature and a posterior that do not go together.
    """
    _look_up("solver", parameters["solver"], dict.fromkeys(SOLVERS))
    kind = _look_up("curvature", parameters["curvature"], CURVATURES)
    form = _look_up("posterior", parameters["posterior"], POSTERIORS, also=("auto",))
    if hasattr(form, "needs") and hasattr(kind, "capabilities"):
        require(kind, form.needs, form.__name__)
    _look_up("selection", parameters["selection"], SELECTIONS)
    for name in ("n_restarts", "max_iter", "max_cycles"):
        value = parameters[name]
        if not _is_count(value):
            raise ValueError(f"{name} must be a positive integer; got {value!r}.")
    _check_jobs(parameters["n_jobs"])
    for name in ("tol", "gradient_tol"):
        value = parameters[name]
        if not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
            raise ValueError(f"{name} must be a positive number; got {value!r}.")
    _check_committee(parameters["committee"])
    _look_up("committee_weights", parameters["committee_weights"], WEIGHTS)
    _check_hyperprior(parameters["hyperprior"])
    for name in ("prior_precision", "noise_precision", "temperature"):
        value = parameters.get(name, "auto")
        if isinstance(value, str) and value != "auto":
            raise ValueError(f'{name} must be "auto" or positive; got {value!r}.')
        numbers = list(value.values()) if isinstance(value, dict) else value
        if not isinstance(value, str) and not np.all(np.asarray(numbers, dtype=float) > 0):
            raise ValueError(f'{name} must be "auto" or positive; got {value!r}.')
    for name in ("noise_precision", "temperature"):
        value = parameters.get(name, "auto")
        if not isinstance(value, str | int | float | np.number):
            raise ValueError(f'{name} must be "auto" or a positive number; got {value!r}.')
    for name in ("normalize_y", "warm_start"):
        value = parameters.get(name, False)
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False; got {value!r}.")
    value = parameters["standardize"]
    if not (isinstance(value, bool | np.bool_) or (isinstance(value, str) and value == "auto")):
        raise ValueError(f"standardize must be 'auto', True or False; got {value!r}.")


def _check_jobs(n_jobs: Any) -> None:
    counted = n_jobs is None or (isinstance(n_jobs, int | np.integer) and n_jobs != 0)
    if not (counted or (isinstance(n_jobs, str) and n_jobs == "auto")):
        raise ValueError(
            f'n_jobs must be "auto", None or an integer other than 0 (-1 for every core); got '
            f"{n_jobs!r}."
        )


def _check_committee(committee: Any) -> None:
    named = isinstance(committee, str) and committee in ("auto", "all")
    if not (named or _is_count(committee)):
        raise ValueError(
            f'committee must be a positive integer, "auto" or "all"; got {committee!r}.'
        )


def _check_hyperprior(hyperprior: Any) -> None:
    if hyperprior is None or isinstance(hyperprior, Hyperprior):
        return
    if isinstance(hyperprior, str) and hyperprior in HYPERPRIORS:
        return
    if not isinstance(hyperprior, int | float | np.number) or not 1.0 < hyperprior < np.inf:
        raise ValueError(
            f"hyperprior must be {' or '.join(map(repr, HYPERPRIORS))}, a factor above 1 (one "
            "standard deviation of a precision), a HalfNormal or LogNormal, or None for none; got "
            f"{hyperprior!r}."
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def _look_up(
    parameter: str,
    name: Any,
    table: dict[str, Any],
    also: tuple[str, ...] = (),
    known: tuple[str, ...] = (),
) -> Any:
    if isinstance(name, str) and name in also:
        return None
    if parameter in OPEN and callable(name):
        if isinstance(name, LinearOperator):
            raise ValueError(
                f"{parameter} must be {OPEN[parameter]}; got a {type(name).__name__} that is bound "
                "to weights, which a fit has yet to find: pass its class."
            )
        return name
    if not isinstance(name, str) or name not in table:
        names = ", ".join(repr(key) for key in (*known, *also, *table))
        other = f", or {OPEN[parameter]}" if parameter in OPEN else ""
        raise ValueError(f"{parameter} must be one of {names}{other}; got {name!r}.")
    return table[name]
