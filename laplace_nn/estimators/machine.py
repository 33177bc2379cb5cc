"""What the machine allows: memory for the matrices, and threads where they pay."""

import os
from contextlib import AbstractContextManager

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

__all__ = ["blas_threads", "check_room", "n_workers", "shared_blas"]

ONE_THREAD_SIZE = 2000  # of a matrix, below which BLAS threads cost more than they bring
WORTH_A_WORKER = 5e7  # multiplications of a step of training, above which a climb takes seconds
N_MATRICES = 4  # of the largest one's size that are alive at the same time


def blas_threads(size: int) -> AbstractContextManager:
    """One BLAS thread for small matrices, as many as there are for large ones."""
    return threadpool_limits(1 if size < ONE_THREAD_SIZE else None, user_api="blas")


def shared_blas(n_jobs: int | None) -> AbstractContextManager:
    """One BLAS thread while several workers share the machine, and afterwards as before.

    Workers that are threads set and restore the one number of the process each in its turn, and
    would leave it as another has set it.
    """
    return threadpool_limits(1 if effective_n_jobs(n_jobs) > 1 else None, user_api="blas")


def n_workers(n_jobs: int | str | None, n_tasks: int, size: int, step_cost: float) -> int:
    """Processes for climbs that train on matrices of this size, in steps of this cost.

    As many as were asked for. "auto" is one a core where a climb takes seconds and would leave the
    other cores idle: not for matrices that BLAS threads share, and not inside another worker.
    """
    if n_jobs != "auto":
        return min(n_tasks, effective_n_jobs(n_jobs))
    backend, from_context = get_active_backend()
    if backend.nesting_level:
        return 1
    if from_context is not None:
        return min(n_tasks, effective_n_jobs(None))
    pays = step_cost >= WORTH_A_WORKER and size < ONE_THREAD_SIZE
    return min(n_tasks, effective_n_jobs(-1)) if pays else 1


def check_room(size: int, what: str, remedy: str) -> None:
    """Refuse square matrices of this size that cannot fit, before anything is computed.

    Raises
    ------
    MemoryError
        With what needs them and what to do.
    """
    needed, physical = N_MATRICES * 8.0 * size**2, physical_memory()
    if needed > physical:
        raise MemoryError(
            f"{what}: about {needed / 1e9:.0f} GB are needed, and this machine has "
            f"{physical / 1e9:.0f} GB; {remedy}."
        )


def physical_memory() -> float:
    """In bytes; infinite on a platform that does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return np.inf
