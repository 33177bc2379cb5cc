"""Which inputs matter, by automatic relevance determination."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from laplace_nn.displays.base import BLUE, Display, shortened
from laplace_nn.displays.checks import is_laplace
from laplace_nn.estimators.labels import feature_names

__all__ = ["RelevanceDisplay"]

LINE_HEIGHT = 0.24  # inches of an input
LONGEST_NAME = 32


@dataclass(kw_only=True, eq=False, repr=False)
class RelevanceDisplay(Display):
    """The relevance of every input, the largest on top.

    √(mean w²) of the weights that leave input i, in the best mode whose prior has a precision for
    each input (MacKay 1994; Neal 1996; PRML 7.2.2). Inputs are standardised, so that it is free of
    units. Of two inputs that say the same, either may get all of it.

    Parameters
    ----------
    relevance : ndarray of shape (D,)
        Of every input.
    n_effective_params : ndarray of shape (D,)
        γ_i, how many of the input's weights the data determine.
    feature_names : sequence of str
        Of the D inputs.
    max_features : int, default=30
        How many to show, the first.

    Attributes
    ----------
    bars_ : BarContainer
        One bar an input.
    texts_ : list of Text
        γ_i, beside the panel.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.relevance import RelevanceDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> y = np.sin(2 * X[:, 1]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = RelevanceDisplay.from_estimator(model)
    >>> display.ax_.get_yticklabels()[0].get_text()
    'x1'
    """

    relevance: np.ndarray
    n_effective_params: np.ndarray
    feature_names: list[str]
    max_features: int = 30

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, max_features: int = 30, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw the relevance that a fit has found.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted, with relevance determination in a mode at least.
        max_features : int, default=30
            How many inputs to show, those of largest relevance.
        ax : Axes, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        RelevanceDisplay
            Drawn.

        Raises
        ------
        ValueError
            If no mode has relevance determination, or ``max_features`` is no positive integer.
        """
        is_laplace(estimator, cls)
        if not hasattr(estimator, "relevance_"):
            raise ValueError(
                "RelevanceDisplay needs a mode with a precision for each input, and this fit has "
                'kept none: fit with prior="ard".'
            )
        if not (isinstance(max_features, int | np.integer) and max_features > 0):
            raise ValueError(f"max_features must be a positive integer; got {max_features!r}.")
        n_inputs = len(estimator.relevance_)
        display = cls(
            relevance=estimator.relevance_,
            n_effective_params=estimator._with_relevance().state.n_effective_params[:n_inputs],
            feature_names=feature_names(estimator),
            max_features=max_features,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, bar_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw a bar an input.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; a new figure if not given.
        bar_kwargs : dict, optional
            For ``Axes.barh``.

        Returns
        -------
        RelevanceDisplay
            This one.
        """
        order = np.argsort(-self.relevance, kind="stable")[: self.max_features]
        axes = self._panel(ax, figsize=(5.0, max(1.8, LINE_HEIGHT * len(order) + 1.1)))
        places = np.arange(len(order))
        bars = {"color": BLUE} | (bar_kwargs or {})
        self.bars_ = axes.barh(places, self.relevance[order], **bars)
        axes.set_yticks(
            places,
            [shortened(self.feature_names[i], LONGEST_NAME) for i in order],
            fontsize="small",
        )
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        self._write(axes, order)
        return self

    def _write(self, axes: Any, order: np.ndarray) -> None:
        """γ_i beside the panel, and what is shown."""
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "fontsize": "x-small"}
        self.texts_ = [
            axes.annotate(f"{self.n_effective_params[i]:.2f}", (1.02, y), va="center", **beside)
            for y, i in enumerate(order)
        ]
        axes.annotate("γ", (1.02, 1.01), xycoords="axes fraction", fontsize="small")
        axes.set_xlabel("relevance: size of a standardised input's weights", fontsize="small")
        if len(order) < len(self.relevance):
            text = f"the {len(order)} most relevant of {len(self.relevance)} inputs"
            axes.set_title(text, fontsize="small")
