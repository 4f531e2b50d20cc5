"""`prepare` on synthetic trials of any number: time per trial and peak memory.

Run it with: python -m tests.benchmarks.scale --trials 1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PER_IMAGE = 100
RUN = """
import json, sys
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services import prepare
config = load_experiment(None, sys.argv[1:]).config
result = prepare.run(config, Silent(), lambda _: None)
print(json.dumps([result.seconds, result.images, result.trials, result.clicks]))
"""


def write_trials(path: Path, trials: int, seed: int = 0) -> None:
    """A CSV of trials with 20 + Poisson(25) clicks each, 100 an image, by 5,000 users."""
    rng = np.random.default_rng(seed)
    words = np.array([f"({i % 256},{i // 256})" for i in range(65536)], dtype=object)
    with path.open("w") as file:
        file.write("image_path,clicks,user_id\n")
        for image in range(trials // PER_IMAGE):
            lengths = 20 + rng.poisson(25, PER_IMAGE)
            users = rng.choice(5000, PER_IMAGE, replace=False)
            clicks = words[rng.integers(0, 65536, lengths.sum())].tolist()
            at = 0
            for user, n in zip(users.tolist(), lengths.tolist(), strict=True):
                text = ",".join(clicks[at : at + n])
                file.write(f'c{image % 50}/{image:06d}.png,"{{""{text}""}}",{user}\n')
                at += n


def run_watched(line: list[str]) -> tuple[str, float]:
    """Run a command; what it printed, and the most memory it and its children held, in GB."""
    run = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while run.poll() is None:
        peak = max(peak, _memory(run.pid))
        time.sleep(0.05)
    said = run.communicate()[0]
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, line)
    return said, peak


def _memory(pid: int) -> float:
    """Memory of a process and all below it in GB, pages that they share counted once (Linux)."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = sum(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:"))
    return own / 1e6 + sum(_memory(int(child)) for child in below)


def main() -> None:
    """Print one line: trials, time, time a trial, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--n-jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_trials(root / "trials.csv", given.trials)
        size = (root / "trials.csv").stat().st_size / 1e6
        words = [
            f"clickme_data={root / 'trials.csv'}", f"assets={root}", "display_image_keys=null",
            f"n_jobs={given.n_jobs}",
        ]  # fmt: skip
        said, peak = run_watched([sys.executable, "-c", RUN, *words])
        seconds, images, trials, clicks = json.loads(said.splitlines()[-1])
        maps = sum(f.stat().st_size for f in root.rglob("*.h5")) / 1e6
    sys.stdout.write(
        f"prepare, {trials:,} trials of {images:,} images ({clicks:,} clicks, {size:,.0f} MB of "
        f"CSV): {seconds:.1f} s, {1e6 * seconds / trials:.0f} us a trial, {maps:,.0f} MB of maps; "
        f"peak memory {peak:.2f} GB, all processes together\n"
    )


if __name__ == "__main__":
    main()
