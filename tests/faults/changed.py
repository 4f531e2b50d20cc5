"""What is different in the process of a command: its clock, its host, what happens at a moment."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DAY = 86_400.0
_CAPABILITY_VERSION = 0x20080522
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
OPENED, RENAMED = "open", "os.rename"
"""Moments of a command: it opens a file, or puts a finished one in its place."""


@dataclass(frozen=True)
class SmallShards:
    """Map shards of a few images, so that small studies have many."""

    images: int = 6

    def __call__(self) -> None:
        from clickmap_cli.services.prepare import maps as prepare_maps

        prepare_maps.MAX_SHARD_IMAGES = self.images


@dataclass(frozen=True)
class JumpingClock:
    """The system's time jumps by up to a year, back and forth, each time it is asked for."""

    seed: int

    def __call__(self) -> None:
        rng = random.Random(self.seed)
        true = time.time_ns

        def jumping() -> int:
            return true() + int(rng.uniform(-365, 365) * DAY * 1e9)

        time.time_ns = jumping
        time.time = lambda: jumping() / 1e9


@dataclass(frozen=True)
class OtherHost:
    """The process says that it runs on another machine, as one that shares the folder does."""

    name: str

    def __call__(self) -> None:
        socket.gethostname = lambda: self.name


@dataclass(frozen=True)
class Bound:
    """Let folder permissions count for root too (Linux: drop capabilities)."""

    def __call__(self) -> None:
        if os.geteuid() != 0:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the high halves
        assert libc.capget(head, sets) == 0, ctypes.get_errno()
        for at in range(3):
            sets[at] &= ~_OVERRIDES
        assert libc.capset(head, sets) == 0, ctypes.get_errno()


@dataclass(frozen=True)
class At:
    """Do something at the n-th moment of one kind that concerns a folder.

    Attributes:
        moment: `OPENED` or `RENAMED`.
        folder: whose files count, by the path that the command uses.
        n: which moment, from 1.
        act: what happens, before the file is opened or put in its place.
    """

    moment: str
    folder: Path
    n: int
    act: Callable[[], None]

    def __call__(self) -> None:
        seen = 0

        def hook(event: str, given: tuple[object, ...]) -> None:
            nonlocal seen
            if event == self.moment and Path(str(given[0])).is_relative_to(self.folder):
                seen += 1
                if seen == self.n:
                    self.act()

        sys.addaudithook(hook)


@dataclass(frozen=True)
class Counted:
    """Count the moments of each kind."""

    moment: str
    folder: Path
    to: Path

    def __call__(self) -> None:
        out = os.open(self.to, os.O_WRONLY | os.O_CREAT)
        seen = 0

        def hook(event: str, given: tuple[object, ...]) -> None:
            nonlocal seen
            if event == self.moment and Path(str(given[0])).is_relative_to(self.folder):
                seen += 1
                os.pwrite(out, str(seen).encode(), 0)

        sys.addaudithook(hook)


@dataclass(frozen=True)
class Die:
    """SIGKILL to itself."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Move:
    """A file goes."""

    file: Path
    to: Path

    def __call__(self) -> None:
        self.file.rename(self.to)


@dataclass(frozen=True)
class Pause:
    """Says that it is there, and waits until it may go on."""

    there: Path
    go: Path

    def __call__(self) -> None:
        self.there.touch()
        while not self.go.exists():
            time.sleep(0.002)


@dataclass(frozen=True)
class Wait:
    """Time goes by."""

    seconds: float

    def __call__(self) -> None:
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Meet:
    """Says that it is there, waits for the other, and goes on after a while."""

    mine: Path
    theirs: Path
    seconds: float

    def __call__(self) -> None:
        self.mine.touch()
        while not self.theirs.exists():
            time.sleep(0.0005)
        time.sleep(self.seconds)
