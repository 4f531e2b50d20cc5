"""`clickmap` in separate processes that start at once: forked from one that has all imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_PRELOADED = "tests.faults.preloaded"
_ROOT = Path(__file__).parents[2]
_PATIENCE = 240.0

Change = Callable[[], None]
"""What is different in a process, such as its clock; called before the command."""


@dataclass(frozen=True)
class Ended:
    """The end of a command.

    Attributes:
        code: its exit code; negative for a signal.
        said: all it wrote to stdout and stderr.
        seconds: how long it took.
    """

    code: int
    said: str
    seconds: float


class Running:
    """A command at work, with its own output."""

    def __init__(self, words: Sequence[str], log: Path, changes: Sequence[Change]) -> None:
        self._log = log
        self._begun = time.monotonic()
        # a daemon may not start workers
        self._process = _context().Process(
            target=_work, args=(list(words), log, list(changes)), daemon=False
        )
        self._process.start()

    @property
    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def wait_until(self, there: Callable[[], bool]) -> bool:
        """Return True if something appeared while the command was at work."""
        until = time.monotonic() + _PATIENCE
        while self.alive and time.monotonic() < until:
            if there():
                return True
            time.sleep(0.0005)
        return False

    def kill(self) -> None:
        """SIGKILL it and what it has started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, TypeError):
            self._process.kill()
        self.end()

    def end(self) -> Ended:
        """Wait for it; one that hangs is killed and counts as such."""
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self.kill()
        code = self._process.exitcode
        seconds = time.monotonic() - self._begun
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        self._log.unlink(missing_ok=True)
        return Ended(-99 if code is None else code, said, seconds)


def start(words: Sequence[str], logs: Path, *changes: Change) -> Running:
    """Begin `clickmap` with these words; what it says goes to a file in `logs`."""
    return Running(words, logs / f"said-{uuid.uuid4().hex}", changes)


def run(words: Sequence[str], logs: Path, *changes: Change) -> Ended:
    """Run `clickmap` to its end."""
    return start(words, logs, *changes).end()


@cache
def _context() -> Any:
    """The process that all others are forked from, begun on one thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(_ROOT), prepend=os.pathsep)
        first = context.Process(target=_nothing)
        first.start()
        first.join()
    return context


def _nothing() -> None:
    """To see the server up."""


def _work(words: list[str], log: Path, changes: list[Change]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for change in changes:
        change()
    from clickmap_cli.app import app

    app(words)
