"""Work handed to the workers of a Dask cluster that is there already.

Whoever starts a run on a cluster trusts it: workers and scheduler hand over pickled objects.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import io
import logging
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from clickmap_cli.runtime.errors import ClickmapError, ConfigError, MissingExtraError, RunError
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.registry import joblibs_cloudpickle

try:
    dask: Any = importlib.import_module("dask")
    distributed: Any = importlib.import_module("distributed")
except ImportError as error:
    raise MissingExtraError("dask", "backend: dask") from error

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_CONNECT_SECONDS = 5
_PATIENCE = 5  # seconds between looks at whether anybody works
_COUNT_SECONDS = 1  # a cluster may grow and shrink; how old the number of its workers may be
_SAME = ("clickmap", "numpy", "scipy", "h5py")
"""Packages whose versions must agree, or a worker's bytes may differ from this machine's."""


@contextmanager
def open_cluster(address: str, progress: Progress) -> Iterator[DaskPool]:
    """A connection to a scheduler; on leaving, what is still waiting there is cancelled.

    Raises:
        ConfigError: the address is none.
        RunError: no scheduler answers there.
    """
    with _quiet(), dask.config.set({"distributed.admin.large-graph-warning-threshold": "100GB"}):
        try:
            # a client that never connected takes long to be rid of
            with ThreadPoolExecutor(1) as thread:  # there may be an event loop in this one
                thread.submit(asyncio.run, _knock(address)).result()
            client = distributed.Client(
                address, timeout=_CONNECT_SECONDS, set_as_default=False, name="clickmap"
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"scheduler is '{address}', which is no address ({error}); write it like "
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
    """Whether a scheduler answers."""
    keys = distributed.Security().get_connection_args("client")  # for tls://
    comm = await distributed.core.connect(address, timeout=_CONNECT_SECONDS, **keys)
    await comm.close()


class DaskPool(Pool):
    """The workers of a cluster.

    Tasks are pickled here, with relative paths made absolute, since a worker stands in another
    folder. A task whose worker dies is given to another one by the scheduler.

    Args:
        client: connected to the scheduler.
        address: the scheduler's, for messages.
        progress: told when nobody is there to work.
    """

    remote = True

    def __init__(self, client: Any, address: str, progress: Progress) -> None:
        super().__init__()
        self._client = client
        self._address = address
        self._progress = progress
        self._counted = (-float(_COUNT_SECONDS), 1)
        self._said_nobody = False

    @property
    def workers(self) -> int:
        """Threads of all workers that are there now (at least 1)."""
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
        worth: bool = True,  # noqa: ARG002 - workers of a cluster have started already
    ) -> Iterator[Outcome]:
        """Yield `function(item)` for each item, in their order; see `ordered_map`.

        Raises:
            RunError: the scheduler went away, a task outlived none of its workers, or workers
                have other versions than this process.
        """
        waiting: deque[Any] = deque()
        source = iter(items)
        failed: BaseException | None = None
        more = True
        try:
            while True:
                while more and len(waiting) < 2 * self.workers:
                    try:
                        item = next(source)
                    except StopIteration:
                        more = False
                    except BaseException as error:
                        # told after the results of the items before it
                        more, failed = False, error
                    else:
                        waiting.append(self._submit(function, item))
                if not waiting:
                    break
                yield self._result(waiting.popleft())
        finally:
            for future in waiting:
                future.release()
        if failed is not None:
            raise failed

    def _submit(self, function: Callable[[Item], Outcome], item: Item) -> Any:
        packed = io.BytesIO()
        _Pickler(packed, protocol=pickle.HIGHEST_PROTOCOL).dump((function, item))
        with self._reachable():
            return self._client.submit(_call, packed.getvalue(), _versions(), pure=False)

    def _result(self, future: Any) -> Any:
        """What a task returned; raises what it raised."""
        while future.status in ("pending", "lost"):  # lost with its worker: it runs again
            try:
                with self._client.as_current():
                    distributed.wait(future, timeout=_PATIENCE)
            except TimeoutError:
                self._say_if_nobody_works()
            except distributed.CancelledError:
                break
        if future.status == "finished":
            with self._reachable():
                return future.result()
        if future.status == "error":
            raise _explained(future.exception(), self._address)
        raise self._gone()

    def _say_if_nobody_works(self) -> None:
        with self._reachable():
            there = bool(self._client.nthreads())
        if there:
            self._said_nobody = False
        elif not self._said_nobody:
            self._said_nobody = True
            self._progress.notice(
                f"No worker is connected to the Dask scheduler at {self._address}; waiting for "
                "one.",
                keep=False,
            )

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except ClickmapError:
            raise
        except (OSError, RuntimeError, distributed.CancelledError) as error:
            raise self._gone() from error

    def _gone(self) -> RunError:
        return RunError(
            f"The Dask scheduler at {self._address} went away; what is finished is kept. Start "
            "it again and run with --resume."
        )


def _explained(error: BaseException, address: str) -> BaseException:
    """What went wrong in a task; as a sentence where it is the cluster's fault."""
    found = error
    if isinstance(error, distributed.KilledWorker):
        found = RunError(
            f"{error.allowed_failures + 1} Dask workers died at the same piece of work, most "
            "often for want of memory; give them more of it, or fewer threads each, and run "
            "again with --resume."
        )
    if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("clickmap"):
        found = RunError(
            f"Dask workers of {address} do not find clickmap; install it in the environment they "
            "run in."
        )
    return found


_BasePickler: Any = joblibs_cloudpickle().Pickler  # knows which plugins travel whole


class _Pickler(_BasePickler):  # type: ignore[misc]
    """Writes relative paths as the absolute ones they are here."""

    def reducer_override(self, obj: Any) -> Any:
        """How an object is written; see `pickle`."""
        if isinstance(obj, Path) and not obj.is_absolute():
            return Path, (str(obj.absolute()),)
        return super().reducer_override(obj)


def _call(packed: bytes, wanted: dict[str, str]) -> Any:
    """Run one task; in a worker."""
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
    found = {}
    for name in _SAME:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own log and warnings from the terminal; errors are told in sentences."""
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
