"""What a reader of a stranger's file may not do: an eye on the process while one runs.

An audit hook is told by Python of every file that is opened, every process, socket and import, and
stops what no reader needs; what native libraries do to files is seen by looking into the folders.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import resource
import shutil
import sys
import tempfile
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30
"""Memory that a run may fill beyond what the process had."""

MOST_RESERVED = 4 << 30
"""Memory that a run may ask for without filling it: libraries reserve what a file announces."""

MOST_SECONDS = 5.0
"""Of the processor, in a run."""

_NEVER = frozenset({
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
    "os.kill", "os.putenv", "os.unsetenv", "subprocess.Popen", "pty.spawn", "pickle.find_class",
    "webbrowser.open", "urllib.Request", "http.client.connect", "builtins.input", "code.__new__",
    "sqlite3.connect", "ctypes.dlopen",
})  # fmt: skip
_CHANGES = frozenset({
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod",
    "os.chown", "os.truncate", "os.utime", "os.setxattr", "shutil.rmtree", "shutil.move",
    "shutil.copyfile", "shutil.copytree", "shutil.unpack_archive", "shutil.make_archive",
})  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/random")
_SYSTEM = ("/proc/", "/sys/", "/usr/share/zoneinfo/", "/etc/localtime")


class ForbiddenError(BaseException):
    """Raised into what does something forbidden; no `except Exception` passes over it."""


class Guard:
    """Watches this process for as long as it lives; acts only inside `watching`.

    Args:
        root: the folder that a run works in; it gets `work`, where files lie, and `outside`.
    """

    def __init__(self, root: Path) -> None:
        self.work, self.outside = root / "inside" / "work", root / "outside"
        for folder in (self.work, self.outside):
            folder.mkdir(parents=True, exist_ok=True)
        self.seen: list[str] = []
        self._root = f"{os.path.realpath(root)}{os.sep}"
        self._on = False
        project = Path(__file__).resolve().parents[3]
        code = (sys.prefix, sys.base_prefix, *filter(None, sys.path), project / "clickmap_cli")
        self._readable = (self._root, *_SYSTEM, *(f"{os.path.realpath(path)}/" for path in code))
        self._packages: frozenset[str] = frozenset()
        self._before = (0, 0)
        sys.addaudithook(self._told)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Forbid what no reader does."""
        if not self._packages:
            self._packages = frozenset({name.partition(".")[0] for name in sys.modules})
        os.chdir(self.work)
        self.seen.clear()
        self._before = peaks()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def trespasses(self) -> list[str]:
        """Return the forbidden actions inside the last `watching`."""
        found = list(self.seen)
        filled, reserved = (now - before for now, before in zip(peaks(), self._before, strict=True))
        if filled > MOST_BYTES or reserved > MOST_RESERVED:
            found.append(f"filled {filled >> 20} MiB of memory and reserved {reserved >> 20} MiB")
        strays = [
            *self.outside.iterdir(),
            *(p for p in self.work.parent.iterdir() if p != self.work),
        ]
        strays += [p for p in self.outside.parent.iterdir() if p.name not in ("inside", "outside")]
        for path in strays:
            found.append(f"left {path} behind")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found

    def _told(self, event: str, given: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._opened(*given)
        elif event == "import":
            self._imported(str(given[0]))
        elif event in _CHANGES:
            for path in given[:2]:
                if isinstance(path, str | bytes | os.PathLike) and not self._inside(path):
                    self._forbid(f"{event} of {os.fsdecode(path)!r}")
        elif event in _NEVER or (event.startswith("socket.") and event != "socket.gethostname"):
            self._forbid(f"{event} {given!r:.200}")
        elif event == "exec" and not _by_the_library():
            self._forbid(f"exec of {given[0]!r:.200}")

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int) or os.fsdecode(path) in _DEVICES:
            return
        if flags & _WRITING or (mode is not None and set(mode) & set("wax+")):
            if not self._inside(path):
                self._forbid(f"open for writing of {os.fsdecode(path)!r}")
        elif not os.path.realpath(os.fsdecode(path)).startswith(self._readable):
            self._forbid(f"open for reading of {os.fsdecode(path)!r}")

    def _imported(self, module: str) -> None:
        if module.partition(".")[0] not in self._packages:
            self._forbid(f"import of {module!r:.200}")

    def _inside(self, path: Any) -> bool:
        real = os.path.realpath(os.fsdecode(path))
        return f"{real}{os.sep}".startswith(self._root)

    def _forbid(self, what: str) -> None:
        self.seen.append(what)
        raise ForbiddenError(what)


_TYPES = (typing.__file__, dataclasses.__file__, collections.__file__)


def _by_the_library() -> bool:
    """Return True if an import executes code, or something makes types of a class's annotations."""
    frame = sys._getframe(2)
    if frame.f_code.co_filename in _TYPES:
        return True
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def peaks() -> tuple[int, int]:
    """The most memory that this process ever filled, and the most it had reserved, in bytes."""
    with open("/proc/self/status", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file)
    return int(lines[b"VmHWM"].split()[0]) << 10, int(lines[b"VmPeak"].split()[0]) << 10


def limit_memory(more: int) -> None:
    """Refuse this process more than so many bytes beyond what it has."""
    most = peaks()[1] + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a process, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
