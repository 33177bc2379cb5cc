"""How many weights the data determine: the curvature's eigenvalues against the prior."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from laplace_nn.curvature import GGN
from laplace_nn.displays.base import BLUE, VERMILLION, Display
from laplace_nn.displays.checks import is_laplace
from laplace_nn.evidence_spectrum import EvidenceSpectrum

__all__ = ["SpectrumDisplay"]

MOST_DOTS = 150  # eigenvalues above which a line shows them
SIZE = (5.6, 4.8)


@dataclass(kw_only=True, eq=False, repr=False)
class SpectrumDisplay(Display):
    """Eigenvalues of the data's precision, the prior's, and the share of each that is the data's.

    λ_i of β·H, outer products, against α, and γ = Σ λ_i / (λ_i + α) (PRML 3.87-3.91, 5.179). Where
    the prior has several precisions, λ_i of Λ^-½ βH Λ^-½ against 1: the same γ.

    Parameters
    ----------
    eigenvalues : ndarray of shape (M,)
        Those that are not zero, in descending order.
    precision : float
        α, or 1.
    n_params : int
        P, the number of weights.
    whitened : bool
        Whether the eigenvalues are measured by the prior's precisions.

    Attributes
    ----------
    line_ : Line2D
        The eigenvalues.
    precision_line_ : Line2D
        α, or 1.
    shares_ : StepPatch
        λ_i / (λ_i + α): its area is γ.
    text_ : Text
        γ and P in numbers, and how many eigenvalues are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.displays.spectrum import SpectrumDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = SpectrumDisplay.from_estimator(model, X, y)
    >>> bool(np.isclose(display.n_effective_params, model.n_effective_params_.sum()))
    True
    """

    eigenvalues: np.ndarray
    precision: float
    n_params: int
    whitened: bool

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Decompose the outer products of rows at the best mode, and draw.

        In weight space, P³, or where it is smaller in function space, (N·K)³.

        Parameters
        ----------
        estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
            Fitted.
        X, y : array-like of shape (N, D) and (N,) or (N, K)
            Rows; with those of the fit γ is the estimator's.
        sample_weight : array-like of shape (N,), optional
            Their weights in the fit.
        ax : Axes, or a pair of Axes, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        SpectrumDisplay
            Drawn.

        Raises
        ------
        ValueError
            If rows, targets or weights do not fit each other or the fit, or no eigenvalue differs
            from zero.
        """
        is_laplace(estimator, cls)
        rows = estimator._rows_with_targets(X, y, sample_weight)
        mlp, prior, likelihood = estimator.mlp_, estimator.prior_, estimator.likelihood_
        H = GGN(mlp, estimator.theta_, likelihood, rows)
        found = EvidenceSpectrum.from_curvature(estimator.theta_, H, prior, likelihood, rows)
        several = np.ptp(prior.precisions) > 0.0
        precision = 1.0 if several else float(prior.precisions[0])
        # Those found are λ_i of Λ^-½ H Λ^-½; with one precision, Λ = α.
        eigenvalues = precision * likelihood.scale * found.eigenvalues[::-1]
        rounding = len(eigenvalues) * np.finfo(float).eps * eigenvalues[0]
        if not eigenvalues[0] > 0.0:
            raise ValueError(
                "SpectrumDisplay has no eigenvalue to draw: the outer products of these rows are "
                "zero, as where every class probability is 0 or 1 to rounding."
            )
        display = cls(
            eigenvalues=eigenvalues[eigenvalues > rounding],
            precision=precision,
            n_params=mlp.n_params,
            whitened=bool(several),
        )
        return display.plot(ax, **kwargs)

    @property
    def shares(self) -> np.ndarray:
        """λ_i / (λ_i + α), (M,)."""
        return self.eigenvalues / (self.eigenvalues + self.precision)

    @property
    def n_effective_params(self) -> float:
        """γ, the sum of the shares."""
        return float(np.sum(self.shares))

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the eigenvalues, and below them the shares.

        Parameters
        ----------
        ax : Axes, or a pair of Axes, optional
            Where to draw; a new figure if not given.
        line_kwargs : dict, optional
            For ``Axes.plot`` of the eigenvalues.

        Returns
        -------
        SpectrumDisplay
            This one.
        """
        options: dict[str, Any] = {"figsize": SIZE, "sharex": True, "height_ratios": (3, 2)}
        top, bottom = self._panels(ax, 2, 1, **options)[:, 0]
        numbers = np.arange(1, len(self.eigenvalues) + 1)
        marker = "o" if len(numbers) <= MOST_DOTS else ""
        style = {"color": BLUE, "marker": marker, "markersize": 3, "label": "data"}
        (self.line_,) = top.plot(numbers, self.eigenvalues, **style | (line_kwargs or {}))
        label = "prior: 1" if self.whitened else f"prior: α = {self.precision:.3g}"
        level = {"color": VERMILLION, "linestyle": "--", "label": label}
        self.precision_line_ = top.axhline(self.precision, **level)
        top.set_yscale("log")
        matrix = r"$Λ^{-1/2}βHΛ^{-1/2}$" if self.whitened else r"$βH$"
        top.set_ylabel(f"eigenvalues λ of {matrix}", fontsize="small")
        top.legend(fontsize="small", loc="upper right")
        self.text_ = top.set_title(self._summary, fontsize="small")
        self._draw_shares(bottom, numbers)
        for axes in (top, bottom):
            axes.set_xlim(0.5 - 0.01 * len(numbers), len(numbers) + 0.5)
            axes.locator_params(axis="x", integer=True)
        return self

    def _draw_shares(self, axes: Any, numbers: np.ndarray) -> None:
        """What part of the precision along every eigenvector is the data's; together, γ."""
        edges = np.append(numbers, numbers[-1] + 1) - 0.5
        self.shares_ = axes.stairs(self.shares, edges, fill=True, color=BLUE, alpha=0.35)
        axes.set(ylim=(0.0, 1.05), xlabel="number of the eigenvalue")
        prior = "1" if self.whitened else "α"
        axes.set_ylabel(f"λ / (λ + {prior}), area γ", fontsize="small")

    @property
    def _summary(self) -> str:
        """γ and P, and what is not drawn."""
        n_zero = self.n_params - len(self.eigenvalues)
        text = f"γ = {self.n_effective_params:.1f} of P = {self.n_params} weights"
        return f"{text}; {n_zero} eigenvalues are zero to rounding, not drawn" if n_zero else text
