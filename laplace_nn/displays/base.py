"""What every display has: data, colours that every eye tells apart, and panels to draw on.

A display follows scikit-learn's convention: it holds data only; `from_estimator` computes them and
draws; `plot` draws once more, on a new figure or on given axes, and returns the display.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLORS",
    "GREEN",
    "GREY",
    "LINES",
    "MARKERS",
    "VERMILLION",
    "Display",
    "shortened",
]

# Okabe and Ito's colours, told apart by every eye; line styles and markers tell them apart in grey.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"
COLORS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "X", "s", "^", "D", "v", "P", "*")

COLUMN_WIDTH = 4.8  # inches of a panel: legible in a column of a page
ROW_HEIGHT = 3.6


class Display(ABC):
    """A picture of a fit that can be drawn again.

    Attributes
    ----------
    ax_ : Axes, or ndarray of Axes where there are several panels
        Those drawn on last.
    figure_ : Figure
        Their figure.
    """

    ax_: Any
    figure_: "Figure"

    @abstractmethod
    def plot(self, ax: Any = None) -> Self:
        """Draw, on a new figure if no axes are given."""

    def _panel(self, ax: Any, **figure_options: Any) -> "Axes":
        """The one panel of a picture, a new figure's if none is given."""
        self.ax_ = self._panels(ax, 1, 1, **figure_options)[0, 0]
        return self.ax_

    def _panels(
        self,
        ax: Any,
        n_rows: int,
        n_columns: int,
        height_ratios: Sequence[float] | None = None,
        **figure_options: Any,
    ) -> np.ndarray:
        """Axes (n_rows, n_columns): a new figure's, those given, or a given one divided.

        The ratios hold where the rows are made here, the other options for a new figure only.

        Raises
        ------
        ValueError
            If another number of axes is given.
        """
        if ax is None:
            panels = _new_panels(n_rows, n_columns, height_ratios=height_ratios, **figure_options)
        elif np.size(ax) == n_rows * n_columns:
            panels = np.array(ax, dtype=object).reshape(n_rows, n_columns)
        elif np.size(ax) == 1:
            one = np.ravel(np.array(ax, dtype=object))[0]
            panels = _divided(one, n_rows, n_columns, height_ratios)
        else:
            raise ValueError(
                f"{type(self).__name__} draws {n_rows * n_columns} panels; got {np.size(ax)} axes: "
                "pass as many, one to be divided, or none for a new figure."
            )
        self.figure_ = panels[0, 0].figure
        self.ax_ = panels.ravel() if panels.size > 1 else panels[0, 0]
        return panels


def _new_panels(n_rows: int, n_columns: int, **options: Any) -> np.ndarray:
    import matplotlib.pyplot as plt

    size = (COLUMN_WIDTH * n_columns, ROW_HEIGHT * n_rows)
    settings: dict[str, Any] = {"figsize": size, "layout": "constrained"} | options
    return plt.subplots(n_rows, n_columns, squeeze=False, **settings)[1]


def _divided(
    ax: "Axes", n_rows: int, n_columns: int, height_ratios: Sequence[float] | None
) -> np.ndarray:
    """Axes in the place of one, which is switched off."""
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "The given axes have no place in a grid of subplots, and cannot be divided into "
            f"{n_rows * n_columns} panels: pass as many axes, or none for a new figure."
        )
    ax.set_axis_off()
    grid = place.subgridspec(n_rows, n_columns, height_ratios=height_ratios)
    return grid.subplots(squeeze=False)


def shortened(name: str, longest: int) -> str:
    """A name of at most so many letters, the last one a mark where it was longer."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
