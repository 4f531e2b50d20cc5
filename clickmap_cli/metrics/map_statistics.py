"""Summary statistics of an attention map, used as features of a simple classifier."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COVERED = 0.5
"""Share of the range, from the least to the largest value, from which a pixel is covered."""


@dataclass(frozen=True)
class MapStatistics:
    """Five statistics of a map.

    The map is shifted so that its least value is 0 and scaled to sum 1. Scaling or shifting all
    values together therefore changes none of the five. A constant map counts as uniform, and its
    coverage is 0.

    Attributes:
        coverage: share of pixels with a value in the upper half of the range from the least to the
            largest value, 0 to 1.
        entropy: Shannon's, in nats; at most log of the number of pixels.
        centroid_x: mean column, in pixels; 0 is the centre of the leftmost column.
        centroid_y: mean row, in pixels; 0 is the centre of the top row.
        dispersion: root of the mean squared distance from the centroid, in pixels.
    """

    coverage: float
    entropy: float
    centroid_x: float
    centroid_y: float
    dispersion: float


NAMES = tuple(field.name for field in fields(MapStatistics))
"""Names of the statistics, in the order of `statistics_vector`."""


def map_statistics(values: NDArray[Any]) -> MapStatistics:
    """Compute the statistics of a map.

    Args:
        values: (H, W) finite, any range.

    Raises:
        ValueError: the map is not two-dimensional, is empty, or is not finite.

    >>> map_statistics(np.array([[0, 0, 4], [0, 0, 4]])).centroid_x
    2.0
    """
    plane = np.asarray(values, dtype=np.float64)
    if plane.ndim != 2 or not plane.size or not np.all(np.isfinite(plane)):
        raise ValueError(f"statistics of a map of shape {plane.shape}, or not finite")
    # halving first prevents overflow, whatever the range
    heights = plane / 2 - plane.min() / 2
    top = float(heights.max())
    coverage = float(np.mean(heights >= _COVERED * top)) if top else 0.0
    density = heights / top if top else np.ones_like(plane)
    density = density / density.sum()
    known = density[density > 0]
    x, y = density.sum(axis=0), density.sum(axis=1)
    columns, rows = np.arange(len(x)), np.arange(len(y))
    centre_x, centre_y = float(x @ columns), float(y @ rows)
    spread = float(x @ (columns - centre_x) ** 2 + y @ (rows - centre_y) ** 2)
    # the entropy of a single pixel is -0.0; adding 0.0 removes the sign
    entropy = -float(known @ np.log(known)) + 0.0
    return MapStatistics(coverage, entropy, centre_x, centre_y, math.sqrt(spread))


def statistics_vector(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return (5) the statistics of a map, in the order of `NAMES`.

    Args:
        values: (H, W) finite, or (H, W, channels), which is averaged over channels first.

    Raises:
        ValueError: as for `map_statistics`.
    """
    plane = np.asarray(values, dtype=np.float64)
    plane = plane.mean(axis=2) if plane.ndim == 3 else plane
    return np.array(astuple(map_statistics(plane)), dtype=np.float64)
