"""The second derivatives of a network's data term, as a picture."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from laplace_nn.curvature.base import require
from laplace_nn.displays.base import Display
from laplace_nn.displays.checks import is_laplace
from laplace_nn.estimators.names import make_curvature

__all__ = ["HessianDisplay"]

MAX_WEIGHTS = 3000  # beyond, a matrix is gigabytes and a cell far less than a pixel
MAX_CELLS = 300  # along a side of the picture: about its pixels at column width
LINEAR_SHARE = 1e-4  # of the largest entry, about where the colour scale turns linear


@dataclass(kw_only=True, eq=False, repr=False)
class HessianDisplay(Display):
    """Heat map of the Hessian of the negative log likelihood, layer by layer.

    scale·H = scale·Σ_n w_n ∇∇E_n at θ_MAP (PRML 5.78, 5.84; scale is β or 1). The posterior's
    precision A has the prior's on the diagonal besides (PRML 5.166).

    Parameters
    ----------
    hessian : ndarray of shape (P, P)
        In nats, of weights of standardised inputs and targets.
    block_ends : ndarray of int, shape (L, 2)
        Where each layer's weights W and biases b end.
    curvature : str
        Which second derivatives they are.

    Attributes
    ----------
    image_ : AxesImage
        The heat map. Its colours are logarithmic from a power of ten near 1e-4 of the largest entry
        on, linear below. Beyond 300 weights a cell stands for a square of entries, of which it
        shows the largest in absolute value.
    colorbar_ : Colorbar
        Beside it.
    lines_ : list of artists
        Between the blocks, thick ones between layers.

    See Also
    --------
    HintonDisplay : The weights themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.hessian import HessianDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = HessianDisplay.from_estimator(model, X, y)
    >>> display.hessian.shape, display.block_ends.tolist()
    ((16, 16), [[5, 10], [15, 16]])
    """

    hessian: np.ndarray
    block_ends: np.ndarray
    curvature: str

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        curvature: Any = "ggn",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Differentiate twice at the best mode's weights and draw.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted.
        X : array-like of shape (N, D)
            Rows that the likelihood is of, commonly those of the fit.
        y : array-like of shape (N,) or (N, K)
            Their targets or labels.
        curvature : str or callable, default="ggn"
            Which second derivatives, by the names that the estimators' ``curvature`` has ("exact",
            "kfac", ...), or a callable of (mlp, theta, likelihood, rows).
        ax : Axes, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        HessianDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the estimator is none of this package's, it has more than 3000 weights, or there is
            no such curvature.
        MissingCapabilityError
            If what a callable makes cannot be made dense.
        """
        is_laplace(estimator, cls)
        mlp = estimator.mlp_
        if mlp.n_params > MAX_WEIGHTS:
            raise ValueError(
                f"{cls.__name__} draws a cell for each pair of weights, of at most {MAX_WEIGHTS}; "
                f"the network {mlp.layer_sizes} has {mlp.n_params}: draw one with fewer hidden "
                "units."
            )
        rows, likelihood = estimator._rows_with_targets(X, y, None), estimator.likelihood_
        H = make_curvature(curvature, mlp, estimator.theta_, likelihood, rows)
        require(H, {"dense"}, cls.__name__)
        return cls(
            hessian=likelihood.scale * H.dense(),
            block_ends=np.array([[part.stop for part in layer] for layer in mlp.slices]),
            curvature=curvature if isinstance(curvature, str) else type(H).__name__,
        ).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        image_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the matrix with lines between its blocks.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; a new figure if not given.
        image_kwargs, line_kwargs : dict, optional
            For ``Axes.imshow`` of the matrix, and for ``Axes.axhline`` and ``Axes.axvline``.

        Returns
        -------
        HessianDisplay
            This one.
        """
        axes = self._panel(ax, figsize=(4.8, 3.8))
        largest = float(np.abs(self.hessian).max()) or 1.0
        pool = -(-len(self.hessian) // MAX_CELLS)
        cells = _pooled(self.hessian, pool)
        end = pool * len(cells) - 0.5
        options = {"cmap": "RdBu_r", "norm": _colour_scale(largest), "interpolation": "nearest"}
        options |= {"extent": (-0.5, end, end, -0.5)} | (image_kwargs or {})
        self.image_ = axes.imshow(cells, **options)
        label = "∂²(-ln p(D | w)) / ∂w ∂w′ (nats)"
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=axes, label=label)
        self.lines_ = self._separate(axes, line_kwargs or {})
        self._write(axes, pool)
        return self

    def _separate(self, axes: Any, style: dict[str, Any]) -> list[Any]:
        """Lines after every block but the last, thick after a layer's biases."""
        lines = []
        for index, end in enumerate(self.block_ends.ravel()[:-1]):
            look = {"color": "black", "linewidth": 0.9 if index % 2 else 0.4} | style
            lines += [axes.axhline(end - 0.5, **look), axes.axvline(end - 0.5, **look)]
        return lines

    def _write(self, axes: Any, pool: int) -> None:
        """The layers' names at their middles, and how many weights there are."""
        n_params, ends = len(self.hessian), self.block_ends[:, 1]
        middles = 0.5 * (np.concatenate([[0], ends[:-1]]) + ends) - 0.5
        names = [f"W{layer}, b{layer}" for layer in range(1, len(ends) + 1)]
        axes.set_xticks(middles, names)
        axes.set_yticks(middles, names, rotation=90, va="center")
        axes.tick_params(length=0, labelsize="small")
        axes.set(xlim=(-0.5, n_params - 0.5), ylim=(n_params - 0.5, -0.5))
        text = f"{self.curvature}, {n_params} weights"
        if pool > 1:
            text += f"; of {pool} x {pool} the largest is shown"
        axes.set_title(text, loc="left", fontsize="small")


def _colour_scale(largest: float) -> Any:
    """Symmetric about 0, logarithmic from a power of ten on."""
    from matplotlib.colors import SymLogNorm

    linear = 10.0 ** np.ceil(np.log10(LINEAR_SHARE * largest))
    return SymLogNorm(linear, vmin=-largest, vmax=largest)


def _pooled(matrix: np.ndarray, pool: int) -> np.ndarray:
    """Of each square of pool x pool entries the largest in absolute value, with its sign."""
    n_cells = -(-len(matrix) // pool)
    padded = np.zeros((n_cells * pool, n_cells * pool))
    padded[: len(matrix), : len(matrix)] = matrix
    squares = padded.reshape(n_cells, pool, n_cells, pool).swapaxes(1, 2)
    flat = squares.reshape(n_cells, n_cells, pool * pool)
    chosen = np.abs(flat).argmax(axis=2)[..., None]
    return np.take_along_axis(flat, chosen, axis=2)[..., 0]
