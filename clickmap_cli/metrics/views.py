"""Different views of one map for the metrics (ranks, unit vector, density, ...), each cached."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import average_ranks

Vector = NDArray[np.float64]
Clicks = NDArray[Any] | Callable[[], NDArray[Any]] | None

Some = NDArray[np.intp] | slice

BLOCK = 1 << 13
"""Number of pixels per block, for computations of several steps.

A block fits in the processor's cache, and is too small for a BLAS to start extra threads.
"""

LEAST_MASS = 1e-300
"""A map whose pixels sum to less counts as a map of zeros when it becomes a density."""

IOU_LEVELS = np.linspace(0, 1, 21)
"""Thresholds of the prediction in `iou_auc`."""

IOU_TARGET_LEVELS = np.linspace(0.25, 0.75, 9)
"""Thresholds of the target in `iou_auc`."""


class MapView:
    """A map and the values derived from it, each computed on first use and then kept.

    Pairs of maps share their members: a mean that is compared with a hundred participants is ranked
    once.

    Args:
        pixels: (H, W) or (N) map, finite.
        clicks: (H, W) or (N) clicks per pixel, for scores that need the points themselves; or a
            function that returns them when they are needed.
        dtype: type in which the map is compared: float32, or float64 for maps of that precision.

    Raises:
        ValueError: the map is empty, or a value is NaN or infinite.
    """

    def __init__(
        self,
        pixels: NDArray[Any],
        clicks: Clicks = None,
        dtype: type[np.float32] | type[np.float64] = np.float32,
    ) -> None:
        self.shape = pixels.shape
        self.size = pixels.size
        self._given = pixels
        self._clicks = clicks
        self._dtype = dtype
        if not self.size or not np.isfinite(self.least) or not np.isfinite(self.greatest):
            raise ValueError("a map without pixels, or with NaN or infinite values")

    @cached_property
    def pixels(self) -> NDArray[Any]:
        """(N) the pixels in one row."""
        return np.ascontiguousarray(self._given, dtype=self._dtype).ravel()

    @cached_property
    def ordered(self) -> NDArray[Any]:
        """(N) the pixels from least to greatest."""
        return np.sort(self.pixels)

    @cached_property
    def least(self) -> float:
        """The smallest pixel."""
        return float(self._given.min())

    @cached_property
    def greatest(self) -> float:
        """The largest pixel."""
        return float(self._given.max())

    @property
    def constant(self) -> bool:
        """True if every pixel has the same value."""
        return self.least == self.greatest

    @property
    def has_clicks(self) -> bool:
        """Return True if the map came with clicks."""
        return self._clicks is not None

    @cached_property
    def clicked(self) -> tuple[NDArray[np.intp], Vector]:
        """Clicked pixels, and the number of clicks on each.

        Raises:
            ValueError: the map came without clicks, or the shape of the clicks differs.
        """
        if self._clicks is None:
            raise ValueError("this score needs the clicks of the target, not only its map")
        clicks = self._clicks() if callable(self._clicks) else self._clicks
        if clicks.shape != self.shape:
            raise ValueError(f"clicks of shape {clicks.shape} on a map of shape {self.shape}")
        flat = clicks.ravel()
        places = np.flatnonzero(flat)
        return places, flat[places].astype(np.float64)

    @cached_property
    def positive(self) -> NDArray[np.intp]:
        """Pixels above zero."""
        return np.flatnonzero(self._given.ravel() > 0)

    @cached_property
    def ranks(self) -> Vector:
        """Average ranks of the pixels, from 1."""
        if self._dtype is np.float64:
            return self._look_up_ranks(self.pixels)
        return average_ranks(self.pixels)

    @cached_property
    def rank_spread(self) -> float:
        """Square root of the sum of squared differences of the ranks from their mean."""
        away = self.ranks - (self.size + 1) / 2
        return float(np.sqrt(np.dot(away, away)))

    def ranks_at(self, places: NDArray[np.intp] | None) -> Vector:
        """Return the average ranks of some pixels; None means all."""
        if places is None:
            return self.ranks
        if "ranks" not in self.__dict__ and len(places) < self.size // 8:
            # sorting the values alone is cheaper than ranking all pixels
            return self._look_up_ranks(self.pixels[places])
        return np.asarray(self.ranks[places])

    def _look_up_ranks(self, values: NDArray[Any]) -> Vector:
        """Return average ranks of values of this map: the mean of their first and last rank."""
        below = np.searchsorted(self.ordered, values, side="left")
        through = np.searchsorted(self.ordered, values, side="right")
        return np.asarray((below + through + 1) / 2)

    @cached_property
    def support(self) -> tuple[NDArray[np.intp] | None, float]:
        """Pixels above zero, and the rank of zeros; (None, 0) if few are 0 or any is negative."""
        if self.positive.size > 0.9 * self.size or self.least < 0:
            return None, 0.0
        return self.positive, (self.size - self.positive.size + 1) / 2

    @cached_property
    def centred(self) -> Vector:
        """Pixels minus their mean, of length 1; zeros for a constant map."""
        values = self.from_mean(slice(None))
        return unit(values, out=values)

    def from_mean(self, where: Some) -> Vector:
        """Return some pixels minus the mean of all, without caching."""
        values = above(self.pixels[where], self._pivot)
        values -= self._mean
        return values

    @property
    def _pivot(self) -> float:
        """The first pixel; differences from it are exact where a map is nearly constant."""
        return float(self.pixels[0])

    @cached_property
    def _mean(self) -> float:
        """Mean of the pixels' differences from `_pivot`."""
        parts = blocks(self.size)
        return sum(float(above(self.pixels[p], self._pivot).sum()) for p in parts) / self.size

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the pixels; 0 for a constant map."""
        squares = 0.0
        for part in blocks(self.size):
            away = self.from_mean(part)
            squares += float(np.dot(away, away))
        return math.sqrt(squares / self.size)

    @cached_property
    def direction(self) -> Vector:
        """Pixels as a vector of length 1; zeros for a map of zeros."""
        values = self.pixels.astype(np.float64)
        return unit(values, out=values)

    @property
    def zero(self) -> float:
        """Pixel value without mass in a density.

        Raises:
            ValueError: a pixel is negative.
        """
        if self.least < 0:
            raise ValueError("a map with negative values is not a density")
        return 0.0

    @cached_property
    def density(self) -> Vector:
        """Pixels minus `zero`, scaled to sum 1; uniform for a map of zeros.

        Raises:
            ValueError: as for `zero`.
        """
        return self.density_at(slice(None))

    def density_at(self, where: Some) -> Vector:
        """Return `density` at some pixels, without caching."""
        values = above(self.pixels[where], self.zero)
        if self._mass > LEAST_MASS:
            values *= 1 / self._mass
        else:
            values.fill(1 / self.size)
        return values

    @cached_property
    def _mass(self) -> float:
        """Sum of the pixels above `zero`."""
        zero = self.zero
        return sum(float(above(self.pixels[part], zero).sum()) for part in blocks(self.size))

    @cached_property
    def log_density(self) -> Vector:
        """Natural logarithm of the density, which is raised to at least 1e-10."""
        return np.asarray(np.log(np.maximum(self.density, 1e-10)))

    @cached_property
    def levels_reached(self) -> NDArray[np.intp]:
        """Number of thresholds of `IOU_LEVELS` that each min-max scaled pixel reaches, 1 to 21."""
        return _count_levels(self.scaled, IOU_LEVELS)

    @cached_property
    def target_levels_reached(self) -> NDArray[np.intp]:
        """Number of `IOU_TARGET_LEVELS` that each min-max scaled pixel reaches, 0 to 9."""
        return _count_levels(self.scaled, IOU_TARGET_LEVELS)

    @property
    def scaled(self) -> Vector:
        """Pixels min-max scaled to 0..1; zeros for a constant map."""
        return self.scaled_at(slice(None))

    def scaled_at(self, where: Some) -> Vector:
        """Return `scaled` at some pixels."""
        low, high = self._ends
        values = above(self.pixels[where], low)
        if high > low:
            values /= high - low
        return values

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The least and the greatest pixel, in the type in which maps are compared."""
        return float(self.pixels.min()), float(self.pixels.max())


class RankTable:
    """A table that maps whole numbers to ranks; the views of one image share it.

    Args:
        largest: largest number that will be looked up.
    """

    def __init__(self, largest: int) -> None:
        self.rank = np.empty(largest + 1)
        self.owner: CountView | None = None


class CountView(MapView):
    """A map given as whole numbers: its float32 pixels are these numbers divided by one divisor.

    Distinct whole numbers below 2^23 stay distinct, and in order, when they are divided and
    rounded to float32. The ranks are therefore those of the whole numbers. Equal numbers share a
    rank, so only the numbers are sorted, not their places, and a table gives the rank of a number:
    half the work of ranking floats.

    Args:
        counts: (H, W) whole numbers from 0, below `LARGEST`.
        divisor: divisor that turns counts into pixels.
        table: table for ranks, shared by the views of one image; it has room for the largest count.
        clicks: as for `MapView`.
    """

    LARGEST = 1 << 22

    def __init__(
        self, counts: NDArray[Any], divisor: float, table: RankTable, clicks: Clicks = None
    ) -> None:
        super().__init__(counts, clicks)
        self._divisor = divisor
        self._table = table

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """(N) the pixels in one row."""
        return (self._given.ravel() / self._divisor).astype(np.float32)

    @cached_property
    def _ranked(self) -> tuple[NDArray[Any], Vector, Vector]:
        """Distinct counts, the average rank of each, and how often it occurs."""
        counts, times = np.unique(self._given, return_counts=True)
        return counts, np.cumsum(times) - (times - 1) / 2, times.astype(np.float64)

    @property
    def ranks(self) -> Vector:
        """Average ranks of the pixels, from 1; looking them up costs less than keeping them."""
        return self.ranks_at(None)

    @cached_property
    def rank_spread(self) -> float:
        """Square root of the sum of squared differences of the ranks from their mean."""
        _, ranks, times = self._ranked
        away = ranks - (self.size + 1) / 2
        return float(np.sqrt(np.dot(times, away * away)))

    def ranks_at(self, places: NDArray[np.intp] | None) -> Vector:
        """Return the average ranks of some pixels; None means all."""
        if self._table.owner is not self:
            counts, ranks, _ = self._ranked
            self._table.rank[counts] = ranks
            self._table.owner = self
        counts = self._given.ravel()
        return self._table.rank.take(counts if places is None else counts[places], mode="clip")


def unit(values: Vector, out: Vector | None = None) -> Vector:
    """Return the vector divided by its length; zeros stay zeros."""
    length = float(np.sqrt(np.dot(values, values)))
    return np.divide(values, length, out=out) if length > 0 else values


def above(pixels: NDArray[Any], level: float) -> Vector:
    """Return pixels minus a level, as a new float64 array."""
    values = pixels.astype(np.float64)
    if level:
        values -= level
    return values


def blocks(size: int) -> list[slice]:
    """Return consecutive slices of at most `BLOCK` items."""
    return [slice(at, at + BLOCK) for at in range(0, size, BLOCK)]


def _count_levels(values: Vector, levels: Vector) -> NDArray[np.intp]:
    """Count the evenly spaced levels that are at most as large as each value."""
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    guess = np.clip(((values - levels[0]) / step).astype(np.intp) + 1, 0, len(levels))
    # the guess may be off by one if a value lies on a level; comparing with the levels corrects it
    padded = np.concatenate(([-np.inf], levels, [np.inf]))
    guess -= values < padded[guess]
    guess += values >= padded[guess + 1]
    return np.asarray(guess)
