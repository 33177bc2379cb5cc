"""Whether predictive intervals hold as many rows as they say."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import binom

from laplace_nn.displays.base import COLORS, GREY, LINES, Display
from laplace_nn.displays.checks import is_laplace, is_regressor, observed_targets
from laplace_nn.estimators.labels import names_of_targets

__all__ = ["CoverageDisplay"]

LEVEL = 0.95  # of the bands
N_POINTS = 201  # of the curve
MARKED = 0.95  # nominal coverage whose share is told in the legend


@dataclass(kw_only=True, eq=False, repr=False)
class CoverageDisplay(Display):
    """Share of rows inside central predictive intervals, and where in their predictive rows lie.

    u_n = F(y_n | x_n), the probability integral transform (PIT), is uniform where the predictive is
    right (Rosenblatt 1952; Gneiting, Balabdaoui & Raftery 2007). A row is inside the central
    interval of nominal coverage c where |2 u_n - 1| <= c. A curve above the diagonal and a hill in
    the histogram: the intervals are too wide; below and a valley: too narrow; a slope in the
    histogram: predictions are too low or too high.

    Parameters
    ----------
    pit : ndarray of shape (n, K)
        u of every row and target.
    target_names : tuple of str
        What the legend calls the targets.
    n_bins : int, default=10
        Of the histogram.

    Attributes
    ----------
    lines_, histograms_ : list of artists
        One a target.
    bands_ : pair of artists
        Where, at each point and in each bin, 95 % of samples of n rows lie if the predictive is
        right: quantiles of Binomial(n, c) / n, and of Binomial(n, 1 / B) B / n.

    See Also
    --------
    ReliabilityDisplay : The same question of a classification.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.coverage import CoverageDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(120, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=120)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X[:60], y[:60])
    >>> display = CoverageDisplay.from_estimator(model, X[60:], y[60:])
    >>> bool(0.8 < display.observed(0.9)[0] <= 1.0)
    True
    """

    pit: np.ndarray
    target_names: tuple[str, ...] = ("y",)
    n_bins: int = 10

    def __post_init__(self) -> None:
        pit, n_bins = self.pit, self.n_bins
        outside = np.sum(~((pit >= 0.0) & (pit <= 1.0)))
        if pit.ndim != 2 or pit.size == 0 or outside:
            raise ValueError(
                "pit must hold probabilities F(y|x) from 0 to 1, of shape (n,) or (n, K); got "
                f"shape {pit.shape} with {outside} outside."
            )
        if not (isinstance(n_bins, int | np.integer) and n_bins > 0):
            raise ValueError(f"n_bins must be a positive integer; got {n_bins!r}.")

    @classmethod
    def from_estimator(
        cls, regressor: Any, X: Any, y: Any, *, n_bins: int = 10, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Take the transform of rows whose targets are known and draw.

        F is the cdf of the mixture that the committee predicts, noise included, of each target by
        itself.

        Parameters
        ----------
        regressor : LaplaceMLPRegressor
            Fitted.
        X : array-like of shape (n, D)
            Rows, best those that have not been trained on.
        y : array-like of shape (n,) or (n, K)
            Their targets.
        n_bins : int, default=10
            Of the histogram.
        ax : pair of Axes, or Axes to be divided, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        CoverageDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is no LaplaceMLPRegressor, or the targets do not fit the rows.
        """
        is_regressor(regressor, cls)
        is_laplace(regressor, cls)
        mixture = regressor._predictive(X)
        targets = observed_targets(y, mixture.means.shape[1:])
        display = cls(
            pit=mixture.cdf(targets),
            target_names=names_of_targets(targets.shape[1]),
            n_bins=n_bins,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        pit: Any,
        *,
        target_names: Any = None,
        n_bins: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw transforms that have been taken.

        Parameters
        ----------
        pit : array-like of shape (n,) or (n, K)
            F(y_n | x_n) of every row and target.
        target_names : sequence of str, optional
            What the legend calls the targets; y, or y0, y1, ... if not given.
        n_bins, ax, **kwargs
            As of `from_estimator`.

        Returns
        -------
        CoverageDisplay
            Drawn.

        Raises
        ------
        ValueError
            If a transform is no probability.
        """
        values = np.asarray(pit, dtype=float)
        values = values[:, None] if values.ndim == 1 else values
        names = target_names or names_of_targets(values[0].size)
        return cls(pit=values, target_names=tuple(names), n_bins=n_bins).plot(ax, **kwargs)

    def observed(self, nominal: Any) -> np.ndarray:
        """Share of rows inside central intervals, the mean of |2 u_n - 1| <= c.

        Parameters
        ----------
        nominal : array-like of shape (m,) or float
            Nominal coverages c.

        Returns
        -------
        ndarray of shape (m, K) or (K,)
            For every target.
        """
        reach = np.sort(np.abs(2.0 * self.pit - 1.0), axis=0)
        inside = [np.searchsorted(column, nominal, side="right") for column in reach.T]
        return np.stack(inside, axis=-1) / len(self.pit)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict[str, Any] | None = None,
        histogram_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the coverage to the left, the histogram of the transform to the right.

        Parameters
        ----------
        ax : pair of Axes, or Axes to be divided, optional
            Where to draw; a new figure if not given.
        line_kwargs, histogram_kwargs : dict, optional
            For ``Axes.plot`` of the coverage and ``Axes.stairs`` of the histograms.

        Returns
        -------
        CoverageDisplay
            This one.
        """
        left, right = self._panels(ax, 1, 2)[0]
        self.bands_ = (self._coverage_band(left), self._histogram_band(right))
        self.lines_, self.histograms_ = [], []
        nominal = np.linspace(0.0, 1.0, N_POINTS)
        observed, marked = self.observed(nominal), self.observed(MARKED)
        for k, name in enumerate(self.target_names):
            style = {"color": COLORS[k % len(COLORS)], "linestyle": LINES[k % len(LINES)]}
            label = f"{name}: {100.0 * marked[k]:.1f} % inside {100.0 * MARKED:g} %"
            line = style | {"label": label} | (line_kwargs or {})
            self.lines_ += left.plot(nominal, observed[:, k], **line)
            bars = style | {"linewidth": 1.5, "baseline": None} | (histogram_kwargs or {})
            self.histograms_.append(self._histogram(right, k, bars))
        self._write(left, right)
        return self

    def _coverage_band(self, axes: Any) -> Any:
        """Binomial quantiles about the diagonal."""
        nominal, n = np.linspace(0.0, 1.0, N_POINTS), len(self.pit)
        low, high = (binom.ppf(p, n, nominal) / n for p in _tails())
        axes.plot([0.0, 1.0], [0.0, 1.0], color=GREY, linewidth=0.8)
        label = f"{100.0 * LEVEL:g} % band if calibrated, {n} rows"
        return axes.fill_between(nominal, low, high, color=GREY, alpha=0.2, lw=0, label=label)

    def _histogram_band(self, axes: Any) -> Any:
        """Binomial quantiles about a density of 1."""
        n, share = len(self.pit), 1.0 / self.n_bins
        low, high = (binom.ppf(p, n, share) / (n * share) for p in _tails())
        axes.axhline(1.0, color=GREY, linewidth=0.8)
        return axes.axhspan(low, high, color=GREY, alpha=0.2, linewidth=0)

    def _histogram(self, axes: Any, k: int, style: dict[str, Any]) -> Any:
        counts, edges = np.histogram(self.pit[:, k], bins=self.n_bins, range=(0.0, 1.0))
        return axes.stairs(counts * self.n_bins / len(self.pit), edges, **style)

    def _write(self, left: Any, right: Any) -> None:
        """Labels, limits and the legend."""
        left.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
        left.set(xlabel="nominal coverage", ylabel="share of rows inside")
        left.legend(fontsize="small")
        right.set(xlim=(0.0, 1.0), xlabel="PIT F(y | x)", ylabel="density of rows")
        right.set_ylim(bottom=0.0)


def _tails() -> tuple[float, float]:
    return 0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)
