"""Some weights of the posterior against each other, drawn by ArviZ."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import chi2, norm
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from laplace_nn.displays.base import BLUE, VERMILLION, Display
from laplace_nn.estimators.committee import one_of
from laplace_nn.estimators.inputs import seed_from
from laplace_nn.estimators.labels import feature_names, output_names
from laplace_nn.inference_data.loo import is_old
from laplace_nn.network import MLP
from laplace_nn.posterior import GaussianPosterior

__all__ = ["PosteriorPairsDisplay"]

N_SHOWN = 4  # weights, unless told otherwise
MOST_SHOWN = 6  # as many panels as ArviZ draws unless its settings are changed
PANEL = 1.9  # inches
SMALL = 8  # points
WRAPPED = 18  # characters of a label, beyond which it goes on below its arrow
MASS = 0.95  # of the Gaussian inside its ellipses


@dataclass(kw_only=True, eq=False, repr=False)
class PosteriorPairsDisplay(Display):
    """Draws of some weights, pair by pair, with the Gaussian they come from.

    w ~ N(w_MAP, A⁻¹) (PRML 4.134, 5.167): a panel a pair with the draws, w_MAP and the ellipse
    that holds 95 % of the two weights' Gaussian, and on the diagonal the densities of the draws
    (estimated by kernels) and of the Gaussian.

    Parameters
    ----------
    draws : ndarray of shape (S, Q)
        Of the weights shown, for standardised inputs and targets.
    mean, covariance : ndarray of shape (Q,) and (Q, Q)
        Of their Gaussian.
    labels : sequence of str
        What the weights are called.

    Attributes
    ----------
    modes_, ellipses_ : list of Line2D
        One a pair, the lower triangle column by column.
    densities_ : list of Line2D
        The Gaussian's, one a weight.
    legend_ : Legend

    See Also
    --------
    laplace_nn.inference_data.to_inference_data : All draws, for ArviZ's other pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.pairs import PosteriorPairsDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = PosteriorPairsDisplay.from_estimator(model, X, y, parameters=[0, 5])
    >>> display.labels
    ('x0 → unit 0', 'bias of unit 0')
    """

    draws: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    labels: tuple[str, ...]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        parameters: Sequence[int | str] | None = None,
        member: int = 0,
        n_samples: int = 500,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw from the posterior of some weights, and show it.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted.
        X, y : array-like, optional
            The training rows, of which only the names of columns are looked at, where the estimator
            was fitted without.
        parameters : sequence of int or str, optional
            Two to six weights, by their places in ``theta_`` or their labels, such as
            ``"x0 → unit 2"``, ``"bias of unit 2"`` or ``"unit 2 → y"``. If not given, the four that
            are most surely not zero: of largest |w_MAP| in posterior standard deviations.
        member : int, default=0
            Which of ``estimator.committee_``; 0 is the best mode.
        n_samples : int, default=500
            Number of draws.
        random_state : int, RandomState or None, default=0
            Their seed.
        ax : ndarray of Axes, of shape (Q, Q), optional
            See `plot`.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        PosteriorPairsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If there is no such weight or member, or too few or too many weights.
        """
        check_is_fitted(estimator)
        posterior = one_of(estimator.committee_, member).posterior
        labels = _labels(estimator.mlp_, feature_names(estimator, X), _outputs(estimator, y))
        free = np.flatnonzero(posterior.variance() > 0.0)
        shown = _surest(posterior, free) if parameters is None else _places(parameters, labels)
        _check(shown, free, labels)
        unit = np.zeros((len(labels), len(shown)))
        unit[shown, np.arange(len(shown))] = 1.0
        rng = np.random.default_rng(seed_from(random_state))
        display = cls(
            draws=posterior.sample(n_samples, rng)[:, shown],
            mean=posterior.theta_map[shown],
            covariance=posterior.solve(unit)[shown],
            labels=tuple(labels[place] for place in shown),
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, scatter_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the lower triangle of panels by ``arviz.plot_pair``.

        Parameters
        ----------
        ax : ndarray of Axes, of shape (Q, Q), optional
            Where to draw, or one to be divided; a new figure if not given. ArviZ from 1.0 on makes
            a figure of its own.
        scatter_kwargs : dict, optional
            How the draws look: ``color``, ``alpha`` and the like.

        Returns
        -------
        PosteriorPairsDisplay
            This one.

        Raises
        ------
        ValueError
            If axes are given to ArviZ 1.x.
        """
        import arviz

        old = is_old(arviz)
        look = {"color": BLUE, "alpha": 0.35, "marker": "."} | (scatter_kwargs or {})
        panels = self._on_axes(arviz, ax, look) if old else self._on_own(arviz, ax, look)
        self.ax_, self.figure_ = panels, panels[0, 0].figure
        self.modes_: list[Any] = []
        self.ellipses_: list[Any] = []
        for column in range(len(self.labels)):
            for row in range(column + 1, len(self.labels)):
                self._overlay(panels[row, column], column, row)
        rotated = old and len(self.labels) == 2  # so ArviZ 0.23 lays the second of two densities
        self.densities_ = [
            self._density(panels[place, place], place, rotated and place == 1)
            for place in range(len(self.labels))
        ]
        self._name(panels, rotated)
        handles = [panels[1, 0].collections[0], self.modes_[0], self.ellipses_[0]]
        names = ["draws", "mode", f"Gaussian, {100 * MASS:.0f} %"]
        place = {"loc": "upper left", "bbox_to_anchor": (1.05, 1.0), "borderaxespad": 0.0}
        self.legend_ = panels[0, 0].legend(handles, names, fontsize=SMALL, **place)
        self.legend_.set_in_layout(False)  # it stands where there are no panels
        return self

    @property
    def _by_label(self) -> dict[str, np.ndarray]:
        """The draws as one chain each."""
        return dict(zip(self.labels, self.draws.T[:, None, :], strict=True))

    def _on_axes(self, az: Any, ax: Any, look: dict[str, Any]) -> np.ndarray:
        """By ArviZ 0.23, on panels of our own, (Q, Q)."""
        size = len(self.labels)
        panels = self._panels(ax, size, size, figsize=_figsize(size), sharex="col")
        with warnings.catch_warnings():
            # What ArviZ 0.23 still asks of Matplotlib 3.11 is no matter of the user's.
            warnings.filterwarnings("ignore", "Passing a dict or None as alias", DeprecationWarning)
            marginal = {"color": look["color"]}
            az.plot_pair(
                self._by_label,
                marginals=True,
                ax=panels,
                textsize=SMALL,
                scatter_kwargs=look,
                marginal_kwargs=marginal,
            )
        return panels

    def _on_own(self, az: Any, ax: Any, look: dict[str, Any]) -> np.ndarray:
        """By ArviZ 1.x, which makes the figure, (Q, Q)."""
        if ax is not None:
            raise ValueError(
                f"{type(self).__name__} cannot draw on given axes with ArviZ {az.__version__}, "
                "whose plot_pair makes a figure of its own: leave ax out, or use ArviZ 0.23."
            )
        matrix = az.plot_pair(
            az.from_dict({"posterior": self._by_label}),
            marginal_kind="kde",
            visuals={"scatter": look, "dist": {"color": look["color"]}},
            figure_kwargs={"figsize": _figsize(len(self.labels)), "layout": "constrained"},
        )
        return matrix.viz["plot"].values

    def _overlay(self, axes: Any, column: int, row: int) -> None:
        """w_MAP and the ellipse of a pair."""
        pair = [column, row]
        root = np.linalg.cholesky(self.covariance[np.ix_(pair, pair)])
        angle = np.linspace(0.0, 2.0 * np.pi, 200)
        circle = np.sqrt(chi2.ppf(MASS, 2)) * np.stack([np.cos(angle), np.sin(angle)])
        x, y = self.mean[pair, None] + root @ circle
        style = {"color": VERMILLION, "zorder": 3}
        self.ellipses_ += axes.plot(x, y, linewidth=1.2, **style)
        cross = {"marker": "+", "markersize": 9, "markeredgewidth": 1.8, "linestyle": "none"}
        self.modes_ += axes.plot(*self.mean[pair], **cross, **style)

    def _density(self, axes: Any, place: int, rotated: bool) -> Any:
        """A weight's Gaussian over the range of its draws."""
        std = np.sqrt(self.covariance[place, place])
        x = np.linspace(self.draws[:, place].min(), self.draws[:, place].max(), 200)
        line = (x, norm.pdf(x, self.mean[place], std))
        style = {"color": VERMILLION, "linewidth": 1.4, "linestyle": "--"}
        return axes.plot(*line[:: -1 if rotated else 1], **style)[0]

    def _name(self, panels: np.ndarray, rotated: bool) -> None:
        """Names below the last row and left of the first column; densities have no numbers."""
        for row, label in enumerate(self.labels):
            text = label if len(label) <= WRAPPED else label.replace("→ ", "→\n")
            for column in range(row):
                panels[row, column].tick_params(labelsize=SMALL, labelleft=column == 0)
            panels[row, row].tick_params(labelsize=SMALL, left=False, labelleft=False)
            panels[-1, row].set_xlabel(text, fontsize=SMALL)
            panels[row, 0].set_ylabel(text if row else "density", fontsize=SMALL)
        if rotated:
            panels[1, 1].tick_params(bottom=False, labelbottom=False)
            panels[1, 1].set_xlabel("density", fontsize=SMALL)


def _figsize(size: int) -> tuple[float, float]:
    return (PANEL * size, PANEL * size)


def _labels(mlp: MLP, inputs: list[str], outputs: list[str]) -> list[str]:
    """What every weight is called, "x0 → unit 2" or "bias of y", in the order of theta, (P,)."""
    ends = [inputs]
    for layer, size in enumerate(mlp.layer_sizes[1:-1]):
        prefix = f"unit {layer}." if mlp.n_layers > 2 else "unit "
        ends.append([f"{prefix}{index}" for index in range(size)])
    ends.append(outputs)
    labels = []
    for layer in range(mlp.n_layers):
        to = ends[layer + 1]
        labels += [f"{source} → {unit}" for unit in to for source in ends[layer]]
        labels += [f"bias of {unit}" for unit in to]
    return labels


def _outputs(estimator: Any, y: Any) -> list[str]:
    """Names of the outputs: "class cat" of a classifier's."""
    names = output_names(estimator, y)
    return [f"class {name}" for name in names] if is_classifier(estimator) else names


def _surest(posterior: GaussianPosterior, free: np.ndarray) -> np.ndarray:
    """The weights of largest |w_MAP| / std, in the order of theta."""
    ratio = np.abs(posterior.theta_map[free]) / np.sqrt(posterior.variance()[free])
    return np.sort(free[np.argsort(-ratio, kind="stable")[:N_SHOWN]])


def _places(parameters: Sequence[int | str], labels: list[str]) -> np.ndarray:
    """Places in theta of weights by place or label.

    Raises
    ------
    ValueError
        If there is no such weight.
    """
    places = []
    for parameter in parameters:
        if isinstance(parameter, str) and parameter in labels:
            places.append(labels.index(parameter))
        elif isinstance(parameter, int | np.integer) and 0 <= parameter < len(labels):
            places.append(int(parameter))
        else:
            raise ValueError(
                f"parameters must be places in theta_, 0 to {len(labels) - 1}, or labels such as "
                f"{labels[0]!r} and {labels[-1]!r}; got {parameter!r}."
            )
    return np.array(places, dtype=np.intp)


def _check(shown: np.ndarray, free: np.ndarray, labels: list[str]) -> None:
    """Refuse what makes no pair plot."""
    if not 2 <= len(np.unique(shown)) == len(shown) <= MOST_SHOWN:
        raise ValueError(
            f"PosteriorPairsDisplay shows 2 to {MOST_SHOWN} different weights; got {len(shown)}: "
            f"{', '.join(labels[place] for place in shown)}."
        )
    held = np.setdiff1d(shown, free)
    if len(held):
        raise ValueError(
            f"The posterior holds {labels[held[0]]!r} constant; choose among the "
            f"{len(free)} weights that it is over."
        )
