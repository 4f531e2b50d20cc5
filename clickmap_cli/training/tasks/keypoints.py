"""The task of a network for key points: predict their positions in an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.keypoints import AugmentSettings
from clickmap_cli.datasets.keypoint_labels import KeypointImage
from clickmap_cli.metrics.keypoints import ALPHA, scale_points, score_keypoints
from clickmap_cli.models.keypoint_net import KeypointInput, KeypointNet
from clickmap_cli.models.weights import evaluating
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_images import read_image
from clickmap_cli.training.tasks.base import Cache, Task, autocast
from clickmap_cli.training.tasks.keypoint_augmentation import (
    Change,
    Pixels,
    Points,
    apply_change,
    draw_change,
    example_changes,
    is_on,
)


@dataclass(frozen=True, eq=False)
class KeypointExample:
    """An image in the network's format, and its key points.

    Attributes:
        planes: (3, height, width) float32 normalised, on the CPU.
        points: (k, 2) float64 x and y in the network's pixels; NaN where a label is missing.
    """

    planes: torch.Tensor
    points: NDArray[np.float64]


class KeypointTask(Task):
    """Images, their key points, and a network that predicts them.

    The loss of an image is the mean over its labelled coordinates of the squared difference, in
    shares of the network's image: with a side of S pixels its RMSE is S x root(2 x loss). `rmse`
    and `pck` are in the network's pixels.

    Args:
        network: network that returns (n, k, 2) shares of width and height, 0 to 1 inside the image,
            of (n, 3, height, width) images; on its device.
        train: training images.
        validation: images that choose the best weights.
        reference: the two key points whose distance is the unit of PCK, from 0; None = no PCK.
        alpha: largest error of a correct key point, as a share of that distance.
        augment: ranges of the random changes of training images; None = no changes.
        swaps: left and right key points that change places in a mirror, from 0.
        seed: seed of every random change, together with the image's name and the epoch.
        about: plain values to store in checkpoints, such as the network's settings.
    """

    watched = ("rmse", "pck")

    def __init__(
        self,
        network: KeypointNet,
        train: Sequence[KeypointImage],
        validation: Sequence[KeypointImage],
        *,
        reference: tuple[int, int] | None = None,
        alpha: float = ALPHA,
        augment: AugmentSettings | None = None,
        swaps: Sequence[tuple[int, int]] = (),
        seed: int = 0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.network: KeypointNet = network
        self.shown = network.shown
        self.train = train
        self.validation = validation
        self._reference = reference
        self._alpha = alpha
        self._augment = AugmentSettings() if augment is None else augment
        self._swaps = swaps
        self._seed = seed
        self._about = dict(about or {})
        self._cache: Cache[NDArray[np.uint8]] = Cache()

    def name(self, item: KeypointImage) -> str:
        """Return the image's name in its labels."""
        return item.name

    def read(self, item: KeypointImage, epoch: int | None) -> KeypointExample:
        """Read one image with its key points; changed at random if `epoch` is given.

        Raises:
            DataError: the image is missing or damaged.
        """
        if epoch is None or not is_on(self._augment):
            points = scale_points(item.points, item.size, self.shown.size)
            plain = self.pixels(item).astype(np.float32) / 255
            return KeypointExample(normalise_planes(plain, self.shown), points)
        rng = self._generator(item, epoch)
        pixels, points = self._apply(item, draw_change(self._augment, rng), rng)
        return KeypointExample(normalise_planes(pixels, self.shown), points)

    def pixels(self, item: KeypointImage) -> NDArray[np.uint8]:
        """Return an image as (height, width, 3) RGB at the network's size; it is read-only.

        Raises:
            DataError: the image is missing or damaged.
        """

        def read() -> NDArray[np.uint8]:
            pixels = squash_image(read_image(item.path), self.shown.size)
            pixels.flags.writeable = False
            return pixels

        return self._cache.get(item.path, read)

    def sheet_row(self, item: KeypointImage) -> list[tuple[str, Pixels, Points]]:
        """Return an image unchanged, after each kind of change, and as the first epoch sees it.

        Returns:
            Title, (h, w, 3) pixels in 0..1, and (k, 2) points of each panel.

        Raises:
            DataError: the image is missing or damaged.
        """
        row = [
            (title, *self._apply(item, change, self._generator(item, 1)))
            for title, change in example_changes(self._augment).items()
        ]
        rng = self._generator(item, 1)
        return [*row, ("all, at random", *self._apply(item, draw_change(self._augment, rng), rng))]

    def _apply(
        self, item: KeypointImage, change: Change, rng: np.random.Generator
    ) -> tuple[Pixels, Points]:
        points = scale_points(item.points, item.size, self.shown.size)
        # width and height of a pixel of the network's image, in pixels of the picture
        pixel = item.size[1] / self.shown.size[1], item.size[0] / self.shown.size[0]
        return apply_change(self.pixels(item), points, change, rng, self._swaps, pixel)

    def _generator(self, item: KeypointImage, epoch: int) -> np.random.Generator:
        return generator(self._seed, "augment", item.name, str(epoch))

    def losses(
        self, batch: Sequence[KeypointExample], precision: str
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Compute the loss of every image, and the (k, 2) shares that the network predicts.

        The loss itself is always computed in float32. An image without any label left has the loss
        0.
        """
        device = next(self.network.parameters()).device
        images = torch.stack([example.planes for example in batch]).to(device)
        wanted = np.stack([points_to_shares(example.points, self.shown.size) for example in batch])
        targets = torch.from_numpy(wanted).float().to(device)
        with autocast(self.network, precision):
            predicted = self.network(images)
        return masked_losses(predicted.float(), targets), list(predicted)

    def scores(self, example: KeypointExample, output: torch.Tensor) -> dict[str, float]:
        """Compute RMSE and PCK of one image; NaN without labels, or without reference points."""
        found = output.detach().double().cpu().numpy()
        points = shares_to_points(found, self.shown.size)
        scored = score_keypoints(points[None], example.points[None], self._reference, self._alpha)
        return {"rmse": scored.rmse, "pck": scored.pck}

    def about(self) -> dict[str, Any]:
        """Return the values given as `about`."""
        return self._about

    def predict(
        self, items: Sequence[KeypointImage], batch_size: int = 20, precision: str = "fp32"
    ) -> NDArray[np.float64]:
        """Predict (n, k, 2) key points of images, in the network's pixels.

        Raises:
            DataError: an image is missing or damaged.
        """
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(items), batch_size):
            some = items[first : first + batch_size]
            pixels = [self.pixels(item) for item in some]
            found += predict(self.network, pixels, precision)
        k = len(items[0].points) if items else 0
        return np.stack(found) if found else np.empty((0, k, 2))


def masked_losses(predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute (n) mean squared differences over labelled coordinates; 0 without any label.

    Args:
        predicted: (n, k, 2) predictions.
        targets: (n, k, 2); NaN where a label is missing.
    """
    known = ~torch.isnan(targets)
    squares = (predicted - torch.where(known, targets, predicted.detach())).square().flatten(1)
    return squares.sum(1) / known.flatten(1).sum(1).clamp_min(1)


def squash_image(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
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


def normalise_planes(pixels: NDArray[Any], shown: KeypointInput) -> torch.Tensor:
    """Return (3, h, w) float32 normalised planes of (h, w, 3) RGB in 0..1."""
    mean, std = (np.asarray(values, dtype=np.float32) for values in (shown.mean, shown.std))
    normalised = (pixels.astype(np.float32) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(normalised, -1, 0)))


def points_to_shares(points: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Convert points to shares of the image: 0 at its left and upper edges, 1 at the others.

    The centre of the top left pixel is at (0, 0), so x becomes (x + 0.5) / width.

    Args:
        points: (..., 2) x and y in pixels; NaN stays NaN.
        size: height and width.
    """
    extent = np.array([size[1], size[0]], dtype=np.float64)
    return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) / extent)


def shares_to_points(found: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Convert shares of an image to points in pixels; the inverse of `points_to_shares`."""
    extent = np.array([size[1], size[0]], dtype=np.float64)
    return np.asarray(np.asarray(found, dtype=np.float64) * extent - 0.5)


def predict(
    network: KeypointNet,
    pictures: Sequence[NDArray[np.uint8]],
    precision: str = "fp32",
) -> list[NDArray[np.float64]]:
    """Predict key points with a network, in evaluation mode, as one batch.

    Args:
        network: a network as in `KeypointTask`.
        pictures: (h, w, 3) RGB of any sizes.
        precision: `fp32`, `bf16` or `fp16`.

    Returns:
        (k, 2) x and y in each picture's own pixels.
    """
    if not pictures:
        return []
    device, shown = next(network.parameters()).device, network.shown
    small = (squash_image(picture, shown.size).astype(np.float32) / 255 for picture in pictures)
    images = torch.stack([normalise_planes(pixels, shown) for pixels in small]).to(device)
    with evaluating(network), torch.inference_mode(), autocast(network, precision):
        predicted = network(images)
    found = predicted.double().cpu().numpy()
    return [
        shares_to_points(points, (picture.shape[0], picture.shape[1]))
        for points, picture in zip(found, pictures, strict=True)
    ]
