"""What is known of a fit, for a reader, in one HTML file that needs no other."""

import base64
import io
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from laplace_nn.displays import (
    CoverageDisplay,
    DecisionBoundaryDisplay,
    PredictionErrorDisplay,
    PredictiveBandDisplay,
    ReestimationDisplay,
    RelevanceDisplay,
    ReliabilityDisplay,
    RestartsDisplay,
)
from laplace_nn.displays.checks import observed_targets
from laplace_nn.estimators.labels import names_of_long_tails
from laplace_nn.tables import scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report"]

COVERAGE = 0.95
DPI = 110
LIBRARIES = ("laplace-nn", "numpy", "scipy", "scikit-learn")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem 1.2rem .25rem 0;
       border-bottom: 1px solid #ddd; vertical-align: top; } th { font-weight: 600; }
img { max-width: 100%; height: auto; } figure { margin: 1.2rem 0; }
figcaption { color: #444; max-width: 46rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem; line-height: 1.4; }
.good { color: #00694d; } .bad { color: #b03a00; font-weight: 600; }
"""


@dataclass(frozen=True)
class _Rows:
    """Rows of known targets under the name of what was predicted of them."""

    name: str
    X: Any
    y: np.ndarray


@dataclass(frozen=True)
class _Picture:
    """A figure with what it shows."""

    title: str
    caption: str
    figure: "Figure"


def report(
    estimator: Any,
    X: Any,
    y: Any,
    path: str | Path = "report.html",
    *,
    X_test: Any = None,
    y_test: Any = None,
    target_name: str = "y",
    command: str | None = None,
) -> Path:
    """Write what is known of a fit to one self-contained HTML file.

    A summary, the diagnostics in words, the plots that fit the task, the calibration (on held-out
    rows if there are any, and otherwise on the leave-one-out predictions of the training rows), and
    how to reproduce it.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        Fitted.
    X, y : array-like of shape (N, D) and (N,) or (N, K)
        The training rows.
    path : str or Path, default="report.html"
        The file to write; it appears whole or not at all.
    X_test, y_test : array-like, optional
        Rows that were held out.
    target_name : str, default="y"
        What is predicted.
    command : str, optional
        How to come by the same fit, where that is no call in Python.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If only one of X_test and y_test is given; or if there are no held-out rows and the training
        rows are others than those that the estimator has left out one by one.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> from laplace_nn.report import report
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=1, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as place:
    ...     text = report(model, X, y, f"{place}/report.html").read_text(encoding="utf-8")
    >>> "Predicted against observed" in text
    True
    """
    check_is_fitted(estimator)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test go together; only one of them came: pass both.")
    train = _Rows("training rows", X, np.asarray(y))
    test = None if X_test is None else _Rows("held-out rows", X_test, np.asarray(y_test))
    if test is None:
        _check_left_out(estimator, len(train.y))
    task = "classification" if is_classifier(estimator) else "regression"
    parts = [
        f"<h1>{escape(target_name)}: a {task} by {type(estimator).__name__}</h1>",
        _section("Summary", _summary(estimator, train, test, task)),
        _section("May it be trusted?", _diagnosis(estimator)),
        *(_shown(picture) for picture in _pictures(estimator, train, test, target_name)),
        _section("To reproduce it", _recipe(command or _call(estimator))),
    ]
    title = f"{escape(target_name)}: {task}"
    return _write_whole(Path(path), _page(title, "\n".join(parts)))


def _check_left_out(estimator: Any, n_rows: int) -> None:
    n_left_out = len(estimator._places)
    if n_left_out != n_rows:
        raise ValueError(
            f"The estimator has left out {n_left_out} rows one by one, those that carried weight "
            f"in its last batch; got {n_rows} training rows: pass those, or X_test and y_test."
        )


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _write_whole(path: Path, text: str) -> Path:
    scratch = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}"


def _table(entries: Sequence[tuple[str, str]]) -> str:
    lines = (f"<tr><th>{escape(n)}</th><td>{escape(value)}</td></tr>" for n, value in entries)
    return f"<table>{''.join(lines)}</table>"


# The summary


def _summary(estimator: Any, train: _Rows, test: _Rows | None, task: str) -> str:
    mlp, n_modes = estimator.mlp_, len(estimator.committee_)
    gamma = f"{np.sum(estimator.n_effective_params_):.1f} of {mlp.n_params}"
    drawn_in = names_of_long_tails(estimator, train.X)
    entries = [("training rows", f"{len(train.y)} with {estimator.n_features_in_} inputs")]
    if drawn_in:
        entries.append(("inputs with long tails, drawn in", ", ".join(drawn_in)))
    entries += [
        ("network", f"{' - '.join(map(str, mlp.layer_sizes))}, {mlp.activation.name} units"),
        ("weights determined by the data, γ", gamma),
    ]
    if task == "regression":
        noise = np.atleast_1d(estimator.noise_precision_) ** -0.5
        sizes = ", ".join(f"{value:.4g}" for value in noise)
        entries.append(("noise standard deviation", f"{sizes} in the target's units"))
    else:
        entries.append(("temperature of the probabilities", f"{estimator.temperature_:.3g}"))
    entries += [
        ("log evidence", f"{estimator.log_marginal_likelihood_:.2f} nats"),
        ("leave-one-out log score", f"{estimator.loo_log_score_:.3f} nats a row"),
        ("modes in the committee", str(n_modes)),
    ]
    for rows in filter(None, (train, test)):
        found = scores(estimator, rows.X, rows.y, task)
        names = {"rmse": "RMSE", "error_rate": "error rate", "log_likelihood": "log score a row"}
        text = ", ".join(f"{names[key]} {value:.4g}" for key, value in found.items())
        entries.append((f"on the {len(rows.y)} {rows.name}", text))
    return _table(entries)


def _diagnosis(estimator: Any) -> str:
    """The findings as sentences, the record in full below them."""
    found = estimator.diagnostics_.findings
    verdict = "".join(f'<p class="bad">{escape(sentence)}</p>' for sentence in found)
    if not found:
        verdict = '<p class="good">Nothing was found that makes the fit untrustworthy.</p>'
    return f"{verdict}\n<pre>{escape(str(estimator.diagnostics_))}</pre>"


def _call(estimator: Any) -> str:
    """The fit in Python, with the parameters that differ from the defaults."""
    defaults = type(estimator)().get_params(deep=False)
    given = estimator.get_params(deep=False)
    told = [f"{k}={v!r}" for k, v in given.items() if repr(v) != repr(defaults[k])]
    kind = type(estimator).__name__
    return f"from laplace_nn import {kind}\nmodel = {kind}({', '.join(told)}).fit(X, y)"


def _recipe(call: str) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    made = f"Python {platform.python_version()}, {versions}; {when}."
    return f"<pre>{escape(call)}</pre>\n<p>{made}</p>"


# The pictures


def _pictures(
    estimator: Any, train: _Rows, test: _Rows | None, target_name: str
) -> Iterator[_Picture]:
    if is_classifier(estimator):
        yield from _of_classes(estimator, train, test)
    else:
        yield from _of_numbers(estimator, train, test, target_name)
    if hasattr(estimator, "relevance_"):
        yield _Picture(
            "Which inputs matter",
            "Size of the weights that leave every standardised input, in the best mode with "
            "automatic relevance determination: near 0 for an input that does not matter.",
            RelevanceDisplay.from_estimator(estimator).figure_,
        )
    yield _Picture(
        "How the hyperparameters were found",
        "The climb of the best start, a cycle each: what was climbed, the prior's precisions, and "
        "how many weights the data determine.",
        ReestimationDisplay.from_estimator(estimator).figure_,
    )
    yield _Picture(
        "The modes that the starts have found",
        "Several starts end in several modes; predictions are their mixture by the weights shown.",
        RestartsDisplay.from_estimator(estimator).figure_,
    )


def _of_numbers(
    estimator: Any, train: _Rows, test: _Rows | None, target_name: str
) -> Iterator[_Picture]:
    """Predicted against observed, coverage, and the band where there is one input."""
    rows = test or train
    of = _whose(test)
    mixture = estimator._predictive(rows.X) if test else estimator._loo_predictive()
    y = observed_targets(rows.y, mixture.means.shape[1:])
    names = [target_name] if y.shape[1] == 1 else [f"{target_name} {k}" for k in range(y.shape[1])]
    yield _Picture(
        "Predicted against observed",
        f"Predictions of the {of}, with intervals that are to hold {COVERAGE:.0%} of them.",
        PredictionErrorDisplay.from_predictions(
            y, mixture.mean(), mixture.interval(COVERAGE), coverage=COVERAGE, target_names=names
        ).figure_,
    )
    yield _Picture(
        "Do the intervals hold what they promise?",
        f"Left: share of the {of} inside intervals of every nominal coverage; on the diagonal they "
        "are right. Right: where in its predictive distribution each row lies; flat is right.",
        CoverageDisplay.from_predictions(mixture.cdf(y), target_names=names).figure_,
    )
    if estimator.n_features_in_ == 1:
        yield _Picture(
            "The regression and what it does not know",
            "The inner band is what more rows would narrow, the outer one has the noise as well.",
            PredictiveBandDisplay.from_estimator(estimator, train.X, train.y).figure_,
        )


def _of_classes(estimator: Any, train: _Rows, test: _Rows | None) -> Iterator[_Picture]:
    """Reliability, and the boundary where there are two inputs."""
    rows = test or train
    probability = estimator.predict_proba(rows.X) if test else estimator.loo_predictions()
    yield _Picture(
        "Do the probabilities come true?",
        f"How often predictions of the {_whose(test)} came true, against their probability; on the "
        "diagonal they are right.",
        ReliabilityDisplay.from_predictions(
            rows.y, probability, classes=estimator.classes_
        ).figure_,
    )
    if estimator.n_features_in_ == 2:
        yield _Picture(
            "The decision, and where it is unsure",
            "Probabilities at the most probable weights, averaged over the posterior, and the "
            "standard deviation of the latent function.",
            DecisionBoundaryDisplay.from_estimator(estimator, train.X, train.y).figure_,
        )


def _whose(test: _Rows | None) -> str:
    return "held-out rows" if test else "training rows, each left out by one Newton step"


def _shown(picture: _Picture) -> str:
    """A figure as part of the page; closed, since nobody else holds it."""
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    picture.figure.savefig(stream, format="png", dpi=DPI)
    plt.close(picture.figure)
    data = base64.b64encode(stream.getvalue()).decode()
    title, caption = escape(picture.title), escape(picture.caption)
    image = f'<img alt="{title}" src="data:image/png;base64,{data}">'
    return _section(picture.title, f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
