"""One map seen in the ways metrics need it: ranks, unit vector, density, ..., each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import RankTable, WholeRanking, average_ranks

Vector = NDArray[np.float64]
Clicks = NDArray[Any] | Callable[[], NDArray[Any]] | None

IOU_LEVELS = np.linspace(0, 1, 21)
"""Thresholds of the prediction in `iou_auc`."""

IOU_TARGET_LEVELS = np.linspace(0.25, 0.75, 9)
"""Thresholds of the target in `iou_auc`."""


class MapView:
    """A map, and what follows from it, computed when first asked for and then kept.

    Scores of many pairs share their halves: a mean that is held against a hundred participants is
    ranked once.

    Args:
        pixels: (H, W) or (N) map, finite; compared as float32.
        clicks: (H, W) or (N) clicks per pixel, for scores that need the points themselves; or a
            function that gives them when they are needed.

    Raises:
        ValueError: a value is NaN or infinite, or the shapes differ.
    """

    def __init__(self, pixels: NDArray[Any], clicks: Clicks = None) -> None:
        self.shape = pixels.shape
        self.size = pixels.size
        self._given = pixels
        self._clicks = clicks
        if not self.size or not np.isfinite(self.least) or not np.isfinite(pixels.max()):
            raise ValueError("a map without pixels, or with NaN or infinite values")

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """(N) the pixels in one row."""
        return np.ascontiguousarray(self._given, dtype=np.float32).ravel()

    @cached_property
    def least(self) -> float:
        """The smallest pixel."""
        return float(self._given.min())

    @cached_property
    def constant(self) -> bool:
        """Whether every pixel has the same value."""
        return self.least == float(self._given.max())

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
        return average_ranks(self.pixels)

    @cached_property
    def rank_spread(self) -> float:
        """Square root of the sum of squared differences of the ranks from their mean."""
        away = self.ranks - (self.size + 1) / 2
        return float(np.sqrt(np.dot(away, away)))

    def ranks_at(self, places: NDArray[np.intp] | None) -> Vector:
        """Average ranks of some pixels; None means all."""
        return self.ranks if places is None else self.ranks[places]

    @cached_property
    def support(self) -> tuple[NDArray[np.intp] | None, float]:
        """Where pixels are not zero, and the rank zeros share; (None, 0) where few are zero."""
        if self.positive.size > 0.9 * self.size or self.least < 0:
            return None, 0.0
        return self.positive, (self.size - self.positive.size + 1) / 2

    @cached_property
    def centred(self) -> Vector:
        """Pixels minus their mean, of length 1; zeros for a constant map."""
        if self.constant:
            return np.zeros(len(self.pixels))
        values = self.pixels.astype(np.float64)
        return unit(values - values.mean())

    @cached_property
    def direction(self) -> Vector:
        """Pixels as a vector of length 1; zeros for a map of zeros."""
        return unit(self.pixels.astype(np.float64))

    @cached_property
    def density(self) -> Vector:
        """Pixels scaled to sum 1; uniform for a map of zeros.

        Raises:
            ValueError: a pixel is negative.
        """
        values = self.pixels.astype(np.float64)
        if values.min() < 0:
            raise ValueError("a map with negative values is no density")
        total = values.sum()
        return values / total if total > 0 else np.full(len(values), 1 / len(values))

    @cached_property
    def log_density(self) -> Vector:
        """Natural logarithm of the density, which counts as at least 1e-10."""
        return np.asarray(np.log(np.maximum(self.density, 1e-10)))

    @cached_property
    def levels_reached(self) -> NDArray[np.intp]:
        """Thresholds of `IOU_LEVELS` that each min-max scaled pixel reaches, 1 to 21."""
        return _reached(self._scaled, IOU_LEVELS)

    @cached_property
    def target_levels_reached(self) -> NDArray[np.intp]:
        """Thresholds of `IOU_TARGET_LEVELS` that each min-max scaled pixel reaches, 0 to 9."""
        return _reached(self._scaled, IOU_TARGET_LEVELS)

    @property
    def _scaled(self) -> Vector:
        """Pixels between 0 and 1; zeros for a constant map."""
        values = self.pixels.astype(np.float64)
        low, high = values.min(), values.max()
        return (values - low) / (high - low) if high > low else np.zeros(len(values))


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


def unit(values: Vector) -> Vector:
    """The vector divided by its length; zeros stay zeros."""
    length = float(np.sqrt(np.dot(values, values)))
    return values / length if length > 0 else values


def _reached(values: Vector, levels: Vector) -> NDArray[np.intp]:
    """How many of the evenly spaced levels are at most each value."""
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    guess = np.clip(((values - levels[0]) / step).astype(np.intp) + 1, 0, len(levels))
    # the guess may be off by one where a value lies on a level; the levels themselves decide
    padded = np.concatenate(([-np.inf], levels, [np.inf]))
    guess -= values < padded[guess]
    guess += values >= padded[guess + 1]
    return np.asarray(guess)
