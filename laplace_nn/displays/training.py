"""A network while it learns to tell two classes in the plane apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted

from laplace_nn.displays.base import Display
from laplace_nn.displays.checks import is_classifier
from laplace_nn.displays.plane import (
    LEGEND,
    draw_probabilities,
    draw_probability_bar,
    draw_rows,
    finish,
    plane_grid,
)
from laplace_nn.estimators.inputs import seed_from
from laplace_nn.estimators.labels import feature_names
from laplace_nn.likelihoods import Bernoulli
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

__all__ = ["TrainingDisplay"]

START_GAIN = 0.3  # of the start weights, relative to a fit's: the outputs begin near 0
SETTLED = 0.01  # nats above the last energy; the eye sees no change below
HOLD = 1.2  # seconds that the last frame stays longer than the others


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingDisplay(Display):
    """Contours of the class probability, from small random weights to a mode.

    p(C₂|x) = σ(f(x, w_t)) (PRML 5.19) of the weights w_t of an L-BFGS run, whose energy
    E = -ln p(D|w) - ln p(w) falls to a minimum.

    Parameters
    ----------
    x0, x1 : ndarray of shape (n,) and (m,)
        The two inputs.
    probabilities : ndarray of shape (F, m, n)
        Of the second class, in every frame.
    iterations : ndarray of int, shape (F,)
        Where on the way each frame is; the last is the end.
    energies : ndarray of shape (F,)
        E there, in nats.
    classes : ndarray of shape (2,)
        The labels, sorted.
    X, y : ndarray of shape (N, 2) and (N,)
        The rows that are learnt, and their labels.
    feature_names : two str
        What is written beside the axes.

    Attributes
    ----------
    tints_, lines_ : list of QuadContourSet
        Of the frame that is shown; no lines where no level is reached.
    scatters_ : list of PathCollection
        One a class.
    color_bar_ : Colorbar
        Of the probability.

    See Also
    --------
    DecisionBoundaryDisplay : The same plane at the end, with what the weights leave open.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPClassifier
    >>> from laplace_nn.displays.training import TrainingDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 2))
    >>> y = X[:, 0] * X[:, 1] > 0
    >>> model = LaplaceMLPClassifier((4,), n_restarts=1, random_state=0).fit(X, y)
    >>> display = TrainingDisplay.from_estimator(model, X, y, n_points=20, random_state=0)
    >>> bool(display.energies[-1] < display.energies[0])
    True
    """

    x0: np.ndarray
    x1: np.ndarray
    probabilities: np.ndarray
    iterations: np.ndarray
    energies: np.ndarray
    classes: np.ndarray
    X: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, str] = ("x0", "x1")

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        n_frames: int = 40,
        n_points: int = 100,
        margin: float = 0.1,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Train once more under the prior that was found, and draw the end.

        L-BFGS on the negative log posterior. It may end in another mode than the classifier's,
        which began elsewhere and under another prior.

        Parameters
        ----------
        classifier : LaplaceMLPClassifier
            Fitted to two classes and two inputs.
        X : array-like of shape (N, 2)
            The training rows.
        y : array-like of shape (N,)
            Their labels.
        sample_weight : array-like of shape (N,), optional
            Their weights, if the classifier had any.
        n_frames : int, default=40
            Frames at most: many early, where much changes, and few late.
        n_points : int, default=100
            Points of the grid along each input.
        margin : float, default=0.1
            How far to go beyond the rows, as a share of their range.
        random_state : int, RandomState or None, default=None
            Seed of the start weights.
        ax : Axes, optional
            Where to draw; a new figure if not given.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        TrainingDisplay
            Drawn, the last frame.

        Raises
        ------
        ValueError
            If the estimator is not a classifier of two classes in the plane, a label is new, or
            fewer than two frames are asked for.

        Warns
        -----
        NotStationaryWarning
            If training ran out of the classifier's budget.
        """
        check_is_fitted(classifier)
        _check_plane(classifier, cls)
        names, inputs = feature_names(classifier, X), np.asarray(X, dtype=np.float64)
        rows = classifier._rows_with_targets(X, y, sample_weight)
        rng = np.random.default_rng(seed_from(random_state))
        thetas, energies = training_path(classifier, rows, rng)
        iterations = chosen_frames(energies, n_frames)
        x0, x1, points = plane_grid(inputs, (0, 1), n_points, margin)
        grid = classifier._standardised(points)
        logits = [classifier.mlp_.forward(thetas[t], grid).outputs for t in iterations]
        display = cls(
            x0=x0,
            x1=x1,
            probabilities=expit(np.reshape(logits, (-1, n_points, n_points))),
            iterations=iterations,
            energies=energies[iterations],
            classes=classifier.classes_,
            X=inputs,
            y=np.ravel(y),
            feature_names=(names[0], names[1]),
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        frame: int = -1,
        *,
        contour_kwargs: dict[str, Any] | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw one frame.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; a new figure if not given.
        frame : int, default=-1
            Which one; negative numbers count from the end.
        contour_kwargs, scatter_kwargs : dict, optional
            For ``Axes.contour`` of the lines and ``Axes.scatter`` of the rows.

        Returns
        -------
        TrainingDisplay
            This one.

        Raises
        ------
        ValueError
            If there is no such frame.
        """
        n_frames = len(self.iterations)
        if not -n_frames <= frame < n_frames:
            raise ValueError(
                f"frame must be one of the {n_frames}, {-n_frames} to {n_frames - 1}; got {frame}."
            )
        axes = self._panel(ax)
        self._contour_kwargs = contour_kwargs or {}
        self.tints_: list[Any] = []
        self.lines_: list[Any] = []
        self._show(frame)
        self.scatters_ = draw_rows(axes, self.X, self.y, self.classes, **(scatter_kwargs or {}))
        finish(axes, self.x0, self.x1, self.feature_names)
        axes.legend(title="class", **LEGEND)
        self.color_bar_ = draw_probability_bar(self.figure_, self.classes, ax=axes)
        return self

    def animate(self, ax: Any = None, fps: int = 5) -> "FuncAnimation":
        """All frames in turn, the last one held.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; if not given, the frames take the place of the one drawn last.
        fps : int, default=5
            Frames a second.

        Returns
        -------
        FuncAnimation
            To be kept for as long as it is to run.

        Raises
        ------
        ValueError
            If ``fps`` is not positive.
        """
        from matplotlib.animation import FuncAnimation

        if fps <= 0:
            raise ValueError(f"fps must be a positive number of frames a second; got {fps}.")
        if ax is not None or not hasattr(self, "ax_"):
            self.plot(ax, 0)
        last = len(self.iterations) - 1
        frames = [*range(last + 1), *[last] * round(HOLD * fps)]
        return FuncAnimation(self.figure_.figure, self._show, frames=frames, interval=1000.0 / fps)

    def save(self, path: str | Path, fps: int = 5) -> None:
        """Write the animation of what was drawn last as a GIF.

        Parameters
        ----------
        path : str or Path
            Where to.
        fps : int, default=5
            Frames a second.

        Raises
        ------
        ValueError
            If ``fps`` is not positive.
        """
        from matplotlib.animation import PillowWriter

        animation, figure = self.animate(fps=fps), self.figure_.figure
        layout = figure.get_layout_engine()
        # The layout is settled once: made anew, it can move the axes from frame to frame.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        try:
            animation.save(path, writer=PillowWriter(fps=fps))
        finally:
            figure.set_layout_engine(layout)

    def _show(self, frame: int) -> None:
        """Put a frame in the place of the one that is shown, if there is one."""
        for artist in (*self.tints_, *self.lines_):
            artist.remove()
        p = self.probabilities[frame]
        both = np.stack([1.0 - p, p], axis=-1)
        self.tints_, self.lines_ = draw_probabilities(
            self.ax_, self.x0, self.x1, both, **self._contour_kwargs
        )
        now, end = self.iterations[frame], self.iterations[-1]
        title = f"iteration {now} of {end}, energy {self.energies[frame]:.2f} nats"
        self.ax_.set_title(title, fontsize="medium")


def training_path(
    classifier: Any, rows: RowBlocks, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (T, P) and energies (T,) on the way from small random weights to a mode."""
    objective = NegativeLogPosterior(classifier.mlp_, Bernoulli(), classifier.prior_, rows)
    start = classifier.mlp_.initialise(rng, gain=START_GAIN)
    path = [start]
    find_map(
        objective,
        start,
        solver="lbfgs",
        tol=classifier.gradient_tol,
        max_iter=classifier.max_iter,
        callback=lambda theta: path.append(theta.copy()),
    )
    return np.stack(path), np.array([objective.value(theta) for theta in path])


def chosen_frames(energies: np.ndarray, n_frames: int) -> np.ndarray:
    """Iterations to show, at most ``n_frames``: many early, few late, and the last.

    Spread geometrically up to where the energy has settled.

    Raises
    ------
    ValueError
        If there is no room for the first and the last.
    """
    if n_frames < 2:
        raise ValueError(f"n_frames must be at least 2, the first and the last; got {n_frames}.")
    settled = int(np.argmax(energies <= energies[-1] + SETTLED))
    spread = np.geomspace(1, settled + 1, n_frames - 1).round().astype(int) - 1
    return np.unique([*spread, len(energies) - 1])


def _check_plane(classifier: Any, display: type) -> None:
    """Refuse what is not a network for two classes and two inputs."""
    is_classifier(classifier, display)
    if not hasattr(classifier, "mlp_"):
        raise ValueError(
            f"{display.__name__} trains a LaplaceMLPClassifier's network once more; got a "
            f"{type(classifier).__name__}, which has none."
        )
    n_classes, n_inputs = len(classifier.classes_), classifier.n_features_in_
    if (n_classes, n_inputs) != (2, 2):
        raise ValueError(
            f"{display.__name__} shows two classes in the plane of two inputs; got {n_classes} "
            f"classes and {n_inputs} inputs: fit a classifier to two of each."
        )
