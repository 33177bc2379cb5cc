"""Whether predicted probabilities are what comes true."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted, column_or_1d

from laplace_nn.displays.base import BLUE, GREY, VERMILLION, Display
from laplace_nn.displays.checks import is_classifier

__all__ = ["ReliabilityCurve", "ReliabilityDisplay"]

LEVEL = 0.95  # of the intervals of the observed frequencies
N_BARS = 20  # of the histogram
ROUNDING = 1e-6  # of given probabilities, which may come in single precision
STRATEGIES = ("uniform", "quantile")
STYLES = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "X"},
)


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Predicted probabilities of an event in bins, beside how often it came.

    Bin b holds the rows with edge_b < p <= edge_b+1, the first one its lower edge too.

    Parameters
    ----------
    name : str
        Whose probabilities they are.
    probability : ndarray of shape (n,)
        Predicted for every row.
    outcome : ndarray of bool, shape (n,)
        Whether the event came.
    edges : ndarray of shape (B + 1,)
        Of the bins, rising.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.displays.reliability import ReliabilityCurve
    >>> probability, outcome = np.array([0.2, 0.4, 0.9, 0.7]), np.array([0, 1, 1, 1], bool)
    >>> curve = ReliabilityCurve("mine", probability, outcome, np.array([0.0, 0.5, 1.0]))
    >>> curve.predicted.round(2).tolist(), curve.observed.tolist()
    ([0.3, 0.8], [0.5, 1.0])
    """

    name: str
    probability: np.ndarray
    outcome: np.ndarray
    edges: np.ndarray

    @cached_property
    def _bins(self) -> np.ndarray:
        """Every row's bin, (n,)."""
        return np.searchsorted(self.edges[1:-1], self.probability, side="left")

    @cached_property
    def _filled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, summed probabilities and events of every bin that has rows, (B',) each."""
        counts = np.bincount(self._bins)
        sums = [np.bincount(self._bins, weights=v) for v in (self.probability, self.outcome)]
        return counts[counts > 0], sums[0][counts > 0], sums[1][counts > 0]

    @property
    def count(self) -> np.ndarray:
        """Rows of every bin that has any, (B',)."""
        return self._filled[0]

    @property
    def predicted(self) -> np.ndarray:
        """Mean probability of every bin that has rows, (B',)."""
        return self._filled[1] / self.count

    @property
    def observed(self) -> np.ndarray:
        """Share of rows with the event in every bin that has rows, (B',)."""
        return self._filled[2] / self.count

    @property
    def interval(self) -> np.ndarray:
        """95 % intervals of the frequencies behind ``observed``, (B', 2).

        (f + z²/2n ± z √(f (1 - f) / n + z²/4n²)) / (1 + z²/n), z = 1.96 (Wilson 1927).
        """
        z, f, n = ndtri(0.5 + 0.5 * LEVEL), self.observed, self.count
        half = z * np.sqrt(f * (1.0 - f) / n + z**2 / (4.0 * n**2))
        centre = f + z**2 / (2.0 * n)
        return np.stack([centre - half, centre + half], axis=1) / (1.0 + z**2 / n)[:, None]

    @property
    def expected_calibration_error(self) -> float:
        """Σ_b (n_b / n) |observed_b - predicted_b| (Guo, Pleiss, Sun & Weinberger 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float(np.average(gaps, weights=self.count))


@dataclass(kw_only=True, eq=False, repr=False)
class ReliabilityDisplay(Display):
    """Observed frequencies against predicted probabilities, and how many rows have which.

    Two classes: frequency of the second class against its mean predicted probability in each bin.
    More: accuracy against the mean confidence, the largest probability (Guo et al. 2017).

    Parameters
    ----------
    curves : tuple of ReliabilityCurve
        The predictive's first, then the MAP network's if there is one.
    classes : ndarray of shape (C,)
        The labels.

    Attributes
    ----------
    expected_calibration_error_ : float
        Of the first curve, Σ_b (n_b / n) |observed_b - predicted_b| (Guo et al. 2017). With two
        classes it is that of the second class's probability: in an even number of uniform bins not
        below that of the confidence, for which errors on both sides of ½ may cancel.
    lines_, bars_, histograms_ : list of artists
        One a curve; the bars are the 95 % intervals (Wilson 1927).

    See Also
    --------
    CoverageDisplay : The same question of a regression.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPClassifier
    >>> from laplace_nn.displays.reliability import ReliabilityDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(120, 2))
    >>> y = np.where(X[:, 0] + 0.5 * rng.normal(size=120) > 0, "right", "left")
    >>> model = LaplaceMLPClassifier((3,), n_restarts=1, random_state=0).fit(X[:60], y[:60])
    >>> display = ReliabilityDisplay.from_estimator(model, X[60:], y[60:], n_bins=5)
    >>> display.ax_[0].get_ylabel()
    'observed frequency of right'
    """

    curves: tuple[ReliabilityCurve, ...]
    classes: np.ndarray

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        strategy: str = "uniform",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Predict rows whose labels are known and draw.

        Parameters
        ----------
        classifier : LaplaceMLPClassifier, or any with ``predict_proba``
            Fitted. Where it has ``map_proba``, the MAP network's curve stands beside.
        X : array-like of shape (n, D)
            Rows, best those that have not been trained on.
        y : array-like of shape (n,)
            Their labels.
        n_bins : int, default=10
            Bins of the probability.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width over 0 to 1, or of equally many rows; of the latter there are fewer
            where many probabilities are equal.
        ax : pair of Axes, or Axes to be divided, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        ReliabilityDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is no classifier, a label is not one of its classes, or the bins are
            none.
        """
        check_is_fitted(classifier)
        is_classifier(classifier, cls)
        probabilities = {"predictive": classifier.predict_proba(X)}
        if hasattr(classifier, "map_proba"):
            probabilities["MAP network"] = classifier.map_proba(X)
        display = cls._binned(y, probabilities, classifier.classes_, n_bins, strategy)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        classes: Any = None,
        n_bins: int = 10,
        strategy: str = "uniform",
        name: str = "predictive",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw probabilities that have been predicted.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Labels.
        y_proba : array-like of shape (n, C) or (n,)
            Probabilities of every class, or of the second of two.
        classes : array-like of shape (C,), optional
            The labels in the order of the columns; the sorted labels of ``y_true`` if not given.
        n_bins, strategy, ax, **kwargs
            As of `from_estimator`.
        name : str, default="predictive"
            What the curve is called in the legend.

        Returns
        -------
        ReliabilityDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the probabilities are none, or do not fit the labels.
        """
        labels = np.unique(y_true) if classes is None else np.asarray(classes)
        return cls._binned(y_true, {name: y_proba}, labels, n_bins, strategy).plot(ax, **kwargs)

    @classmethod
    def _binned(
        cls,
        y_true: Any,
        probabilities: dict[str, Any],
        classes: np.ndarray,
        n_bins: int,
        strategy: str,
    ) -> Self:
        codes, curves = _codes(y_true, classes), []
        for name, given in probabilities.items():
            columns = _checked(given, len(codes), len(classes))
            if len(classes) == 2:
                probability, outcome = columns[:, 1], codes == 1
            else:
                probability, outcome = columns.max(axis=1), columns.argmax(axis=1) == codes
            edges = _edges(probability, n_bins, strategy)
            curves.append(ReliabilityCurve(name, probability, outcome, edges))
        return cls(curves=tuple(curves), classes=classes)

    @property
    def expected_calibration_error_(self) -> float:
        """Of the first curve."""
        return self.curves[0].expected_calibration_error

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves with the diagonal, and the histogram below.

        Parameters
        ----------
        ax : pair of Axes, or Axes to be divided, optional
            Where to draw; a new figure if not given.
        line_kwargs, bar_kwargs : dict, optional
            For ``Axes.plot`` of the curves and ``Axes.vlines`` of their intervals.

        Returns
        -------
        ReliabilityDisplay
            This one.
        """
        panels = self._panels(ax, 2, 1, height_ratios=(3.5, 1.0), figsize=(4.8, 5.0))
        top, bottom = panels[:, 0]
        low = 0.0 if len(self.classes) == 2 else 1.0 / len(self.classes)
        self.lines_: list[Any] = []
        self.bars_: list[Any] = []
        self.histograms_: list[Any] = []
        for curve, style in zip(self.curves, STYLES, strict=False):
            self._draw_curve(top, curve, style | (line_kwargs or {}), bar_kwargs or {})
            self._draw_histogram(bottom, curve, style)
        bar = {"color": GREY, "linestyle": "none", "marker": "|", "markersize": 10}
        top.plot([], [], label=f"{100.0 * LEVEL:g} % intervals", **bar)
        top.plot([low, 1.0], [low, 1.0], color=GREY, linestyle=":", label="calibrated", zorder=1)
        self._write(top, bottom, low)
        return self

    def _draw_curve(
        self, axes: Any, curve: ReliabilityCurve, line: dict[str, Any], bars: dict[str, Any]
    ) -> None:
        label = f"{curve.name} (ECE {curve.expected_calibration_error:.3f})"
        line = {"label": label, "markersize": 5, "linewidth": 1.3, "zorder": 3} | line
        self.lines_ += axes.plot(curve.predicted, curve.observed, **line)
        bars = {"color": line["color"], "linewidth": 1.0, "alpha": 0.6} | bars
        self.bars_.append(axes.vlines(curve.predicted, *curve.interval.T, **bars))

    def _draw_histogram(self, axes: Any, curve: ReliabilityCurve, style: dict[str, Any]) -> None:
        counts, edges = np.histogram(curve.probability, bins=N_BARS, range=(0.0, 1.0))
        first = curve is self.curves[0]
        shape = {"fill": True, "alpha": 0.35} if first else {"linestyle": style["linestyle"]}
        self.histograms_.append(axes.stairs(counts, edges, color=style["color"], **shape))

    def _write(self, top: Any, bottom: Any, low: float) -> None:
        """Labels, limits and the legend."""
        if len(self.classes) == 2:
            event = self.classes[1]
            what, came = f"predicted probability of {event}", f"observed frequency of {event}"
        else:
            what = "confidence: probability of the predicted class"
            came = "accuracy of the predicted class"
        margin = 0.03 * (1.0 - low)
        top.set(xlim=(low - margin, 1.0 + margin), ylim=(-0.03, 1.03), ylabel=came)
        top.tick_params(labelbottom=False)
        top.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),  # above: curves and bars may be anywhere
            frameon=False,
            ncols=2,
            fontsize="small",
        )
        bottom.set(xlim=top.get_xlim(), xlabel=what, ylabel="rows")


def _codes(y_true: Any, classes: np.ndarray) -> np.ndarray:
    """Places of labels (n,) among the classes, (n,)."""
    labels = column_or_1d(y_true)
    same = labels[:, None] == classes
    if len(classes) < 2:
        raise ValueError(f"there must be at least two classes; got {classes.tolist()}.")
    if not np.all(same.any(axis=1)):
        unknown = labels[~same.any(axis=1)].tolist()[0]
        raise ValueError(
            f"y holds the label {unknown!r}, which is not one of the classes {classes.tolist()}."
        )
    return same.argmax(axis=1)


def _checked(given: Any, n_rows: int, n_classes: int) -> np.ndarray:
    """Probabilities of every class, (n, C)."""
    columns = np.asarray(given, dtype=float)
    if columns.ndim == 1 and n_classes == 2:
        columns = np.column_stack([1.0 - columns, columns])
    if columns.shape != (n_rows, n_classes):
        raise ValueError(
            f"y_proba must have shape {(n_rows, n_classes)}, a row for each label and a column for "
            f"each class; got {np.shape(given)}: pass the classes if y_true lacks some."
        )
    if not (np.all(columns >= -ROUNDING) and np.allclose(columns.sum(axis=1), 1.0, atol=ROUNDING)):
        raise ValueError(
            "y_proba must hold probabilities, from 0 to 1 and each row summing to 1; the smallest "
            f"is {columns.min()} and the sums go from {columns.sum(axis=1).min()} to "
            f"{columns.sum(axis=1).max()}."
        )
    return np.clip(columns, 0.0, 1.0)  # of rounding only


def _edges(probability: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    """Of the bins: equally spaced, or some of the probabilities themselves: none is empty then."""
    if not (isinstance(n_bins, int | np.integer) and n_bins > 0):
        raise ValueError(f"n_bins must be a positive integer; got {n_bins!r}.")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}.")
    shares = np.linspace(0.0, 1.0, n_bins + 1)
    if strategy == "uniform":
        return shares
    return np.unique(np.quantile(probability, shares, method="inverted_cdf"))
