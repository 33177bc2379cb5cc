"""Models fitted on the same rows, and a table that ranks them."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

from laplace_nn.estimators.base import BaseLaplaceMLP
from laplace_nn.estimators.machine import shared_blas
from laplace_nn.evidence import symmetry_term
from laplace_nn.units import separated_units

if TYPE_CHECKING:
    from laplace_nn.displays.evidence import EvidenceDisplay

__all__ = ["RANKED_BY", "Comparison", "compare", "named_models"]

RANKED_BY = {"evidence": "log_evidence", "loo": "loo_log_score"}  # criterion → column
FORMATS = dict.fromkeys(("log_evidence", "log_symmetry", "delta"), ".2f") | {"weight": ".3f"}


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Fitted models, the best first, with what was found of each.

    Parameters
    ----------
    names : tuple of str
        Of the models.
    estimators : tuple of estimators
        Fitted, in the same order.
    records : tuple of dict
        A line of the table for each.
    criterion : {"evidence", "loo"}
        What they are ranked by.
    """

    names: tuple[str, ...]
    estimators: tuple[Any, ...]
    records: tuple[dict[str, Any], ...]
    criterion: str

    @property
    def best_estimator(self) -> Any:
        """The fitted model that came first."""
        return self.estimators[0]

    def column(self, name: str) -> np.ndarray:
        """A column of the table, (M,)."""
        return np.array([record[name] for record in self.records])

    def table(self) -> Any:
        """The comparison as a table, the best model first.

        Returns
        -------
        DataFrame, or list of dict where pandas is not installed
            name; log_evidence with the symmetry term, log_symmetry, that term; loo_log_score;
            n_effective_params, γ of all n_params weights, and n_hidden_units; weight, the posterior
            probability of the model under equal prior odds, p(M_i|D) ∝ p(D|M_i) (PRML 3.66, by
            which 3.67 averages); delta, the nats by which its evidence is below the best; seconds
            of the fit; converged, False after a ConvergenceWarning; with test rows test_log_score
            (mean log predictive density) and test_error (RMSE or rate of wrong labels).
        """
        try:
            import pandas as pd
        except ImportError:
            return [dict(record) for record in self.records]
        return pd.DataFrame(list(self.records))

    def plot(self, ax: Any = None, x: str = "n_hidden_units") -> "EvidenceDisplay":
        """Draw evidence, leave-one-out score and test error against size or name.

        Parameters
        ----------
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        x : {"n_hidden_units", "n_params", "n_effective_params", "name"}, default="n_hidden_units"
            See `laplace_nn.displays.EvidenceDisplay.from_comparison`.

        Returns
        -------
        EvidenceDisplay
            Drawn; its ``ax_`` are the panels, two or with test rows three.

        Raises
        ------
        ValueError
            If there is no such ``x``, or another number of axes is given.
        """
        from laplace_nn.displays.evidence import EvidenceDisplay

        return EvidenceDisplay.from_comparison(self, x=x, ax=ax)

    def __repr__(self) -> str:
        lines = [list(self.records[0]), *(_cells(record) for record in self.records)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = (map(str.rjust, cells[1:], widths[1:]) for cells in lines)
        names = (cells[0].ljust(widths[0]) for cells in lines)
        return "\n".join("  ".join([n, *row]) for n, row in zip(names, padded, strict=True))


def compare(
    estimators: Mapping[str, Any] | Iterable[Any],
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    criterion: str = "evidence",
    symmetry: bool = True,
    X_test: Any = None,
    y_test: Any = None,
    n_jobs: int | None = None,
) -> Comparison:
    """Fit models on the same rows and rank them by what these rows say for each.

    Parameters
    ----------
    estimators : dict of str to estimator, or sequence of (name, estimator) or of estimators
        Clones are fitted. Without names they are called by the parameters in which they differ.
    X, y : array-like of shape (N, D) and (N,) or (N, K)
        Inputs, and targets or labels.
    sample_weight : array-like of shape (N,), optional
        A row of weight 2 counts as two rows.
    criterion : {"evidence", "loo"}, default="evidence"
        Rank by the log evidence, or by the mean leave-one-out log score.
    symmetry : bool, default=True
        Whether the log number of equivalent modes is part of the evidence (PRML 5.1.1, 5.7.2), as
        it should be where networks of different widths are compared; of the hidden units that the
        posterior tells apart (see `laplace_nn.units.separated_units`).
    X_test, y_test : array-like, optional
        Held-out rows to report on; they do not change the ranking.
    n_jobs : int or None, default=None
        Models that are fitted at the same time; the results are the same.

    Returns
    -------
    Comparison
        Ranked, the best first.

    Raises
    ------
    ValueError
        If models differ in their likelihood or share a name. If a fit fails: the built-in type of
        its error, with the model's name.
    TypeError
        If one of them is no estimator of this package.

    Warns
    -----
    ConvergenceWarning
        With the name of the model that did not converge.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.model_selection import compare
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(40, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=40)
    >>> networks = [LaplaceMLPRegressor(h, n_restarts=1, random_state=0) for h in [(), (3,)]]
    >>> compare(networks, X, y).names
    ('hidden_layer_sizes=(3,)', 'hidden_layer_sizes=()')
    """
    named = named_models(estimators)
    _check(named, criterion)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test go together; only one of them came: pass both.")
    with shared_blas(n_jobs):
        fits = Parallel(n_jobs=n_jobs)(
            delayed(_fit_one)(name, model, X, y, sample_weight) for name, model in named.items()
        )
    models = [model for model, _, _ in fits]
    columns = _columns(named, fits, symmetry)
    if X_test is not None:
        scores = [_test_scores(model, X_test, y_test) for model in models]
        columns["test_log_score"], columns["test_error"] = zip(*scores, strict=True)
    return _ranked(columns, models, criterion)


def named_models(estimators: Mapping[str, Any] | Iterable[Any]) -> dict[str, Any]:
    """The models by name, in the order in which they came."""
    models = list(estimators.items() if isinstance(estimators, Mapping) else estimators)
    if not all(isinstance(model, tuple) for model in models):
        return dict(zip(_names_by_difference(models), models, strict=True))
    names = [name for name, _ in models]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"Every model needs a name of its own; {twice[0]!r} came twice.")
    return dict(models)


def _names_by_difference(models: Sequence[Any]) -> list[str]:
    """The parameters in which models differ, as text; a number where that is not enough."""
    known = [m.get_params(deep=False) if hasattr(m, "get_params") else {} for m in models]
    shown = [{key: _shown(value) for key, value in parameters.items()} for parameters in known]
    keys = dict.fromkeys(key for parameters in shown for key in parameters)
    differing = [key for key in keys if len({parameters.get(key) for parameters in shown}) > 1]
    labels = [", ".join(f"{key}={p[key]}" for key in differing if key in p) for p in shown]
    names = [label or type(m).__name__ for label, m in zip(labels, models, strict=True)]
    numbers = [names[: index + 1].count(name) for index, name in enumerate(names)]
    return [n if i == 1 else f"{n} #{i}" for n, i in zip(names, numbers, strict=True)]


def _shown(value: Any) -> str:
    """A parameter's value on one line; activations and callables by their names."""
    for name in (value, getattr(value, "name", None), getattr(value, "__name__", None)):
        if isinstance(name, str):
            return name
    return " ".join(repr(value).split())


def _check(named: Mapping[str, Any], criterion: str) -> None:
    """Refuse what cannot be compared, before anything is fitted."""
    if criterion not in RANKED_BY:
        known = ", ".join(map(repr, RANKED_BY))
        raise ValueError(f"criterion must be one of {known}; got {criterion!r}.")
    if not named:
        raise ValueError("estimators must hold at least one model; none came.")
    for name, model in named.items():
        if not isinstance(model, BaseLaplaceMLP):
            raise TypeError(
                "Every model must be a LaplaceMLPRegressor or a LaplaceMLPClassifier; "
                f"{name!r} is of type {type(model).__name__}."
            )
    _check_one_likelihood({n: str(get_tags(m).estimator_type) for n, m in named.items()})


def _check_one_likelihood(kinds: Mapping[str, str]) -> None:
    (first, kind), *others = kinds.items()
    for name, other in others:
        if other != kind:
            raise ValueError(
                "Evidence compares models of one likelihood for the same targets; "
                f"{first!r} is {kind} and {name!r} is {other}: compare them apart."
            )


def _fit_one(
    name: str, model: Any, X: Any, y: Any, sample_weight: Any
) -> tuple[Any, float, list[Warning]]:
    """A fitted clone, the seconds it took and the warnings, which a worker process would lose."""
    began = perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = clone(model).fit(X, y, sample_weight=sample_weight)
        except Exception as error:
            # Errors of a library's own may want other arguments than a message.
            kind: Any = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
            raise kind(f"The fit of {name!r} failed: {error}") from error
    messages = [entry.message for entry in caught]
    return fitted, perf_counter() - began, [m for m in messages if isinstance(m, Warning)]


def _columns(
    names: Collection[str], fits: Sequence[tuple[Any, float, list[Warning]]], symmetry: bool
) -> dict[str, Sequence[Any]]:
    """The table by columns, in the order in which the models came."""
    models, seconds, caught = zip(*fits, strict=True)
    kinds = {name: type(m.likelihood_).__name__ for name, m in zip(names, models, strict=True)}
    _check_one_likelihood(kinds)
    log_symmetry = np.array([_log_symmetry(m) if symmetry else 0.0 for m in models])
    log_evidence = np.array([m.log_marginal_likelihood_ for m in models]) + log_symmetry
    return {
        "name": list(names),
        "log_evidence": log_evidence.tolist(),
        "log_symmetry": log_symmetry.tolist(),
        "loo_log_score": [m.loo_log_score_ for m in models],
        "n_effective_params": [float(np.sum(m.n_effective_params_)) for m in models],
        "n_params": [m.mlp_.n_params for m in models],
        "n_hidden_units": [sum(m.mlp_.layer_sizes[1:-1]) for m in models],
        "weight": softmax(log_evidence).tolist(),
        "delta": (log_evidence.max() - log_evidence).tolist(),
        "seconds": seconds,
        "converged": [_pass_on(name, c) for name, c in zip(names, caught, strict=True)],
    }


def _pass_on(name: str, caught: Iterable[Warning]) -> bool:
    """Warn of what a fit warned of; returns whether it converged."""
    converged = True
    for message in caught:
        if isinstance(message, ConvergenceWarning):
            converged = False
            message = ConvergenceWarning(f"{name}: {message}")
        warnings.warn(message, stacklevel=2)
    return converged


def _log_symmetry(estimator: Any) -> float:
    """Log of the number of separate modes that are the same network."""
    mlp, best = estimator.mlp_, estimator.committee_[0]
    return symmetry_term(mlp, separated_units(mlp, best.state.posterior))


def _test_scores(model: Any, X: Any, y: Any) -> tuple[float, float]:
    """Mean log predictive density a row, and the RMSE or the rate of wrong labels."""
    density = float(np.mean(model.log_predictive_density(X, y)))
    predicted, targets = model.predict(X), np.asarray(y)
    if is_classifier(model):
        return density, float(np.mean(predicted != targets.ravel()))
    return density, float(np.sqrt(np.mean((predicted - targets.reshape(predicted.shape)) ** 2)))


def _ranked(
    columns: Mapping[str, Sequence[Any]], models: Sequence[Any], criterion: str
) -> Comparison:
    """Models and table lines from the best to the worst; of equals, the first stays first."""
    rows = zip(*columns.values(), strict=True)
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    order = np.argsort(-np.asarray(columns[RANKED_BY[criterion]]), kind="stable").tolist()
    names = tuple(lines[index]["name"] for index in order)
    ranked = tuple(models[index] for index in order)
    return Comparison(names, ranked, tuple(lines[index] for index in order), criterion)


def _cells(record: Mapping[str, Any]) -> list[str]:
    """A line's values as text."""
    return [
        format(value, FORMATS.get(name, ".3g")) if isinstance(value, float) else str(value)
        for name, value in record.items()
    ]
