"""Resources of this machine, and the part that a process may use: cores, memory, disk."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clickmap_cli.runtime.parallel import cpu_count

DISK_BYTES = 64 << 20
"""Number of bytes that the measurement of a disk writes and reads."""

_CHUNK = 4 << 20
_UNLIMITED = 1 << 60  # cgroups v1 states a very large number instead of no limit
_ROOT = Path("/")


@dataclass(frozen=True)
class Cores:
    """Processor cores.

    Attributes:
        total: cores of the machine.
        allowed: cores on which this process may run (its affinity).
        quota: processor time granted by a cgroup, in cores; None without a limit.
    """

    total: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Workers that can work at once (at least 1)."""
        limit = self.allowed if self.quota is None else math.ceil(self.quota)
        return max(1, min(self.allowed, limit))


@dataclass(frozen=True)
class Memory:
    """Memory in bytes; None if the system does not state it.

    Attributes:
        total: memory of the machine.
        available: memory that can be allocated without swapping, and within the limit.
        limit: memory granted by a cgroup, or None without a limit.
    """

    total: int | None
    available: int | None
    limit: int | None


@dataclass(frozen=True)
class Disk:
    """The disk that holds a folder.

    Attributes:
        folder: folder that was examined: the given one, or its nearest existing parent.
        free: bytes; None if the system does not state it.
        write: bytes per second until the data is on the disk; None if not measured.
        read: bytes per second; this is the speed of memory if the system caches written data.
        problem: clause that says why the folder cannot be written; empty if it can.
    """

    folder: Path
    free: int | None
    write: float | None
    read: float | None
    problem: str = ""


def cores(root: Path = _ROOT) -> Cores:
    """Return the cores; `root` is the folder that contains `proc` and `sys`."""
    quotas = [_quota(folder) for folder in _cgroups(root, "cpu")]
    found = [quota for quota in quotas if quota is not None]
    return Cores(os.cpu_count() or 1, cpu_count(), min(found) if found else None)


def memory(root: Path = _ROOT) -> Memory:
    """Return the memory; `root` is the folder that contains `proc` and `sys`."""
    stated = _pairs(root / "proc/meminfo")
    total = stated["MemTotal"] * 1024 if "MemTotal" in stated else _physical()
    available = stated["MemAvailable"] * 1024 if "MemAvailable" in stated else None
    limit = None
    for folder in _cgroups(root, "memory"):
        most, used = _memory_of(folder)
        if most is None or most >= (total or _UNLIMITED):
            continue
        limit = most if limit is None else min(limit, most)
        if used is not None:
            left = max(0, most - used)
            available = left if available is None else min(available, left)
    return Memory(total, available, limit)


def disk(folder: Path, size: int = DISK_BYTES) -> Disk:
    """Measure the disk of a folder with an unnamed file, which a kill cannot leave behind.

    Args:
        folder: folder to examine; if it is missing, its nearest parent is used, none is created.
        size: bytes to write and read; nothing is measured if less than twice that is free.
    """
    place = nearest_folder(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = None
    try:
        # if the system supports unnamed files, the file disappears when it is closed
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            if free is not None and free < 2 * size:
                return Disk(place, free, None, None)
            return Disk(place, free, _write_speed(file, size), _read_speed(file, size))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Disk(place, free, None, None, f"cannot be written ({reason})")


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    full = folder.expanduser().absolute()
    return next(path for path in (full, *full.parents) if path.is_dir())


def _write_speed(file: IO[bytes], size: int) -> float:
    block = os.urandom(min(_CHUNK, size))  # random bytes, because a file system may compress
    started = time.perf_counter()
    left = size
    while left > 0:
        left -= file.write(block[:left])
    os.fsync(file.fileno())
    return size / max(time.perf_counter() - started, 1e-9)


def _read_speed(file: IO[bytes], size: int) -> float:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)
    started = time.perf_counter()
    while file.read(_CHUNK):
        pass
    return size / max(time.perf_counter() - started, 1e-9)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield folders of the control groups of this process, from its own up to the root."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0":
            tops = [base, base / "unified"]
        elif controller in names.split(","):
            tops = [base / names, base / controller]
        else:
            continue
        inside = Path(path.lstrip("/"))
        for top in tops:
            yield from (top / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """Return the processor time that a control group grants, in cores; None without a limit."""
    words = _text(folder / "cpu.max").split()
    if not words:
        quota, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        words = [quota.strip(), period.strip()]
    try:
        share = int(words[0]) / int(words[1])
    except (ValueError, IndexError, ZeroDivisionError):
        return None  # `max`, -1 with nothing after it, or no such file
    return share if share > 0 else None


def _memory_of(folder: Path) -> tuple[int | None, int | None]:
    """Return the limit of a control group, and its used memory without reclaimable file cache."""
    for most_name, used_name, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most = _number(folder / most_name)
        if most is not None:
            used = _number(folder / used_name)
            spare = _pairs(folder / "memory.stat").get(dropped, 0)
            return most, None if used is None else max(0, used - spare)
    return None, None


def _pairs(path: Path) -> Mapping[str, int]:
    """Parse lines such as `MemTotal:  16 kB` or `inactive_file 0` into name -> number."""
    found = {}
    for line in _text(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """Read a system file; an empty string if the system does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _physical() -> int | None:
    """Return the memory of a machine without `/proc`."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
