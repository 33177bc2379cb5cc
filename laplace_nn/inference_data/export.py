"""From a fitted estimator to ArviZ's InferenceData or DataTree."""

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from laplace_nn.estimators.base import BaseLaplaceMLP
from laplace_nn.estimators.committee import Member, one_of
from laplace_nn.estimators.inputs import checked_weights, seed_from
from laplace_nn.estimators.labels import feature_names, output_names
from laplace_nn.estimators.sequential import SequentialMember
from laplace_nn.evidence import log_likelihood
from laplace_nn.importance import pareto_k
from laplace_nn.inference_data.draws import MODELS, Draws, free_part, simulate
from laplace_nn.inference_data.loo import is_old
from laplace_nn.inference_data.names import (
    dimensions,
    variables,
    weight_labels,
)
from laplace_nn.likelihoods import Gaussian
from laplace_nn.posterior import GaussianPosterior, SubsetPosterior
from laplace_nn.rows import RowBlocks

__all__ = ["CovarianceLeftOutWarning", "to_inference_data"]

LARGEST_FORMED = 2000  # weights, up to which a covariance that is not held is formed
SAME = 1e-8  # relative difference of log likelihoods of the same rows, in another order

#: A variable's dimensions and values.
Variable = tuple[tuple[str, ...], Any]


class CovarianceLeftOutWarning(UserWarning):
    """A covariance matrix is too large to be formed, and stands in no group."""


def to_inference_data(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_samples: int = 1000,
    n_chains: int = 4,
    member: int = 0,
    model: str = "linearised",
    sample_weight: Any = None,
    random_state: Any = None,
) -> Any:
    """Draws of the weights, and what a model says of the training rows at them, for ArviZ.

    w_s ~ N(w_MAP, A⁻¹) (PRML 4.134, 5.167), with ln p(t_n|w_s), ln p(D|w_s) p(w_s) and
    ln N(w_s | w_MAP, A⁻¹) of one and the same model.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        Fitted by `fit`.
    X : array-like of shape (N, D)
        The rows it was fitted to.
    y : array-like of shape (N,) or (N, K)
        Their targets or labels; names of columns become names of outputs.
    n_samples : int, default=1000
        Number of draws, of all chains together.
    n_chains : int, default=4
        How many chains the draws are divided into. They are independent: chains are there for
        ArviZ, whose diagnostics compare them.
    member : int, default=0
        Which of ``estimator.committee_`` is drawn from; 0 is the best mode.
    model : {"linearised", "network"}, default="linearised"
        What takes weights to outputs: f(x, w_MAP) + J (w - w_MAP) (PRML 5.171), as in the
        estimator's own predictions, or the network itself. See the notes.
    sample_weight : array-like of shape (N,), optional
        That of the fit: a row of weight 2 counts as two rows, which are left out together; rows of
        weight 0 do not appear.
    random_state : int, RandomState or None, default=None
        Seed of the draws and of the posterior predictive noise.

    Returns
    -------
    InferenceData or DataTree
        What the installed ArviZ works with (before 1.0, or later). Its groups:

        - ``posterior``: ``weights_0`` (hidden_0, input), ``biases_0`` (hidden_0), ... of
          standardised inputs (and targets), as in ``theta_``;
        - ``posterior_predictive``, ``observed_data``: ``y`` in its units, with the noise; for a
          classifier the place of the class among the coordinates ``class``, without the temperature
          of its predictions;
        - ``log_likelihood``: ``y`` in nats, a density in the units of y, all targets of a row
          together;
        - ``sample_stats``: ``lp`` = ln p(D|w) p(w) and ``log_q`` = ln N(w | w_MAP, A⁻¹);
        - ``constant_data``: ``X``, the prior's precision α and γ by the names of its groups, the
          noise precision β in the units of y, what inputs and targets were standardised with, and
          weights that a posterior over some of them holds constant;
        - ``fit``: the Gaussian itself, ``mean_vector`` and ``covariance_matrix``, and in its
          attributes the log evidence, the likelihood and the Pareto k of p / q at the draws.

    Raises
    ------
    TypeError
        If the estimator is none of this package.
    ValueError
        If a parameter is not as above, the rows are not those of the fit, or the estimator has gone
        on by `partial_fit`.

    Warns
    -----
    CovarianceLeftOutWarning
        If the posterior does not hold its covariance and there are more than 2000 weights; ``fit``
        then has the ``variance`` instead.

    See Also
    --------
    loo : Leave-one-out from the result.

    Notes
    -----
    Under the linearised network with Gaussian noise and the outer products, N(w_MAP, A⁻¹) is the
    exact posterior: lp - log_q is the log evidence at every draw. With another likelihood it is
    close, and `loo` corrects for what is left. The network itself is most often far from its
    Gaussian: away from w_MAP draws fit worse than their linearisation, by a few to thousands of
    nats, the predictive is wider than the estimator's, the Pareto k mostly exceeds 0.7, and
    leave-one-out is not to be trusted then.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.inference_data import to_inference_data
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(40, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=40)
    >>> reg = LaplaceMLPRegressor((3,), n_restarts=1, random_state=0).fit(X, y)
    >>> data = to_inference_data(reg, X, y, random_state=0)
    >>> data["posterior"]["weights_0"].dims
    ('chain', 'draw', 'hidden_0', 'input')
    """
    _check(estimator, n_samples, n_chains, model)
    chosen, weights = one_of(estimator.committee_, member), checked_weights(sample_weight, X)
    rows = estimator._rows_with_targets(X, y, sample_weight)
    kept = np.arange(rows.n_rows) if weights is None else np.flatnonzero(weights > 0.0)
    _check_rows(estimator, chosen, rows)
    rng = np.random.default_rng(seed_from(random_state))
    per_row = estimator._log_jacobian(rows) / rows.total_weight
    likelihood, mlp = chosen.state.likelihood, estimator.mlp_
    draws = Draws.of(model, mlp, chosen.posterior, likelihood, rows, n_samples, rng, per_row)
    coords = _coordinates(estimator, chosen, y, kept, n_samples, n_chains)
    groups = _sampled(estimator, chosen, draws, simulate(likelihood, draws.outputs, rng))
    groups = {name: _chained(group, n_chains) for name, group in groups.items()}
    groups["observed_data"] = {"y": _targets(estimator, rows)}
    groups["constant_data"] = _constants(estimator, chosen, np.asarray(X)[kept], rows)
    groups["fit"] = _gaussian(chosen.posterior)
    return _assembled(groups, coords, _attributes(estimator, member, model, draws))


def _check(estimator: Any, n_samples: int, n_chains: int, model: str) -> None:
    """Refuse what cannot be exported, one sentence each."""
    if not isinstance(estimator, BaseLaplaceMLP):
        raise TypeError(
            "to_inference_data needs a LaplaceMLPRegressor or LaplaceMLPClassifier; got a "
            f"{type(estimator).__name__}: of a search or a pipeline, pass the fitted estimator."
        )
    check_is_fitted(estimator)
    for name, value in (("n_samples", n_samples), ("n_chains", n_chains)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer; got {value!r}.")
    if n_samples % n_chains:
        raise ValueError(
            f"n_samples must be a multiple of n_chains = {n_chains}, which are equally long; got "
            f"{n_samples}."
        )
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}; got {model!r}.")


def _check_rows(estimator: Any, member: Member, rows: RowBlocks) -> None:
    """Refuse rows under which the mode would be no mode."""
    if isinstance(member, SequentialMember):
        raise ValueError(
            "to_inference_data needs an estimator that has seen all its rows in one fit; this one "
            "has gone on by partial_fit: fit all rows at once."
        )
    found = log_likelihood(estimator.mlp_, member.theta, member.state.likelihood, rows)
    trained = member.state.evidence.log_likelihood
    if not np.isclose(found, trained, rtol=SAME, atol=SAME * rows.n_rows):
        raise ValueError(
            "X, y and sample_weight must be those of the fit: the log likelihood at the mode is "
            f"{found:.6g}, and was {trained:.6g} for the rows that the estimator was fitted to."
        )


def _coordinates(
    estimator: Any, member: Member, y: Any, kept: np.ndarray, n_samples: int, n_chains: int
) -> dict[str, Any]:
    """What the entries of every dimension are called."""
    mlp = estimator.mlp_
    coords: dict[str, Any] = {"chain": list(range(n_chains))}
    coords["draw"] = list(range(n_samples // n_chains))
    coords["obs"] = kept.tolist()
    for name, size in zip(dimensions(mlp), mlp.layer_sizes, strict=True):
        coords[name] = list(range(size))
    coords["input"], coords["output"] = feature_names(estimator), output_names(estimator, y)
    coords["group"] = list(member.prior.names)
    if hasattr(estimator, "classes_"):
        coords["class"] = [str(label) for label in estimator.classes_]
    selected = _selected(member.posterior)
    coords["rows"] = coords["columns"] = weight_labels(mlp, coords)[selected].tolist()
    return coords


def _selected(posterior: GaussianPosterior) -> np.ndarray:
    """Which weights the Gaussian is over, (P,)."""
    free = np.ones(len(posterior.theta_map), dtype=bool)
    if isinstance(posterior, SubsetPosterior):
        free[:] = False
        free[posterior.selected] = True  # a mask, or indices
    return free


def _sampled(
    estimator: Any, member: Member, draws: Draws, simulated: np.ndarray
) -> dict[str, dict[str, Variable]]:
    """Groups whose variables have a value for every draw, which comes first."""
    mlp = estimator.mlp_
    over = variables(mlp, _selected(member.posterior))
    posterior = {
        name: variable
        for name, variable in variables(mlp, draws.theta).items()
        if np.any(over[name][1])
    }
    return {
        "posterior": posterior,
        "posterior_predictive": {"y": _in_units(estimator, simulated)},
        "log_likelihood": {"y": (("obs",), draws.log_likelihood)},
        "sample_stats": {"lp": ((), draws.log_posterior), "log_q": ((), draws.log_gaussian)},
    }


def _chained(group: dict[str, Variable], n_chains: int) -> dict[str, Variable]:
    """Draws (S, ...) as (chain, draw, ...)."""
    return {
        name: (("chain", "draw", *dims), values.reshape(n_chains, -1, *values.shape[1:]))
        for name, (dims, values) in group.items()
    }


def _targets(estimator: Any, rows: RowBlocks) -> Variable:
    """The rows' targets in their own units, or the places of their classes."""
    if not hasattr(estimator, "classes_"):
        return _in_units(estimator, rows.targets)
    inner = rows.targets
    codes = inner[:, 0] if inner.shape[1] == 1 else np.argmax(inner, axis=1)
    return ("obs",), codes.astype(np.int64)


def _in_units(estimator: Any, inner: np.ndarray) -> Variable:
    """Inner targets (..., N, K), or codes (..., N), as the user knows them."""
    if hasattr(estimator, "classes_"):
        return ("obs",), inner
    moved = inner * estimator.target_scale_ + estimator.target_mean_
    return (("obs",), moved[..., 0]) if estimator._single_target else (("obs", "output"), moved)


def _constants(
    estimator: Any, member: Member, X: np.ndarray, rows: RowBlocks
) -> dict[str, Variable]:
    """Inputs, hyperparameters, what is done to the units, and weights that are held."""
    found: dict[str, Variable] = {
        "X": (("obs", "input"), X.astype(np.float64)),
        "prior_precision": (("group",), member.prior.precisions),
        "n_effective_params": (("group",), member.state.n_effective_params),
        "input_mean": (("input",), estimator.input_mean_),
        "input_scale": (("input",), estimator.input_scale_),
    }
    tails = estimator.long_tails_
    if len(tails.columns):
        for name, values in (("tail_origin", tails.origins), ("tail_unit", tails.units)):
            of_inputs = np.full(X.shape[1], np.nan)
            of_inputs[tails.columns] = values
            found[name] = ("input",), of_inputs
    if isinstance(member.state.likelihood, Gaussian):
        scale = estimator.target_scale_
        found |= {
            "noise_precision": (("output",), member.state.likelihood.scale / scale**2),
            "target_mean": (("output",), estimator.target_mean_),
            "target_scale": (("output",), scale),
        }
    if rows.sample_weight is not None:
        found["sample_weight"] = ("obs",), rows.sample_weight
    over = variables(estimator.mlp_, _selected(member.posterior))
    for name, variable in variables(estimator.mlp_, member.theta).items():
        if not np.any(over[name][1]):
            found[name] = variable
    return found


def _gaussian(posterior: GaussianPosterior) -> dict[str, Variable]:
    """Mean and covariance over the free weights, or their variances where that is too large."""
    inner, mean = free_part(posterior, posterior.theta_map[None])
    found: dict[str, Variable] = {"mean_vector": (("rows",), mean[0])}
    n_params = mean.shape[1]
    if hasattr(inner, "covariance"):
        found["covariance_matrix"] = ("rows", "columns"), inner.covariance()
    elif n_params <= LARGEST_FORMED:
        found["covariance_matrix"] = ("rows", "columns"), inner.solve(np.eye(n_params))
    else:
        found["variance"] = ("rows",), inner.variance()
        warnings.warn(
            f"The covariance of {n_params} weights is left out: a {type(inner).__name__} does not "
            f"hold it, and more than {LARGEST_FORMED} x {LARGEST_FORMED} numbers are not formed; "
            "the group fit has the variances.",
            CovarianceLeftOutWarning,
            stacklevel=3,
        )
    return found


def _attributes(estimator: Any, number: int, model: str, draws: Draws) -> dict[str, Any]:
    """What was fitted and drawn from, in words and numbers that netCDF takes."""
    member = estimator.committee_[number]
    return {
        "estimator": type(estimator).__name__,
        "likelihood": type(member.state.likelihood).__name__,
        "model": model,
        "posterior_form": type(member.posterior).__name__,
        "log_marginal_likelihood": float(member.log_evidence),
        "member": int(number),
        "member_weight": float(member.weight),
        "pareto_k": pareto_k(draws.log_posterior - draws.log_gaussian),
    }


def _assembled(
    groups: dict[str, dict[str, Variable]], coords: dict[str, Any], attrs: dict[str, Any]
) -> Any:
    """The groups as the installed ArviZ's data; the attributes at the root and in ``fit``."""
    import arviz as az
    import xarray as xr

    library = {"inference_library": "laplace_nn"}
    library["inference_library_version"] = version("laplace-nn")
    datasets: dict[str, Any] = {}
    for name, group in groups.items():
        used = {dim for dims, _ in group.values() for dim in dims}
        if name in ("observed_data", "posterior_predictive"):
            used.add("class")
        own = {dim: values for dim, values in coords.items() if dim in used}
        datasets[name] = xr.Dataset(group, own, library)
    datasets["fit"].attrs |= attrs
    if is_old(az):
        return az.InferenceData(attrs=library | attrs, **datasets)
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=library | attrs), **datasets})
