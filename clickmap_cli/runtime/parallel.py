"""Running one function over many items, in order, whatever the number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

Backend = Literal["threading", "loky"]

SHARED_BYTES = 16 << 20
"""Arrays larger than this reach worker processes as shared files, smaller ones as copies: the
files cost a second to tidy up, however small they are."""


def cpu_count() -> int:
    """Cores this process may run on (at least 1)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_count(n_jobs: int) -> int:
    """Workers meant by joblib's convention: -1 is every core, -2 all but one.

    Raises:
        ValueError: `n_jobs` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; use 1 for no parallel work or -1 for every core")
    return n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)


def ordered_map(
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    n_jobs: int,
    backend: Backend,
) -> Iterator[Outcome]:
    """Yield `function(item)` for each item, in the order of the items.

    Results are handed on as they come, and no more than a few items per worker are in flight, so
    the items need not fit in memory at once; results wait in memory where whoever takes them is
    slower than the workers. Items that take long to make are made while the workers are busy; what
    goes wrong in making one is raised here, after the results of those before it.
    """
    workers = worker_count(n_jobs)
    if workers == 1:
        yield from map(function, items)
        return
    from joblib import Parallel, delayed

    failed: list[BaseException] = []

    def guarded() -> Iterator[Item]:
        # joblib asks for items in a thread of its own, where an error would be lost
        try:
            yield from items
        except BaseException as error:
            failed.append(error)

    pool = Parallel(
        n_jobs=workers,
        backend=backend,
        return_as="generator",
        pre_dispatch=2 * workers,
        max_nbytes=SHARED_BYTES,
    )
    yield from pool(delayed(function)(item) for item in guarded())
    if failed:
        raise failed[0]
