"""What other images' fixations say of an image: negatives of sAUC, and the centre bias of IG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    """What scores of one image need beside its own points and map.

    Attributes:
        points: the image's fixated pixels, or None.
        negatives: other images' fixations on this image's pixels, or None.
        baseline: (points) log2 of the centre bias's density at `points`, or None.
    """

    points: Places | None
    negatives: Places | None
    baseline: NDArray[np.float64] | None

    def baseline_at(self, places: NDArray[np.intp]) -> NDArray[np.float64] | None:
        """The baseline at some of the image's fixated pixels."""
        if self.baseline is None or self.points is None:
            return None
        return np.asarray(self.baseline[np.searchsorted(self.points[0], places)])


class OtherFixations:
    """All fixations of a data set, to be seen from any of its images.

    Other images' fixations are moved in relative coordinates and cut to whole pixels.

    Args:
        stimuli: the data set's images.
        bandwidth: of the centre bias's kernel, in image widths.
    """

    def __init__(self, stimuli: Sequence[Stimulus], bandwidth: float) -> None:
        self._bandwidth = bandwidth
        self._x, self._y, self._sizes = [], [], []
        for stimulus in stimuli:
            if stimulus.points is not None:
                self._x.append(stimulus.points.x)
                self._y.append(stimulus.points.y)
                self._sizes.append(stimulus.size)
        self._counts = lru_cache(maxsize=_SIZES_KEPT)(self._all_counts)
        self._blurred = lru_cache(maxsize=_SIZES_KEPT)(self._all_blurred)

    def around(self, stimulus: Stimulus) -> Surroundings:
        """What the other images say of one image of the set."""
        points = stimulus.points
        if points is None or not len(points):
            return Surroundings(None, None, None)
        own = points.counts(stimulus.size)
        places = places_of(own)
        if stimulus.nonfixations is not None:
            negatives = places_of(stimulus.nonfixations.counts(stimulus.size))
        else:
            negatives = places_of(self._counts(stimulus.size) - own)
        if sum(map(len, self._x)) == len(points):
            return Surroundings(places, negatives, None)
        return Surroundings(places, negatives, self._baseline(stimulus.size, points, places))

    def _baseline(self, size: Size, points: Points, places: Places) -> NDArray[np.float64]:
        """log2 of the kernel density of the others, mixed with 1% of uniform.

        Blur is linear: everybody's is made once for a size, and the image's own taken away.
        """
        sigma = self._bandwidth * size[1]
        everything, total = self._blurred(size)
        own, own_total = _own_density(size, points, places[0], sigma)
        others = np.maximum(everything.ravel()[places[0]] - own, 0)
        density = others / (total - own_total)
        uniform = 1 / (size[0] * size[1])
        return np.asarray(np.log2((1 - UNIFORM_SHARE) * density + UNIFORM_SHARE * uniform))

    def _all_counts(self, size: Size) -> NDArray[np.int64]:
        """(h, w) fixations of all images, those of other sizes scaled."""
        height, width = size
        counts = np.zeros(height * width, dtype=np.int64)
        for x, y, (h, w) in zip(self._x, self._y, self._sizes, strict=True):
            flat = scaled_to(y, h, height) * width + scaled_to(x, w, width)
            counts += np.bincount(flat, minlength=height * width)
        return counts.reshape(size)

    def _all_blurred(self, size: Size) -> tuple[NDArray[np.float64], float]:
        density = blurred(self._counts(size), self._bandwidth * size[1])
        return density, float(density.sum())


def _own_density(
    size: Size, points: Points, places: NDArray[np.intp], sigma: float
) -> tuple[NDArray[np.float64], float]:
    """The kernel density of the image's own fixations at some pixels, and its sum over all."""
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
