"""Where the starts of a fit have ended, side by side."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from laplace_nn.displays.base import BLUE, GREY, VERMILLION, Display
from laplace_nn.displays.checks import is_laplace

__all__ = ["RestartsDisplay"]

LINE_HEIGHT = 0.3  # inches of a start
PANEL = 2.3  # inches, the width of a panel


@dataclass(kw_only=True, eq=False, repr=False)
class RestartsDisplay(Display):
    """The modes of a committee by their score, and the starts whose modes were not kept.

    Every start climbs the evidence to a mode of its own. Weights of the mixture are stacking's
    unless ``committee_weights`` says otherwise: modes of like evidence may differ much in weight.

    Parameters
    ----------
    starts : ndarray of int, shape (S,)
        Their numbers: the committee's by score, the best first, then the others' by evidence.
    stronger : ndarray of bool, shape (S,)
        Whether a mode is its start's of stronger priors.
    n_members : int
        C, how many of them are the committee's.
    n_groups : ndarray of int, shape (S,)
        G, the number of precisions of each start's prior.
    log_evidence, loo_log_score : ndarray of shape (S,)
        In nats, and in mean nats a training row, in the units of y; NaN where a score is not known.
    weights : ndarray of shape (S,)
        Shares of the mixture, 0 for starts that were not kept.
    n_effective_params : ndarray of shape (S,)
        γ of all weights.
    n_params : int
        P, the number of weights.

    Attributes
    ----------
    members_, bests_, others_ : list of Line2D
        A panel each: the committee's modes, the best, and those that were not kept, if there are
        any.

    See Also
    --------
    ReestimationDisplay : How a start came there.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.restarts import RestartsDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=2, random_state=0).fit(X, y)
    >>> display = RestartsDisplay.from_estimator(model)
    >>> round(float(display.weights.sum()), 6)
    1.0
    """

    starts: np.ndarray
    stronger: np.ndarray
    n_members: int
    n_groups: np.ndarray
    log_evidence: np.ndarray
    loo_log_score: np.ndarray
    weights: np.ndarray
    n_effective_params: np.ndarray
    n_params: int

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Draw a fit's committee.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted. After further batches of `partial_fit` the evidence is of all of them and the
            leave-one-out score of the last; starts that were not kept have seen fewer rows and are
            left out.
        ax : Axes, or one for each of the four panels, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        RestartsDisplay
            Drawn.

        Notes
        -----
        A start that was not kept is known by the end of its climb, under the outer products
        whatever the curvature. Where leave-one-out is not climbed its score is not known.
        """
        is_laplace(estimator, cls)
        lines = [_of_member(member) for member in estimator.committee_]
        lines += _not_kept(estimator)
        columns = zip(*lines, strict=True)
        starts, stronger, n_groups, log_evidence, loo, weights, gamma = map(np.array, columns)
        display = cls(
            starts=starts,
            stronger=stronger,
            n_members=len(estimator.committee_),
            n_groups=n_groups,
            log_evidence=log_evidence,
            loo_log_score=loo,
            weights=weights,
            n_effective_params=gamma,
            n_params=estimator.mlp_.n_params,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, dot_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw four panels side by side, a line a start.

        Parameters
        ----------
        ax : Axes, or one for each of the four panels, optional
            Where to draw; a new figure if not given.
        dot_kwargs : dict, optional
            For ``Axes.plot`` of the committee's modes.

        Returns
        -------
        RestartsDisplay
            This one.
        """
        self.members_: list[Any] = []
        self.bests_: list[Any] = []
        self.others_: list[Any] = []
        measures = {
            "log evidence\n[nats]": self.log_evidence,
            "leave-one-out score\n[nats a row]": self.loo_log_score,
            "weight in\nthe mixture": self.weights,
            f"γ of P = {self.n_params}\nweights": self.n_effective_params,
        }
        size = (PANEL * len(measures) + 1.0, LINE_HEIGHT * len(self.starts) + 1.6)
        panels = self._panels(ax, 1, len(measures), figsize=size)[0]
        for axes, (label, values) in zip(panels, measures.items(), strict=True):
            self._draw(axes, values, dot_kwargs or {})
            axes.set_xlabel(label, fontsize="small")
        for axes in panels[2:]:  # shares and numbers of weights begin at 0
            high = axes.get_xlim()[1]
            axes.set_xlim(-0.08 * high, high)
        self._name(panels)
        return self

    def _draw(self, axes: Any, values: np.ndarray, dot_kwargs: dict[str, Any]) -> None:
        """A dot a start: filled for the committee's, hollow for the others."""
        places, kept = np.arange(len(values)), self.n_members
        dots = {"linestyle": "none", "marker": "o", "color": BLUE, "label": "in the committee"}
        self.members_ += axes.plot(values[:kept], places[:kept], **dots | dot_kwargs)
        star = {"linestyle": "none", "marker": "*", "color": VERMILLION, "markersize": 13}
        self.bests_ += axes.plot(values[:1], places[:1], label="best by score", **star)
        if kept < len(values):
            hollow = {"linestyle": "none", "marker": "o", "color": GREY, "fillstyle": "none"}
            self.others_ += axes.plot(values[kept:], places[kept:], label="not kept", **hollow)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=3)
        axes.tick_params(axis="x", labelsize="small")
        axes.grid(alpha=0.3)

    def _name(self, panels: np.ndarray) -> None:
        """The starts beside the first panel, and what the dots are above the panels."""
        places = np.arange(len(self.starts))
        names = [
            f"start {start}{', stronger' if stronger else ''}, G = {n_groups}"
            for start, stronger, n_groups in zip(
                self.starts, self.stronger, self.n_groups, strict=True
            )
        ]
        for axes in panels:
            axes.set_yticks(places, names if axes is panels[0] else [], fontsize="small")
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 3}
        legend = panels[0].legend(fontsize="small", frameon=False, borderpad=0.2, **place)
        # Wider than its panel, which a layout would answer with a gap; the title keeps its height.
        legend.set_in_layout(False)
        panels[0].set_title(" ", fontsize="medium")


Line = tuple[int, bool, int, float, float, float, float]


def _of_member(member: Any) -> Line:
    """Start, if stronger, G, log evidence, leave-one-out score, weight and γ of a mode."""
    return (
        member.start,
        member.stronger,
        member.prior.n_groups,
        member.log_evidence,
        member.loo_log_score,
        member.weight,
        float(np.sum(member.state.n_effective_params)),
    )


def _not_kept(estimator: Any) -> list[Line]:
    """The same of the starts that are in the history only, the largest evidence first."""
    if any(entry["event"] == "further rows" for entry in estimator.history_):
        return []
    last = {entry["start"]: entry for entry in estimator.history_}
    for member in estimator.committee_:
        last.pop(member.start, None)
    ranked = sorted(last.values(), key=lambda entry: -entry["log_marginal_likelihood"])
    return [
        (
            entry["start"],
            False,
            len(entry["prior_precision"]),
            entry["log_marginal_likelihood"],
            np.nan if entry["loo_log_score"] is None else entry["loo_log_score"],
            0.0,
            float(np.sum(entry["n_effective_params"])),
        )
        for entry in ranked
    ]
