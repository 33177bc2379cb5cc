"""Rows in blocks: every data term of this package is a sum over rows.

`RowBlocks` alone knows how rows are cut (by a memory budget), where they live (an array or a
``numpy.memmap``) and who adds the blocks up (this thread, or joblib's workers). Blocks are added
in their order, so a result does not depend on the number of workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

__all__ = ["RowBlocks"]

DEFAULT_MEMORY_BUDGET = 2**27  # bytes a block may take in its largest intermediate array
CACHE_BUDGET = 3 * 2**19  # the same for passes through the network: what stays in a core's cache


@dataclass(frozen=True)
class RowBlocks:
    """N rows of inputs with their targets and weights, cut into blocks.

    Every data term is Σ_blocks term(block).

    Parameters
    ----------
    X : ndarray of shape (N, D)
        Inputs.
    y : ndarray of shape (N, K), optional
        Targets, as the likelihood takes them.
    sample_weight : ndarray of shape (N,), optional
        How often each row counts; 1 if not given.
    memory_budget : int, default=2**27
        Bytes that a block's largest intermediate array may take.
    n_jobs : int, default=1
        Workers that evaluate blocks; None takes what the surrounding `joblib.parallel_config`
        says.

    Raises
    ------
    ValueError
        If the numbers of rows differ, or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.ones((10, 2)))
    >>> float(rows.sum(lambda block: block.X.sum(), row_bytes=16))
    20.0
    """

    X: np.ndarray
    y: np.ndarray | None = None
    sample_weight: np.ndarray | None = None
    memory_budget: int = DEFAULT_MEMORY_BUDGET
    n_jobs: int | None = 1

    def __post_init__(self) -> None:
        for name, array in (("y", self.y), ("sample_weight", self.sample_weight)):
            if array is not None and len(array) != len(self.X):
                raise ValueError(
                    f"RowBlocks.{name} must have as many rows as X, {len(self.X)}; "
                    f"got {len(array)}."
                )
        if len(self.X) == 0:
            raise ValueError("RowBlocks needs at least one row; X has none.")

    @property
    def n_rows(self) -> int:
        """Number of rows held, N."""
        return len(self.X)

    @cached_property
    def total_weight(self) -> float:
        """Σ_n of the sample weights: the number of rows that the likelihood counts."""
        return float(self.n_rows if self.sample_weight is None else self.sample_weight.sum())

    @property
    def targets(self) -> np.ndarray:
        """y, for the terms that need it."""
        if self.y is None:
            raise ValueError("These rows carry no targets: pass y to RowBlocks.")
        return self.y

    @cached_property
    def copies(self) -> np.ndarray:
        """How much weight the rows that equal a row in X and y carry, relative to its own, (N,)."""
        weights = np.ones(self.n_rows) if self.sample_weight is None else self.sample_weight
        joined = np.column_stack([self.X, self.targets])
        _, same = np.unique(joined, axis=0, return_inverse=True)
        total = np.bincount(same.ravel(), weights=weights)[same.ravel()]
        return np.divide(total, weights, out=np.ones(self.n_rows), where=weights > 0.0)

    def weigh(self, values: np.ndarray) -> np.ndarray:
        """Values (N, ...) times the rows' sample weights."""
        if self.sample_weight is None:
            return values
        return values * self.sample_weight.reshape(-1, *[1] * (values.ndim - 1))

    def slices(self, row_bytes: int) -> list[slice]:
        """The blocks' row ranges when a row of the largest intermediate takes row_bytes."""
        size = max(1, int(self.memory_budget // max(1, row_bytes)))
        return [slice(start, start + size) for start in range(0, self.n_rows, size)]

    def block(self, rows: slice) -> "RowBlocks":
        """A block: the same kind of value with the rows of one range."""
        if rows.start == 0 and rows.stop >= self.n_rows:
            return self
        return replace(
            self,
            X=np.asarray(self.X[rows]),
            y=None if self.y is None else np.asarray(self.y[rows]),
            sample_weight=None if self.sample_weight is None else self.sample_weight[rows],
        )

    def map(self, term: Callable[["RowBlocks"], Any], row_bytes: int) -> Iterator[Any]:
        """term(block) of every block, in their order."""
        slices = self.slices(row_bytes)
        if len(slices) == 1 or effective_n_jobs(self.n_jobs) == 1:
            return (term(self.block(rows)) for rows in slices)
        workers = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return workers(delayed(term)(self.block(rows)) for rows in slices)

    def sum(self, term: Callable[["RowBlocks"], Any], row_bytes: int) -> Any:
        """Σ_blocks term(block), added in block order; at most two terms are held at a time."""
        terms = self.map(term, row_bytes)
        total = next(terms)
        if isinstance(total, np.ndarray) and len(self.slices(row_bytes)) > 1:
            total = total.copy()  # added to in place, and a term may be a view of the rows
        for part in terms:
            total += part
        return total

    def sum_passes(self, term: Callable[["RowBlocks"], Any], row_bytes: int) -> Any:
        """Σ term(block) for passes, which read what they have just written: in the cache.

        Each worker's block is cut once more, so that workers change no digit here either.
        """
        return self.sum(partial(_sum_in_cache, term, row_bytes), row_bytes)

    def accumulate(
        self,
        term: Callable[["RowBlocks", np.ndarray], None],
        shape: tuple[int, ...],
        row_bytes: int,
    ) -> np.ndarray:
        """The sum of what term(block, out) adds to out, block by block, in one array.

        For sums too large to be held twice; workers, where there are any, hand back an array
        each. A term adds to an entry of out once, so that both ways give the same digits.
        """
        out = np.zeros(shape)
        slices = self.slices(row_bytes)
        if len(slices) > 1 and effective_n_jobs(self.n_jobs) > 1:
            for part in self.map(partial(_added_to_zeros, term, shape), row_bytes):
                out += part
            return out
        for rows in slices:
            term(self.block(rows), out)
        return out

    def concatenate(self, term: Callable[["RowBlocks"], np.ndarray], row_bytes: int) -> np.ndarray:
        """term(block) of every block, stacked along the rows."""
        return np.concatenate(list(self.map(term, row_bytes)))


def _sum_in_cache(term: Callable[[RowBlocks], Any], row_bytes: int, block: RowBlocks) -> Any:
    budget = min(CACHE_BUDGET, block.memory_budget)
    return replace(block, memory_budget=budget, n_jobs=1).sum(term, row_bytes)


def _added_to_zeros(
    term: Callable[[RowBlocks, np.ndarray], None], shape: tuple[int, ...], block: RowBlocks
) -> np.ndarray:
    out = np.zeros(shape)
    term(block, out)
    return out
