"""Probe imports, GPUs and network addresses in ways that cannot crash this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 180

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


@dataclass(frozen=True)
class Probed:
    """Result of importing packages.

    Attributes:
        problems: module -> clause that says why it cannot be imported.
        gpus: GPUs that torch sees, if it was imported.
    """

    problems: Mapping[str, str]
    gpus: Gpus


def probe(modules: Sequence[str], seconds: float = _SECONDS) -> Probed:
    """Import modules one after another in another process.

    A module that raises, exits, crashes or hangs counts as one that cannot be imported; after a
    crash, the remaining modules are tried again in a new process.

    Args:
        modules: names; `torch` is also asked for its GPUs.
        seconds: time limit for all modules together.
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
            return Probed(dict.fromkeys(left, end), Gpus(problem=end))
        problems[begun] = end
        left = left[left.index(begun) + 1 :]
    gpus = Gpus(
        tuple((str(name), int(size)) for name, size in facts.get("gpus", ())),
        bool(facts.get("mps")), facts.get("built"), _driver_gpus(), problems.get("torch", ""),
    )  # fmt: skip
    return Probed(problems, gpus)


def unreachable(address: str, seconds: float = 5) -> str:
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
        end = f"the process that imports it dies of {_signal_name(-code)}"
    elif code:
        end = f"the process that imports it ends with exit code {code}"
    lines = out.decode("utf-8", "replace").split("\n")[:-1]  # an incomplete last line is dropped
    return [json.loads(line) for line in lines], end


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _driver_gpus() -> tuple[str, ...]:
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
