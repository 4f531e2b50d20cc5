"""One map seen in the ways metrics need it: ranks, unit vector, density, ..., each made once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import average_ranks

Vector = NDArray[np.float64]

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
        clicks: (H, W) or (N) clicks per pixel, for scores that need the points themselves.

    Raises:
        ValueError: a value is NaN or infinite, or the shapes differ.
    """

    def __init__(self, pixels: NDArray[Any], clicks: NDArray[Any] | None = None) -> None:
        self.shape = pixels.shape
        self.pixels = np.ascontiguousarray(pixels, dtype=np.float32).ravel()
        if not np.isfinite(self.pixels).all():
            raise ValueError("a map with NaN or infinite values")
        if clicks is not None and clicks.shape != pixels.shape:
            raise ValueError(f"clicks of shape {clicks.shape} on a map of shape {pixels.shape}")
        self._clicks = None if clicks is None else clicks.ravel()

    @cached_property
    def constant(self) -> bool:
        """Whether every pixel has the same value."""
        return self.pixels.size == 0 or bool(self.pixels.min() == self.pixels.max())

    @cached_property
    def clicked(self) -> tuple[NDArray[np.intp], Vector]:
        """Clicked pixels and the clicks on each.

        Raises:
            ValueError: the map came without clicks.
        """
        if self._clicks is None:
            raise ValueError("this score needs the clicks of the target, not only its map")
        places = np.flatnonzero(self._clicks)
        return places, self._clicks[places].astype(np.float64)

    @cached_property
    def positive(self) -> NDArray[np.intp]:
        """Pixels above zero."""
        return np.flatnonzero(self.pixels > 0)

    @cached_property
    def ranks(self) -> Vector:
        """Average ranks of the pixels, from 1."""
        return average_ranks(self.pixels)

    @cached_property
    def rank_vector(self) -> Vector:
        """Ranks, centred, of length 1; zeros for a constant map."""
        return unit(self.ranks - (len(self.pixels) + 1) / 2)

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
