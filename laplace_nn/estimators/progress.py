"""A progress bar over starts and cycles, with the evidence."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from laplace_nn.reestimation import Reestimation

__all__ = ["Progress"]


class Progress:
    """A bar that counts starts and shows the cycle, its evidence and the best so far.

    Parameters
    ----------
    n_starts : int
        Number of climbs.
    max_cycles : int
        Budget of cycles of each.
    shown : bool
        Whether to show anything.
    """

    def __init__(self, n_starts: int, max_cycles: int, shown: bool) -> None:
        self._best, self._max_cycles, self._bar = -np.inf, max_cycles, None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=n_starts, desc="starts", unit="start")

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

        def show(entry: dict[str, Any]) -> None:
            self._show(index, entry["cycle"], entry["log_marginal_likelihood"])
            if entry["event"] in ("end", "fixed"):
                self._bar.update(1)

        return show

    def finished(self, index: int, climbed: Reestimation) -> Reestimation:
        """Show a climb that ended in a worker, and hand it on."""
        if self._bar is not None:
            last = climbed.history[-1]
            self._show(index, last["cycle"], last["log_marginal_likelihood"])
            self._bar.update(1)
        return climbed

    def _show(self, index: int, cycle: int, evidence: float) -> None:
        self._best = max(self._best, evidence)
        self._bar.set_postfix_str(
            f"start {index + 1}, cycle {cycle}/{self._max_cycles}, "
            f"log evidence {evidence:.2f}, best {self._best:.2f}"
        )
