"""Fixations of all other images as negatives of an image, without a copy for each image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Points


@dataclass(frozen=True, eq=False)
class FixationPool:
    """The fixations of a data set, image after image, shared by the negatives of all images.

    Attributes:
        x: (n) float64 columns, each in pixels of its image.
        y: (n) float64 rows.
        offsets: (images + 1) index of each image's first fixation; the last is n.
        sizes: (images, 2) heights and widths.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[Points], sizes: Sequence[Size]) -> FixationPool:
        """Build the pool from the points and sizes of images."""
        return cls(
            np.concatenate([np.empty(0), *(p.x for p in points)]),
            np.concatenate([np.empty(0), *(p.y for p in points)]),
            np.cumsum([0, *(len(p) for p in points)]),
            np.asarray(sizes, dtype=np.float64).reshape(-1, 2),
        )

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

    def __init__(self, pool: FixationPool, image: int) -> None:
        object.__setattr__(self, "_pool", pool)
        object.__setattr__(self, "_image", image)

    _pool: FixationPool
    _image: int

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
        own = slice(pool.offsets[image], pool.offsets[image + 1])
        return np.delete(stretched, own)
