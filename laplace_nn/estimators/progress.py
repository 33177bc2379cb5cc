"""A progress bar over trainings and cycles, with the evidence."""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np

__all__ = ["Progress"]


class Progress:
    """A bar that counts trainings and shows the cycle, its evidence and the best so far.

    Parameters
    ----------
    n_starts : int
        Number of ways, to which the trainings that end them will be added.
    shift : float
        What makes an evidence of standardised targets one of the targets themselves.
    shown : bool
        Whether to show anything.
    """

    def __init__(self, n_starts: int, shift: float, shown: bool) -> None:
        self._best, self._shift = -np.inf, shift
        self._bar: Any = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=n_starts, desc="trainings", unit="training")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def callback(self, index: int) -> Callable[[dict[str, Any]], None] | None:
        """What a climb calls with every entry of its history."""
        if self._bar is None:
            return None
        return partial(self._show, index)

    def expect(self, n: int) -> None:
        """So many trainings more."""
        if self._bar is not None:
            self._bar.total += n

    def advance(self) -> None:
        """One of them is done."""
        if self._bar is not None:
            self._bar.update(1)

    def _show(self, index: int, entry: dict[str, Any]) -> None:
        evidence = entry["log_marginal_likelihood"] + self._shift
        self._best = max(self._best, evidence)
        self._bar.set_postfix_str(
            f"start {index + 1}, cycle {entry['cycle']}, "
            f"log evidence {evidence:.2f}, best {self._best:.2f}"
        )
