"""Models that were compared: what the training rows, and held-out rows, say for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier

from laplace_nn.displays.base import BLUE, GREEN, ROW_HEIGHT, VERMILLION, Display

__all__ = ["EvidenceDisplay"]

SIZES = {
    "n_hidden_units": "hidden units",
    "n_params": "weights",
    "n_effective_params": "γ, weights that the data determine",
}
NAME_WIDTH = 48  # letters of a model's name on one line
LINE_HEIGHT, LETTER_WIDTH = 0.2, 0.075  # inches of the names' text
FLAT_HEIGHT = 2.4  # inches of a panel that shares its horizontal axis with others


@dataclass(kw_only=True, eq=False, repr=False)
class EvidenceDisplay(Display):
    """Log evidence, leave-one-out score and test error of models, by size or by name.

    ln p(D|M_i), which compares models without a test set (PRML 3.66, 3.67, 4.137): where it and the
    test error disagree, the approximation or the model is at fault.

    Parameters
    ----------
    names : tuple of str
        Of the M models, the best first.
    log_evidence, loo_log_score : ndarray of shape (M,)
        In nats, and in nats a row.
    criterion : {"evidence", "loo"}
        What the models are ranked by.
    sizes : ndarray of shape (M,), optional
        Of their networks; without it the models are listed by name.
    size : {"n_hidden_units", "n_params", "n_effective_params"}, default="n_hidden_units"
        Which size.
    test_error : ndarray of shape (M,), optional
        Of held-out rows.
    error_name : str
        What the test error is.

    Attributes
    ----------
    dots_, rings_ : list of Line2D
        A panel each: all models, and the best.
    lines_ : list of Line2D
        Through the model of best evidence at each size, a panel each; none where models are listed
        by name, or against γ, which is found and not chosen.

    See Also
    --------
    laplace_nn.model_selection.compare : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.evidence import EvidenceDisplay
    >>> from laplace_nn.model_selection import compare
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(40, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=40)
    >>> networks = [LaplaceMLPRegressor(h, n_restarts=1, random_state=0) for h in [(), (3,)]]
    >>> display = EvidenceDisplay.from_comparison(compare(networks, X, y), x="name")
    >>> [label.get_text() for label in display.ax_[0].get_yticklabels()]
    ['hidden_layer_sizes=(3,)', 'hidden_layer_sizes=()']
    """

    names: tuple[str, ...]
    log_evidence: np.ndarray
    loo_log_score: np.ndarray
    criterion: str
    sizes: np.ndarray | None = None
    size: str = "n_hidden_units"
    test_error: np.ndarray | None = None
    error_name: str = "test error"

    @classmethod
    def from_comparison(
        cls, comparison: Any, *, x: str = "n_hidden_units", ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw a comparison.

        Parameters
        ----------
        comparison : Comparison
            From `laplace_nn.model_selection.compare`, or an `EvidenceSearch`'s ``comparison_``.
        x : {"n_hidden_units", "n_params", "n_effective_params", "name"}, default="n_hidden_units"
            What the models are drawn against: a size of the network, panels one above the other,
            or their names, the best on top, panels side by side.
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        EvidenceDisplay
            Drawn.

        Raises
        ------
        TypeError
            If it is no comparison.
        ValueError
            If there is no such ``x``.
        """
        if not hasattr(comparison, "records"):
            raise TypeError(
                f"EvidenceDisplay shows a Comparison; got a {type(comparison).__name__}: pass what "
                "compare returns, or the comparison_ of an EvidenceSearch."
            )
        if x not in (*SIZES, "name"):
            known = ", ".join(map(repr, (*SIZES, "name")))
            raise ValueError(f"x must be one of {known}; got {x!r}.")
        records = comparison.records
        tested = "test_error" in records[0]
        classes = is_classifier(comparison.best_estimator)
        display = cls(
            names=tuple(record["name"] for record in records),
            log_evidence=_column(records, "log_evidence"),
            loo_log_score=_column(records, "loo_log_score"),
            criterion=comparison.criterion,
            sizes=None if x == "name" else _column(records, x),
            size="n_hidden_units" if x == "name" else x,
            test_error=_column(records, "test_error") if tested else None,
            error_name="test error rate" if classes else "test RMSE\n[units of y]",
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, dot_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the models, a panel a measure.

        Parameters
        ----------
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        dot_kwargs : dict, optional
            For ``Axes.plot`` of the models.

        Returns
        -------
        EvidenceDisplay
            This one.
        """
        self.dots_: list[Any] = []
        self.rings_: list[Any] = []
        self.lines_: list[Any] = []
        if self.sizes is None:
            self._against_names(ax, dot_kwargs or {})
        else:
            self._against_size(ax, self.sizes, dot_kwargs or {})
        return self

    @property
    def _measures(self) -> dict[str, np.ndarray]:
        """What is drawn under its label, a panel each."""
        measures = {
            "log evidence\n[nats]": self.log_evidence,
            "leave-one-out score\n[nats a row]": self.loo_log_score,
        }
        return (
            measures if self.test_error is None else measures | {self.error_name: self.test_error}
        )

    def _against_size(self, ax: Any, sizes: np.ndarray, dot_kwargs: dict[str, Any]) -> None:
        """Panels one above the other, the size of the network to the right."""
        measures = self._measures
        height = FLAT_HEIGHT * len(measures)
        panels = self._panels(ax, len(measures), 1, figsize=(5.6, height), sharex=True)[:, 0]
        best = None if self.size == "n_effective_params" else _best_at(sizes, self.log_evidence)
        parts = zip(panels, measures.items(), (BLUE, VERMILLION, GREEN), strict=False)
        for axes, (label, values), color in parts:
            if best is not None:
                style = {"color": color, "zorder": 1, "label": "best evidence at each size"}
                self.lines_ += axes.plot(sizes[best], values[best], **style)
            self._draw(axes, sizes, values, {"color": color, "alpha": 0.6} | dot_kwargs)
            axes.set_ylabel(label, fontsize="small")
        panels[0].set_title(
            fill(f"best by {self.criterion}: {self.names[0]}", 60), fontsize="small"
        )
        panels[0].legend(fontsize="small")
        panels[-1].set_xlabel(SIZES[self.size])
        panels[-1].locator_params(axis="x", integer=self.size != "n_effective_params")

    def _against_names(self, ax: Any, dot_kwargs: dict[str, Any]) -> None:
        """Panels side by side, a line of the best model on top of the others'."""
        measures, names = self._measures, [fill(name, NAME_WIDTH) for name in self.names]
        places = np.arange(len(names))
        panels = self._panels(ax, 1, len(measures), figsize=_listed_size(names, len(measures)))[0]
        for axes, (label, values) in zip(panels, measures.items(), strict=True):
            self._draw(axes, values, places, {"color": BLUE} | dot_kwargs)
            axes.set_xlabel(label, fontsize="small")
            axes.set_yticks(places, names if axes is panels[0] else [], fontsize="small")
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=3)
            axes.tick_params(axis="x", labelsize="small")
        panels[0].set_title(f"best by {self.criterion} on top", fontsize="small")

    def _draw(self, axes: Any, x: np.ndarray, y: np.ndarray, style: dict[str, Any]) -> None:
        """All models, and a ring round the first."""
        dots = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "label": "a model"}
        self.dots_ += axes.plot(x, y, **dots | style)
        ring = {"linestyle": "none", "marker": "o", "color": "black", "fillstyle": "none"}
        label = f"best by {self.criterion}"
        self.rings_ += axes.plot(x[:1], y[:1], markersize=11, label=label, **ring)
        axes.grid(alpha=0.3)


def _column(records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([record[name] for record in records])


def _best_at(sizes: np.ndarray, log_evidence: np.ndarray) -> np.ndarray:
    """Places of the models of best evidence at each size, the smallest network first."""
    order = np.lexsort((-log_evidence, sizes))
    return order[np.unique(sizes[order], return_index=True)[1]]


def _listed_size(names: Sequence[str], n_panels: int) -> tuple[float, float]:
    """Inches of a figure that lists names beside its panels."""
    lines = [line for name in names for line in name.split("\n")]
    height = LINE_HEIGHT * (len(lines) + 0.5 * len(names)) + 1.2
    width = LETTER_WIDTH * max(map(len, lines))
    return width + 2.6 * n_panels, min(max(height, 0.6 * ROW_HEIGHT), 40.0)
