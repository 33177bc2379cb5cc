"""The weights of a network, as squares."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier

from laplace_nn.displays.base import Display
from laplace_nn.displays.checks import is_laplace
from laplace_nn.estimators.labels import feature_names, output_names

__all__ = ["HintonDisplay"]

BACKGROUND = "#9A9A9A"
FACES = {"positive": "white", "negative": "black"}
FULL = 0.92  # of a cell's side: the largest square
REFERENCES = (0.25, 0.0625)  # of the largest size, in the legend: half and a quarter of its side
CELL = 0.3  # inches of a cell in a small network ...
SMALLEST_CELL = 0.09  # ... and in any, which would otherwise be
WIDEST, TALLEST = 5.6, 7.0  # inches of all cells together
BESIDE, BELOW, LETTER = 0.8, 0.5, 0.07  # inches of labels: to the left, below, and each letter's
LEGEND = 3.8  # inches, its width
CROWDED = 25  # units or inputs, beyond which their labels are smaller
FULL_POINTS = 11.0  # of the largest square in the legend
MAX_LABELS = 40  # of names; numbers are thinned out
MAX_NUMBERS = 12


@dataclass(kw_only=True, eq=False, repr=False)
class HintonDisplay(Display):
    """Hinton diagram: a square for each weight, its colour the sign, its area the size.

    Area ∝ |w_i| / √(A⁻¹)_ii, the weight over its posterior standard deviation (PRML 5.166, 5.167),
    or ∝ |w_i|. A panel a layer, a row a unit, a column an input of it and the last one its bias.

    Parameters
    ----------
    weights : tuple of ndarray
        Of each layer with the biases as last column, (n_out, n_in + 1).
    sizes : tuple of ndarray
        What the areas stand for, of the same shapes.
    column_names, row_names : tuple of sequences of str
        Of each layer; numbers, counted from 0, for hidden units.
    size_name : str
        What the sizes are.

    Attributes
    ----------
    squares_ : list of dict
        Of each layer, the artists of its "positive" and "negative" weights.
    legend_ : Legend
        Says what the sizes are.

    See Also
    --------
    HessianDisplay : What the posterior's standard deviations come from.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.hinton import HintonDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 2))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = HintonDisplay.from_estimator(model)
    >>> [size.shape for size in display.sizes]
    [(5, 3), (1, 6)]
    """

    weights: tuple[np.ndarray, ...]
    sizes: tuple[np.ndarray, ...]
    column_names: tuple[tuple[str, ...], ...]
    row_names: tuple[tuple[str, ...], ...]
    size_name: str

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, scaled: bool = True, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Read the weights of the best mode and draw.

        Weights are those of standardised inputs and targets, ``theta_``.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted.
        scaled : bool, default=True
            Whether weights are measured by their posterior standard deviation: a small square is
            then a weight whose sign the data do not tell. Hidden units may be exchanged without any
            change of the function; the standard deviation is of one mode, in which they keep their
            places.
        ax : Axes, or one for each layer, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        HintonDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is none of this package's, or its posterior holds weights constant,
            which then have no standard deviation.
        """
        is_laplace(estimator, cls)
        mlp, theta = estimator.mlp_, estimator.theta_
        sizes = np.abs(theta)
        if scaled:
            sizes = sizes / _standard_deviations(estimator)
        columns, rows = _names(estimator)
        return cls(
            weights=_tables(mlp.unpack(theta)),
            sizes=_tables(mlp.unpack(sizes)),
            column_names=columns,
            row_names=rows,
            size_name="|weight| / posterior std" if scaled else "|weight|, standardised inputs",
        ).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, square_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the squares, a panel a layer.

        Parameters
        ----------
        ax : Axes, or one for each layer, optional
            Where to draw; a new figure if not given.
        square_kwargs : dict, optional
            For ``PatchCollection`` of the squares.

        Returns
        -------
        HintonDisplay
            This one.
        """
        size = _size(self.weights, self.column_names)
        heights = [len(table) for table in self.weights]
        panels = self._panels(ax, len(heights), 1, height_ratios=heights, figsize=size)[:, 0]
        largest = max(size.max() for size in self.sizes) or 1.0
        self.squares_ = []
        for layer, axes in enumerate(panels):
            share = np.sqrt(self.sizes[layer] / largest)
            self.squares_.append(_draw(axes, self.weights[layer], share, square_kwargs or {}))
            self._write(axes, layer)
        self.legend_ = _legend(panels[0], self.size_name, largest)
        return self

    def _write(self, axes: Any, layer: int) -> None:
        """Names of rows and columns, and the cells' frame."""
        n_rows, n_columns = self.weights[layer].shape
        axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), facecolor=BACKGROUND)
        axes.set_aspect("equal", adjustable="box", anchor="NW")
        axes.set_xticks(*_ticks(self.column_names[layer]), rotation=90)
        axes.set_yticks(*_ticks(self.row_names[layer]))
        crowded = max(max(table.shape) for table in self.weights) > CROWDED
        axes.tick_params(length=0, labelsize="xx-small" if crowded else "x-small")
        axes.set_xlabel("inputs" if layer == 0 else f"hidden layer {layer}")
        axes.set_ylabel(f"hidden layer {layer + 1}" if layer + 1 < len(self.weights) else "")


def _standard_deviations(estimator: Any) -> np.ndarray:
    """Of every weight, (P,)."""
    variance = estimator.posterior_.variance()
    if not np.all(variance > 0.0):
        raise ValueError(
            f"The posterior holds {np.sum(variance <= 0.0)} of the {len(variance)} weights "
            "constant, which have no standard deviation: pass scaled=False."
        )
    return np.sqrt(variance)


def _tables(layers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Weights with the biases as last column, (n_out, n_in + 1) each."""
    return tuple(np.column_stack(layer) for layer in layers)


def _names(estimator: Any) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """Of the columns and the rows of every layer."""
    hidden = [tuple(map(str, range(size))) for size in estimator.mlp_.layer_sizes[1:-1]]
    before, after = [tuple(feature_names(estimator)), *hidden], [*hidden, _output_names(estimator)]
    return tuple((*names, "bias") for names in before), tuple(after)


def _output_names(estimator: Any) -> tuple[str, ...]:
    names = output_names(estimator)
    return tuple(f"logit of {name}" if is_classifier(estimator) else name for name in names)


def _size(
    weights: tuple[np.ndarray, ...], columns: tuple[tuple[str, ...], ...]
) -> tuple[float, float]:
    """Of a new figure, in inches."""
    n_rows, n_columns = sum(map(len, weights)), max(table.shape[1] for table in weights)
    cell = max(SMALLEST_CELL, min(CELL, WIDEST / n_columns, TALLEST / n_rows))
    below = sum(BELOW + LETTER * max(map(len, names)) for names in columns)
    return max(cell * n_columns, LEGEND) + BESIDE, cell * n_rows + below + 0.4


def _draw(
    axes: Any, weights: np.ndarray, share: np.ndarray, style: dict[str, Any]
) -> dict[str, Any]:
    """Squares of a side that is a share of the largest one's, by sign."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    found = {}
    for sign, chosen in (("positive", weights > 0.0), ("negative", weights < 0.0)):
        squares = [
            Rectangle((column - 0.5 * side, row - 0.5 * side), side, side)
            for (row, column), side in zip(np.argwhere(chosen), FULL * share[chosen], strict=True)
        ]
        # Snapped to pixels, squares smaller than one would come and go.
        look: dict[str, Any] = {"facecolor": FACES[sign], "linewidth": 0, "snap": False} | style
        found[sign] = axes.add_collection(PatchCollection(squares, **look))
    return found


def _ticks(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Places and names: all, or of many some, the last one always."""
    most, last = MAX_NUMBERS if names[0].isdigit() else MAX_LABELS, len(names) - 1
    step = -(-len(names) // most)
    places = [i for i in range(0, last, step) if last - i >= 0.5 * step] + [last]
    return places, [names[i] for i in places]


def _legend(axes: Any, size_name: str, largest: float) -> Any:
    """Signs, and squares of some sizes beside the largest, above a panel."""
    from matplotlib.lines import Line2D

    def square(face: str, side: float, label: str) -> Line2D:
        marker: dict[str, Any] = {"marker": "s", "markersize": FULL_POINTS * side}
        marker |= {"linestyle": "none", "markeredgewidth": 0}
        return Line2D([], [], color=face, label=label, **marker)

    signs = {"positive": "> 0", "negative": "< 0"}
    handles = [square(face, 1.0, signs[sign]) for sign, face in FACES.items()]
    handles.append(square("white", 1.0, f"{largest:.2g}: fills its cell"))
    for share in REFERENCES:
        handles.append(square("white", np.sqrt(share), f"{share * largest:.2g}"))
    return axes.legend(
        handles=handles,
        title=f"area: {size_name}",
        ncols=len(handles),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        facecolor=BACKGROUND,
        fontsize="small",
        title_fontsize="small",
        columnspacing=1.0,
        handletextpad=0.2,
    )
