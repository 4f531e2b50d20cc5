"""One map seen in the ways metrics need it: ranks, unit vector, density, ..., each made once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import RankTable, WholeRanking, average_ranks

Vector = NDArray[np.float64]
Clicks = NDArray[Any] | Callable[[], NDArray[Any]] | None

Some = NDArray[np.intp] | slice

BLOCK = 1 << 13
"""Pixels at a time where steps follow each other.

They stay in the processor's cache, and are too few for a BLAS to start threads of its own.
"""

LEAST_MASS = 1e-300
"""A map whose pixels sum to less is a map of zeros where it is taken as a density."""

IOU_LEVELS = np.linspace(0, 1, 21)
"""Thresholds of the prediction in `iou_auc`."""

IOU_TARGET_LEVELS = np.linspace(0.25, 0.75, 9)
"""Thresholds of the target in `iou_auc`."""


class MapView:
    """A map, and what follows from it, computed when first asked for and then kept.

    Scores of many pairs share their halves: a mean that is held against a hundred participants is
    ranked once.

    Args:
        pixels: (H, W) or (N) map, finite.
        clicks: (H, W) or (N) clicks per pixel, for scores that need the points themselves; or a
            function that gives them when they are needed.
        dtype: float32, which maps are compared as, or float64 for maps that come with more.

    Raises:
        ValueError: a value is NaN or infinite, or the shapes differ.
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
        """Whether every pixel has the same value."""
        return self.least == self.greatest

    @property
    def has_clicks(self) -> bool:
        """Return True if the map came with clicks."""
        return self._clicks is not None

    @cached_property
    def clicked(self) -> tuple[NDArray[np.intp], Vector]:
        """Clicked pixels and the clicks on each.

        Raises:
            ValueError: the map came without clicks, or with clicks of another shape.
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
            return self._looked_up(self.pixels)
        return average_ranks(self.pixels)

    @cached_property
    def rank_spread(self) -> float:
        """Square root of the sum of squared differences of the ranks from their mean."""
        away = self.ranks - (self.size + 1) / 2
        return float(np.sqrt(np.dot(away, away)))

    def ranks_at(self, places: NDArray[np.intp] | None) -> Vector:
        """Average ranks of some pixels; None means all."""
        if places is None:
            return self.ranks
        if "ranks" not in self.__dict__ and len(places) < self.size // 8:
            # a sort of the values alone is cheaper than ranks of all
            return self._looked_up(self.pixels[places])
        return np.asarray(self.ranks[places])

    def _looked_up(self, values: NDArray[Any]) -> Vector:
        """Average ranks of values of this map: the mean of the first and last place they take."""
        below = np.searchsorted(self.ordered, values, side="left")
        through = np.searchsorted(self.ordered, values, side="right")
        return np.asarray((below + through + 1) / 2)

    @cached_property
    def support(self) -> tuple[NDArray[np.intp] | None, float]:
        """Where pixels are not zero, and the rank zeros share; (None, 0) where few are zero."""
        if self.positive.size > 0.9 * self.size or self.least < 0:
            return None, 0.0
        return self.positive, (self.size - self.positive.size + 1) / 2

    @cached_property
    def centred(self) -> Vector:
        """Pixels minus their mean, of length 1; zeros for a constant map."""
        values = self.from_mean(slice(None))
        return unit(values, out=values)

    def from_mean(self, where: Some) -> Vector:
        """Some pixels minus the mean of all; what follows from the others is not kept."""
        values = above(self.pixels[where], self._pivot)
        values -= self._mean
        return values

    @property
    def _pivot(self) -> float:
        """A pixel; differences from it are exact where a map is nearly constant."""
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
        """What counts as nothing in a density.

        Raises:
            ValueError: a pixel is negative.
        """
        if self.least < 0:
            raise ValueError("a map with negative values is no density")
        return 0.0

    @cached_property
    def density(self) -> Vector:
        """Pixels above `zero` scaled to sum 1; uniform for a map of zeros.

        Raises:
            ValueError: `zero` does.
        """
        return self.density_at(slice(None))

    def density_at(self, where: Some) -> Vector:
        """`density` of some pixels; that of the others is not kept."""
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
        """Natural logarithm of the density, which counts as at least 1e-10."""
        return np.asarray(np.log(np.maximum(self.density, 1e-10)))

    @cached_property
    def levels_reached(self) -> NDArray[np.intp]:
        """Thresholds of `IOU_LEVELS` that each min-max scaled pixel reaches, 1 to 21."""
        return _reached(self.scaled, IOU_LEVELS)

    @cached_property
    def target_levels_reached(self) -> NDArray[np.intp]:
        """Thresholds of `IOU_TARGET_LEVELS` that each min-max scaled pixel reaches, 0 to 9."""
        return _reached(self.scaled, IOU_TARGET_LEVELS)

    @property
    def scaled(self) -> Vector:
        """Pixels min-max scaled to 0..1; zeros for a constant map."""
        return self.scaled_at(slice(None))

    def scaled_at(self, where: Some) -> Vector:
        """`scaled` of some pixels."""
        low, high = self._ends
        values = above(self.pixels[where], low)
        if high > low:
            values /= high - low
        return values

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The least and the greatest pixel, as they are compared."""
        return float(self.pixels.min()), float(self.pixels.max())


class CountView(MapView):
    """A map that is known in whole numbers: its float32 pixels are them divided by one number.

    Distinct whole numbers below 2^23 stay distinct, and in order, when they are divided and
    rounded to float32, so ranks are those of the whole numbers and cost half as much.

    Args:
        counts: (H, W) whole numbers, from 0, below `LARGEST`.
        divisor: what makes pixels of them.
        table: room for ranks, shared by views of one image.
        clicks: as for `MapView`.
    """

    LARGEST = 1 << 22

    def __init__(
        self,
        counts: NDArray[Any],
        divisor: float,
        table: RankTable,
        clicks: Clicks = None,
    ) -> None:
        super().__init__(counts, clicks)
        self._divisor = divisor
        self._table = table

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """(N) the pixels in one row."""
        return (self._given.ravel() / self._divisor).astype(np.float32)

    @cached_property
    def _ranking(self) -> WholeRanking:
        return WholeRanking(self._given.ravel(), self._table)

    @property
    def ranks(self) -> Vector:
        """Average ranks of the pixels, from 1; looking them up costs less than keeping them."""
        return self._ranking.at(None)

    @property
    def rank_spread(self) -> float:
        """Square root of the sum of squared differences of the ranks from their mean."""
        return self._ranking.spread

    def ranks_at(self, places: NDArray[np.intp] | None) -> Vector:
        """Average ranks of some pixels; None means all."""
        return self._ranking.at(places)


def unit(values: Vector, out: Vector | None = None) -> Vector:
    """The vector divided by its length; zeros stay zeros."""
    length = float(np.sqrt(np.dot(values, values)))
    return np.divide(values, length, out=out) if length > 0 else values


def above(pixels: NDArray[Any], level: float) -> Vector:
    """What pixels exceed a level by, new and in float64."""
    values = pixels.astype(np.float64)
    if level:
        values -= level
    return values


def blocks(size: int) -> list[slice]:
    """Slices of at most `BLOCK` that follow each other."""
    return [slice(at, at + BLOCK) for at in range(0, size, BLOCK)]


def _reached(values: Vector, levels: Vector) -> NDArray[np.intp]:
    """How many of the evenly spaced levels are at most each value."""
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    guess = np.clip(((values - levels[0]) / step).astype(np.intp) + 1, 0, len(levels))
    # the guess may be off by one where a value lies on a level; the levels themselves decide
    padded = np.concatenate(([-np.inf], levels, [np.inf]))
    guess -= values < padded[guess]
    guess += values >= padded[guess + 1]
    return np.asarray(guess)
