"""Small studies with pictures, prepared in a folder, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from tests.helpers.studies import TrialRow, write_csv

SIDE = 24


def rows_of_sizes(people: Sequence[int], seed: int = 0) -> list[TrialRow]:
    """Image i, `cat<i % 2>/<i>.png`, has people[i] participants, who click in its middle or not."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, n in enumerate(people):
        spread = 2.0 + 2.0 * i
        for user in range(n):
            clicks = np.clip(np.rint(rng.normal(SIDE / 2, spread, (12, 2))), 0, SIDE - 1)
            points = [(int(x), int(y)) for x, y in clicks]
            rows.append((f"cat{i % 2}/{i}.png", f"u{user}", points))
    return rows


def words(folder: Path, *more: str) -> list[str]:
    """Settings of the experiment in a folder."""
    return [
        f"clickme_data={folder / 'trials.csv'}", f"assets={folder / 'assets'}",
        f"image_dir={folder / 'images'}", f"image_shape=[{SIDE},{SIDE}]", "min_subjects=2",
        "blur_size=5", "experiment_name=small", "kernel_type=circle", "n_jobs=1", *more,
    ]  # fmt: skip


def prepared_study(
    folder: Path,
    rows: Sequence[TrialRow],
    *more: str,
    picture: Callable[[str, Path], None] | None = None,
) -> ExperimentConfig:
    """Write pictures and trials, and prepare them.

    Args:
        folder: where everything goes.
        rows: the trials.
        more: settings beyond `words`.
        picture: writes the picture of a key; None writes a plain one of noise.
    """
    write_csv(folder / "trials.csv", rows)
    for key in dict.fromkeys(row[0] for row in rows):
        path = folder / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        (picture or _noise)(key, path)
    config = load_experiment(None, words(folder, *more)).config
    quiet = load_experiment(None, words(folder, *more, "display_image_keys=null")).config
    prepare.run(quiet, Silent(), draw_example)
    return config


def _noise(key: str, path: Path) -> None:
    rng = np.random.default_rng(len(key))
    Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(path)
