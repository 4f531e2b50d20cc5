"""One run at a time in an experiment's folder; a dead run holds nothing."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import write_json


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
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = FileLock(state / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"Another run is working in {state.parent}{_holder(state)}; wait for it to end, or "
            "choose another experiment_name."
        ) from error
    except OSError as error:
        raise RunError(
            f"{state.parent} cannot be written ({error.strerror}); choose another --output."
        ) from error
    try:
        write_json(
            state / "owner.json",
            {"command": command, "pid": os.getpid(), "host": socket.gethostname()},
        )
        yield
    finally:
        (state / "owner.json").unlink(missing_ok=True)
        lock.release()


def _holder(state: Path) -> str:
    """Who holds the lock, as far as they said."""
    try:
        owner = json.loads((state / "owner.json").read_text(encoding="utf-8"))
        return f" ({owner['command']}, process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
