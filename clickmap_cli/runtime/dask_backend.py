"""Run work on the workers of an existing Dask cluster.

Starting a run on a cluster means trusting it: workers and scheduler exchange pickled objects.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import logging
import math
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from clickmap_cli.runtime.errors import ClickmapError, ConfigError, MissingExtraError, RunError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.registry import installed_version, joblibs_cloudpickle

try:
    dask: Any = importlib.import_module("dask")
    distributed: Any = importlib.import_module("distributed")
except ImportError as error:
    raise MissingExtraError("dask", "backend: dask") from error

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_CONNECT_SECONDS = 5
_PATIENCE = 5  # seconds between checks that a worker is connected
_COUNT_SECONDS = 1  # maximal age of the number of workers, because a cluster may grow and shrink
_SAME = ("clickmap", "numpy", "scipy", "h5py")
"""Packages whose versions must agree, or a worker's results may differ from this machine's."""


@contextmanager
def open_cluster(address: str, progress: Progress) -> Iterator[DaskPool]:
    """Connect to a scheduler; on leaving, cancel the tasks that still wait there.

    Raises:
        ConfigError: the address is invalid.
        RunError: no scheduler answers at the address.
    """
    with _quiet(), dask.config.set({"distributed.admin.large-graph-warning-threshold": "100GB"}):
        try:
            # closing a client that never connected takes long, so a scheduler must answer first
            with ThreadPoolExecutor(1) as thread:  # this thread may already run an event loop
                thread.submit(asyncio.run, _knock(address)).result()
            client = distributed.Client(
                address, timeout=_CONNECT_SECONDS, set_as_default=False, name="clickmap"
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"scheduler is '{address}', which is not an address ({error}); write it like "
                "tcp://192.168.0.7:8786."
            ) from error
        except OSError as error:
            raise RunError(
                f"No Dask scheduler answers at {address}; start one with 'dask scheduler', or "
                "leave out --backend to run on this machine."
            ) from error
        try:
            yield DaskPool(client, address, progress)
        finally:
            client.close()


async def _knock(address: str) -> None:
    """Raise OSError unless a scheduler answers."""
    keys = distributed.Security().get_connection_args("client")  # for tls://
    comm = await distributed.core.connect(address, timeout=_CONNECT_SECONDS, **keys)
    await comm.close()


class DaskPool:
    """The workers of a cluster: a `Pool`.

    Tasks are pickled here, and relative paths become absolute, since a worker may run in another
    folder. If the worker of a task dies, the scheduler gives the task to another worker.

    Args:
        client: client that is connected to the scheduler.
        address: address of the scheduler, for messages.
        progress: receives a notice if no worker is connected.
    """

    remote = True

    def __init__(self, client: Any, address: str, progress: Progress) -> None:
        self._client = client
        self._address = address
        self._progress = progress
        self._counted = (-float(_COUNT_SECONDS), 1)
        self._reported_missing = False

    def workers(self, seconds: float = math.inf) -> int:
        """Return the number of threads of all workers that are connected now (at least 1)."""
        then, count = self._counted
        now = time.monotonic()
        if now - then >= _COUNT_SECONDS:
            with self._reachable():
                count = max(1, sum(self._client.nthreads().values()))
            self._counted = (now, count)
        return count

    def map(
        self,
        function: Callable[[Item], Outcome],
        items: Iterable[Item],
        seconds: float = math.inf,
    ) -> Iterator[Outcome]:
        """Yield `function(item)` for each item, in their order; see `Pool.map`.

        Raises:
            RunError: the scheduler stopped answering, all workers that tried a task died, or
                workers have other versions than this process.
        """
        waiting: deque[Any] = deque()
        failed: list[BaseException] = []

        def guarded() -> Iterator[Item]:
            # an error here is raised after the results of the earlier items
            try:
                yield from items
            except BaseException as error:
                failed.append(error)

        source = guarded()
        try:
            while True:
                room = max(0, 2 * self.workers() - len(waiting))
                waiting.extend(self._submit(function, item) for item in islice(source, room))
                if not waiting:
                    break
                yield self._result(waiting.popleft())
        finally:
            for future in waiting:
                future.release()
        if failed:
            raise failed[0]

    def _submit(self, function: Callable[[Item], Outcome], item: Item) -> Any:
        packed = io.BytesIO()
        _Pickler(packed, protocol=pickle.HIGHEST_PROTOCOL).dump((function, item))
        with self._reachable():
            return self._client.submit(_call, packed.getvalue(), _versions(), pure=False)

    def _result(self, future: Any) -> Any:
        """Return the result of a task, or raise its error."""
        while future.status in ("pending", "lost"):  # lost with its worker: the task runs again
            try:
                with self._client.as_current():
                    distributed.wait(future, timeout=_PATIENCE)
            except TimeoutError:
                self._report_missing_workers()
            except distributed.CancelledError:
                break
        if future.status == "finished":
            with self._reachable():
                return future.result()
        if future.status == "error":
            raise _explain(future.exception(), self._address)
        raise self._scheduler_lost()

    def _report_missing_workers(self) -> None:
        with self._reachable():
            missing = not self._client.nthreads()
        if missing and not self._reported_missing:
            self._progress.notice(
                f"No worker is connected to the Dask scheduler at {self._address}; waiting for "
                "one.",
                keep=False,
            )
        self._reported_missing = missing

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except ClickmapError:
            raise
        except (OSError, RuntimeError, distributed.CancelledError) as error:
            raise self._scheduler_lost() from error

    def _scheduler_lost(self) -> RunError:
        return RunError(
            f"The Dask scheduler at {self._address} went away; what is finished is kept. Start "
            "it again and run with --resume."
        )


def _explain(error: BaseException, address: str) -> BaseException:
    """Return the error of a task, or a RunError in plain words if the cluster caused it."""
    if isinstance(error, distributed.KilledWorker):
        return RunError(
            f"{error.allowed_failures + 1} Dask workers died at the same piece of work, most "
            "often for lack of memory; give them more of it, or fewer threads each, and run "
            "again with --resume."
        )
    if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("clickmap"):
        return RunError(
            f"Dask workers of {address} do not find clickmap; install it in the environment they "
            "run in."
        )
    return error


_BasePickler: Any = joblibs_cloudpickle().Pickler  # it pickles plugins by value


class _Pickler(_BasePickler):  # type: ignore[misc]
    """Pickler that makes relative paths absolute."""

    def reducer_override(self, obj: Any) -> Any:
        """Choose how an object is pickled; see `pickle`."""
        if isinstance(obj, Path) and not obj.is_absolute():
            return Path, (str(obj.absolute()),)
        return super().reducer_override(obj)


def _call(packed: bytes, wanted: dict[str, str]) -> Any:
    """Run one task; called in a worker."""
    there = _versions()
    for name, version in wanted.items():
        if there[name] != version:
            raise RunError(
                f"A Dask worker has {name} {there[name]} and this process {version}; results might "
                "differ, so install the same version on both."
            )
    function, item = pickle.loads(packed)  # noqa: S301 - from the client, which the cluster trusts
    return function(item)


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: installed_version(name) or "not installed" for name in _SAME}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the log and the warnings of the library; errors are raised with plain messages."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = {name: logging.getLogger(name).level for name in ("distributed", *names)}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
