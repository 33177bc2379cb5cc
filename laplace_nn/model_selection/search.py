"""A grid of models as one estimator, which the evidence chooses from."""

from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from laplace_nn.model_selection.comparison import RANKED_BY, Comparison, compare, named_models

__all__ = ["EvidenceSearch"]


def _has(name: str) -> Callable[[Any], bool]:
    """Whether the best estimator, or before a fit the one inside, has the method."""
    return lambda self: hasattr(getattr(self, "best_estimator_", self.estimator), name)


class EvidenceSearch(MetaEstimatorMixin, BaseEstimator):
    """The model of a grid that the training rows speak for, without cross-validation.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        What is cloned for every point of the grid.
    param_grid : dict or list of dict
        As for GridSearchCV: parameters with the values to try.
    criterion, symmetry, n_jobs
        See `compare`.
    verbose : int, default=0
        Of joblib's progress messages.

    Attributes
    ----------
    best_estimator_, best_params_, best_index_
        The winner, fitted on all rows; its point of the grid, and that point's place.
    best_score_ : float
        Its log evidence, or its leave-one-out log score.
    comparison_ : Comparison
        All models, the best first.
    results_ : dict
        In the grid's order: params, log_evidence, loo_log_score, rank (from 1) and seconds.
    classes_, n_features_in_, feature_names_in_
        Of the best estimator, where it has them.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.model_selection import EvidenceSearch
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(40, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=40)
    >>> model = LaplaceMLPRegressor(n_restarts=1, random_state=0)
    >>> EvidenceSearch(model, {"hidden_layer_sizes": [(), (3,)]}).fit(X, y).best_params_
    {'hidden_layer_sizes': (3,)}
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        criterion: str = "evidence",
        symmetry: bool = True,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.criterion = criterion
        self.symmetry = symmetry
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Those of the estimator inside."""
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
            setattr(tags, name, getattr(inner, name))
        tags.input_tags = inner.input_tags
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "EvidenceSearch":
        """Fit every model of the grid on all rows (see `compare`) and keep the best."""
        grid = list(ParameterGrid(self.param_grid))
        models = [clone(self.estimator).set_params(**clone(p, safe=False)) for p in grid]
        named = named_models(models)
        options = {name: getattr(self, name) for name in ("criterion", "symmetry", "n_jobs")}
        with parallel_config(verbose=self.verbose):
            found = compare(named, X, y, sample_weight=sample_weight, **options)
        ranks = np.array([found.names.index(name) for name in named])
        return self._keep(found, grid, ranks)

    def _keep(
        self, found: Comparison, grid: list[dict[str, Any]], ranks: np.ndarray
    ) -> "EvidenceSearch":
        """Set the fitted attributes; ``ranks`` (M,) are the places of the grid's points."""
        columns = ("log_evidence", "loo_log_score", "seconds")
        self.results_ = {name: found.column(name)[ranks] for name in columns}
        self.results_ |= {"params": grid, "rank": ranks + 1}
        self.comparison_, self.best_estimator_ = found, found.best_estimator
        self.best_index_ = int(np.argmin(ranks))
        self.best_params_ = grid[self.best_index_]
        self.best_score_ = float(found.column(RANKED_BY[self.criterion])[0])
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(self.best_estimator_, name):
                setattr(self, name, getattr(self.best_estimator_, name))
        return self

    def _best(self) -> Any:
        check_is_fitted(self)
        return self.best_estimator_

    @available_if(_has("predict"))
    def predict(self, X: Any, **options: Any) -> Any:
        """The best estimator's prediction; options such as ``return_std`` are its own."""
        return self._best().predict(X, **options)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """The best estimator's class probabilities, (n, C)."""
        return self._best().predict_proba(X)

    @available_if(_has("predict_interval"))
    def predict_interval(self, X: Any, coverage: float = 0.95) -> np.ndarray:
        """The best estimator's predictive intervals, (n, 2) or (n, K, 2)."""
        return self._best().predict_interval(X, coverage)

    @available_if(_has("log_predictive_density"))
    def log_predictive_density(self, X: Any, y: Any) -> np.ndarray:
        """The best estimator's log predictive density of each row, (n,)."""
        return self._best().log_predictive_density(X, y)

    @available_if(_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The best estimator's score: R² or the rate of right labels."""
        return self._best().score(X, y, sample_weight=sample_weight)
