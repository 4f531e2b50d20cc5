"""Fixations: their kernel densities, and those of the other images of a data set.

The other images give the negatives for sAUC and the centre bias for IG. Kernel densities are exact
at the borders and not truncated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Points, Stimulus
from clickmap_cli.metrics.saliency import Places, places_of

Density = NDArray[np.float64]

UNIFORM_SHARE = 0.01
"""Share of the uniform density in the centre bias that IG is measured against."""

_SIZES_KEPT = 8
_DIRECT_PAIRS = 1 << 22


def kernel_density(columns: NDArray[Any], rows: NDArray[Any], size: Size, sigma: float) -> Density:
    """Sum isotropic Gaussians centred on points, evaluated at the pixels of an image.

    The kernel is separable, so the sum over points is a product of two matrices.

    Args:
        columns: (n) columns of the points' pixels, whole numbers.
        rows: (n) rows of the points' pixels, whole numbers.
        size: height and width.
        sigma: standard deviation in pixels.

    Returns:
        (h, w) float64, not scaled: a single Gaussian has the value 1 at its centre. Without points
        all values are zero.
    """
    height, width = size
    if len(columns) * (height + width) <= 2 * height * width or len(columns) < min(size):
        down, across = _gaussian(height, sigma), _gaussian(width, sigma)
        return np.asarray(down[rows].T @ across[columns])
    flat = np.asarray(rows) * width + np.asarray(columns)
    return blurred(np.bincount(flat, minlength=height * width).reshape(size), sigma)


def blurred(counts: NDArray[Any], sigma: float) -> Density:
    """Return the kernel density of (h, w) points per pixel, equal to `kernel_density` of them."""
    height, width = counts.shape
    halfway = _gaussian(height, sigma) @ counts.astype(np.float64)
    return np.asarray(halfway @ _gaussian(width, sigma))


def gaussian_at(away: NDArray[Any], sigma: float) -> Density:
    """Return exp(-away^2 / 2 sigma^2)."""
    return np.asarray(np.exp(-(np.asarray(away, dtype=np.float64) ** 2) / (2 * sigma**2)))


@lru_cache(maxsize=16)
def _gaussian(side: int, sigma: float) -> Density:
    """Return the (side, side) Gaussian between every two places of an axis."""
    table = gaussian_at(np.arange(side)[:, None] - np.arange(side), sigma)
    table.flags.writeable = False
    return table


def scaled_to(at: NDArray[Any], side: int, other: int) -> NDArray[np.int64]:
    """Scale places on an axis of `side` pixels to one of `other` pixels, floored and within it."""
    return np.minimum((at * (other / side)).astype(np.int64), other - 1)


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
    baseline: Density | None

    def baseline_at(self, places: NDArray[np.intp]) -> Density | None:
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
        self._counts = lru_cache(maxsize=_SIZES_KEPT)(self._count_all)
        self._blurred = lru_cache(maxsize=_SIZES_KEPT)(self._blur_all)

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

    def density(self, stimulus: Stimulus, size: Size) -> Density:
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
        return _mix_with_uniform(others / others.sum(), others.size)

    @cached_property
    def digest(self) -> str:
        """Hash of the bandwidth and all fixations."""
        found = hashlib.sha256(repr(self._bandwidth).encode())
        for points, size in self._points:
            found.update(f"{size} {len(points)}".encode() + points.x.tobytes() + points.y.tobytes())
        return found.hexdigest()

    def _baseline(self, size: Size, points: Points, places: Places) -> Density:
        """Return log2 of the kernel density of the others, mixed with 1% of uniform.

        Blur is linear, so the blur of all fixations is computed once per size and that of the
        image's own fixations is subtracted.
        """
        everything, total = self._blurred(size)
        own, own_total = _own_density(size, points, places[0], self._bandwidth * size[1])
        others = np.maximum(everything.ravel()[places[0]] - own, 0)
        mixed = _mix_with_uniform(others / (total - own_total), size[0] * size[1])
        return np.asarray(np.log2(mixed))

    def _count_all(self, size: Size) -> NDArray[np.int64]:
        """Return (h, w) fixation counts of all images, those of other sizes scaled."""
        counts = np.zeros(size, dtype=np.int64)
        for points, own_size in self._points:
            counts += _scaled_counts(points, own_size, size)
        return counts

    def _blur_all(self, size: Size) -> tuple[Density, float]:
        density = blurred(self._counts(size), self._bandwidth * size[1])
        return density, float(density.sum())


def _scaled_counts(points: Points, own: Size, size: Size) -> NDArray[np.int64]:
    """Return (h, w) points per pixel, scaled in relative coordinates from the size `own`."""
    height, width = size
    flat = scaled_to(points.y, own[0], height) * width + scaled_to(points.x, own[1], width)
    return np.bincount(flat, minlength=height * width).reshape(size)


def _mix_with_uniform(density: Density, pixels: int) -> Density:
    return (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE / pixels


def _own_density(
    size: Size, points: Points, places: NDArray[np.intp], sigma: float
) -> tuple[Density, float]:
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


class FixationPool:
    """The fixations of a data set, image after image, shared by the negatives of all images.

    Args:
        points: each image's points.
        sizes: heights and widths of the images.
    """

    def __init__(self, points: Sequence[Points], sizes: Sequence[Size]) -> None:
        self.x = np.concatenate([np.empty(0), *(p.x for p in points)])
        self.y = np.concatenate([np.empty(0), *(p.y for p in points)])
        self.offsets = np.cumsum([0, *(len(p) for p in points)])
        self.sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def digest(self) -> str:
        """Hash of all fixations and sizes."""
        parts = hashlib.sha256()
        for array in (self.x, self.y, self.offsets, self.sizes):
            parts.update(np.ascontiguousarray(array).tobytes())
        return parts.hexdigest()


class PooledPoints(Points):
    """The fixations of all images of a pool but one, stretched to that image and truncated.

    Relative coordinates are kept, as in the field's shuffled AUC. Coordinates are computed on
    demand: keeping them would fill the memory in a set of thousands of images.

    Args:
        pool: the fixations of all images.
        image: number of the image in the pool.
    """

    _pool: FixationPool
    _image: int

    def __init__(self, pool: FixationPool, image: int) -> None:
        object.__setattr__(self, "_pool", pool)
        object.__setattr__(self, "_image", image)

    def __len__(self) -> int:
        offsets = self._pool.offsets
        return int(offsets[-1] - offsets[self._image + 1] + offsets[self._image])

    def __repr__(self) -> str:
        return f"PooledPoints({len(self)} points)"

    @property
    def x(self) -> NDArray[np.float64]:
        """(n) float64 columns, whole numbers."""
        return self._stretched(self._pool.x, 1)

    @property
    def y(self) -> NDArray[np.float64]:
        """(n) float64 rows, whole numbers."""
        return self._stretched(self._pool.y, 0)

    def digest(self) -> str:
        """Return a hash of the data that the points are computed from."""
        return f"{self._pool.digest}/{self._image}"

    def _stretched(self, at: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        pool, image = self._pool, self._image
        sides = pool.sizes[:, axis]
        factors = np.repeat(sides[image] / sides, np.diff(pool.offsets))
        stretched = np.minimum(np.floor(at * factors), sides[image] - 1)
        return np.delete(stretched, slice(pool.offsets[image], pool.offsets[image + 1]))
