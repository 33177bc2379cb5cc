"""A regression along one input, with what the network does not know apart from the noise."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from laplace_nn.displays.base import BLUE, VERMILLION, Display
from laplace_nn.displays.checks import as_fitted, feature_index, is_regressor, wide_grid
from laplace_nn.estimators.labels import feature_names, names_of_targets

__all__ = ["PredictiveBandDisplay"]

N_STD = 2.0  # half the width of a band, in standard deviations


@dataclass(kw_only=True, eq=False, repr=False)
class PredictiveBandDisplay(Display):
    """The predictive mean along one input, a band for the network and one with the noise.

    mean ± 2 √(Var_network) inside mean ± 2 √(Var_network + Var_noise): the parts of PRML 5.173, of
    which more rows would narrow the first.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The input.
    mean, network_std, noise_std : ndarray of shape (n, K)
        Predictive mean and the two parts of its standard deviation, in the units of y.
    X, y : ndarray of shape (N,) and (N, K), optional
        Observed rows.
    feature_name, target_names : str and sequence of str
        What is written beside the axes.

    Attributes
    ----------
    lines_, network_bands_, total_bands_, scatters_ : list of artists
        One a target; no scatters without data.

    See Also
    --------
    PredictionErrorDisplay : Where there are many inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays import PredictiveBandDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = PredictiveBandDisplay.from_estimator(model, X, y)
    >>> display.ax_.get_xlabel()
    'x0'
    """

    x: np.ndarray
    mean: np.ndarray
    network_std: np.ndarray
    noise_std: np.ndarray
    X: np.ndarray | None = None
    y: np.ndarray | None = None
    feature_name: str = "x"
    target_names: tuple[str, ...] = ("y",)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        feature: int | str = 0,
        n_points: int = 300,
        margin: float = 0.25,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Predict along one input and draw.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor
            Fitted.
        X : array-like of shape (N, D)
            Rows that say how far the input goes; the other inputs are held at their medians.
        y : array-like of shape (N,) or (N, K), optional
            Their targets, to be drawn too.
        feature : int or str, default=0
            Which input, by its place or its name.
        n_points : int, default=300
            Points along the input.
        margin : float, default=0.25
            How far to go beyond the rows, as a share of their range.
        ax : Axes, or one for each target, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        PredictiveBandDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is no regressor, or has no such input.
        """
        check_is_fitted(estimator)
        is_regressor(estimator, cls)
        names = feature_names(estimator, X)
        rows, place = np.asarray(X, dtype=float), feature_index(names, feature)
        x = wide_grid(rows[:, place], n_points, margin)
        grid = np.tile(np.median(rows, axis=0), (n_points, 1))
        grid[:, place] = x
        predicted = estimator.predict_parts(as_fitted(estimator, grid))
        mean, network_std, noise_std = (part.reshape(n_points, -1) for part in predicted)
        display = cls(
            x=x,
            mean=mean,
            network_std=network_std,
            noise_std=noise_std,
            X=None if y is None else rows[:, place],
            y=None if y is None else np.asarray(y, dtype=float).reshape(len(rows), -1),
            feature_name=names[place],
            target_names=names_of_targets(mean.shape[1]),
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the bands, a panel a target.

        Parameters
        ----------
        ax : Axes, or one for each target, optional
            Where to draw; a new figure if not given.
        line_kwargs, scatter_kwargs : dict, optional
            For ``Axes.plot`` of the mean and ``Axes.scatter`` of the rows.

        Returns
        -------
        PredictiveBandDisplay
            This one.
        """
        panels = self._panels(ax, 1, self.mean.shape[1])[0]
        line = {"color": BLUE, "label": "predictive mean"} | (line_kwargs or {})
        dots = {"color": VERMILLION, "s": 12, "linewidths": 0, "label": "data", "zorder": 3}
        dots |= scatter_kwargs or {}
        self.lines_, self.network_bands_, self.total_bands_, self.scatters_ = [], [], [], []
        total_std = np.hypot(self.network_std, self.noise_std)
        for k, axes in enumerate(panels):
            band = self._fill(axes, k, total_std, color=BLUE, alpha=0.15, label="network and noise")
            self.total_bands_.append(band)
            band = self._fill(axes, k, self.network_std, color=BLUE, alpha=0.35, label="network")
            self.network_bands_.append(band)
            self.lines_ += axes.plot(self.x, self.mean[:, k], **line)
            if self.X is not None and self.y is not None:
                self.scatters_.append(axes.scatter(self.X, self.y[:, k], **dots))
            axes.set(xlabel=self.feature_name, ylabel=self.target_names[k])
            axes.margins(x=0)
        # Above the panel: where the network does not know, a band may be anywhere inside it.
        place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
        title = f"bands: ± {N_STD:g} standard deviations"
        panels[0].legend(title=title, fontsize="small", title_fontsize="small", **place)
        return self

    def _fill(self, axes: Any, k: int, std: np.ndarray, **style: Any) -> Any:
        low, high = self.mean[:, k] - N_STD * std[:, k], self.mean[:, k] + N_STD * std[:, k]
        return axes.fill_between(self.x, low, high, linewidth=0, **style)
