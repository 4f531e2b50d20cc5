"""What the benchmarks share: the data, a timer, and the plain dense implementation.

The dense implementation does what the field's scripts do: one float32 `conv2d` chain per trial map,
all trials of an image in one batch. It is compared with clickmap in the same process run, on the
same data, from the file of trials to the files of results, start-up excluded.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("CLICKMAP_DATA", Path(__file__).parents[3] / "shared" / "data"))
OSIE = DATA / "osie" / "trials_mouse.csv.gz"
THREADS = 2


def require_osie() -> Path:
    """The real trials; a benchmark without them says so and ends."""
    if not OSIE.is_file():
        sys.exit(f"the OSIE mouse trials are not at {OSIE}; set CLICKMAP_DATA")
    return OSIE


def seconds(job: Callable[[], Any], repeats: int = 1) -> float:
    """The best of `repeats` runs."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - started)
    return best


def peak_gb() -> float:
    """Most memory this process and its finished children have held, in GB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1e6


def dense_trials(path: Path, min_clicks: int = 10) -> dict[str, list[list[tuple[int, int]]]]:
    """Trials read row by row, as the scripts do: image -> lists of (x, y)."""
    import pandas as pd

    images: dict[str, list[list[tuple[int, int]]]] = {}
    for row in pd.read_csv(path).itertuples():
        text = re.sub(r'[{}"\[\]]', "", row.clicks).strip("()")
        clicks = [tuple(map(int, pair.split(","))) for pair in text.split("),(")]
        inside = [(x, y) for x, y in clicks if 0 <= x < 256 and 0 <= y < 256]
        if len(inside) >= min_clicks:
            images.setdefault(row.image_path, []).append(inside)
    return images


def disk_kernel() -> Any:
    """The flat disk of the scripts, (1, 1, 21, 21) float32, sum 1."""
    import torch

    at = torch.arange(21) - 10
    disk = ((at[:, None] ** 2 + at**2) <= 100).float()
    return (disk / disk.sum())[None, None]


def dense_maps(trials: list[list[tuple[int, int]]], kernel: Any) -> Any:
    """(n, 256, 256) float32 maps of an image's trials: two dense convolutions each."""
    import torch
    from torch.nn.functional import conv2d

    counts = np.zeros((len(trials), 1, 256, 256), dtype=np.float32)
    for number, clicks in enumerate(trials):
        for x, y in clicks:
            counts[number, 0, y, x] += 1
    maps = torch.from_numpy(counts)
    with torch.inference_mode():
        return conv2d(conv2d(maps, kernel, padding="same"), kernel, padding="same")[:, 0]
