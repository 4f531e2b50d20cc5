"""One run at a time in an experiment's folder; a dead run holds nothing."""

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
from clickmap_cli.storage.atomic import explained, write_json

Outcome = TypeVar("Outcome")

_SIBLINGS_SECONDS = 120  # shards hold the folder only while they begin
_LOOK_SECONDS = 0.3  # and who only looks whether it is free, for a moment


@contextmanager
def only_run(state: Path, command: str) -> Iterator[None]:
    """Hold an experiment's folder while a command writes into it.

    The lock belongs to the process: the operating system releases it when the process ends,
    however it ends.

    Args:
        state: the folder's `.clickmap` folder; made when missing.
        command: what holds the lock, for the message to whoever comes second.

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
        with suppress(OSError):  # a disk that turned read-only must not hide what ended the run
            (state / "owner.json").unlink(missing_ok=True)
        lock.release()


@contextmanager
def only_shard(
    state: Path, shard: tuple[int, int], begin: Callable[[], Outcome]
) -> Iterator[Outcome]:
    """Hold one shard of an experiment; others may be written at the same time, whole runs not.

    Args:
        state: the folder's `.clickmap` folder; made when missing.
        shard: its number and how many there are.
        begin: called while nothing else can begin in the folder; what it returns is handed on.

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
    """Whether no run is at work in a folder now.

    Raises:
        RunError: one is.
    """
    if (state / "lock").is_file():
        _folder_lock(state, _LOOK_SECONDS).release()


def busy_shards(state: Path) -> list[str]:
    """Shards that are being written, as `2/8`."""
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
    """The folder's lock, held."""
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
        raise explained(state.parent, error) from error
    return lock


def _holder(state: Path) -> str:
    """Who holds the lock, as far as they said."""
    try:
        owner = json.loads((state / "owner.json").read_text(encoding="utf-8"))
        return f" ({owner['command']}, process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
