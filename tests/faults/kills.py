"""SIGKILL runs at random moments, resume them, and compare with a run never killed.

Run it with: python -m tests.faults.kills --command prepare --kills 100 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from clickmap_cli.storage.atomic import PARTIAL
from tests.faults.kill_targets import OUT, TARGETS, Line, Target
from tests.helpers.digests import contents, stamps

ROOT = Path(__file__).parents[2]
_EARLY = 0.1  # share of the kills that fall into the start, before anything is written
_ALONE = 0.3  # share of the kills that leave the workers alive
_MOST = 4  # kills of one run before it may end
_THEIRS = "theirs"  # a folder of another run inside the results
_AWAKE_SECONDS = 1.0  # what workers of killed runs get at least to write what they can
_PARTIAL_SECONDS = 90.0  # until they have given up
_GONE_SECONDS = 10.0  # until a killed process has closed its files


@dataclass
class Tally:
    """The effects of the kills.

    Attributes:
        kills: SIGKILLs that ended a run.
        early: of those, before its work began.
        alone: of those, which left workers alive that went on while the next run worked.
        too_late: runs that were done before their moment came.
        damaged: results that differ from those of a run never killed.
        failed: resumed runs that did not end well.
        touched: results after which something else had changed, inputs or neighbours.
        losses: what went wrong, a line each.
    """

    kills: int = 0
    early: int = 0
    alone: int = 0
    too_late: int = 0
    damaged: int = 0
    failed: int = 0
    touched: int = 0
    losses: list[str] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Return True if the kills cost anything."""
        return bool(self.damaged or self.failed or self.touched)

    def line(self, command: str) -> str:
        """The counts, to be printed."""
        return (
            f"{command}, SIGKILL: {self.kills} kills ({self.alone} left workers alive, "
            f"{self.early} during the start; {self.too_late} more came too late), "
            f"{self.damaged} damaged results, {self.failed} resumes that failed, "
            f"{self.touched} times something else was touched"
        )


class _Run:
    """Start a run in its own process group."""

    def __init__(self, line: Line, folder: Path, log: Path) -> None:
        self._out = folder / OUT
        self._owner = self._out / line.held / ".clickmap" / "owner.json"
        code = f"{line.pieces}; from clickmap_cli.__main__ import main; main()"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._log = log
        with log.open("wb") as errors:
            # a pipe that nobody writes to is closed when the last worker has gone
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *line.words, "--quiet", "--resume"],
                env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, start_new_session=True,
            )  # fmt: skip

    def works(self) -> bool:
        """Wait until the run holds its folder; False where it has ended before."""
        while self.process.poll() is None:
            with suppress(OSError, ValueError, KeyError):  # not there yet, or a dead run's
                if json.loads(self._owner.read_text(encoding="utf-8"))["pid"] == self.process.pid:
                    return True
            time.sleep(0.002)
        return False

    def ends_within(self, seconds: float) -> bool:
        """Wait so long at most; whether the run has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def killed(self, alone: bool) -> bool:
        """SIGKILL the run: with its workers, or `alone`, its workers asleep until `wake`.

        Returns:
            Whether that is what ended it.
        """
        self._kill(alone)
        return self.process.returncode == -signal.SIGKILL

    def _kill(self, alone: bool) -> None:
        if not alone:
            self._signal(signal.SIGKILL)
            self.process.wait()
            return
        self._signal(signal.SIGSTOP)
        self.process.kill()
        self.process.wait()
        while self._locked():  # a worker that is about to be born still holds what the run held
            self.wake()
            time.sleep(0.002)
            self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let workers that outlived the run go on."""
        self._signal(signal.SIGCONT)

    def has_workers(self, within: float = 0) -> bool:
        """Return True if a process still has the run's output open after so many seconds."""
        return not select.select([self._stdout()], [], [], within)[0]

    def close(self) -> None:
        """End the workers too."""
        self._signal(signal.SIGKILL)
        self.has_workers(within=_GONE_SECONDS)
        self._stdout().close()

    def _signal(self, number: signal.Signals) -> None:
        """To the run and its workers; to nobody where none is alive."""
        if self.has_workers():
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _locked(self) -> bool:
        for path in self._out.rglob(".clickmap/lock"):
            try:
                with FileLock(path, timeout=0):
                    pass
            except Timeout:
                return True
        return False

    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def last_words(self) -> str:
        """The end of what it said."""
        return " ".join(self._log.read_text(encoding="utf-8", errors="replace").split())[-300:]


class Killer:
    """Kills runs of one line, each resumed until it ends, each compared with the whole one.

    Args:
        line: the command line.
        root: where its `inputs` stand, and where it is called.
        tally: what is counted.
        rng: draws the moments.
    """

    def __init__(self, line: Line, root: Path, tally: Tally, rng: random.Random) -> None:
        self._line = line
        self._root = root
        self._folder = root / "work"
        self._out = self._folder / OUT
        self._tally = tally
        self._rng = rng
        self._runs: list[_Run] = []
        shutil.rmtree(self._folder, ignore_errors=True)
        _plant(self._folder / "neighbour")
        self._begin()
        self._others = self._not_ours()
        self._startup, self._work = self._whole()
        self._wanted = self._ours()

    def _whole(self) -> tuple[float, float]:
        """A run that is not killed: seconds until its work begins, and until it ends."""
        began = time.monotonic()
        run = self._start()
        run.works()
        startup = time.monotonic() - began
        run.process.wait()
        work = time.monotonic() - began - startup
        run.close()
        self._runs.clear()
        if run.process.returncode:
            raise RuntimeError(f"the run that is not killed failed: {run.last_words()}")
        return startup, work

    def round(self, most: int) -> None:
        """One result: killed up to `most` times on its way, then resumed to its end."""
        self._begin()
        try:
            ended = False
            for _ in range(self._rng.randint(1, min(most, _MOST))):
                ended = self._killed_or_ended()
                if ended:
                    break
            if not ended:
                run = self._start()
                self._work_begins(run)
                self._note_end(run)
            self._settle()
        finally:
            for run in self._runs:
                run.close()
            self._runs.clear()
        self._compare()

    def _begin(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)
        _plant(self._out / _THEIRS)

    def _start(self) -> _Run:
        run = _Run(self._line, self._folder, self._root / "log")
        self._runs.append(run)
        return run

    def _work_begins(self, run: _Run) -> None:
        """Wait for it; what its killed predecessors left then goes on beside it."""
        run.works()
        for earlier in self._runs[:-1]:
            earlier.wake()

    def _killed_or_ended(self) -> bool:
        """Start a run and kill it; True where it ended first."""
        tally, rng = self._tally, self._rng
        early = rng.random() < _EARLY
        moment = rng.uniform(0, self._startup if early else self._work)
        run = self._start()
        if not early:
            self._work_begins(run)
        alone = rng.random() < _ALONE
        if run.ends_within(moment) or not run.killed(alone):
            tally.too_late += 1
            self._note_end(run)
            return True
        tally.kills += 1
        tally.early += early
        tally.alone += alone and run.has_workers()
        return False

    def _note_end(self, run: _Run) -> None:
        if run.process.wait():
            self._tally.failed += 1
            self._tally.losses.append(f"exit {run.process.returncode}: {run.last_words()}")

    def _settle(self) -> None:
        """Until workers of killed runs, which are idle now or soon, have no file half-written."""
        for run in self._runs[:-1]:
            run.wake()
        if any(run.has_workers() for run in self._runs[:-1]):
            time.sleep(_AWAKE_SECONDS)
        until = time.monotonic() + _PARTIAL_SECONDS
        while time.monotonic() < until and any(
            path.relative_to(self._out).parts[0] != _THEIRS
            for path in self._out.rglob(f"*{PARTIAL}")
        ):
            time.sleep(0.05)

    def _compare(self) -> None:
        differing = _unequal(self._wanted, self._ours())
        touched = _unequal(self._others, self._not_ours())
        for names, what in ((differing, "not as in a run never killed"), (touched, "touched")):
            if names:
                self._tally.losses.append(f"{', '.join(sorted(names)[:5])}: {what}")
        self._tally.damaged += bool(differing)
        self._tally.touched += bool(touched)

    def _ours(self) -> dict[str, str]:
        """Return the files that the run has left."""
        return {k: v for k, v in contents(self._out).items() if Path(k).parts[0] != _THEIRS}

    def _not_ours(self) -> dict[str, object]:
        """All that was there before."""
        found: dict[str, object] = {
            f"{_THEIRS}/{k}": v for k, v in contents(self._out / _THEIRS).items()
        }
        for folder in ("inputs", "work/neighbour"):
            found |= {f"{folder}/{k}": v for k, v in stamps(self._root / folder).items()}
        return found


def _unequal(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    """Names that the two do not have alike."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _plant(folder: Path) -> None:
    """Files that another command's run keeps in its own folder, half-written ones included."""
    for name in (".clickmap/journal/identity.json", "maps.h5", "maps.h5.1234abc.partial"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"theirs: {name}")


def kill_runs(target: Target, root: Path, kills: int, seed: int = 0) -> Tally:
    """Kill so many runs of a command's lines.

    Args:
        target: the command.
        root: an empty folder to work in.
        kills: SIGKILLs to deliver; the lines share them.
        seed: of the moments.
    """
    (root / "inputs").mkdir(parents=True)
    target.write_inputs(root / "inputs")
    tally, rng = Tally(), random.Random(seed)
    for number, line in enumerate(target.lines, 1):
        killer = Killer(line, root, tally, rng)
        share = kills * number // len(target.lines)
        while tally.kills < share:
            killer.round(share - tally.kills)
    return tally


def main() -> None:
    """Print the counts; exit 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=TARGETS, help="all where none is given")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # what is asked to end takes with it the workers that it has put to sleep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lost = False
    for name in [given.command] if given.command else TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            tally = kill_runs(TARGETS[name], Path(folder), given.kills, given.seed)
        sys.stdout.write(f"{tally.line(name)}\n")
        sys.stdout.flush()
        for text in tally.losses:
            sys.stderr.write(f"{name}: {text}\n")
        lost = lost or tally.lost
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
