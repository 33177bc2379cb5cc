"""Independent fits at the same time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from joblib import Parallel, delayed, parallel_config

from experiments.common.harness import n_threads


def each(call: Callable[..., Any], arguments: Iterable[tuple], jobs: int) -> Iterator[Any]:
    """``call(*arguments)`` of every one, in order and as they come."""
    with parallel_config(backend="loky", inner_max_num_threads=n_threads()):
        calls = (delayed(call)(*given) for given in arguments)
        yield from Parallel(n_jobs=jobs, return_as="generator")(calls)
