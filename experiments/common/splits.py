"""The benchmark sets and their standard splits, by name.

A set is looked for in the folder that is given, then in ``experiments/data``, which holds the
sets under an open licence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

DATA = Path(__file__).parents[1] / "data"
REGRESSION_SETS = ("yacht", "energy", "concrete", "wine")
CLASSIFICATION_SETS = ("australian", "breast_cancer", "glass", "ionosphere")
TASK_KEYS = {"regression": "test_idx", "classification": "train_idx"}


class DataError(ValueError):
    """A set is not there, or is not what was asked for."""


@dataclass(frozen=True)
class Split:
    """Row numbers of one split; classification splits keep validation rows apart, unused."""

    number: int
    seed: int
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class DataSet:
    """A benchmark set.

    Parameters
    ----------
    name : str
        Its file's name.
    task : str
        "regression" or "classification".
    X : ndarray of shape (N, D)
        Inputs, not standardised.
    y : ndarray of shape (N,)
        Targets in their units, or labels 0 … C - 1.
    splits : tuple of Split
        The standard ones, in their order.
    """

    name: str
    task: str
    X: np.ndarray
    y: np.ndarray
    splits: tuple[Split, ...]

    def first(self, n_splits: int | None) -> tuple[Split, ...]:
        """The first so many splits; all of them if not given."""
        if n_splits is None:
            return self.splits
        if not 1 <= n_splits <= len(self.splits):
            raise DataError(f"{self.name} has 1 to {len(self.splits)} splits; got {n_splits}.")
        return self.splits[:n_splits]


def load(name: str, task: str, folder: Path | None = None) -> DataSet:
    """Read a set and its splits.

    Raises
    ------
    DataError
        If there is no such set, or it is one of the other task.
    """
    with np.load(find(name, folder), allow_pickle=False) as archive:
        arrays = dict(archive)
    missing = {"X", "y", TASK_KEYS[task]} - set(arrays)
    if missing:
        raise DataError(
            f"{name} is no {task} set with standard splits: it has no {', '.join(sorted(missing))}."
        )
    X, y = arrays["X"], arrays["y"]
    if task == "regression":
        if "train_idx" in arrays:
            raise DataError(f"{name} is a classification set: use uci_classification.")
        splits = tuple(regression_splits(len(y), arrays["test_idx"]))
    else:
        splits = tuple(classification_splits(arrays))
    return DataSet(name, task, X, y, splits)


def load_rows(name: str, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a regression set, whatever splits it has.

    Raises
    ------
    DataError
        If there is no such set, or it is one of classes or of several targets.
    """
    with np.load(find(name, folder), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if "X" not in arrays or "class_names" in arrays or arrays["y"].ndim != 1:
        raise DataError(f"{name} is no regression set with inputs X and one target y.")
    return arrays["X"], arrays["y"]


def find(name: str, folder: Path | None = None) -> Path:
    """The file of a set."""
    folders = [DATA] if folder is None else [folder, DATA]
    if folder is not None and not folder.is_dir():
        raise DataError(f"--data must be a folder; there is none at {folder}.")
    for place in folders:
        if (place / f"{name}.npz").is_file():
            return place / f"{name}.npz"
    there = sorted({path.stem for place in folders for path in place.glob("*.npz")})
    raise DataError(
        f"There is no set {name!r} in {' or '.join(str(place) for place in folders)}; there are "
        f"{', '.join(there)}. Sets without an open licence are not in the repository: pass the "
        "folder that holds them as --data."
    )


def regression_splits(n_rows: int, test_idx: np.ndarray) -> Iterator[Split]:
    """A split a row of ``test_idx``: all other rows are for training."""
    for number, test in enumerate(test_idx):
        train = np.setdiff1d(np.arange(n_rows), test)
        yield Split(number, number, train, np.asarray(test, dtype=np.intp))


def classification_splits(arrays: dict[str, np.ndarray]) -> Iterator[Split]:
    """A split a stored seed; the validation rows stay untouched."""
    stored = zip(arrays["seeds"], arrays["train_idx"], arrays["test_idx"], strict=True)
    for number, (seed, train, test) in enumerate(stored):
        yield Split(number, int(seed), train.astype(np.intp), test.astype(np.intp))


def gap_test_rows(X: np.ndarray) -> np.ndarray:
    """Test rows of the gap splits, (D, about N / 3): the middle third along each input in turn.

    After Foong et al. (2019), who publish no indices; a stable sort says which of tied rows are in
    it.
    """
    n_rows = len(X)
    return np.argsort(X, axis=0, kind="stable")[n_rows // 3 : 2 * n_rows // 3].T


def standard_test_rows(n_rows: int, n_splits: int = 20) -> np.ndarray:
    """Test rows of the standard regression splits (Hernandez-Lobato & Adams 2015), regenerated."""
    rng = np.random.RandomState(1)
    draws = [rng.choice(n_rows, n_rows, replace=False) for _ in range(n_splits)]
    return np.array([draw[round(0.9 * n_rows) :] for draw in draws])


def stratified_rows(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, test and validation rows (Immer et al. 2021), regenerated: 70, 15 and 15 %."""
    train, rest = train_test_split(np.arange(len(y)), train_size=0.7, random_state=seed, stratify=y)
    test, valid = train_test_split(rest, train_size=0.5, random_state=seed, stratify=y[rest])
    return train, test, valid
