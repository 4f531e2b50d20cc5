"""Training targets of an image: a density, or the pixels that people fixated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.datasets.base import People, Stimulus
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_arrays import read_npy

Density = NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """Ground truth of images, at their sizes.

    Attributes:
        aggregate: `mean` or `median` over people's maps, each scaled to sum 1, or `random`: one
            participant per image and epoch, drawn by (seed, image, epoch).
        interpolation: `bilinear` or `bicubic`, for maps of another size.
        cache_dir: folder of `<image_id>.npy` read in place of people's maps, or None.
        seed: seed of the draw.
    """

    aggregate: str = "mean"
    interpolation: str = "bilinear"
    cache_dir: Path | None = None
    seed: int = 0

    def changes(self, stimulus: Stimulus) -> bool:
        """Return True if the target of an image differs between epochs."""
        return self.aggregate == "random" and stimulus.people() is not None

    def check(self, stimulus: Stimulus, loss: str) -> None:
        """Raise DataError unless an image has a target; maps of people are not computed.

        Raises:
            DataError: the image has no target; the message names it.
        """
        if loss != "kl":
            self.points(stimulus)
        elif self.cache_dir is not None:
            self._cached_path(stimulus, self.cache_dir)
        elif stimulus.people() is None:
            self.density(stimulus)

    def density(self, stimulus: Stimulus, epoch: int | None = None) -> Density:
        """Return the ground-truth density of an image.

        Args:
            stimulus: the image.
            epoch: epoch of the draw for `random`; None = the mean over people, for validation.

        Returns:
            (h, w) float32 of the image's size that sums to 1. Without named people it is the
            image's ground-truth map.

        Raises:
            DataError: the ground truth is missing, empty, negative or damaged.
        """
        if self.cache_dir is not None:
            return self._cached(stimulus, self.cache_dir)
        people = stimulus.people()
        if people is None:
            truth = stimulus.truth()
            # a constant map counts as missing
            if truth is None or np.ptp(truth) == 0:
                raise DataError(
                    f"{stimulus.image_id}: no ground truth to learn from; leave the image out "
                    "with `ids`, or give it a map or fixations."
                )
            return self._finished(truth, stimulus)
        if self.aggregate == "random" and epoch is not None:
            view = people.target(self._drawn(stimulus, people, epoch))
            return self._finished(view.density.reshape(view.shape), stimulus)
        return self._finished(self._pooled(stimulus, people), stimulus)

    def points(self, stimulus: Stimulus, epoch: int | None = None) -> NDArray[np.int64]:
        """Return (n, 2) rows and columns of fixated pixels, of one drawn person for `random`.

        Raises:
            DataError: no fixations are known.
        """
        people = stimulus.people() if self.aggregate == "random" and epoch is not None else None
        if people is not None and epoch is not None:
            person = self._drawn(stimulus, people, epoch, with_points=True)
            places, times = people.target(person).clicked
            flat = np.repeat(places, times.astype(np.int64))
            width = stimulus.size[1]
            return np.stack([flat // width, flat % width], axis=1)
        points = stimulus.points
        if points is None or not len(points):
            raise DataError(
                f"{stimulus.image_id}: no fixations to learn from; leave the image out with "
                "`ids`, or use loss: kl."
            )
        return np.stack([points.rows, points.columns], axis=1)

    def _drawn(
        self, stimulus: Stimulus, people: People, epoch: int, with_points: bool = False
    ) -> int:
        """Draw one person whose map is non-negative and not constant.

        With `with_points`, the person's points must be known too.
        """
        rng = generator(self.seed, stimulus.key, f"participant of epoch {epoch}")
        for person in rng.permutation(len(people.names)):
            view = people.target(int(person))
            if _says_something(view) and (view.has_clicks or not with_points):
                return int(person)
        raise DataError(f"{stimulus.image_id}: nobody's map has a point in it.")

    def _pooled(self, stimulus: Stimulus, people: People) -> NDArray[Any]:
        views = (people.target(person) for person in range(len(people.names)))
        densities = [view.density.reshape(view.shape) for view in views if _says_something(view)]
        if not densities:
            raise DataError(f"{stimulus.image_id}: nobody's map has a point in it.")
        pool = np.median if self.aggregate == "median" else np.mean
        return np.asarray(pool(densities, axis=0))

    def _cached_path(self, stimulus: Stimulus, folder: Path) -> Path:
        path = folder / f"{stimulus.image_id}.npy"
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise DataError(
                f"{stimulus.image_id}: no {path.name} in gt_cache_dir {folder}; make it with "
                "`clickmap data gt-mean`."
            )
        return path

    def _cached(self, stimulus: Stimulus, folder: Path) -> Density:
        path = self._cached_path(stimulus, folder)
        values = read_npy(path)
        if not isinstance(values, np.ndarray) or values.ndim != 2 or not values.size:
            raise DataError(f"{path}: not a map of (height, width).")
        height, width = values.shape
        try:
            geometry = stimulus.placement((height, width), of_file=True)
        except DataError as error:
            raise DataError(f"{path}: {error}.") from error
        return self._finished(values, stimulus, geometry)

    def _finished(
        self, values: NDArray[Any], stimulus: Stimulus, geometry: Geometry | None = None
    ) -> Density:
        """Turn a map into a density on the image's pixels, through a geometry if one is given."""
        exact = np.asarray(values, dtype=np.float64)
        if not np.all(np.isfinite(exact)) or exact.min() < 0:
            raise DataError(f"{stimulus.image_id}: its ground truth holds negatives or no numbers.")
        if geometry is not None:
            exact = geometry.cropped(_resized(exact, geometry.resized, self.interpolation))
        total = exact.sum()
        if not total > 0:
            raise DataError(f"{stimulus.image_id}: its ground truth is empty; leave the image out.")
        return np.asarray(exact / total, dtype=np.float32)


def _says_something(view: MapView) -> bool:
    return bool(view.least >= 0 and not view.constant)


def _resized(values: NDArray[np.float64], size: Size, how: str) -> NDArray[np.float64]:
    """Resize (h, w) values; negative results of bicubic interpolation become 0."""
    if values.shape == size:
        return values
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    resized = functional.interpolate(
        tensor, size=size, mode=how, align_corners=False, antialias=True
    )
    return np.asarray(np.maximum(resized[0, 0].numpy(), 0))
