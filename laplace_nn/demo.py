"""What ``laplace-nn demo`` shows: learning in the plane, moderation, and two real data sets.

(a) The two-class problem of the source notes: a 2-8-1 tanh network with a logistic output, watched
while it learns, and its MAP probabilities beside those averaged over the posterior. (b) A
regression and a classification set that scikit-learn ships, beside scikit-learn's own perceptrons.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from laplace_nn.displays.decision_boundary import DecisionBoundaryDisplay
from laplace_nn.displays.training import TrainingDisplay
from laplace_nn.estimators import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.tables import scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DemoResult", "Problem", "Settings", "draw_decision", "run", "two_classes"]

SEED = 1
TEST_SHARE = 0.25
N_NEW = 2000  # fresh rows that the two-class model is tested on
FAR = 0.4  # how far decision.png goes beyond the data, as a share of their range
DOTS = {"s": 46}  # area of a row's marker, in square points: the pictures are large

NOTE = """\
α: prior precision of each group. γ of P: effective parameters of all weights and biases.
error: rate of wrong labels, or root mean square error in the target's units, on held-out rows.
log lik.: mean log predictive density of a held-out row; higher is better.
sklearn MLP: at its defaults (100 relu units, at most 200 epochs of Adam), inputs and the
regression's target standardised; it has no noise sd: its training residuals' stands in."""


@dataclass(frozen=True)
class Settings:
    """How much work the demo does.

    Parameters
    ----------
    hidden : int, default=10
        Tanh units of the networks for the real sets.
    n_restarts : int, default=3
        Random starts of every fit.
    n_frames : int, default=40
        Pictures in the animation, at most.
    n_grid : int, default=100
        Points of the contour grids along each axis.
    max_rows : int, optional
        Rows of each real set; all if not given.
    """

    hidden: int = 10
    n_restarts: int = 3
    n_frames: int = 40
    n_grid: int = 100
    max_rows: int | None = None


@dataclass(frozen=True)
class Problem:
    """Training and held-out rows under a name."""

    name: str
    task: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class DemoResult:
    """The table of results, and the names of the files written."""

    table: str
    files: tuple[str, ...]


def run(directory: Path, settings: Settings | None = None) -> DemoResult:
    """Run the demo, with a progress bar on stderr.

    Parameters
    ----------
    directory : Path
        Where ``training.gif`` and ``decision.png`` are written; it must exist.
    settings : Settings, optional
        Smaller ones are for tests.

    Returns
    -------
    DemoResult
        The table of all three problems and the files' names.
    """
    from threadpoolctl import threadpool_limits

    # Matrices of this size are slower on several BLAS threads, much slower on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        return _run(directory, settings or Settings())


def _run(directory: Path, settings: Settings) -> DemoResult:
    from tqdm import tqdm

    notes = notes_problem()
    problems = [notes, *real_problems(settings)]
    lines = []
    with tqdm(total=2 * len(problems) + 2, unit="step") as bar:
        fitted = {}
        for problem in problems:
            bar.set_description(f"fitting {problem.name}")
            fitted[problem.name] = model = _fit(problem, settings)
            bar.update()
            lines.append(_line(problem, model))
            lines.append(_baseline_line(problem))
            bar.update()
        classifier = fitted[notes.name]
        bar.set_description("drawing training.gif")
        draw_training(directory / "training.gif", classifier, notes, settings)
        bar.update()
        bar.set_description("drawing decision.png")
        draw_decision(classifier, notes, settings).savefig(directory / "decision.png")
        bar.update()
        bar.set_description("done")
    return DemoResult(f"{format_table(lines)}\n\n{NOTE}", ("training.gif", "decision.png"))


# The problems


def two_classes(rng: np.random.Generator, repeats: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the source notes' two overlapping classes.

    Class 0 is two round-ish clouds of 30 and 20 points, class 1 one long cloud of 50 between them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the draws come from.
    repeats : int, default=1
        How many times 100 rows.

    Returns
    -------
    X : ndarray of shape (100 * repeats, 2)
        Inputs.
    y : ndarray of shape (100 * repeats,)
        Classes, 0 and 1.
    """
    small, tall = [[0.04, -0.02], [-0.02, 0.02]], [[0.02, -0.03], [-0.03, 0.10]]
    clouds = [([0.2, 0.4], small, 30), ([0.8, 0.8], small, 20), ([0.5, 0.7], tall, 50)]
    parts = [rng.multivariate_normal(mean, cov, n * repeats) for mean, cov, n in clouds]
    return np.concatenate(parts), np.repeat([0, 1], 50 * repeats)


def notes_problem() -> Problem:
    """The notes' 100 rows, and fresh ones to test on."""
    rng = np.random.default_rng(SEED)
    X, y = two_classes(rng)
    return Problem("two classes", "classification", X, y, *two_classes(rng, N_NEW // 100))


def real_problems(settings: Settings) -> list[Problem]:
    """Diabetes (regression) and breast cancer (classification), a fixed quarter held out."""
    from sklearn.datasets import load_breast_cancer, load_diabetes
    from sklearn.model_selection import train_test_split

    problems = []
    for name, task, load in (
        ("diabetes", "regression", load_diabetes),
        ("breast cancer", "classification", load_breast_cancer),
    ):
        X, y = (part[: settings.max_rows] for part in load(return_X_y=True))
        classes = y if task == "classification" else None
        X, X_test, y, y_test = train_test_split(
            X, y, test_size=TEST_SHARE, random_state=0, stratify=classes
        )
        problems.append(Problem(name, task, X, y, X_test, y_test))
    return problems


def _fit(problem: Problem, settings: Settings) -> Any:
    kind = LaplaceMLPRegressor if problem.task == "regression" else LaplaceMLPClassifier
    hidden = 8 if problem.name == "two classes" else settings.hidden
    model = kind((hidden,), n_restarts=settings.n_restarts, random_state=SEED)
    return model.fit(problem.X, problem.y)


# The table

Line = dict[str, str]


def _line(problem: Problem, model: Any) -> Line:
    """The line of the Laplace estimator: hyperparameters, γ of P, log evidence and scores."""
    found = scores(model, problem.X_test, problem.y_test, problem.task)
    alphas = zip(model.prior_.names, model.prior_precision_, strict=True)
    beta = getattr(model, "noise_precision_", None)
    return {
        "data": problem.name,
        "train/test": f"{len(problem.y)}/{len(problem.y_test)}",
        "model": "laplace_nn",
        "α": ", ".join(f"{value:.3g}" for _, value in alphas),
        "noise sd": "-" if beta is None else f"{beta**-0.5:.3g}",
        "γ of P": f"{np.sum(model.n_effective_params_):.1f} of {len(model.theta_)}",
        "log evidence": f"{model.log_marginal_likelihood_:.1f}",
        **_shown(found),
    }


def _baseline_line(problem: Problem) -> Line:
    found, sd = fit_with_sklearn(problem)
    return {"model": "sklearn MLP", "noise sd": "-" if sd is None else f"{sd:.3g}", **_shown(found)}


def _shown(found: dict[str, float]) -> Line:
    error, density = found.values()
    return {"error": f"{error:.3g}", "log lik.": f"{density:.3f}"}


def fit_with_sklearn(problem: Problem) -> tuple[dict[str, float], float | None]:
    """Scores of scikit-learn's MLP at its defaults on standardised data, and its noise sd.

    The regressor has no noise level; the standard deviation of its training residuals stands in.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = problem.task == "regression"
    kind = MLPRegressor if regression else MLPClassifier
    model = make_pipeline(StandardScaler(), kind(random_state=SEED))
    if regression:
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the note says that it stops early
        model.fit(problem.X, problem.y)
    predicted, y = model.predict(problem.X_test), problem.y_test
    if regression:
        sd = float(np.std(problem.y - model.predict(problem.X)))
        rmse = float(np.sqrt(np.mean((predicted - y) ** 2)))
        density = float(np.mean(norm.logpdf(y, predicted, sd)))
        return {"rmse": rmse, "log_likelihood": density}, sd
    of_truth = model.predict_proba(problem.X_test)[np.arange(len(y)), y]
    density = float(np.mean(np.log(np.maximum(of_truth, np.finfo(float).tiny))))
    return {"error_rate": float(np.mean(predicted != y)), "log_likelihood": density}, None


def format_table(lines: Sequence[Line]) -> str:
    """Lines under the names of the first one's columns, the numbers to the right."""
    columns = list(lines[0])
    widths = [max(len(name), *(len(line.get(name, "")) for line in lines)) for name in columns]

    def show(line: Line) -> str:
        cells = zip(columns, widths, strict=True)
        return "  ".join(
            line.get(c, "").ljust(w) if c in ("data", "model") else line.get(c, "").rjust(w)
            for c, w in cells
        ).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([show({c: c for c in columns}), rule, *map(show, lines)])


# The pictures


def draw_training(
    path: Path, clf: LaplaceMLPClassifier, problem: Problem, settings: Settings
) -> None:
    """The animation: contours of the probability of class 1 while the network learns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), dpi=80, layout="compressed")
    display = TrainingDisplay.from_estimator(
        clf,
        problem.X,
        problem.y,
        n_frames=settings.n_frames,
        n_points=settings.n_grid,
        random_state=SEED,
        scatter_kwargs=DOTS,
        ax=figure.add_subplot(aspect="equal"),
    )
    display.save(path)


def draw_decision(clf: LaplaceMLPClassifier, problem: Problem, settings: Settings) -> "Figure":
    """MAP contours beside those averaged over the posterior, one colour scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.8, 5.8), dpi=110, layout="compressed")
    figure.suptitle("How sure beyond the data? One best network beside all plausible ones")
    DecisionBoundaryDisplay.from_estimator(
        clf,
        problem.X,
        problem.y,
        panels=("map", "predictive"),
        n_points=settings.n_grid,
        margin=FAR,
        scatter_kwargs=DOTS,
        ax=figure.subplots(1, 2, sharex=True, sharey=True, subplot_kw={"aspect": "equal"}),
    )
    return figure
