"""Fuzz every reader of what strangers write, guided by the branches it reaches (atheris).

Run it with: python -m tests.faults.fuzz --runs 20000
One target: python -m tests.faults.fuzz --target csv --keep findings
What it found, again: python -m tests.faults.fuzz --target csv --again findings/csv-1
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fuzz.child import COUNTS, targets
from tests.faults.fuzz.guard import scratch
from tests.faults.fuzz.misbehaving import NAME as MISBEHAVING

_MOST_CRASHES = 20


@dataclass
class Tally:
    """The result of fuzzing a target.

    Attributes:
        target: its name.
        runs: inputs that were read.
        whole: how many of them were read whole; the others were refused.
        findings: how many showed a defect.
        crashes: how many of those ended the process.
        branches: that the fuzzer saw taken; 0 where nothing guides it.
        seconds: how long it took.
        done: whether all runs were done.
    """

    target: str
    runs: int = 0
    whole: int = 0
    findings: int = 0
    crashes: int = 0
    branches: int = 0
    seconds: float = 0.0
    done: bool = False

    def line(self) -> str:
        """As it is printed."""
        end = "" if self.done else ", given up"
        return (
            f"{self.target}: {self.runs:,} runs, {self.runs / max(self.seconds, 1e-9):,.0f}/s, "
            f"{self.whole / max(self.runs, 1):.0%} read whole, {self.branches:,} branches, "
            f"{self.findings} findings ({self.crashes} crashes){end}"
        )


def fuzz(
    target: str, runs: int, seed: int, keep: Path, plainly: bool = False, again: Path | None = None
) -> Tally:
    """Fuzz one target in separate processes; one that it ends is replaced.

    Args:
        target: its name.
        runs: how many inputs.
        seed: of all draws.
        keep: where inputs that show a defect go.
        plainly: change the examples at random, unguided and without atheris.
        again: this input alone.
    """
    more = ["--plain"] if plainly else []
    more += ["--again", str(again.resolve())] if again is not None else []
    tally = Tally(target)
    started = time.monotonic()
    with scratch() as name:
        place = Path(name)
        counts = place / "counts"
        while not tally.done and tally.crashes < _MOST_CRASHES:
            counts.write_bytes(bytes(COUNTS.size))
            left = runs - tally.runs
            code = _child(target, left, seed + tally.crashes, place, keep, more)
            n_runs, whole, findings, done = COUNTS.unpack(counts.read_bytes())
            tally.runs += n_runs
            tally.whole += whole
            tally.findings += findings
            reached = re.findall(rb"cov: ([0-9]+)", (place / "log").read_bytes())
            tally.branches = max([tally.branches, *map(int, reached)])
            tally.done = bool(done) or (not more and n_runs >= left)
            if not tally.done:
                tally.crashes += 1
                tally.findings += 1
                tally.runs += 1
                _keep_crash(tally, code, place, keep)
                tally.done = again is not None or (not more and tally.runs >= runs)
    tally.seconds = time.monotonic() - started
    return tally


def _child(target: str, runs: int, seed: int, place: Path, keep: Path, more: Sequence[str]) -> int:
    line = [
        sys.executable, "-X", "faulthandler", "-m", "tests.faults.fuzz.child", target,
        "--runs", str(runs), "--seed", str(seed), "--place", str(place), "--keep", str(keep),
        *more,
    ]  # fmt: skip
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with (place / "log").open("wb") as log:
        done = subprocess.run(
            line, env=os.environ | one, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    return done.returncode


def _keep_crash(tally: Tally, code: int, place: Path, keep: Path) -> None:
    """Keep the input that a process was reading when it ended, and its last words."""
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{tally.target}-crash-{tally.crashes}"
    current = place / "current"
    data = current.read_bytes() if current.is_file() else b""
    path.write_bytes(data)
    for example in (place / "corpus").glob("*"):
        if example.read_bytes() == data:
            example.unlink()  # the next process would end the same way
    why = f"exit code {code}"
    if code < 0:
        why = "it never ends" if -code == signal.SIGPROF else signal.Signals(-code).name
    log = (place / "log").read_bytes()[-20_000:].decode("utf-8", "replace")
    path.with_suffix(".txt").write_text(f"{why}\n\n{log}", encoding="utf-8")


def main() -> None:
    """Print a line a target; exit 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [name for name in targets() if name != MISBEHAVING]
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each target")
    parser.add_argument("--target", nargs="+", choices=known, default=known)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    parser.add_argument("--plain", action="store_true", help="unguided, without atheris")
    parser.add_argument("--again", type=Path, help="one input that was found, for one target")
    given = parser.parse_args()
    plainly = given.plain or given.again is not None
    if not plainly and importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install 'clickmap[fuzz]', or use --plain")
    found = 0
    for name in given.target:
        tally = fuzz(name, given.runs, given.seed, given.keep, plainly, given.again)
        sys.stdout.write(tally.line() + "\n")
        sys.stdout.flush()
        found += tally.findings + (not tally.done)
    if found:
        sys.stdout.write(f"What was found is in {given.keep}.\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
