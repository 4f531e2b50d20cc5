"""A reader that does everything that no reader may: what a fuzzer must find."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.runtime.errors import DataError
from tests.faults.fuzz.guard import MOST_BYTES
from tests.faults.fuzz.target import Target

NAME = "misbehaving"


def _told_in_lines(_folder: Path) -> None:
    raise DataError("the first line of what was wrong\nand a second one")


def _imported(_folder: Path) -> None:
    import this  # noqa: F401


DEEDS: dict[bytes, Callable[[Path], Any]] = {
    b"system": lambda _: os.system("true"),
    b"written": lambda folder: (folder / "../../../x").write_bytes(b""),
    b"left": lambda folder: (folder / "../x").write_bytes(b""),
    b"read": lambda _: Path("/etc/hostname").read_bytes(),
    b"socket": lambda _: socket.socket(),
    b"imported": _imported,
    b"executed": lambda _: exec("1"),
    b"unpickled": lambda _: pickle.loads(b"cbuiltins\nlen\n."),
    b"memory": lambda _: np.ones(MOST_BYTES + (64 << 20), np.int8).sum(),
    b"lines": _told_in_lines,
    b"error": lambda _: {}["x"],
    b"crash": lambda _: os.abort(),
}  # fmt: skip

_seen: set[bytes] = set()


def _run(data: bytes, folder: Path) -> bool:
    # the first time is to warm up, unwatched
    if data in _seen:
        DEEDS[data](folder)
    _seen.add(data)
    return True


TARGETS = (Target(NAME, lambda _: list(DEEDS), _run),)
