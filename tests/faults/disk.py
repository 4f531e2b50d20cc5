"""Disks that are full or may not be written: small ones in memory, which only this process sees."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tests.faults.changed import RENAMED, At, Bound, Pause
from tests.faults.forked import Ended
from tests.faults.lab import RUN_FAILED, CannotHappenError, Fault, LostError, Place, require
from tests.faults.study import COMMANDS, Command

_PRIVATE = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
_TRY = "mount -t tmpfs -o size=64k tmpfs /tmp"
_LARGE, _PAGE = 64 << 20, 4096


def private_mounts() -> list[str] | None:
    """Return the first words of a command that may mount private disks; None where none may."""
    for words in _PRIVATE:
        if shutil.which(words[0]) is None:
            continue
        done = subprocess.run([*words, "sh", "-c", _TRY], capture_output=True, check=False)
        if done.returncode == 0:
            return words
    return None


def in_private() -> bool:
    """Return True if this process was started with `private_mounts`."""
    return os.environ.get("FAULTS_MOUNTS") == "private"


def enter_private(module: str, words: Sequence[str]) -> None:
    """Go on, where that is possible, as a process that may mount disks."""
    prefix = None if in_private() else private_mounts()
    if prefix is not None:
        os.environ["FAULTS_MOUNTS"] = "private"
        os.execvp(prefix[0], [*prefix, sys.executable, "-m", module, *words])


def _mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotHappenError(f"mount: {done.stderr.strip()}")


@contextmanager
def _disk(place: Place) -> Iterator[None]:
    """Give the outputs their own disk, with other files on it."""
    if not in_private():
        raise CannotHappenError("no disk may be mounted here (neither as root nor with unshare)")
    place.out.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={_LARGE}", "tmpfs", place.out)
    try:
        place.settle_neighbours()
        yield
    finally:
        subprocess.run(["umount", "-R", "-l", place.out], check=True)


def _resize(place: Place, size: int, files: int = 100_000) -> None:
    _mount("-o", f"remount,size={size},nr_inodes={files}", place.out)


def _full(place: Place, rng: random.Random, command: Command) -> bool:
    """The disk fills, grows a little, fills again, and is large enough in the end."""
    whole = [p for p in place.study.whole(command).rglob("*") if p.is_file()]
    needed = sum(-(-p.stat().st_size // _PAGE) * _PAGE for p in whole) + 12 * _PAGE
    came = done = False
    with _disk(place):
        share = 0.0
        for _ in range(rng.randint(1, 3)):
            share = rng.uniform(share, 1.1)
            there = os.statvfs(place.out)
            used = (there.f_blocks - there.f_bfree) * there.f_frsize
            files = there.f_files - there.f_ffree
            if rng.random() < 0.2:  # no room for names, with room for bytes
                _resize(place, _LARGE, files + 1 + int(share * len(whole)))
            else:
                _resize(place, used + _PAGE + int(share * needed / _PAGE) * _PAGE)
            ended = place.run(command)
            done = ended.code == 0
            if done:
                break
            came = True
            place.refused(ended, [RUN_FAILED], place.out)
            require(
                "the disk is full;" in ended.said,
                f"does not say that the disk is full: {ended.said}",
            )
        _resize(place, _LARGE)
        if not done:  # the call is repeated as it was typed
            ended = place.run(command)
            require(ended.code == 0, f"the same call failed: {ended}")
        place.is_whole(command)
    return came


def _read_only(place: Place, rng: random.Random, command: Command) -> bool:
    """The folder may not be written: before a run, when one goes on, or from its middle."""
    with _disk(place):
        when = rng.choice(["before", "between", "during"])
        if when == "between":
            place.begin(command, rng)
        if when == "during":
            ended = _sealed_midway(place, rng, command)
        else:
            _mount("-o", "remount,ro", place.out)
            ended = place.run(command, "--resume")
            _mount("-o", "remount,rw", place.out)
        require(ended.code == RUN_FAILED, f"{when}: exit code {ended.code}: {ended.said}")
        place.said_clearly(ended, place.out)
        place.completes(command)
    return True


def _sealed_midway(place: Place, rng: random.Random, command: Command) -> Ended:
    """A disk turns read-only below a run, as one does that has met an error."""
    there, go = place.root / "there", place.root / "go"
    last = place.study.moments(command, RENAMED)
    pause = At(RENAMED, place.out, rng.randint(1, last), Pause(there, go))
    running = place.start(command, "--resume", changes=[pause])
    if not running.wait_until(there.exists):
        raise LostError(f"ended before its files were written: {running.end()}")
    # what is open stays so: names are looked up on the disk that is mounted last
    _mount("--bind", place.out, place.out)
    _mount("-o", "remount,bind,ro", place.out)
    go.touch()
    ended = running.end()
    subprocess.run(["umount", place.out], check=True)
    return ended


def _forbidden(place: Place, rng: random.Random, command: Command) -> bool:
    """The folder does not allow writing, until it is made to."""
    place.settle_neighbours()
    folders = [place.out, place.out / "study"]
    for path in folders:
        path.chmod(0o555)
    ended = place.run(command, "--resume", changes=[Bound()])
    for path in folders:
        path.chmod(0o755)
    place.refused(ended, [RUN_FAILED], place.out)
    place.completes(command, "--resume", changes=[Bound()])
    return True


FAULTS = [
    Fault(f"{name}, {command.name}", partial(happen, command=command))
    for name, happen in (
        ("disk full", _full), ("disk read-only", _read_only), ("folder not writable", _forbidden),
    )
    for command in COMMANDS.values()
]  # fmt: skip
