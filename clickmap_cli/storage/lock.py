"""Allow one run at a time in an experiment's folder; a process that ends loses its lock."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import to_run_error, write_json

Outcome = TypeVar("Outcome")

_SIBLINGS_SECONDS = 120  # shards lock the whole folder only while they begin
_LOOK_SECONDS = 0.3  # wait for `require_free`, which locks the folder for a moment


@contextmanager
def only_run(state: Path, command: str) -> Iterator[None]:
    """Lock an experiment's folder while a command writes into it.

    The lock belongs to the process: the operating system releases it when the process ends,
    even after a crash.

    Args:
        state: the folder's `.clickmap` folder; created if missing.
        command: name of the command that holds the lock, for the error message of a second run.

    Raises:
        RunError: another run holds the folder, or the folder cannot be written.
    """
    lock = _folder_lock(state, _LOOK_SECONDS)
    try:
        busy = busy_shards(state)
        if busy:
            raise RunError(
                f"{state.parent}: shard {', '.join(busy)} is being written; wait for it to end."
            )
        write_json(
            state / "owner.json",
            {"command": command, "pid": os.getpid(), "host": socket.gethostname()},
        )
        yield
    finally:
        with suppress(OSError):  # a disk that became read-only must not hide the original error
            (state / "owner.json").unlink(missing_ok=True)
        lock.release()


@contextmanager
def only_shard(
    state: Path, shard: tuple[int, int], begin: Callable[[], Outcome]
) -> Iterator[Outcome]:
    """Lock one shard of an experiment; other shards can be written meanwhile, whole runs cannot.

    Args:
        state: the folder's `.clickmap` folder; created if missing.
        shard: number of the shard, and number of all shards.
        begin: function called while nothing else can begin in the folder; its result is yielded.

    Raises:
        RunError: another process writes this shard, or a run holds the whole folder.
    """
    number, total = shard
    own = FileLock(_shards(state) / f"{number}_of_{total}.lock", timeout=0)
    try:
        folder = _folder_lock(state, _SIBLINGS_SECONDS)
        try:
            _shards(state).mkdir(exist_ok=True)
            own.acquire()
            outcome = begin()
        except Timeout as error:
            raise RunError(
                f"{state.parent}: another process writes shard {number}/{total}; wait for it to "
                "end."
            ) from error
        finally:
            folder.release()
        yield outcome
    finally:
        own.release()


def require_free(state: Path) -> None:
    """Raise if a run is working in a folder.

    Raises:
        RunError: another run or shard holds the folder's lock.
    """
    if (state / "lock").is_file():
        _folder_lock(state, _LOOK_SECONDS).release()


def busy_shards(state: Path) -> list[str]:
    """Return the shards that are being written, as `2/8`."""
    busy = []
    for path in sorted(_shards(state).glob("*.lock")):
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            busy.append(path.stem.replace("_of_", "/"))
        else:
            lock.release()
    return busy


def _shards(state: Path) -> Path:
    return state / "shards"


def _folder_lock(state: Path, seconds: float) -> FileLock:
    """Acquire and return the folder's lock."""
    lock = FileLock(state / "lock", timeout=seconds)
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"Another run is working in {state.parent}{_holder(state)}; wait for it to end, or "
            "choose another output folder."
        ) from error
    except OSError as error:
        raise to_run_error(state.parent, error) from error
    return lock


def _holder(state: Path) -> str:
    """Describe the run that holds the lock; an empty string if that is unknown."""
    try:
        owner = json.loads((state / "owner.json").read_text(encoding="utf-8"))
        return f" ({owner['command']}, process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
