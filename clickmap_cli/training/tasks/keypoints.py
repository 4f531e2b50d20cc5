"""The task of a network for key points: predict their positions in an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.keypoints import AugmentSettings
from clickmap_cli.datasets.keypoint_labels import KeypointImage
from clickmap_cli.metrics.keypoints import ALPHA, scaled, score_keypoints
from clickmap_cli.models.keypoint_net import KeypointInput, evaluating
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_images import read_image
from clickmap_cli.training.tasks.base import Task, autocast
from clickmap_cli.training.tasks.keypoint_augmentation import (
    Changed,
    is_on,
    random_change,
    sheet_row,
)

KEPT_BYTES = 1 << 30
"""Bytes of images of the network's size kept in memory between epochs."""


@dataclass(frozen=True)
class PckSettings:
    """Criterion for a correct key point.

    Attributes:
        reference: the two key points whose distance is the unit, from 0; None = no PCK.
        alpha: largest error, as a share of that distance.
    """

    reference: tuple[int, int] | None
    alpha: float = ALPHA


@dataclass(frozen=True)
class Augmenting:
    """Settings of the random changes of training images.

    Attributes:
        settings: ranges of the changes.
        swaps: left and right key points that change places in a mirror, from 0.
        seed: seed of every draw, together with the image's name and the epoch.
    """

    settings: AugmentSettings
    swaps: tuple[tuple[int, int], ...] = ()
    seed: int = 0


@dataclass(frozen=True, eq=False)
class KeypointExample:
    """An image in the network's format, and its key points.

    Attributes:
        planes: (3, height, width) float32 normalised, on the CPU.
        points: (k, 2) float64 x and y in the network's pixels; NaN where a label is missing.
    """

    planes: torch.Tensor
    points: NDArray[np.float64]


class NetworkImages:
    """Decoded images at the network's size, kept while they fit; several tasks may share them.

    Args:
        shown: format of the network's images.
        kept_bytes: largest total size of the kept images in bytes.
    """

    def __init__(self, shown: KeypointInput, kept_bytes: int = KEPT_BYTES) -> None:
        self.shown = shown
        self._most = kept_bytes
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._bytes = 0
        self._lock = Lock()

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Return an image as (height, width, 3) RGB; the array is read-only.

        Raises:
            DataError: the image is missing or damaged.
        """
        held = self._kept.get(path)
        if held is not None:
            return held
        pixels = squashed(read_image(path), self.shown.size)
        pixels.flags.writeable = False
        with self._lock:
            if path not in self._kept and self._bytes + pixels.nbytes <= self._most:
                self._kept[path] = pixels
                self._bytes += pixels.nbytes
        return pixels


class KeypointTask(Task):
    """Images, their key points, and a network that predicts them.

    The loss of an image is the mean over its labelled coordinates of the squared difference, in
    shares of the network's image: with a side of S pixels its RMSE is S x root(2 x loss). `rmse`
    and `pck` are in the network's pixels.

    Args:
        network: network that returns (n, k, 2) shares of width and height, 0 to 1 inside the image,
            of (n, 3, height, width) images; on its device.
        images: reader of images in the network's format.
        train: training images.
        validation: images that choose the best weights.
        pck: criterion for a correct key point.
        augmenting: random changes of training images; None = no changes.
        about: plain values to store in checkpoints, such as the network's settings.
    """

    watched = ("rmse", "pck")

    def __init__(
        self,
        network: nn.Module,
        images: NetworkImages,
        train: Sequence[KeypointImage],
        validation: Sequence[KeypointImage],
        pck: PckSettings,
        augmenting: Augmenting | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.shown = images.shown
        self.train = train
        self.validation = validation
        self._images = images
        self._pck = pck
        self._augmenting = augmenting
        self._about = dict(about or {})

    def name(self, item: KeypointImage) -> str:
        """Return the image's name in its labels."""
        return item.name

    def read(self, item: KeypointImage, epoch: int | None) -> KeypointExample:
        """Read one image with its key points; changed at random if `epoch` is given.

        Raises:
            DataError: the image is missing or damaged.
        """
        pixels = self._images.pixels(item.path)
        points = scaled(item.points, item.size, self.shown.size)
        augmenting = self._augmenting
        if epoch is None or augmenting is None or not is_on(augmenting.settings):
            return KeypointExample(planes(pixels.astype(np.float32) / 255, self.shown), points)
        done = random_change(
            pixels,
            points,
            augmenting.settings,
            self._generator(item, epoch, augmenting),
            augmenting.swaps,
            self._pixel(item),
        )
        return KeypointExample(planes(done.pixels, self.shown), done.points)

    def sheet_row(self, item: KeypointImage) -> list[Changed]:
        """Return an image unchanged, after each kind of change, and as the first epoch sees it.

        Raises:
            DataError: the image is missing or damaged.
        """
        augmenting = self._augmenting or Augmenting(AugmentSettings())
        return sheet_row(
            self._images.pixels(item.path),
            scaled(item.points, item.size, self.shown.size),
            augmenting.settings,
            partial(self._generator, item, 1, augmenting),
            augmenting.swaps,
            self._pixel(item),
        )

    def losses(
        self, batch: Sequence[KeypointExample], precision: str
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Compute the loss of every image, and the (k, 2) shares that the network predicts.

        The loss itself is always computed in float32. An image without any label left has the loss
        0.
        """
        device = next(self.network.parameters()).device
        images = torch.stack([example.planes for example in batch]).to(device)
        wanted = np.stack([shares(example.points, self.shown.size) for example in batch])
        targets = torch.from_numpy(wanted).float().to(device)
        with autocast(self.network, precision):
            said = self.network(images)
        return masked_losses(said.float(), targets), list(said)

    def scores(self, example: KeypointExample, output: torch.Tensor) -> dict[str, float]:
        """Compute RMSE and PCK of one image; NaN without labels, or without reference points."""
        found = output.detach().double().cpu().numpy()
        points = pixels_of_shares(found, self.shown.size)
        scored = score_keypoints(
            points[None], example.points[None], self._pck.reference, self._pck.alpha
        )
        return {"rmse": scored.rmse, "pck": scored.pck}

    def about(self) -> dict[str, Any]:
        """Return the values given as `about`."""
        return self._about

    def predicted(
        self, items: Sequence[KeypointImage], batch_size: int = 20, precision: str = "fp32"
    ) -> NDArray[np.float64]:
        """Predict (n, k, 2) key points of images, in the network's pixels.

        Raises:
            DataError: an image is missing or damaged.
        """
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(items), batch_size):
            some = items[first : first + batch_size]
            pixels = [self._images.pixels(item.path) for item in some]
            found += list(predict(self.network, self.shown, pixels, precision))
        k = len(items[0].points) if items else 0
        return np.stack(found) if found else np.empty((0, k, 2))

    @staticmethod
    def _generator(item: KeypointImage, epoch: int, augmenting: Augmenting) -> np.random.Generator:
        return generator(augmenting.seed, "augment", item.name, str(epoch))

    def _pixel(self, item: KeypointImage) -> tuple[float, float]:
        """Return width and height of a pixel of the network's image, in pixels of the picture."""
        return item.size[1] / self.shown.size[1], item.size[0] / self.shown.size[0]


def masked_losses(said: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute (n) mean squared differences over labelled coordinates; 0 without any label.

    Args:
        said: (n, k, 2) predictions.
        targets: (n, k, 2); NaN where a label is missing.
    """
    known = ~torch.isnan(targets)
    squares = (said - torch.where(known, targets, said.detach())).square().flatten(1)
    return squares.sum(1) / known.flatten(1).sum(1).clamp_min(1)


def squashed(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize an image to the network's size, whatever its shape: bilinear with antialiasing.

    Pixel (i, j) covers the same share of the image before and after, as `metrics.keypoints.scaled`
    moves points.

    Args:
        pixels: (h, w, 3).
        size: new height and width.
    """
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels.copy()
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized, dtype=np.uint8)


def planes(pixels: NDArray[Any], shown: KeypointInput) -> torch.Tensor:
    """Return (3, h, w) float32 normalised planes of (h, w, 3) RGB in 0..1."""
    mean, std = (np.asarray(values, dtype=np.float32) for values in (shown.mean, shown.std))
    normalised = (pixels.astype(np.float32) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(normalised, -1, 0)))


def shares(points: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Convert points to shares of the image: 0 at its left and upper edges, 1 at the others.

    The centre of the top left pixel is at (0, 0), so x becomes (x + 0.5) / width.

    Args:
        points: (..., 2) x and y in pixels; NaN stays NaN.
        size: height and width.
    """
    extent = np.array([size[1], size[0]], dtype=np.float64)
    return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) / extent)


def pixels_of_shares(found: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Convert shares of an image to points in pixels; the inverse of `shares`."""
    extent = np.array([size[1], size[0]], dtype=np.float64)
    return np.asarray(np.asarray(found, dtype=np.float64) * extent - 0.5)


def predict(
    network: nn.Module,
    shown: KeypointInput,
    pictures: Sequence[NDArray[np.uint8]],
    precision: str = "fp32",
) -> list[NDArray[np.float64]]:
    """Predict key points with a network, in evaluation mode, as one batch.

    Args:
        network: a network as in `KeypointTask`.
        shown: format of its images.
        pictures: (h, w, 3) RGB of any sizes.
        precision: `fp32`, `bf16` or `fp16`.

    Returns:
        (k, 2) x and y in each picture's own pixels.
    """
    if not pictures:
        return []
    device = next(network.parameters()).device
    small = (squashed(picture, shown.size).astype(np.float32) / 255 for picture in pictures)
    images = torch.stack([planes(pixels, shown) for pixels in small]).to(device)
    with evaluating(network), torch.inference_mode(), autocast(network, precision):
        said = network(images)
    found = said.double().cpu().numpy()
    return [
        pixels_of_shares(points, (picture.shape[0], picture.shape[1]))
        for points, picture in zip(found, pictures, strict=True)
    ]
