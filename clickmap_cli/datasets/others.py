"""Fixations of the other images of a data set: negatives for sAUC, and the centre bias for IG."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Points, Stimulus
from clickmap_cli.datasets.kernel_density import blurred, gaussian_at, kernel_density
from clickmap_cli.datasets.people import scaled_to
from clickmap_cli.metrics.saliency import Places, places_of

UNIFORM_SHARE = 0.01
"""Share of the uniform density in the centre bias that IG is measured against."""

_SIZES_KEPT = 8
_DIRECT_PAIRS = 1 << 22


@dataclass(frozen=True)
class Surroundings:
    """The data that scores of one image need besides its own points and map.

    Attributes:
        points: the image's fixated pixels, or None.
        negatives: other images' fixations, moved onto this image's pixels, or None.
        baseline: (points) log2 of the centre bias's density at `points`, or None.
    """

    points: Places | None
    negatives: Places | None
    baseline: NDArray[np.float64] | None

    def baseline_at(self, places: NDArray[np.intp]) -> NDArray[np.float64] | None:
        """Return the baseline at some of the image's fixated pixels."""
        if self.baseline is None or self.points is None:
            return None
        return np.asarray(self.baseline[np.searchsorted(self.points[0], places)])


class OtherFixations:
    """All fixations of a data set, as a source of the other images' fixations for each image.

    Other images' fixations keep their relative coordinates and are floored to whole pixels.

    Args:
        stimuli: the data set's images.
        bandwidth: width of the centre bias's kernel, in image widths.
    """

    def __init__(self, stimuli: Sequence[Stimulus], bandwidth: float) -> None:
        self._bandwidth = bandwidth
        self._points: list[tuple[Points, Size]] = [
            (stimulus.points, stimulus.size) for stimulus in stimuli if stimulus.points is not None
        ]
        self.n = sum(len(points) for points, _ in self._points)
        """Number of fixations of all images together."""
        self._counts = lru_cache(maxsize=_SIZES_KEPT)(self._all_counts)
        self._blurred = lru_cache(maxsize=_SIZES_KEPT)(self._all_blurred)

    def around(self, stimulus: Stimulus) -> Surroundings:
        """Return the negatives and the baseline that the other images give one image of the set."""
        points = stimulus.points
        if points is None or not len(points):
            return Surroundings(None, None, None)
        own = points.counts(stimulus.size)
        places = places_of(own)
        if stimulus.nonfixations is not None:
            negatives = places_of(stimulus.nonfixations.counts(stimulus.size))
        else:
            negatives = places_of(self._counts(stimulus.size) - own)
        if self.n == len(points):
            return Surroundings(places, negatives, None)
        return Surroundings(places, negatives, self._baseline(stimulus.size, points, places))

    def density(self, stimulus: Stimulus, size: Size) -> NDArray[np.float64]:
        """Return the centre bias of the other images for one image, at every pixel of any size.

        Args:
            stimulus: the image that is left out; other images must have fixations.
            size: height and width of the result.

        Returns:
            (h, w) the others' kernel density mixed with 1% of uniform; sums to 1.
        """
        counts = self._counts(size)
        if stimulus.points is not None:
            counts = counts - _scaled_counts(stimulus.points, stimulus.size, size)
        others = blurred(counts, self._bandwidth * size[1])
        return _mixed(others / others.sum(), others.size)

    @cached_property
    def digest(self) -> str:
        """Hash of the bandwidth and all fixations."""
        found = hashlib.sha256(repr(self._bandwidth).encode())
        for points, size in self._points:
            found.update(f"{size} {len(points)}".encode() + points.x.tobytes() + points.y.tobytes())
        return found.hexdigest()

    def _baseline(self, size: Size, points: Points, places: Places) -> NDArray[np.float64]:
        """Return log2 of the kernel density of the others, mixed with 1% of uniform.

        Blur is linear, so the blur of all fixations is computed once per size and that of the
        image's own fixations is subtracted.
        """
        sigma = self._bandwidth * size[1]
        everything, total = self._blurred(size)
        own, own_total = _own_density(size, points, places[0], sigma)
        others = np.maximum(everything.ravel()[places[0]] - own, 0)
        return np.asarray(np.log2(_mixed(others / (total - own_total), size[0] * size[1])))

    def _all_counts(self, size: Size) -> NDArray[np.int64]:
        """Return (h, w) fixation counts of all images, those of other sizes scaled."""
        counts = np.zeros(size, dtype=np.int64)
        for points, own_size in self._points:
            counts += _scaled_counts(points, own_size, size)
        return counts

    def _all_blurred(self, size: Size) -> tuple[NDArray[np.float64], float]:
        density = blurred(self._counts(size), self._bandwidth * size[1])
        return density, float(density.sum())


def _scaled_counts(points: Points, own: Size, size: Size) -> NDArray[np.int64]:
    """Return (h, w) points per pixel, scaled in relative coordinates from the size `own`."""
    height, width = size
    flat = scaled_to(points.y, own[0], height) * width + scaled_to(points.x, own[1], width)
    return np.bincount(flat, minlength=height * width).reshape(size)


def _mixed(density: NDArray[np.float64], pixels: int) -> NDArray[np.float64]:
    """Mix a density with its share of the uniform density."""
    return (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE / pixels


def _own_density(
    size: Size, points: Points, places: NDArray[np.intp], sigma: float
) -> tuple[NDArray[np.float64], float]:
    """Return the kernel density of the image's own fixations at some pixels, and its total sum."""
    rows, columns = points.rows, points.columns
    height, width = size
    down = gaussian_at(np.arange(height)[:, None] - np.arange(height), sigma).sum(axis=0)
    across = gaussian_at(np.arange(width)[:, None] - np.arange(width), sigma).sum(axis=0)
    total = float(np.dot(down[rows], across[columns]))
    if len(places) * len(points) > _DIRECT_PAIRS:
        return kernel_density(columns, rows, size, sigma).ravel()[places], total
    away = gaussian_at((places // width)[:, None] - rows, sigma)
    away *= gaussian_at((places % width)[:, None] - columns, sigma)
    return away.sum(axis=1), total
