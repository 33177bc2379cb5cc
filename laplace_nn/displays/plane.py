"""The plane of two inputs: a grid over it, contours of probabilities, and rows by their class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from laplace_nn.displays.base import COLORS, GREY, MARKERS
from laplace_nn.displays.checks import wide_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "LEGEND",
    "class_codes",
    "draw_lines",
    "draw_probabilities",
    "draw_probability_bar",
    "draw_rows",
    "finish",
    "plane_grid",
    "tints",
]

LEVELS: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
UPPER: tuple[float, ...] = (0.5, 0.7, 0.9)  # those that a most probable class reaches
STRENGTHS = (0.08, 0.18, 0.40, 0.65)  # of a class's colour below, between and above these
LEGEND: dict[str, Any] = {"fontsize": "small", "title_fontsize": "small", "framealpha": 0.9}
THIN, THICK = 0.6, 2.0  # points


def plane_grid(
    rows: np.ndarray, places: Sequence[int], n_points: int, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid over two inputs, the others at their medians.

    Parameters
    ----------
    rows : ndarray of shape (N, D)
        What says how far the inputs go, and the medians.
    places : two int
        Which inputs.
    n_points : int
        Points along each of them.
    margin : float
        How far to go beyond the rows, as a share of their range.

    Returns
    -------
    x0, x1 : ndarray of shape (n_points,)
        The two inputs.
    points : ndarray of shape (n_points², D)
        All their pairs, the first input changing fastest.

    Raises
    ------
    ValueError
        If there are fewer than two points.
    """
    if n_points < 2:
        raise ValueError(f"n_points must be at least 2, for contours between them; got {n_points}.")
    x0, x1 = (wide_grid(rows[:, place], n_points, margin) for place in places)
    points = np.tile(np.median(rows, axis=0), (n_points**2, 1))
    points[:, list(places)] = np.stack(np.meshgrid(x0, x1), axis=-1).reshape(-1, 2)
    return x0, x1, points


def class_codes(classes: np.ndarray, y: Any) -> np.ndarray:
    """Places of labels (N,) among the sorted classes, (N,).

    Raises
    ------
    ValueError
        If a label is none of them.
    """
    labels = np.asarray(y)
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"y holds the label {unknown.tolist()[0]!r}, which is none of the classes "
            f"{classes.tolist()}: leave out its rows."
        )
    return np.searchsorted(classes, labels)


def tints(color: str) -> list[tuple[float, float, float]]:
    """A colour on white in four strengths, the weakest first, as RGB."""
    from matplotlib.colors import to_rgb

    full = np.array(to_rgb(color))
    return [tuple((1.0 - share) + share * full) for share in STRENGTHS]


def draw_probabilities(
    axes: "Axes", x0: np.ndarray, x1: np.ndarray, probabilities: np.ndarray, **line_style: Any
) -> tuple[list[Any], list[Any]]:
    """Tint the plane by the most probable class and by its probability.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x0, x1 : ndarray of shape (n,) and (m,)
        The two inputs.
    probabilities : ndarray of shape (m, n, C)
        Of every class at every point.
    **line_style
        For ``Axes.contour``.

    Returns
    -------
    tints, lines : list of QuadContourSet
        For two classes one of each, bands and lines of the second class's probability; for more,
        two of each a class: its region, and the bands and lines of its probability.

    Raises
    ------
    ValueError
        If there are more classes than colours.
    """
    n_classes = probabilities.shape[-1]
    colors = _class_colors(n_classes)
    if n_classes == 2:
        p = probabilities[..., 1]
        bands = axes.contourf(x0, x1, p, levels=LEVELS, colors=_two_tints(), extend="both")
        return [bands], draw_lines(axes, x0, x1, p, LEVELS, bold=0.5, **line_style)
    tinted, lines = [], []
    for k, color in enumerate(colors):
        weakest, *strong = tints(color)
        p, others = probabilities[..., k], np.delete(probabilities, k, axis=-1)
        lead = p - np.max(others, axis=-1)
        tinted.append(axes.contourf(x0, x1, lead, levels=(0.0, 2.0), colors=[weakest]))
        # p > 1/2 is inside the region: the bands need no clipping.
        tinted.append(axes.contourf(x0, x1, p, levels=UPPER, colors=strong, extend="max"))
        # The line of 1/2 would run beside the boundary, and often look like it.
        lines += draw_lines(axes, x0, x1, p, UPPER[1:], **line_style)
        lines += draw_lines(axes, x0, x1, lead, (0.0,), bold=0.0, **line_style)
    return tinted, lines


def draw_lines(
    axes: "Axes",
    x0: np.ndarray,
    x1: np.ndarray,
    values: np.ndarray,
    levels: Sequence[float],
    bold: float | None = None,
    **style: Any,
) -> list[Any]:
    """Contour lines of values (m, n) at the levels that they cross, one of them thick."""
    # Where no level is crossed Matplotlib would warn and draw another.
    crossed = [level for level in levels if values.min() < level < values.max()]
    if not crossed:
        return []
    widths = [THICK if level == bold else THIN for level in crossed]
    options = {"levels": crossed, "colors": "black", "linewidths": widths} | style
    return [axes.contour(x0, x1, values, **options)]


def draw_probability_bar(figure: Any, classes: np.ndarray, **place: Any) -> Any:
    """Colour bar of `draw_probabilities`, with its lines; ``place`` as of ``Figure.colorbar``."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    if len(classes) == 2:
        colors, bands, lines = _two_tints(), [0.0, *LEVELS, 1.0], LEVELS
        label = f"probability of class {classes[1]}"
    else:
        colors, bands, lines = tints(GREY), [1.0 / len(classes), *UPPER, 1.0], UPPER[1:]
        label = "largest class probability"
    scale = ScalarMappable(BoundaryNorm(bands, len(colors)), ListedColormap(colors))
    bar = figure.colorbar(
        scale, ticks=bands, format="%.2g", spacing="proportional", label=label, **place
    )
    for level in lines:
        bar.ax.axhline(level, color="black", linewidth=THICK if level == 0.5 else THIN)
    return bar


def draw_rows(axes: "Axes", X: np.ndarray, y: np.ndarray, classes: np.ndarray, **style: Any) -> Any:
    """Rows (N, 2) with a marker and a colour a class.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    X, y : ndarray of shape (N, 2) and (N,)
        The two inputs and the labels.
    classes : ndarray of shape (C,)
        All labels, sorted.
    **style
        For ``Axes.scatter``.

    Returns
    -------
    list of PathCollection
        One a class.

    Raises
    ------
    ValueError
        If a label is not among the classes, or there are more classes than colours.
    """
    codes, colors = class_codes(classes, y), _class_colors(len(classes))
    options: dict[str, Any] = {"s": 24, "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
    drawn = []
    for k, (label, color) in enumerate(zip(classes, colors, strict=True)):
        own = {"c": color, "marker": MARKERS[k], "label": str(label)}
        drawn.append(axes.scatter(*X[codes == k].T, **(options | own | style)))
    return drawn


def finish(axes: "Axes", x0: np.ndarray, x1: np.ndarray, names: Sequence[str]) -> None:
    """Limits at the grid's edge, and the names of the inputs."""
    axes.set(xlim=(x0[0], x0[-1]), ylim=(x1[0], x1[-1]), xlabel=names[0], ylabel=names[1])


def _two_tints() -> list[tuple[float, float, float]]:
    """Of the first class and the second, from sure of the one to sure of the other."""
    first, second = (tints(color)[1:] for color in COLORS[:2])
    return [*first[::-1], *second]


def _class_colors(n_classes: int) -> tuple[str, ...]:
    if n_classes > len(COLORS):
        raise ValueError(
            f"At most {len(COLORS)} classes have colours that every eye tells apart; got "
            f"{n_classes}: fit fewer."
        )
    return COLORS[:n_classes]
