"""Tiny data sets in the layouts that people have them in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = Path(os.environ.get("CLICKMAP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def shared(name: str) -> Path:
    """A folder of real data, or a skipped test."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} data at {DATA}")
    return DATA / name


def picture(path: Path, size: tuple[int, int] = (12, 16), seed: int = 0, **options) -> np.ndarray:
    """A random picture, lossless by default; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def grey(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def array(path: Path, values: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return values


def counts(size: tuple[int, int] = (12, 16), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.1, size)


def gaussian_sum(x, y, size, sigma) -> np.ndarray:
    """The sum of Gaussians at points, pixel by pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    total = np.zeros(size)
    for column, row in zip(np.floor(x), np.floor(y), strict=True):
        total += np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
    return total


def by_id(data) -> dict:
    return {stimulus.image_id: stimulus for stimulus in data.stimuli}


def reasons(data) -> dict[str, str]:
    """Problems by image; every one is a sentence."""
    for problem in data.problems:
        assert "\n" not in problem.reason
    return {problem.image_id: problem.reason for problem in data.problems}
