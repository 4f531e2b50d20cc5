"""Run one function over many items, with results in order for any number of workers."""

from __future__ import annotations

import math
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, Protocol, TypeVar, cast

from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.runtime.progress import Progress

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

Backend = Literal["threading", "loky"]
"""Workers on this machine: threads, or processes."""

SHARED_BYTES = 16 << 20
"""Arrays larger than this reach worker processes as shared files, smaller ones as copies, because
removing the files takes a second, however small they are."""


START_SECONDS = 2.0
"""Time in which worker processes start; less work than that ends sooner without them."""


def worker_count(n_jobs: int, seconds: float = math.inf) -> int:
    """Return the number of workers by joblib's convention: -1 is every core, -2 all but one.

    A core counts if this process may use it: affinity and the quota of a container limit them.

    Args:
        n_jobs: number of workers, or a negative number.
        seconds: estimated time of the work on one core; for less than `START_SECONDS`, one worker
            is returned. An estimate changes how long a run takes, never its results.

    Raises:
        ValueError: `n_jobs` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; use 1 for no parallel work or -1 for every core")
    if seconds < START_SECONDS:
        return 1
    if n_jobs > 0:
        return n_jobs
    import joblib  # takes a tenth of a second

    return max(1, int(joblib.cpu_count()) + 1 + n_jobs)


def ordered_map(
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    n_jobs: int,
    backend: Backend,
) -> Iterator[Outcome]:
    """Yield `function(item)` for each item, in the order of the items.

    Results are yielded as soon as possible, and only a few items per worker are in progress, so
    the items need not fit in memory together. If the consumer is slower than the workers, results
    wait in memory. Items that take long to produce are produced while the workers are busy. An
    error while producing an item is raised here, after the results of the earlier items.
    """
    workers = worker_count(n_jobs)
    if workers == 1:
        yield from map(function, items)
        return
    failed: list[BaseException] = []

    def guarded() -> Iterator[Item]:
        # joblib iterates in a separate thread, where an error would be lost
        try:
            yield from items
        except BaseException as error:
            failed.append(error)

    in_workers = _in_threads if backend == "threading" else _in_processes
    yield from in_workers(function, guarded(), workers)
    if failed:
        raise failed[0]


def _in_processes(
    function: Callable[[Item], Outcome], items: Iterable[Item], workers: int
) -> Iterator[Outcome]:
    """Run in worker processes; an error kills the workers.

    Raises:
        KeyboardInterrupt: the workers were ended with SIGTERM, as when a scheduler ends a job.
        RunError: a worker ended in another way before its work was done.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = Parallel(
        n_jobs=workers,
        backend="loky",
        return_as="generator",
        pre_dispatch=2 * workers,
        max_nbytes=SHARED_BYTES,
    )
    try:
        results = pool(delayed(function)(item) for item in items)
        try:
            for result in results:  # noqa: UP028 - which would close it before `finally`
                yield result
        finally:
            with warnings.catch_warnings():
                # after an interruption, joblib's warning about unused results is not useful
                warnings.filterwarnings("ignore", message=".*tasks ", category=UserWarning)
                results.close()
    except TerminatedWorkerError as error:
        signals = sorted(set(re.findall(r"SIG[A-Z]+", str(error))))
        if "SIGTERM" in signals:
            raise KeyboardInterrupt from error
        raise RunError(
            f"A worker process ended before its work was done ({', '.join(signals) or 'crashed'}), "
            "most often for lack of memory; try fewer --n-jobs, or a machine with more of it."
        ) from error


def _in_threads(
    function: Callable[[Item], Outcome], items: Iterable[Item], workers: int
) -> Iterator[Outcome]:
    """Run in threads; an error waits for running threads, which would otherwise go on writing."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Outcome]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class Pool(Protocol):
    """The workers of a run: on this machine (`LocalPool`), or on a cluster (`DaskPool`).

    Attributes:
        remote: True if workers may run on other machines.
    """

    remote: bool

    def workers(self, seconds: float = math.inf) -> int:
        """Return the number of items that `map` processes at once (at least 1)."""

    def map(
        self,
        function: Callable[[Item], Outcome],
        items: Iterable[Item],
        seconds: float = math.inf,
    ) -> Iterator[Outcome]:
        """Yield `function(item)` for each item, in their order; see `ordered_map`.

        Args:
            function: function to call, possibly in another process.
            items: arguments, one per call.
            seconds: estimated time of all calls on one core; see `worker_count`.
        """


class LocalPool:
    """Workers on this machine.

    Args:
        n_jobs: number of workers, by joblib's convention.
        backend: kind of workers, threads or processes.
    """

    remote = False

    def __init__(self, n_jobs: int = 1, backend: Backend = "loky") -> None:
        self._n_jobs = n_jobs
        self._backend = backend

    def workers(self, seconds: float = math.inf) -> int:
        """Return the number of items that `map` processes at once (at least 1)."""
        return worker_count(self._n_jobs, seconds)

    def map(
        self,
        function: Callable[[Item], Outcome],
        items: Iterable[Item],
        seconds: float = math.inf,
    ) -> Iterator[Outcome]:
        """Run `ordered_map` with these workers; see `Pool.map`."""
        return ordered_map(function, items, self.workers(seconds), self._backend)


@contextmanager
def open_pool(
    backend: str, n_jobs: int, scheduler: str | None, progress: Progress, connect: bool = True
) -> Iterator[Pool]:
    """Yield the workers that a config asks for.

    Args:
        backend: `loky`, `threading` or `dask`.
        n_jobs: workers on this machine; a cluster has its own number.
        scheduler: address of the Dask scheduler.
        progress: receives a notice if a cluster has no worker.
        connect: True if the run needs a cluster at all (a dry run does not).

    Raises:
        ConfigError: dask without the address of a scheduler, or an address without dask.
        MissingExtraError: Dask is not installed.
        RunError: no scheduler answers.
    """
    if backend == "dask" and scheduler is None:
        raise ConfigError(
            "backend: dask needs the address of a scheduler that runs, such as --scheduler "
            "tcp://192.168.0.7:8786."
        )
    if backend != "dask" and scheduler is not None:
        raise ConfigError(
            f"scheduler is '{scheduler}' and backend is {backend}; add --backend dask to use it."
        )
    if backend == "dask" and connect and scheduler is not None:
        from clickmap_cli.runtime.dask_backend import open_cluster

        with open_cluster(scheduler, progress) as pool:
            yield pool
    else:
        yield LocalPool(n_jobs, "loky" if backend == "dask" else cast("Backend", backend))
