"""How hyperparameters were found: what every cycle of a climb of the evidence came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import is_regressor

from laplace_nn.displays.base import BLUE, COLORS, GREY, LINES, VERMILLION, Display, shortened
from laplace_nn.displays.checks import is_laplace
from laplace_nn.estimators.labels import names_of_targets
from laplace_nn.estimators.names import make_prior, prior_of_start

__all__ = ["ReestimationDisplay", "Trace"]

#: Events of cycles that the climb did not go on from, with their markers.
MARKS = {"taken back": "x", "refused": "1", "dead": "s"}
NO_CLIMB = ("fixed", "further rows", "stronger")  # events that no climb goes through
MOST_LABELLED = 6  # groups with a colour each; of more, half of them from either end
LONGEST_NAME = 18
ROW, TALL = 1.5, 1.7  # inches of a panel, and how much taller that of the precisions is
COLUMN = 5.6


@dataclass(frozen=True)
class Trace:
    """The climb from one start in C cycles.

    Parameters
    ----------
    start : int
        Its number.
    groups : tuple of str
        Names of the G groups of its prior.
    events : tuple of str
        What became of every cycle; see docs/architecture.md.
    log_evidence : ndarray of shape (C,)
        In nats and the units of y.
    loo_log_score : ndarray of shape (C,), optional
        In nats a row; where it is climbed too.
    prior_precision : ndarray of shape (C, G)
        α of every group.
    noise_std : ndarray of shape (C, K), optional
        β^-½ in the units of y, of a regression.
    n_effective_params : ndarray of shape (C,)
        γ of all weights.
    """

    start: int
    groups: tuple[str, ...]
    events: tuple[str, ...]
    log_evidence: np.ndarray
    loo_log_score: np.ndarray | None
    prior_precision: np.ndarray
    noise_std: np.ndarray | None
    n_effective_params: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """The cycles that the climb went on from, (C,) of bool."""
        return np.array([event not in MARKS for event in self.events])

    def places(self, event: str) -> np.ndarray:
        """The cycles of an event."""
        return np.flatnonzero(np.array(self.events) == event)


@dataclass(kw_only=True, eq=False, repr=False)
class ReestimationDisplay(Display):
    """Evidence, precisions, noise and γ over the cycles of re-estimation, from one start or more.

    MacKay's updates (PRML 3.91-3.95, 5.178-5.180) under safeguards. The lines go through the cycles
    that the climb went on from; the others are marked. What is climbed is the estimator's
    ``selection`` and hyperprior: a cycle of higher evidence may be taken back.

    Parameters
    ----------
    traces : tuple of Trace
        A start each.
    n_params : int
        P, the number of weights.
    best : int
        The start of the best mode.

    Attributes
    ----------
    evidence_lines_, loo_lines_, gamma_lines_ : list of Line2D
        A start each; no leave-one-out where it is not climbed.
    precision_lines_ : list of dict of str to Line2D
        By the name of the group, a start each.
    noise_lines_ : list of list of Line2D
        A target each, a start each; of a regression.
    marks_ : list of Line2D
        Cycles that the climb did not go on from.

    See Also
    --------
    RestartsDisplay : Where the climbs ended, side by side.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.traces import ReestimationDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = ReestimationDisplay.from_estimator(model)
    >>> bool(0.08 < display.traces[0].noise_std[-1, 0] < 0.12)
    True
    """

    traces: tuple[Trace, ...]
    n_params: int
    best: int

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, start: int | str | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw a fit's history.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted. Further batches of `partial_fit` re-estimate nothing and are left out.
        start : int or "all", optional
            Which start, or all of them in a column each; that of the best mode if not given.
        ax : Axes, or one for each panel, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        ReestimationDisplay
            Drawn.

        Raises
        ------
        ValueError
            If there is no such start, or nothing was re-estimated.
        """
        is_laplace(estimator, cls)
        history = [e for e in estimator.history_ if e["event"] not in NO_CLIMB]
        if not history:
            raise ValueError(
                "ReestimationDisplay shows how hyperparameters were found; all of this fit's were "
                'given: leave prior_precision or noise_precision at "auto".'
            )
        best = estimator.committee_[0].start
        starts = sorted({entry["start"] for entry in history})
        traces = tuple(
            _trace(estimator, number, [entry for entry in history if entry["start"] == number])
            for number in _chosen(starts, best, start)
        )
        display = cls(traces=traces, n_params=estimator.mlp_.n_params, best=best)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw a column of panels a start.

        Parameters
        ----------
        ax : Axes, or one for each panel, optional
            Where to draw, row by row; a new figure if not given.
        line_kwargs : dict, optional
            For ``Axes.plot`` of all lines but those of the precisions.

        Returns
        -------
        ReestimationDisplay
            This one.
        """
        self.evidence_lines_: list[Any] = []
        self.loo_lines_: list[Any] = []
        self.gamma_lines_: list[Any] = []
        self.noise_lines_: list[list[Any]] = []
        self.precision_lines_: list[dict[str, Any]] = []
        self.marks_: list[Any] = []
        style = {"color": BLUE, "marker": ".", "linewidth": 1.4} | (line_kwargs or {})
        rows = self._rows(style)
        heights = [TALL if label.startswith("prior") else 1.0 for label in rows]
        size = (COLUMN * len(self.traces), ROW * sum(heights) + 0.4)
        options: dict[str, Any] = {"sharex": "col", "sharey": "row", "height_ratios": heights}
        panels = self._panels(ax, len(rows), len(self.traces), figsize=size, **options)
        for axes_of_row, (label, draw) in zip(panels, rows.items(), strict=True):
            axes_of_row[0].set_ylabel(label, fontsize="small")
            for axes, trace in zip(axes_of_row, self.traces, strict=True):
                draw(axes, trace)
                axes.grid(alpha=0.3)
                axes.locator_params(axis="x", integer=True)
        self._finish(panels)
        return self

    def _rows(self, style: dict[str, Any]) -> dict[str, Callable[[Any, Trace], None]]:
        """What to draw into the panels of every row, under its label."""
        first = self.traces[0]

        def evidence(axes: Any, trace: Trace) -> None:
            line = self._line(axes, trace, trace.log_evidence, style, labels=list(MARKS))
            self.evidence_lines_.append(line)
            _write_end(axes, f"{trace.log_evidence[-1]:.1f}", trace.log_evidence[-1])

        def loo(axes: Any, trace: Trace) -> None:
            assert trace.loo_log_score is not None
            self.loo_lines_.append(self._line(axes, trace, trace.loo_log_score, style))
            _write_end(axes, f"{trace.loo_log_score[-1]:.3f}", trace.loo_log_score[-1])

        def gamma(axes: Any, trace: Trace) -> None:
            self.gamma_lines_.append(self._line(axes, trace, trace.n_effective_params, style))
            _write_end(axes, f"{trace.n_effective_params[-1]:.1f}", trace.n_effective_params[-1])

        rows: dict[str, Callable[[Any, Trace], None]] = {"log evidence\n[nats]": evidence}
        if first.loo_log_score is not None:
            rows["leave-one-out score\n[nats a row]"] = loo
        rows["prior precision α\nof every group"] = self._draw_precisions
        if first.noise_std is not None:
            rows["noise std\n[units of y]"] = partial(self._draw_noise, style=style)
        rows[f"γ of P = {self.n_params}\nweights"] = gamma
        return rows

    def _line(
        self,
        axes: Any,
        trace: Trace,
        values: np.ndarray,
        style: dict[str, Any],
        mark_color: str = VERMILLION,
        labels: Sequence[str] = (),
    ) -> Any:
        """A line through the cycles that were kept, and marks for the others."""
        (line,) = axes.plot(np.flatnonzero(trace.kept), values[trace.kept], **style)
        mark = {"linestyle": "none", "markersize": 5, "fillstyle": "none", "color": mark_color}
        for event, marker in MARKS.items():
            places = trace.places(event)
            if len(places):
                label = event if event in labels else None
                self.marks_ += axes.plot(places, values[places], marker=marker, label=label, **mark)
        return line

    def _draw_precisions(self, axes: Any, trace: Trace) -> None:
        """A line a group, those at either end of the last cycle in colour."""
        order = np.argsort(-trace.prior_precision[-1], kind="stable")
        labelled = _labelled(order)
        thin = {"color": GREY, "alpha": 0.4, "linewidth": 0.7}
        lines = {}
        for group in order.tolist():
            name, values = trace.groups[group], trace.prior_precision[:, group]
            if group in labelled:
                style = _distinct(labelled.index(group)) | {"marker": ".", "linewidth": 1.4}
                lines[name] = self._line(axes, trace, values, style, style["color"])
            else:
                (lines[name],) = axes.plot(np.flatnonzero(trace.kept), values[trace.kept], **thin)
        self.precision_lines_.append(lines)
        axes.set_yscale("log")
        handles = [lines[trace.groups[group]] for group in labelled]
        texts = [shortened(trace.groups[group], LONGEST_NAME) for group in labelled]
        if len(order) > len(labelled):
            handles.insert(MOST_LABELLED // 2, lines[trace.groups[order[len(order) // 2]]])
            texts.insert(MOST_LABELLED // 2, f"{len(order) - len(labelled)} between")
        _legend_beside(axes, handles, texts)

    def _draw_noise(self, axes: Any, trace: Trace, style: dict[str, Any]) -> None:
        """A line a target."""
        assert trace.noise_std is not None
        end, n_targets = trace.noise_std[-1], trace.noise_std.shape[1]
        if n_targets == 1:
            self.noise_lines_.append([self._line(axes, trace, trace.noise_std[:, 0], style)])
            _write_end(axes, f"{end[0]:.3g}", end[0])
            return
        styles = [style | _distinct(target) for target in range(n_targets)]
        lines = [
            self._line(axes, trace, values, own, own["color"])
            for values, own in zip(trace.noise_std.T, styles, strict=True)
        ]
        self.noise_lines_.append(lines)
        names = names_of_targets(n_targets)
        _legend_beside(axes, lines, [f"{n}: {s:.3g}" for n, s in zip(names, end, strict=True)])

    def _finish(self, panels: np.ndarray) -> None:
        """Titles, scales and the legend of what is marked, once all is drawn."""
        most = max(trace.n_effective_params.max() for trace in self.traces)
        for column, trace in zip(panels.T, self.traces, strict=True):
            best = " (best mode)" if trace.start == self.best else ""
            column[0].set_title(f"start {trace.start}{best}", fontsize="medium")
            if column[0].get_legend_handles_labels()[0]:
                column[0].legend(fontsize="x-small", loc="lower right")
            column[-1].set_ylim(0.0, 1.1 * most)
            column[-1].set_xlabel("cycle")
        for lines in self.precision_lines_:
            _tick_few(next(iter(lines.values())).axes)


def _chosen(starts: list[int], best: int, start: int | str | None) -> list[int]:
    """The starts that are asked for."""
    if start is None:
        return [best]
    if isinstance(start, str) and start == "all":
        return starts
    if isinstance(start, int | np.integer) and start in starts:
        return [int(start)]
    raise ValueError(
        f'start must be "all" or the number of a start, {starts[0]} to {starts[-1]}; got {start!r}.'
    )


def _trace(estimator: Any, start: int, entries: list[dict[str, Any]]) -> Trace:
    """A start's entries of the history, column by column."""

    def column(name: str) -> np.ndarray:
        return np.array([entry[name] for entry in entries], dtype=float)

    precision, noise = column("prior_precision"), column("noise_precision")
    scored = entries[0]["loo_log_score"] is not None
    gamma = [float(np.sum(entry["n_effective_params"])) for entry in entries]
    return Trace(
        start=start,
        groups=_group_names(estimator, start, precision.shape[1]),
        events=tuple(entry["event"] for entry in entries),
        log_evidence=column("log_marginal_likelihood"),
        loo_log_score=column("loo_log_score") if scored else None,
        prior_precision=precision,
        noise_std=noise.reshape(len(entries), -1) ** -0.5 if is_regressor(estimator) else None,
        n_effective_params=np.array(gamma),
    )


def _group_names(estimator: Any, start: int, n_groups: int) -> tuple[str, ...]:
    """Names of a start's prior groups: those of its mode, or what the parameters say."""
    for member in estimator.committee_:
        if member.start == start:
            return member.prior.names
    kind = prior_of_start(
        estimator.prior, estimator.prior_precision, start, is_regressor(estimator)
    )
    inputs = getattr(estimator, "feature_names_in_", None)
    prior = make_prior(kind, estimator.mlp_, None if inputs is None else list(inputs))
    if prior.n_groups != n_groups:
        raise ValueError(
            f"The mode of start {start} was not kept, and the parameter prior, by which its "
            f"{n_groups} groups could be named, now has {prior.n_groups}: set it back to what was "
            "fitted."
        )
    return prior.names


def _labelled(order: np.ndarray) -> list[int]:
    """The groups that get a colour, of all in their order: those at either end of many."""
    if len(order) <= MOST_LABELLED:
        return order.tolist()
    half = MOST_LABELLED // 2
    return [*order[:half].tolist(), *order[-half:].tolist()]


def _distinct(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index % len(LINES)]}


def _legend_beside(axes: Any, handles: list[Any], texts: list[str]) -> None:
    """A legend to the right of the panel, where no line runs."""
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(handles, texts, fontsize="x-small", frameon=False, handlelength=1.8, **place)


def _write_end(axes: Any, text: str, value: float) -> None:
    """The last value beside the panel, at its height."""
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
    axes.annotate(text, (1.01, value), fontsize="x-small", **place)


def _tick_few(axes: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers, more of them where there are few decades."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    low, high = axes.get_ylim()
    few = LogLocator(subs=(1, 2, 5) if high < 100.0 * low else (1,))
    axes.yaxis.set_major_locator(few if high > 4.0 * low else MaxNLocator(4))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
