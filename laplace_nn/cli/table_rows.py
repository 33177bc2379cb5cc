"""A user's table as training and held-out rows, and the options that say how."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from laplace_nn.cli.output import CommandError
from laplace_nn.estimators import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.tables import Inputs, choose_task, labels, numbers, read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rows", "Table", "add_options", "estimator_for", "fitting", "hidden", "read"]

TASKS = ("regression", "classification")


@dataclass(frozen=True)
class Rows:
    """Rows of the table: their numbers (from 0), inputs and targets."""

    index: np.ndarray
    X: "pd.DataFrame"
    y: np.ndarray

    def take(self, chosen: np.ndarray) -> "Rows":
        """Some of them."""
        return Rows(self.index[chosen], self.X.iloc[chosen], self.y[chosen])


@dataclass(frozen=True)
class Table:
    """A table that was read: what is predicted from what, why, and its rows."""

    inputs: Inputs
    target: str
    task: str
    reason: str
    train: Rows
    test: Rows | None


def add_options(parser: Any) -> None:
    """The table, its target and how it is split."""
    parser.add_argument(
        "data", type=Path, metavar="DATA.csv", help="comma-separated, with a header"
    )
    parser.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    parser.add_argument("--task", choices=("auto", *TASKS), default="auto")
    parser.add_argument(
        "--test-size", type=_share, default=0.0, metavar="F", help="share of rows to hold out"
    )
    parser.add_argument("--random-state", type=_seed, default=0, metavar="N")


def _share(text: str) -> float:
    """A share of the rows, between 0 and 1."""
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value


def _seed(text: str) -> int:
    """A seed."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2**32 - 1, got {text}")
    return value


def hidden(text: str) -> tuple[int, ...]:
    """Units of each hidden layer, with commas; 0 for none."""
    sizes = () if text == "0" else tuple(int(part) for part in text.split(","))
    if any(size < 1 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be positive integers with commas, got {text}")
    return sizes


def read(arguments: argparse.Namespace) -> Table:
    """The table that the arguments name, its task chosen and its rows split."""
    frame = read_table(arguments.data)
    inputs = Inputs.learn(frame, arguments.target)
    task, reason = arguments.task, "as asked"
    if task == "auto":
        task, reason = choose_task(frame, arguments.target)
    y = (labels if task == "classification" else numbers)(frame, arguments.target)
    train, test = _split(Rows(np.arange(len(y)), inputs.encode(frame), y), task, arguments)
    print(f"{task} of {arguments.target!r} ({reason}), {len(train.y)} training rows")
    for kind in ("numeric", "categorical"):
        print(f"{kind}: {', '.join(n for n, k in inputs.kinds.items() if k == kind) or 'none'}")
    sys.stdout.flush()
    return Table(inputs, arguments.target, task, reason, train, test)


def estimator_for(task: str, sizes: tuple[int, ...], random_state: int) -> Any:
    """The estimator of the task at its default settings, not yet fitted."""
    kind = LaplaceMLPClassifier if task == "classification" else LaplaceMLPRegressor
    return kind(sizes, random_state=random_state, verbose=1)


@contextmanager
def fitting() -> Iterator[None]:
    """What fails inside becomes one line for the user."""
    try:
        yield
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, MemoryError) as error:
        raise CommandError(f"the model cannot be fitted: {error or 'out of memory'}") from error


def _split(rows: Rows, task: str, arguments: argparse.Namespace) -> tuple[Rows, Rows | None]:
    """Training and held-out rows; by class for classification."""
    _check_varies(rows.y, task, arguments.target, "the table")
    if not arguments.test_size:
        return rows, None
    from sklearn.model_selection import train_test_split

    try:
        parts = train_test_split(
            rows.index,
            test_size=arguments.test_size,
            random_state=arguments.random_state,
            stratify=rows.y if task == "classification" else None,
        )
    except ValueError as error:
        raise CommandError(f"--test-size {arguments.test_size}: {error}") from error
    train, test = (rows.take(np.sort(part)) for part in parts)
    _check_varies(train.y, task, arguments.target, "the training part")
    if task == "classification" and not np.isin(test.y, train.y).all():
        raise CommandError(
            f"--test-size {arguments.test_size} leaves a class without training rows"
        )
    return train, test


def _check_varies(y: np.ndarray, task: str, target: str, where: str) -> None:
    if len(np.unique(y)) < 2:
        what = "class" if task == "classification" else "value"
        raise CommandError(
            f"target {target!r} has one {what} only in {where} ({y[0]}): nothing to learn"
        )
