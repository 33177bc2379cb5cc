"""Predicted against observed targets, with the predictive interval of every row."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from laplace_nn.displays.base import BLUE, GREY, VERMILLION, Display
from laplace_nn.displays.checks import is_regressor, observed_targets
from laplace_nn.estimators.labels import names_of_targets

__all__ = ["PredictionErrorDisplay"]

INSIDE: dict[str, Any] = {"color": BLUE, "marker": "o", "s": 12}
OUTSIDE: dict[str, Any] = {"color": VERMILLION, "marker": "X", "s": 34}


@dataclass(kw_only=True, eq=False, repr=False)
class PredictionErrorDisplay(Display):
    """Observed targets against predicted ones, as scikit-learn's display has them, with intervals.

    A row's bar goes from the (1 - c) / 2 to the (1 + c) / 2 quantile of its predictive, c being the
    coverage; it crosses the diagonal where the observed target is inside.

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n, K)
        Observed targets and predictive means.
    interval : ndarray of shape (n, K, 2)
        Lower and upper end.
    coverage : float
        Nominal, of the intervals.
    shown : ndarray of int
        The rows that are drawn; figures are of all rows.
    target_names : tuple of str
        What is written beside the axes.

    Attributes
    ----------
    rmse_ : ndarray of shape (K,)
        √(mean (y - prediction)²) of all rows, in the units of y.
    covered_ : ndarray of shape (K,)
        Share of all rows inside their interval.
    lines_ : list of artists
        The diagonal of each target.
    scatters_, bars_ : list of pairs of artists
        Of each target, those of the rows inside their interval and of those outside.

    See Also
    --------
    CoverageDisplay : For intervals of every coverage.
    PredictiveBandDisplay : Where there is one input.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.prediction_error import PredictionErrorDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(120, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=120)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X[:60], y[:60])
    >>> display = PredictionErrorDisplay.from_estimator(model, X[60:], y[60:])
    >>> bool(display.rmse_[0] < 0.2)
    True
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    interval: np.ndarray
    coverage: float
    shown: np.ndarray
    target_names: tuple[str, ...] = ("y",)

    @classmethod
    def from_estimator(
        cls,
        regressor: Any,
        X: Any,
        y: Any,
        *,
        coverage: float = 0.95,
        max_rows: int = 200,
        random_state: int = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Predict rows whose targets are known and draw.

        Parameters
        ----------
        regressor : LaplaceMLPRegressor
            Fitted.
        X : array-like of shape (n, D)
            Rows, best those that have not been trained on.
        y : array-like of shape (n,) or (n, K)
            Their targets.
        coverage : float, default=0.95
            Of the intervals.
        max_rows : int, default=200
            How many rows are drawn at most. Of more, as many are drawn at random, and the picture
            says so; its figures are of all rows.
        random_state : int, default=0
            Seed of that choice.
        ax : Axes, or one for each target, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        PredictionErrorDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator predicts no intervals, the targets do not fit the rows, or max_rows is
            not positive.
        """
        check_is_fitted(regressor)
        is_regressor(regressor, cls)
        if not hasattr(regressor, "predict_interval"):
            raise ValueError(
                f"{cls.__name__} needs predictive intervals; {type(regressor).__name__} has no "
                "predict_interval: use a LaplaceMLPRegressor."
            )
        return cls.from_predictions(
            y,
            regressor.predict(X),
            regressor.predict_interval(X, coverage),
            coverage=coverage,
            max_rows=max_rows,
            random_state=random_state,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        interval: Any,
        *,
        coverage: float = 0.95,
        target_names: Any = None,
        max_rows: int = 200,
        random_state: int = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw predictions that have been made.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n,) or (n, K)
            Observed targets and predictive means.
        interval : array-like of shape (n, 2) or (n, K, 2)
            Lower and upper end.
        coverage : float, default=0.95
            Nominal, of the intervals.
        target_names : sequence of str, optional
            What is written beside the axes; y, or y0, y1, ... if not given.
        max_rows, random_state, ax, **kwargs
            As of `from_estimator`.

        Returns
        -------
        PredictionErrorDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the shapes do not go together, or max_rows is not positive.
        """
        predicted = np.asarray(y_pred, dtype=float)
        predicted = predicted.reshape(len(predicted), -1)
        ends = np.asarray(interval, dtype=float)
        if ends.size != 2 * predicted.size:
            raise ValueError(
                f"interval must hold a lower and an upper end for each of the {predicted.size} "
                f"predictions; got shape {ends.shape}."
            )
        return cls(
            y_true=observed_targets(y_true, predicted.shape),
            y_pred=predicted,
            interval=ends.reshape(*predicted.shape, 2),
            coverage=coverage,
            shown=_chosen(len(predicted), max_rows, random_state),
            target_names=tuple(target_names or names_of_targets(predicted.shape[1])),
        ).plot(ax, **kwargs)

    @property
    def rmse_(self) -> np.ndarray:
        """Of every target, (K,)."""
        return np.sqrt(np.mean((self.y_true - self.y_pred) ** 2, axis=0))

    @property
    def covered_(self) -> np.ndarray:
        """Share of rows inside, of every target, (K,)."""
        return np.mean(self._inside, axis=0)

    @property
    def _inside(self) -> np.ndarray:
        """Whether a row is inside its interval, (n, K)."""
        return (self.interval[..., 0] <= self.y_true) & (self.y_true <= self.interval[..., 1])

    def plot(
        self,
        ax: Any = None,
        *,
        scatter_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the rows, a panel a target.

        Parameters
        ----------
        ax : Axes, or one for each target, optional
            Where to draw; a new figure if not given.
        scatter_kwargs, bar_kwargs, line_kwargs : dict, optional
            For ``Axes.scatter`` of the rows, ``Axes.hlines`` of their intervals and ``Axes.plot``
            of the diagonal.

        Returns
        -------
        PredictionErrorDisplay
            This one.
        """
        n_targets = self.y_true.shape[1]
        panels = self._panels(ax, 1, n_targets, figsize=(4.8 * n_targets, 4.8))[0]
        self.lines_, self.scatters_, self.bars_ = [], [], []
        line = {"color": GREY, "linestyle": "--", "linewidth": 1.0, "zorder": 4}
        for k, axes in enumerate(panels):
            ends = (self.y_true[self.shown, k], self.interval[self.shown, k])
            span = [min(end.min() for end in ends), max(end.max() for end in ends)]
            self.lines_ += axes.plot(span, span, **line | (line_kwargs or {}))
            styles = (scatter_kwargs or {}, bar_kwargs or {})
            pairs = [self._draw_rows(axes, k, inside, *styles) for inside in (True, False)]
            scatters, bars = zip(*pairs, strict=True)
            self.scatters_.append(scatters)
            self.bars_.append(bars)
            self._write(axes, k)
        return self

    def _draw_rows(
        self, axes: Any, k: int, inside: bool, scatter: dict[str, Any], bars: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Those inside their intervals, or those outside on top of them."""
        style, depth = (INSIDE, 2) if inside else (OUTSIDE, 3)
        rows = self.shown[self._inside[self.shown, k] == inside]
        y, share = self.y_true[rows, k], np.mean(self._inside[:, k] == inside)
        label = f"{'inside' if inside else 'outside'}: {100.0 * share:.1f} %"
        dot = style | {"linewidths": 0, "label": label, "zorder": depth}
        bar = {"color": style["color"], "linewidth": 0.8, "alpha": 0.45, "zorder": depth}
        scattered = axes.scatter(self.y_pred[rows, k], y, **dot | scatter)
        # Not error bars about the mean, which a mixture's interval need not hold.
        return scattered, axes.hlines(y, *self.interval[rows, k].T, **bar | bars)

    def _write(self, axes: Any, k: int) -> None:
        """Labels, scale, legend and the figures of all rows."""
        name, n_rows = self.target_names[k], len(self.y_true)
        axes.set(xlabel=f"predicted {name}", ylabel=f"observed {name}")
        axes.set_aspect("equal", adjustable="datalim")
        text = f"RMSE {self.rmse_[k]:.3g}, {n_rows} rows"
        if len(self.shown) < n_rows:
            text += f" ({len(self.shown)} drawn at random)"
        axes.set_title(text, loc="left", fontsize="medium")
        title = f"bars: {100.0 * self.coverage:.4g} % intervals"
        axes.legend(title=title, fontsize="small", title_fontsize="small")


def _chosen(n_rows: int, max_rows: int, seed: int) -> np.ndarray:
    """All rows, or as many as may be drawn, in their order."""
    if not (isinstance(max_rows, int | np.integer) and max_rows > 0):
        raise ValueError(f"max_rows must be a positive integer; got {max_rows!r}.")
    if n_rows <= max_rows:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, max_rows, replace=False))
