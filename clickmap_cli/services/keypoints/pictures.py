"""Contents and paths of the pictures that are drawn during a key-point training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.training.tasks.keypoint_augmentation import Pixels, Points


def picture_file(number: int, name: str) -> str:
    """Return the file name of an image's picture: `<number>_<image name without ending>.png`."""
    return f"{number:03d}_{Path(flat_name(name)).stem}.png"


@dataclass(frozen=True, eq=False)
class KeypointOverlay:
    """Key points over their image.

    Attributes:
        path: path of the PNG.
        title: title above the image.
        pixels: (h, w, 3) uint8 RGB.
        names: (k) key points.
        true: (k, 2) true x and y in the image's pixels, NaN without a label; None = no labels.
        predicted: (k, 2) predicted x and y in the same pixels; None = draw only the labels.
        wrong: indices of predicted key points that are too far off.
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
    """Examples of augmented images, with a row per image and a column per change.

    Attributes:
        path: path of the PNG.
        names: (k) key points.
        rows: name of each image, and title, (h, w, 3) pixels in 0..1 and (k, 2) points of each of
            its panels; all rows have the same titles.
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, Pixels, Points]]]]


@dataclass(frozen=True, eq=False)
class LossCurves:
    """Losses and scores during training.

    Attributes:
        path: path of the PNG.
        rows: the history, a row per epoch, and if it has the column `step` also per evaluation.
        best: epoch or step of the best weights, which is marked; None = no mark.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]
    best: int | None = None


@dataclass(frozen=True, eq=False)
class AttentionSheet:
    """Attention maps of an image, one for each key point.

    Attributes:
        path: path of the PNG.
        title: title above the images.
        pixels: (h, w, 3) uint8 RGB.
        names: (k) key points.
        maps: (k, h, w) float32, 0 or more.
        true: (k, 2) true x and y in the image's pixels, NaN without a label.
        predicted: (k, 2) predicted x and y in the same pixels.
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
    """Functions of `reports/` that draw pictures; the services choose contents and paths."""

    sheet: Callable[[AugmentationSheet], None]
    overlay: Callable[[KeypointOverlay], None]
    attention: Callable[[AttentionSheet], None]
    losses: Callable[[LossCurves], None]
