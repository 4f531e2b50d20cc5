"""What a run finds on this machine: cores, memory, disks, packages, GPUs and network addresses."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import clickmap_cli
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.registry import installed_version

DISK_BYTES = 64 << 20
"""Number of bytes that the measurement of a disk writes and reads."""

_CHUNK = 4 << 20
_UNLIMITED = 1 << 60  # cgroups v1 states a very large number instead of no limit
_MODULES = {
    "pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "pot": "ot",
}  # fmt: skip
"""Package -> name of its module, if that differs."""

_PROGRAM = """
import importlib, json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what packages print while they are imported is not the answer
def say(**words):
    print(json.dumps(words), file=out, flush=True)
for name in sys.argv[1:]:
    say(begins=name)
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        say(failed=name, why=type(error).__name__ + ": " + " ".join(str(error).split())[:200])
        continue
    say(done=name)
    if name == "torch":
        try:
            cuda = module.cuda.is_available()
            count = module.cuda.device_count() if cuda else 0
            known = [module.cuda.get_device_properties(at) for at in range(count)]
            say(gpus=[[each.name, each.total_memory] for each in known],
                built=module.version.cuda, mps=module.backends.mps.is_available())
        except BaseException as error:
            say(failed="torch", why="its GPU part fails: " + type(error).__name__ + ": "
                + " ".join(str(error).split())[:200])
"""


@dataclass(frozen=True)
class Cores:
    """Processor cores.

    Attributes:
        total: cores of the machine.
        usable: cores that this process may use, by its affinity and the quota of a container; as
            many workers start for `n_jobs: -1`.
    """

    total: int
    usable: int


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


def cores() -> Cores:
    """Return the cores of this machine and of this process."""
    return Cores(os.cpu_count() or 1, worker_count(-1))


def memory(root: Path = Path("/")) -> Memory:
    """Return the memory; `root` is the folder that contains `proc` and `sys`."""
    stated = _read_pairs(root / "proc/meminfo")
    total = stated["MemTotal"] * 1024 if "MemTotal" in stated else None
    if total is None:  # a system without `/proc`
        with suppress(AttributeError, ValueError, OSError):
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = stated["MemAvailable"] * 1024 if "MemAvailable" in stated else None
    limit = None
    for most, used in _memory_limits(root):
        if most < (total or _UNLIMITED):
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
            return Disk(place, free, *_measure_speeds(file, size))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Disk(place, free, None, None, f"cannot be written ({reason})")


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    full = folder.expanduser().absolute()
    return next(path for path in (full, *full.parents) if path.is_dir())


def _measure_speeds(file: IO[bytes], size: int) -> tuple[float, float]:
    """Return the bytes per second of writing and of reading a file."""
    block = os.urandom(min(_CHUNK, size))  # random bytes, because a file system may compress
    started = time.perf_counter()
    left = size
    while left > 0:
        left -= file.write(block[:left])
    os.fsync(file.fileno())
    written = time.perf_counter()
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)
    while file.read(_CHUNK):
        pass
    read = time.perf_counter()
    return size / max(written - started, 1e-9), size / max(read - written, 1e-9)


def _memory_limits(root: Path) -> Iterator[tuple[int, int | None]]:
    """Yield limit and used memory of this process's control groups, from its own up to the root.

    File cache that can be reclaimed does not count as used.
    """
    base = root / "sys/fs/cgroup"
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0":
            tops = [base, base / "unified"]
            files = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in names.split(","):
            tops = [base / names, base / "memory"]
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inside = Path(path.lstrip("/"))
        for folder in (top / part for top in tops for part in (inside, *inside.parents)):
            most, used = (_read_number(folder / name) for name in files[:2])
            if most is not None:
                spare = _read_pairs(folder / "memory.stat").get(files[2], 0)
                yield most, None if used is None else max(0, used - spare)


def _read_pairs(path: Path) -> Mapping[str, int]:
    """Parse lines such as `MemTotal:  16 kB` or `inactive_file 0` into name -> number."""
    found = {}
    for line in _read_text(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def _read_number(path: Path) -> int | None:
    text = _read_text(path).strip()
    return int(text) if text.isdecimal() else None


def _read_text(path: Path) -> str:
    """Read a system file; an empty string if the system does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class Package:
    """A required package.

    Attributes:
        name: name of the package.
        wanted: accepted versions; empty if any version is accepted.
        version: installed version, or None.
        fits: True if the installed version is accepted.
    """

    name: str
    wanted: str
    version: str | None
    fits: bool

    @property
    def module(self) -> str:
        """Name of the module to import."""
        plain = canonicalize_name(self.name)
        return _MODULES.get(plain, plain.replace("-", "_"))

    @property
    def problem(self) -> str:
        """Clause that describes a problem; empty if there is none."""
        if self.version is None:
            return f"{self.name} is not installed"
        if not self.fits:
            return f"{self.name} is {self.version}, and {self.wanted} is wanted"
        return ""


def wanted_packages() -> tuple[tuple[Package, ...], dict[str, tuple[Package, ...]]]:
    """Return the packages that are always required, and those of each extra by its name."""
    needed, extras = _read_requirements()
    return _check_packages(needed), {name: _check_packages(lines) for name, lines in extras.items()}


def _read_requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Return requirements and extras, from pyproject.toml in a checkout, else from the metadata."""
    source = Path(clickmap_cli.__file__).resolve().parents[1] / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "clickmap":
            return project.get("dependencies", []), project.get("optional-dependencies", {})
    try:
        about = importlib.metadata.metadata("clickmap")
    except importlib.metadata.PackageNotFoundError:
        return [], {}
    lines = about.get_all("Requires-Dist") or []
    extras: dict[str, list[str]] = {name: [] for name in about.get_all("Provides-Extra") or []}
    for name, own in extras.items():
        own += [line for line in lines if _applies(line, name) and not _applies(line, "")]
    return [line for line in lines if _applies(line, "")], extras


def _applies(line: str, extra: str) -> bool:
    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": extra})


def _check_packages(lines: list[str]) -> tuple[Package, ...]:
    """Return the packages of those requirements that apply to this system."""
    found = []
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is None or "extra" in str(wanted.marker) or wanted.marker.evaluate():
            version = installed_version(wanted.name)
            fits = version is not None and wanted.specifier.contains(version, prereleases=True)
            found.append(Package(wanted.name, str(wanted.specifier), version, fits))
    return tuple(found)


@dataclass(frozen=True)
class Gpus:
    """GPUs, as torch sees them.

    Attributes:
        cuda: name and bytes of memory of each NVIDIA (or AMD) GPU that torch can use.
        mps: True if torch can use an Apple GPU.
        built: CUDA version for which torch was built; None for a torch without CUDA.
        driver: names of GPUs that the NVIDIA driver reports, even if torch cannot use them.
        problem: reason why torch could not be asked; empty if it could.
    """

    cuda: tuple[tuple[str, int], ...] = ()
    mps: bool = False
    built: str | None = None
    driver: tuple[str, ...] = ()
    problem: str = ""

    @property
    def why_none(self) -> str:
        """Clause that says why torch has no CUDA device; empty if it has one."""
        if self.cuda:
            return ""
        if self.problem:
            return f"torch does not work here ({self.problem})"
        if not self.driver:
            return "this machine shows no NVIDIA GPU"
        if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
            return "CUDA_VISIBLE_DEVICES hides the GPUs"
        if self.built is None:
            return f"{self.driver[0]} is here, but this torch is built without CUDA"
        return (
            f"{self.driver[0]} is here, but this torch, built for CUDA {self.built}, cannot use "
            "it; the driver may be too old"
        )


def probe(modules: Sequence[str], seconds: float = 180) -> tuple[dict[str, str], Gpus]:
    """Import modules one after another in another process.

    A module that raises, exits, crashes or hangs counts as one that cannot be imported; after a
    crash, the remaining modules are tried again in a new process.

    Args:
        modules: names; `torch` is also asked for its GPUs.
        seconds: time limit for all modules together.

    Returns:
        Module -> clause that says why it cannot be imported; and the GPUs, if torch is among them.
    """
    left = list(modules)
    problems: dict[str, str] = {}
    facts: dict[str, Any] = {}
    while left:
        said, end = _ask(left, seconds)
        begun = ""
        for words in said:
            begun = words.get("begins", begun)
            if "failed" in words:
                problems[words["failed"]] = words["why"]
            if "gpus" in words:
                facts = words
        if not end:
            break
        if not begun:  # the interpreter itself does not start
            return dict.fromkeys(left, end), Gpus(problem=end)
        problems[begun] = end
        left = left[left.index(begun) + 1 :]
    cuda = tuple((str(name), int(size)) for name, size in facts.get("gpus", ()))
    problem = problems.get("torch", "")
    return problems, Gpus(
        cuda, bool(facts.get("mps")), facts.get("built"), _list_driver_gpus(), problem
    )


def why_unreachable(address: str, seconds: float = 5) -> str:
    """Return why an address such as `tcp://host:8786` is unreachable; empty if it answers."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if host is None or port is None:
        return "it names no host and port"
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _ask(modules: Sequence[str], seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Return the messages of the other process, and a clause about its end if it failed."""
    # -P: files in the current folder must not shadow packages, as they do not in a run
    line = [sys.executable, "-P", "-c", _PROGRAM, *modules]
    end = ""
    try:
        done = subprocess.run(  # noqa: S603 - our own program and names of packages
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False
        )
        out, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        out, code = error.stdout or b"", 0
        end = f"importing it takes longer than {seconds:g} s"
    except OSError as error:
        return [], f"no process can be started ({error.strerror})"
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        end = f"the process that imports it dies of {names.get(-code, f'signal {-code}')}"
    elif code:
        end = f"the process that imports it ends with exit code {code}"
    lines = out.decode("utf-8", "replace").split("\n")[:-1]  # an incomplete last line is dropped
    return [json.loads(line) for line in lines], end


def _list_driver_gpus() -> tuple[str, ...]:
    """Return the GPUs that the NVIDIA driver reports; empty without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.split("\n")[:-1]) if done.returncode == 0 else ()
