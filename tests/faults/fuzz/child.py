"""One fuzz target in its own process; `python -m tests.faults.fuzz` starts it."""

from __future__ import annotations

import argparse
import gc
import importlib
import mmap
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

COUNTS = struct.Struct("<4Q")
"""Runs, runs that were read whole, findings, and whether all runs were done."""

_MODULES = ("tables", "arrays", "texts", "misbehaving")
_MOST_KEPT = 20
_SPARE = 8 << 30
_HUNG_SECONDS = 30.0
"""Of the processor: no input takes as long but one that never ends; the process is then ended."""


class Examiner:
    """Runs inputs one after the other and keeps those that show a defect.

    Args:
        target: what reads them.
        place: a folder of its own; `current` in it is the input that is being read.
        keep: where findings go.
        counts: what has been done, in a file that outlives a crash.
    """

    def __init__(self, target: Any, place: Path, keep: Path, counts: mmap.mmap) -> None:
        from tests.faults.fuzz.guard import Guard

        self.guard = Guard(place / "root")
        self._place = place
        self._target = target
        self._keep = keep
        self._counts = counts
        self._numbers = list(COUNTS.unpack(counts[: COUNTS.size]))
        self._known: set[str] = set()

    def __call__(self, data: bytes) -> None:
        """Run one input."""
        data = bytes(data)
        (self._place / "current").write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, _HUNG_SECONDS)
        whole, finding = self._examined(data)
        self._numbers[0] += 1
        self._numbers[1] += whole
        if finding:
            self._numbers[2] += 1
            self._kept(data, finding)
        self._note()

    def warm_up(self, seeds: Sequence[bytes]) -> None:
        """Read the examples unwatched, so that what readers import late is there."""
        for data in seeds:
            self._cleared()
            with suppress(Exception):
                self._target.run(data, self.guard.work)

    def done(self) -> None:
        """Say that nothing is left to do."""
        self._numbers[3] = 1
        self._note()

    def _note(self) -> None:
        self._counts[: COUNTS.size] = COUNTS.pack(*self._numbers)

    def _examined(self, data: bytes) -> tuple[bool, str]:
        """Return True if it was read whole, and a text about what was wrong."""
        from clickmap_cli.runtime.errors import ClickmapError
        from tests.faults.fuzz.guard import MOST_SECONDS
        from tests.faults.fuzz.target import message_is_fit

        self._cleared()
        whole, finding = False, ""
        started = time.process_time()
        try:
            with self.guard.watching():
                try:
                    whole = self._target.run(data, self.guard.work)
                except ClickmapError as error:
                    message_is_fit(error)
        except BaseException:
            finding = traceback.format_exc()
        seconds = time.process_time() - started
        found = self.guard.trespasses()
        if seconds > MOST_SECONDS:
            found.append(f"took {seconds:.1f} s")
        return whole, "\n".join([finding, *found]).strip()

    def _cleared(self) -> None:
        for left in self.guard.work.iterdir():
            left.unlink()

    def _kept(self, data: bytes, finding: str) -> None:
        """Keep the input, unless one of the same kind is kept already."""
        kind = "".join(line for line in finding.splitlines() if line.lstrip().startswith("File "))
        kind += finding.rpartition("\n")[2].partition(":")[0][:30]
        if kind in self._known or len(self._known) >= _MOST_KEPT:
            return
        self._known.add(kind)
        self._keep.mkdir(parents=True, exist_ok=True)
        there = len(list(self._keep.glob(f"{self._target.name}-[0-9]*.txt")))
        path = self._keep / f"{self._target.name}-{there + 1}"
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(finding + "\n", encoding="utf-8", errors="replace")


def targets() -> dict[str, Any]:
    """Every target by its name."""
    modules = [importlib.import_module(f"tests.faults.fuzz.{name}") for name in _MODULES]
    return {target.name: target for module in modules for target in module.TARGETS}


def fuzz_plainly(target: Any, examine: Examiner, seeds: list[bytes], runs: int, seed: int) -> None:
    """Random changes that nothing guides."""
    from tests.faults.fuzz.mutation import havoc, mutated

    rng = random.Random(f"{seed} {target.name}")
    bytewise = havoc(rng, target.words)
    for data in seeds:
        examine(data)
    for _ in range(runs):
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = mutated(data, target.mutate, rng, bytewise)
        examine(data)
    examine.done()


def fuzz_guided(target: Any, examine: Examiner, place: Path, runs: int, seed: int) -> None:
    """Changes that reach new branches are built upon; ends the process."""
    import atheris

    from tests.faults.fuzz.mutation import mutated

    packages = {"clickmap_cli", *target.packages}
    for function in [one for one in gc.get_objects() if isinstance(one, FunctionType)]:
        if str(function.__module__).partition(".")[0] in packages:
            atheris.instrument_func(function)

    def change(data: bytes, most: int, draw: int) -> bytes:
        rng = random.Random(draw)
        return mutated(
            bytes(data), target.mutate, rng, lambda some: atheris.Mutate(some, len(some) + 64)
        )[:most]

    words = place / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in (*target.words, b"\xff") if word))
    arguments = [
        "fuzz", f"-atheris_runs={runs}", f"-seed={seed + 1}", "-max_len=65536", "-timeout=600",
        "-rss_limit_mb=0", f"-dict={words}", "-print_final_stats=1", "-handle_segv=0",
        "-handle_abrt=0", "-handle_bus=0", "-handle_ill=0", "-handle_fpe=0", f"{place}/corpus",
    ]  # fmt: skip
    atheris.Setup(arguments, examine, custom_mutator=change)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--again", type=Path)
    given = parser.parse_args()
    target = targets()[given.target]
    from tests.faults.fuzz.guard import limit_memory

    with (given.place / "counts").open("r+b") as file:
        counts = mmap.mmap(file.fileno(), COUNTS.size)
    examine = Examiner(target, given.place.resolve(), given.keep.resolve(), counts)
    corpus = given.place / "corpus"
    if not corpus.is_dir():
        corpus.mkdir()
        made = given.place / "made"
        made.mkdir()
        for at, data in enumerate(target.seeds(made)):
            (corpus / f"seed{at:03d}").write_bytes(data)
    seeds = [path.read_bytes() for path in sorted(corpus.iterdir())]
    examine.warm_up(seeds)
    limit_memory(_SPARE)
    if given.again is not None:
        examine(given.again.read_bytes())
        examine.done()
    elif given.plain:
        fuzz_plainly(target, examine, seeds, given.runs, given.seed)
    else:
        fuzz_guided(target, examine, given.place, given.runs, given.seed)


if __name__ == "__main__":
    main()
    sys.exit(0)
