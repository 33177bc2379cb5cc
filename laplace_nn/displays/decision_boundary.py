"""What a classifier says over a plane of two inputs, and how sure it is of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from laplace_nn.displays.base import COLORS, Display
from laplace_nn.displays.checks import as_fitted, feature_index, is_classifier
from laplace_nn.displays.plane import (
    LEGEND,
    draw_lines,
    draw_probabilities,
    draw_probability_bar,
    draw_rows,
    finish,
    plane_grid,
)
from laplace_nn.estimators.labels import feature_names

__all__ = ["DecisionBoundaryDisplay"]

N_BANDS = 7  # of the standard deviation, at most
BAR_PAD = 0.02  # between panels and colour bar, as a share of the panels' width
PALEST, DARKEST = 0.0, 0.65  # of Matplotlib's greys: black lines and coloured rows stay legible


class _Panel(NamedTuple):
    method: str  # of the classifier
    title: str


PANELS = {
    "map": _Panel("map_proba", "MAP: the most probable weights"),
    "predictive": _Panel("predict_proba", "predictive: averaged over the weights"),
    "std": _Panel("latent_mean_and_covariance", "spread of the log odds over the weights"),
}


@dataclass(kw_only=True, eq=False, repr=False)
class DecisionBoundaryDisplay(Display):
    """Class probabilities over two inputs: of the best weights, averaged, and what lies between.

    link(f_MAP) beside ∫ link(f) N(f | f_MAP, J A⁻¹ Jᵀ) df (PRML 5.185-5.190), which differ where
    the standard deviation of the log odds is large. It is the logit's for two classes; for K > 2
    it is taken over all pairs of classes, √(mean_{i<j} Var(f_i - f_j)), since the softmax sees
    differences of logits only.

    Parameters
    ----------
    x0, x1 : ndarray of shape (n,) and (m,)
        The two inputs.
    values : dict of {"map", "predictive", "std"} to ndarray
        What the panels show: class probabilities (m, n, C), standard deviations (m, n) in nats.
    classes : ndarray of shape (C,)
        The labels, sorted; at most eight.
    X, y : ndarray of shape (N, 2) and (N,), optional
        Rows to draw and their labels.
    feature_names : two str
        What is written beside the axes.
    at_medians : bool, default=False
        Whether there are other inputs, held at their medians.

    Attributes
    ----------
    tints_, lines_, scatters_ : list of list of artists
        A list a panel. For two classes a panel of probabilities has one set of tints and one of
        lines; for more, two of each a class: region and bands, bands' lines and boundary. Levels
        that are not reached have no lines.
    color_bars_ : list of Colorbar
        One for the probabilities, one for the standard deviation.

    See Also
    --------
    PredictiveBandDisplay : A regression along one input.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPClassifier
    >>> from laplace_nn.displays.decision_boundary import DecisionBoundaryDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")
    >>> model = LaplaceMLPClassifier((4,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = DecisionBoundaryDisplay.from_estimator(model, X, y, n_points=20)
    >>> [axes.get_xlabel() for axes in display.ax_]
    ['x0', 'x0', 'x0']
    """

    x0: np.ndarray
    x1: np.ndarray
    values: Mapping[str, np.ndarray]
    classes: np.ndarray
    X: np.ndarray | None = None
    y: np.ndarray | None = None
    feature_names: tuple[str, str] = ("x0", "x1")
    at_medians: bool = False

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: Any,
        y: Any = None,
        *,
        features: tuple[int | str, int | str] = (0, 1),
        panels: Iterable[str] = ("map", "predictive", "std"),
        n_points: int = 100,
        margin: float = 0.25,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Predict over the plane of two inputs and draw.

        Parameters
        ----------
        classifier : LaplaceMLPClassifier
            Fitted. Any other classifier will do for the panels whose method it has.
        X : array-like of shape (N, D)
            Rows that say how far the inputs go; inputs but the two are held at their medians.
        y : array-like of shape (N,), optional
            Their labels, for the rows to be drawn too.
        features : two int or str, default=(0, 1)
            Which inputs, by their places or names.
        panels : iterable of {"map", "predictive", "std"}, default=("map", "predictive", "std")
            Which to draw, always in this order: ``map_proba``, ``predict_proba``, and the standard
            deviation from ``latent_mean_and_covariance``.
        n_points : int, default=100
            Points along each input.
        margin : float, default=0.25
            How far to go beyond the rows, as a share of their range.
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        DecisionBoundaryDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is no classifier or lacks a panel's method, an input or a panel is
            unknown, a label is new, or there are more than eight classes.
        """
        check_is_fitted(classifier)
        is_classifier(classifier, cls)
        chosen = _checked_panels(classifier, panels)
        names = feature_names(classifier, X)
        rows = validate_data(classifier, X, reset=False, dtype=np.float64)
        places = _two_places(names, features)
        if y is not None:
            check_consistent_length(rows, y)
        x0, x1, points = plane_grid(rows, places, n_points, margin)
        table = as_fitted(classifier, points)
        shape = (n_points, n_points)
        values = {name: _value(classifier, name, table) for name in chosen}
        display = cls(
            x0=x0,
            x1=x1,
            values={name: v.reshape(shape + v.shape[1:]) for name, v in values.items()},
            classes=classifier.classes_,
            X=None if y is None else rows[:, places],
            y=None if y is None else np.asarray(y).ravel(),
            feature_names=(names[places[0]], names[places[1]]),
            at_medians=rows.shape[1] > 2,
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        contour_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the panels side by side.

        Parameters
        ----------
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        contour_kwargs, scatter_kwargs : dict, optional
            For ``Axes.contour`` of the lines and ``Axes.scatter`` of the rows.

        Returns
        -------
        DecisionBoundaryDisplay
            This one.
        """
        panels = self._panels(ax, 1, len(self.values))[0]
        self.tints_, self.lines_, self.scatters_ = [], [], []
        self.color_bars_: list[Any] = []
        lines, dots = contour_kwargs or {}, scatter_kwargs or {}
        first, second = self.feature_names
        note = "\n(other inputs at their medians)" if self.at_medians else ""
        for axes, (name, values) in zip(panels, self.values.items(), strict=True):
            draw = self._draw_std if name == "std" else draw_probabilities
            tinted, drawn = draw(axes, self.x0, self.x1, values, **lines)
            self.tints_.append(tinted)
            self.lines_.append(drawn)
            if self.X is not None and self.y is not None:
                self.scatters_.append(draw_rows(axes, self.X, self.y, self.classes, **dots))
            finish(axes, self.x0, self.x1, (first + note, second))
            axes.set_title(PANELS[name].title, fontsize="medium")
        self._draw_keys(panels)
        return self

    @staticmethod
    def _draw_std(
        axes: Any, x0: np.ndarray, x1: np.ndarray, std: np.ndarray, **style: Any
    ) -> tuple[list[Any], list[Any]]:
        """Bands of grey from 0, and the lines between them."""
        from matplotlib import colormaps
        from matplotlib.ticker import MaxNLocator

        levels = MaxNLocator(N_BANDS).tick_values(0.0, float(std.max()))
        colors = colormaps["Greys"](np.linspace(PALEST, DARKEST, len(levels) - 1))
        bands = axes.contourf(x0, x1, std, levels=levels, colors=colors)
        return [bands], draw_lines(axes, x0, x1, std, levels, **style)

    def _draw_keys(self, panels: np.ndarray) -> None:
        """The colour bars beside the panels, and the classes on the first."""
        from matplotlib.patches import Patch

        beside = [axes for axes, name in zip(panels, self.values, strict=True) if name != "std"]
        if beside:
            bar = draw_probability_bar(self.figure_, self.classes, ax=beside, pad=BAR_PAD)
            self.color_bars_.append(bar)
        if "std" in self.values:
            place = list(self.values).index("std")
            bands, options = self.tints_[place][0], {"ax": panels[place], "pad": BAR_PAD}
            label = "standard deviation (nats)"
            self.color_bars_.append(self.figure_.colorbar(bands, label=label, **options))
        handles: list[Any] = self.scatters_[0] if self.scatters_ else []
        if beside and not handles:
            pairs = zip(self.classes, COLORS, strict=False)
            handles = [Patch(facecolor=color, label=str(label)) for label, color in pairs]
        if handles:
            panels[0].legend(handles=handles, title="class", **LEGEND)


def _checked_panels(classifier: Any, panels: Iterable[str]) -> list[str]:
    """Those asked for, in order."""
    asked = [panels] if isinstance(panels, str) else list(panels)
    unknown = [name for name in asked if name not in PANELS]
    if unknown or not asked:
        raise ValueError(
            f"panels must be some of {', '.join(PANELS)}; got {asked if asked else 'none'}."
        )
    for name in asked:
        if not hasattr(classifier, PANELS[name].method):
            raise ValueError(
                f"Panel {name!r} needs the method {PANELS[name].method}, which "
                f"{type(classifier).__name__} has not: leave it out of panels."
            )
    return [name for name in PANELS if name in asked]


def _two_places(names: list[str], features: tuple[int | str, int | str]) -> list[int]:
    places = [] if isinstance(features, int | str) else [feature_index(names, f) for f in features]
    if len(places) != 2 or places[0] == places[1]:
        raise ValueError(f"features must be two different inputs; got {features!r}.")
    return places


def _value(classifier: Any, panel: str, points: Any) -> np.ndarray:
    """Probabilities (n, C) or the standard deviation of the log odds, (n,)."""
    found = getattr(classifier, PANELS[panel].method)(points)
    return _log_odds_std(found[1]) if panel == "std" else found


def _log_odds_std(covariance: np.ndarray) -> np.ndarray:
    """√(mean_{i<j} Var(f_i - f_j)) from covariances of logits (n, K, K), (n,)."""
    n_outputs = covariance.shape[-1]
    trace = np.einsum("nkk->n", covariance)
    if n_outputs == 1:
        return np.sqrt(trace)
    # Σ_{i<j} Var(f_i - f_j) = K tr Σ - 1ᵀ Σ 1, over K (K - 1) / 2 pairs
    pairs = n_outputs * trace - covariance.sum(axis=(1, 2))
    return np.sqrt(2.0 * pairs / (n_outputs * (n_outputs - 1)))
