"""A user's table to arrays and back: what stands between a CSV file and an estimator.

Every cell is read as text and turned into numbers here, so that a column means the same when the
model is fitted and when it predicts, whatever rows the file happens to hold.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Inputs",
    "TableError",
    "TableModel",
    "choose_task",
    "labels",
    "numbers",
    "predictions",
    "read_table",
    "scores",
]

FEW = 10  # distinct values that can be classes or categories ...
ROWS_EACH = 5  # ... where each has so many rows on average
COVERAGE = 0.95


class TableError(ValueError):
    """A table that cannot be used, in one sentence that says why."""


def read_table(path: str | Path) -> "pd.DataFrame":
    """Read a comma-separated file with a header, every cell as text.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    DataFrame
        Of text; cells that are empty or say NA, NaN, null or the like are missing.

    Raises
    ------
    TableError
        If the file cannot be read, is no such table, or holds no rows.
    """
    import pandas as pd

    options: dict[str, Any] = {"dtype": str, "skipinitialspace": True, "encoding": "utf-8-sig"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            header = pd.read_csv(Path(path), header=None, nrows=1, **options)
            frame = pd.read_csv(Path(path), index_col=False, **options)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a file of another kind makes the reader say
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a comma-separated table: {reason}") from error
    _check_header([str(name) for name in header.iloc[0].dropna()], path)
    if len(frame) == 0:
        raise TableError(f"{path} holds no rows below its header")
    return frame.rename(columns=lambda name: str(name).strip())


def _check_header(names: list[str], path: str | Path) -> None:
    stripped = [name.strip() for name in names]
    twice = sorted({name for name in stripped if stripped.count(name) > 1})
    if twice:
        raise TableError(f"{path} has more than one column named {twice[0]!r}")


def _text(frame: "pd.DataFrame", column: str) -> np.ndarray:
    """The cells of a column, (N,) of str, none of them missing."""
    if column not in frame.columns:
        listed = ", ".join(repr(name) for name in frame.columns)
        raise TableError(f"there is no column {column!r}; the table has {listed}")
    cells = frame[column].str.strip()
    missing = (cells.isna() | (cells == "")).to_numpy(dtype=bool)
    if missing.any():
        raise TableError(
            f"column {column!r} has {missing.sum()} missing value(s), the first in row "
            f"{missing.argmax() + 1}: fill them in or leave the rows out"
        )
    return cells.to_numpy(dtype=object)


def _parse(cells: np.ndarray) -> np.ndarray:
    """Cells as numbers, NaN where they are none."""
    import pandas as pd

    parsed = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    values = parsed.to_numpy(dtype=float, copy=True)
    known = ~np.isnan(values)
    values[known] = cells[known].astype(float)  # pandas before 3 drops the last digit
    return values


def numbers(frame: "pd.DataFrame", column: str) -> np.ndarray:
    """A numeric column, (N,).

    Raises
    ------
    TableError
        If the column is not there, has missing values, or holds text or infinite numbers; names the
        column, the first row (counted from 1 below the header) and what it holds.
    """
    cells = _text(frame, column)
    values = _parse(cells)
    for wrong, what in ((np.isnan(values), "text"), (np.isinf(values), "an infinite number")):
        if wrong.any():
            row = int(wrong.argmax())
            raise TableError(
                f"column {column!r} must hold numbers but has {what} in row {row + 1}: "
                f"{cells[row]!r}"
            )
    return values


def labels(frame: "pd.DataFrame", column: str) -> np.ndarray:
    """A column of class labels, (N,): integers where all of them are, text otherwise."""
    cells = _text(frame, column)
    values = _parse(cells)
    if _whole(values):
        return values.astype(np.int64)
    return cells.astype(str)


def _whole(values: np.ndarray) -> bool:
    return bool(np.all(np.abs(values) < 2**53) and np.all(values == np.round(values)))


def _few(n_distinct: int, n_rows: int) -> bool:
    """Whether so few values, each so often, rather are names than measurements."""
    return n_distinct <= FEW and n_rows >= ROWS_EACH * n_distinct


def _is_numeric(frame: "pd.DataFrame", column: str) -> bool:
    """Whether a column holds numbers; a measured column with a stray word is an error."""
    cells = _text(frame, column)
    words = np.isnan(_parse(cells))
    if words.any() and words.mean() < 0.5 and not _few(len(set(cells)), len(cells)):
        numbers(frame, column)
    return not words.any()


def choose_task(frame: "pd.DataFrame", target: str) -> tuple[str, str]:
    """Regression or classification, from the target's values.

    Parameters
    ----------
    frame : DataFrame
        From `read_table`.
    target : str
        The column to predict.

    Returns
    -------
    task : {"regression", "classification"}
        Classification for text, and for at most 10 different integers with 5 rows each or more
        on average.
    reason : str
        Why, in words.
    """
    if not _is_numeric(frame, target):
        return "classification", "the target is text"
    values = numbers(frame, target)
    n_distinct = len(np.unique(values))
    if _whole(values) and _few(n_distinct, len(values)):
        return "classification", f"the target holds {n_distinct} different integers"
    return "regression", f"the target holds {n_distinct} different numbers"


@dataclass(frozen=True)
class Inputs:
    """The columns that a model looks at, and how they become numbers.

    A numeric column stays as it is, two categories become 0 and 1, more become one column each
    with a 1 where a row is of that category.

    Parameters
    ----------
    categories : dict of str to tuple of str
        The categories of every column that is used, in the table's order; none for a numeric one.
    left_out : tuple of str
        Columns that are not used.

    Examples
    --------
    >>> import pandas as pd
    >>> from laplace_nn.tables import Inputs
    >>> frame = pd.DataFrame({"size": ["1.5", "2"], "kind": ["b", "a"], "y": ["0", "1"]})
    >>> inputs = Inputs.learn(frame, target="y")
    >>> inputs.encode(frame)
       size  kind=b
    0   1.5     1.0
    1   2.0     0.0
    """

    categories: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()

    @classmethod
    def learn(cls, frame: "pd.DataFrame", target: str) -> "Inputs":
        """Look at every column but the target.

        Parameters
        ----------
        frame : DataFrame
            From `read_table`.
        target : str
            The column to predict.

        Returns
        -------
        Inputs
            Text columns with a value of its own for most rows (names, keys) are left out.

        Warns
        -----
        UserWarning
            If a column is left out.

        Raises
        ------
        TableError
            If a column has missing values or a stray word, or none is left.
        """
        _text(frame, target)
        categories: dict[str, tuple[str, ...]] = {}
        left_out = []
        for column in (name for name in frame.columns if name != target):
            found = () if _is_numeric(frame, column) else tuple(sorted(set(_text(frame, column))))
            if len(found) > max(FEW, len(frame) / 2):
                left_out.append(column)
            else:
                categories[column] = found
        if not categories:
            raise TableError(f"no column is left to predict {target!r} from")
        if left_out:
            warnings.warn(
                f"left out, text that is different in most rows: {', '.join(left_out)}",
                stacklevel=2,
            )
        return cls(categories, tuple(left_out))

    @property
    def kinds(self) -> dict[str, str]:
        """Whether every column that is used is "numeric" or "categorical"."""
        return {
            name: "categorical" if found else "numeric" for name, found in self.categories.items()
        }

    def encode(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """The inputs of a table's rows, (N, D), by the columns' names.

        Raises
        ------
        TableError
            If a column is not there, has missing values, text where numbers belong, or a category
            that was not there when the model was fitted.
        """
        import pandas as pd

        parts = [self._encode_column(frame, column) for column in self.categories]
        return pd.DataFrame({name: values for part in parts for name, values in part.items()})

    def _encode_column(self, frame: "pd.DataFrame", column: str) -> dict[str, np.ndarray]:
        """A column's inputs by their names, "kind=b" for a category."""
        found = self.categories[column]
        if not found:
            return {column: numbers(frame, column)}
        cells = _text(frame, column)
        new = ~np.isin(cells.astype(str), found)
        if new.any():
            row = int(new.argmax())
            raise TableError(
                f"column {column!r} has a new category in row {row + 1}: {cells[row]!r}; the "
                f"model knows {_listed(found)}"
            )
        shown = found[1:] if len(found) == 2 else found
        return {f"{column}={value}": (cells == value).astype(float) for value in shown}


def _listed(values: Sequence[str], most: int = 10) -> str:
    """At most so many values, in quotes."""
    shown = ", ".join(repr(value) for value in values[:most])
    return f"{shown} and {len(values) - most} more" if len(values) > most else shown


@dataclass(frozen=True)
class TableModel:
    """A fitted estimator with the columns it was fitted to: what a model file holds.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        Fitted to the encoded inputs.
    inputs : Inputs
        How a table becomes those.
    target : str
        The column that is predicted.
    task : {"regression", "classification"}
        What the estimator does.
    """

    estimator: Any
    inputs: Inputs
    target: str
    task: str

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Predictions for a table from `read_table`, one line a row; see `predictions`."""
        return predictions(self.estimator, self.inputs.encode(frame), self.task)


def predictions(estimator: Any, X: np.ndarray, task: str) -> "pd.DataFrame":
    """Predictions with their uncertainty, as a table.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        Fitted.
    X : ndarray of shape (N, D)
        Encoded inputs.
    task : {"regression", "classification"}
        What the estimator does.

    Returns
    -------
    DataFrame
        Mean, standard deviation (noise included) and the ends of the 95 % interval; or the
        predicted class and every class's probability.
    """
    import pandas as pd

    if task == "regression":
        mean, std = estimator.predict(X, return_std=True)
        lower, upper = estimator.predict_interval(X, coverage=COVERAGE).T
        return pd.DataFrame({"mean": mean, "std": std, "lower_95": lower, "upper_95": upper})
    probability = estimator.predict_proba(X)
    columns: dict[str, np.ndarray] = {"predicted": estimator.classes_[probability.argmax(axis=1)]}
    for k, name in enumerate(estimator.classes_):
        columns[f"probability_{name}"] = probability[:, k]
    return pd.DataFrame(columns)


def scores(estimator: Any, X: np.ndarray, y: np.ndarray, task: str) -> dict[str, float]:
    """Error and mean log predictive density a row, both in the target's units.

    Parameters
    ----------
    estimator : LaplaceMLPRegressor or LaplaceMLPClassifier
        Fitted.
    X : ndarray of shape (N, D)
        Encoded inputs.
    y : ndarray of shape (N,)
        Targets.
    task : {"regression", "classification"}
        What the estimator does.

    Returns
    -------
    dict of str to float
        "rmse" or "error_rate", and "log_likelihood".
    """
    density = float(np.mean(estimator.log_predictive_density(X, y)))
    predicted = estimator.predict(X)
    if task == "regression":
        return {"rmse": float(np.sqrt(np.mean((predicted - y) ** 2))), "log_likelihood": density}
    return {"error_rate": float(np.mean(predicted != y)), "log_likelihood": density}
