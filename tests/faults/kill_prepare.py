"""SIGKILL `prepare` at random moments, resume it, and compare with a run never killed.

Run it with: python -m tests.faults.kill_prepare --kills 50
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.studies import random_rows, write_csv


@dataclass
class Tally:
    """What the kills did."""

    kills: int = 0
    too_late: int = 0
    damaged: int = 0
    unfinished: int = 0


def digests(folder: Path) -> dict[str, str]:
    """Every file that a finished run leaves, but for the manifest's times."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


def kill_runs(root: Path, kills: int, seed: int = 0) -> Tally:
    """Kill `kills` runs, each resumed until it ends, each compared with the whole one.

    Args:
        root: an empty folder to work in.
        kills: SIGKILLs to deliver.
        seed: of the moments.
    """
    rng = random.Random(seed)
    data = write_csv(root / "trials.csv", random_rows(0, images=120, users=8))
    # tiny shards, so that kills fall between pieces as well as inside them
    code = (
        "import sys; from clickmap_cli.services import map_shards; "
        "map_shards.MAX_SHARD_IMAGES = 10; from clickmap_cli.app import app; app(sys.argv[1:])"
    )

    def line(name: str) -> list[str]:
        return [
            sys.executable, "-c", code, "prepare", f"clickme_data={data}", f"assets={root}",
            f"experiment_name={name}", "image_shape=[32,32]", "min_subjects=2", "save_maps=both",
            "click_bins=2", "display_image_keys=null", "n_jobs=2", "--quiet", "--resume",
        ]  # fmt: skip

    started = time.monotonic()
    subprocess.run(line("whole"), check=True)
    whole = time.monotonic() - started
    wanted = digests(root / "whole")
    tally = Tally()
    while tally.kills < kills:
        name = f"run{tally.kills + tally.too_late}"
        for _ in range(rng.randint(1, 3)):
            run = subprocess.Popen(line(name), stderr=subprocess.PIPE, text=True)
            try:
                run.wait(timeout=rng.uniform(0.1, 1.0) * whole)
                tally.too_late += 1
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
                tally.kills += 1
            if run.stderr is not None:
                run.stderr.close()
        done = subprocess.run(line(name), capture_output=True, text=True, check=False)
        tally.unfinished += done.returncode != 0
        tally.damaged += digests(root / name) != wanted
    return tally


def main() -> None:
    """Print the counts; exit 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_runs(Path(folder), given.kills, given.seed)
    sys.stdout.write(
        f"prepare, SIGKILL: {tally.kills} kills ({tally.too_late} came too late), "
        f"{tally.damaged} damaged results, {tally.unfinished} resumes that failed\n"
    )
    sys.exit(1 if tally.damaged or tally.unfinished else 0)


if __name__ == "__main__":
    main()
