"""Pictures of a key-point training that are drawn while it runs: what is on them, and where to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.training.keypoint_augmentation import Changed


def picture_file(number: int, name: str) -> str:
    """What a picture of an image is called: `<number>_<its name without its ending>.png`."""
    return f"{number:03d}_{Path(flat_name(name)).stem}.png"


@dataclass(frozen=True, eq=False)
class KeypointOverlay:
    """Key points over their image.

    Attributes:
        path: of the PNG.
        title: above the image.
        pixels: (h, w, 3) uint8 RGB.
        names: (k) key points.
        true: (k, 2) x and y in the image's pixels, NaN where there is no label; None = no labels.
        predicted: (k, 2) in the same pixels; None = labels alone.
        wrong: predicted key points that are too far off, counted from 0.
    """

    path: Path
    title: str
    pixels: NDArray[np.uint8]
    names: Sequence[str]
    true: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None
    wrong: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class AugmentationSheet:
    """What training does to images: a row an image, a column a change.

    Attributes:
        path: of the PNG.
        names: (k) key points.
        rows: an image's name, and its panels; all rows have the same titles.
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Changed]]]


@dataclass(frozen=True, eq=False)
class LossCurves:
    """How losses and scores went.

    Attributes:
        path: of the PNG.
        rows: the history, a row an epoch, or with the column `step` also one an evaluation.
        best: epoch, or step, of the best weights; None = not marked.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]
    best: int | None = None


@dataclass(frozen=True, eq=False)
class AttentionSheet:
    """Where in its image the network looks for each key point.

    Attributes:
        path: of the PNG.
        title: above the images.
        pixels: (h, w, 3) uint8 RGB.
        names: (k) key points.
        maps: (k, h, w) float32 of 0 or more.
        true: (k, 2) x and y in the image's pixels, NaN where there is no label.
        predicted: (k, 2) in the same pixels.
    """

    path: Path
    title: str
    pixels: NDArray[np.uint8]
    names: Sequence[str]
    maps: NDArray[np.float32]
    true: NDArray[np.float64]
    predicted: NDArray[np.float64]


@dataclass(frozen=True)
class KeypointFigures:
    """How pictures are drawn; the services say what and where, `reports/` draws."""

    sheet: Callable[[AugmentationSheet], None]
    overlay: Callable[[KeypointOverlay], None]
    attention: Callable[[AttentionSheet], None]
    losses: Callable[[LossCurves], None]
