"""`prepare` on simulated trials of growing number: time a trial, peak memory, room on disk.

Run it with: python -m tests.benchmarks.scale --trials 10000 1000000 6000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PER_IMAGE = 100
RUN = """
import json, sys
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
result = prepare.run(load_experiment(None, sys.argv[1:]).config, Silent(), lambda _: None)
made = result.summary
print(json.dumps([result.seconds, made.images, made.trials, made.clicks]))
"""


@dataclass(frozen=True)
class Memory:
    """Return GB of memory that a process and its children held at once; shared pages count once.

    Attributes:
        own: pages that nothing but the processes holds.
        all: the same and pages of files, which the system takes back when others need them.
    """

    own: float = 0.0
    all: float = 0.0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.own + other.own, self.all + other.all)

    def most(self, other: Memory) -> Memory:
        """The larger of each."""
        return Memory(max(self.own, other.own), max(self.all, other.all))


@dataclass(frozen=True)
class Scale:
    """One run of `prepare`.

    Attributes:
        trials: how many.
        seconds: from the file of trials to the last file of results.
        memory: at most.
        input: size of the file of trials, in MB.
        maps: size of the maps, in MB.
        table: size of `trials.npz`, in MB.
        scratch: room for clicks outside memory while it ran, in MB.
    """

    trials: int
    seconds: float
    memory: Memory
    input: float
    maps: float
    table: float
    scratch: float

    @property
    def microseconds(self) -> float:
        """Time a trial."""
        return 1e6 * self.seconds / self.trials


def main() -> None:
    """Print a row for each size, and its time a trial against that of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 1_000_000, 6_000_000])
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where inputs and results go for a while")
    given = parser.parse_args()
    sys.stdout.write(
        "| trials | CSV | maps | trials.npz | scratch | time | a trial | ratio | memory "
        "| with pages of files |\n" + "| ---: " * 10 + "|\n"
    )
    first = None
    for trials in given.trials:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            found = measured(Path(folder), trials, given.n_jobs)
        first = first or found
        sys.stdout.write(
            f"| {trials:,} | {found.input:,.0f} MB | {found.maps:,.0f} MB | {found.table:,.0f} MB "
            f"| {found.scratch:,.0f} MB | {found.seconds:.1f} s | {found.microseconds:.0f} us "
            f"| {found.microseconds / first.microseconds:.2f} | {found.memory.own:.2f} GB "
            f"| {found.memory.all:.2f} GB |\n"
        )
        sys.stdout.flush()


def measured(root: Path, trials: int, n_jobs: int) -> Scale:
    """Simulate trials and prepare them; a short run is the best of three."""
    clickmap = [sys.executable, "-m", "clickmap_cli", "data", "simulate", "--quiet"]
    images = str(max(1, trials // PER_IMAGE))
    subprocess.run(
        [*clickmap, "--trials", str(trials), "--images", images, "-o", str(root)], check=True
    )
    data = root / "trials.csv"
    best, memory, scratch = float("inf"), Memory(), 0.0
    for repeat in range(3 if trials <= 100_000 else 1):
        words = [
            f"clickme_data={data}", f"assets={root}", f"experiment_name=run{repeat}",
            "display_image_keys=null", f"n_jobs={n_jobs}",
        ]  # fmt: skip
        said, used, held = run_watched([sys.executable, "-c", RUN, *words])
        seconds, _, kept, _ = json.loads(said.splitlines()[-1])
        if kept != trials:
            raise RuntimeError(f"{trials} trials were simulated, {kept} prepared")
        best, memory, scratch = min(best, seconds), memory.most(used), max(scratch, held)
    maps = sum(file.stat().st_size for file in (root / "run0").rglob("*.h5"))
    table = (root / "run0" / "trials.npz").stat().st_size
    sizes = (data.stat().st_size, maps, table)
    return Scale(trials, best, memory, *(size / 1e6 for size in sizes), scratch)


def run_watched(line: list[str]) -> tuple[str, Memory, float]:
    """Run a command: what it printed, the most it held, the largest files without a name in MB."""
    run = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    peak, scratch = Memory(), 0.0
    while run.poll() is None:
        now = Memory()
        for process in _with_children(run.pid):
            now += _memory(process)
        peak, scratch = peak.most(now), max(scratch, _unnamed(run.pid))
        time.sleep(0.2)
    said = run.communicate()[0]
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, line)
    return said, peak, scratch


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in below:
        yield from _with_children(int(child))


def _memory(pid: int) -> Memory:
    """Memory of one process (Linux); nothing where it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return Memory()
    kilobytes = {
        row.split(":")[0]: int(row.split()[1]) for row in rollup.splitlines() if row.endswith("kB")
    }
    return Memory(kilobytes["Pss_Anon"] / 1e6, kilobytes["Pss"] / 1e6)


def _unnamed(pid: int) -> float:
    """Files without a name that a process has mapped, in MB, each counted once."""
    sizes: dict[str, int] = {}
    try:
        rows = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return 0.0
    for row in rows:
        words = row.split(None, 5)
        if len(words) == 6 and words[5].endswith("(deleted)") and words[4] != "0":
            begin, end = (int(part, 16) for part in words[0].split("-"))
            sizes[words[4]] = max(sizes.get(words[4], 0), end - begin)
    return sum(sizes.values()) / 1e6


if __name__ == "__main__":
    main()
