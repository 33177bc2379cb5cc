"""The evidence of models, and how well they do, against the size of their networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["against_size"]

SIZES = {"n_hidden_units": "hidden units", "n_params": "weights", "n_effective_params": "γ"}
COLORS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermillion, told apart by every eye


def against_size(
    records: Sequence[Mapping[str, Any]],
    size: str,
    labels: Mapping[str, str],
    first: str,
    ax: Any = None,
) -> np.ndarray:
    """Draw columns of a comparison's table, a panel each, against the size of the network.

    Parameters
    ----------
    records : sequence of dict
        The table's lines, the best model first.
    size : {"n_hidden_units", "n_params", "n_effective_params"}
        What goes to the right.
    labels : dict of str to str
        Column → what to write beside it.
    first : str
        What the best model is called in the legend.
    ax : pair of Axes, or Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    ndarray of Axes
        Those drawn on.

    Raises
    ------
    ValueError
        If there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"x must be one of {', '.join(map(repr, SIZES))}; got {size!r}.")
    panels = _panels() if ax is None else np.atleast_1d(ax)
    sizes, best = np.array([record[size] for record in records]), _best_at_each_size(records, size)
    for axes, (name, label), color in zip(panels, labels.items(), COLORS, strict=False):
        values = np.array([record[name] for record in records])
        _draw(axes, sizes, values, best, first, color)
        axes.set_ylabel(label)
    panels[0].set_title(f"{first}: {records[0]['name']}", fontsize="medium")
    panels[0].legend()
    panels[-1].set_xlabel(SIZES[size])
    panels[-1].locator_params(axis="x", integer=size != "n_effective_params")
    return panels


def _best_at_each_size(records: Sequence[Mapping[str, Any]], size: str) -> list[int]:
    """Places of the models of best evidence at each size, the smallest network first."""
    best: dict[Any, int] = {}
    for index, record in enumerate(records):
        other = best.setdefault(record[size], index)
        if record["log_evidence"] > records[other]["log_evidence"]:
            best[record[size]] = index
    return [best[key] for key in sorted(best)]


def _draw(
    axes: Any, sizes: np.ndarray, values: np.ndarray, best: list[int], first: str, color: str
) -> None:
    """All models, a line through the best at each size, a ring at the first."""
    axes.plot(sizes[best], values[best], color=color, label="best evidence at each size")
    dots = {"linestyle": "none", "marker": "o", "color": color}
    axes.plot(sizes, values, alpha=0.5, markeredgewidth=0, label="a model", **dots)
    ring = {**dots, "color": "black", "markersize": 11, "fillstyle": "none"}
    axes.plot(sizes[:1], values[:1], label=first, **ring)
    axes.grid(alpha=0.3)


def _panels() -> np.ndarray:
    """Two axes of a new figure, one above the other."""
    import matplotlib.pyplot as plt

    options: dict[str, Any] = {"figsize": (6.4, 5.6), "layout": "constrained"}
    return plt.subplots(2, 1, sharex=True, **options)[1]
