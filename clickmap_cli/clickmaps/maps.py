"""The maps of one image: the map of each trial, their mean, and cumulative means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import blur_clicks, blur_counts
from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.storage.long_arrays import ranges

Maps = NDArray[np.float32]


class ImageClicks:
    """The trials of one image; all clicks lie inside it.

    Args:
        x: columns of all clicks, trial after trial.
        y: rows of all clicks, in the same order.
        offsets: (n + 1) index of each trial's first click; the last is the number of clicks.
        native: size in which the clicks are measured.
    """

    def __init__(
        self, x: NDArray[Any], y: NDArray[Any], offsets: NDArray[np.int64], native: Size
    ) -> None:
        self.x = x
        self.y = y
        self.offsets = offsets
        self.native = native

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def trial(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the columns and rows of one trial's clicks."""
        part = slice(self.offsets[number], self.offsets[number + 1])
        return self.x[part], self.y[part]

    def weights(self, tau: float | None) -> NDArray[np.float64] | None:
        """Return (clicks) exp(-k / tau) for click k of its trial; None if all clicks count 1."""
        if tau is None:
            return None
        lengths = np.diff(self.offsets)
        return np.asarray(np.exp(-ranges(np.zeros_like(lengths), lengths) / tau))

    def first(self, limit: NDArray[np.int64]) -> ImageClicks:
        """Return the same trials with only the first `limit` clicks of each."""
        lengths = np.minimum(np.diff(self.offsets), limit)
        where = ranges(self.offsets[:-1], lengths)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return ImageClicks(self.x[where], self.y[where], offsets, self.native)


def image_clicks(trials: Trials, slices: NDArray[np.int64], image: int) -> ImageClicks:
    """Return the trials of one image of a `compacted` table.

    Args:
        trials: the table.
        slices: its `image_slices()`.
        image: the image's code.
    """
    first, last = int(slices[image]), int(slices[image + 1])
    offsets = trials.offsets[first : last + 1]
    span = slice(int(offsets[0]), int(offsets[-1]))
    height, width = (int(side) for side in trials.shape[image])
    return ImageClicks(trials.x[span], trials.y[span], offsets - offsets[0], (height, width))


def mean_map(clicks: ImageClicks, settings: MapSettings) -> Maps:
    """Compute the mean of the trials' maps, blurring only once, because blur is linear.

    Returns:
        (h, w) float32, finished (resized and cropped).
    """
    kernel = settings.kernel(clicks.native)
    height, width = clicks.native
    flat = clicks.y.astype(np.int64) * width + clicks.x
    weights = clicks.weights(settings.decay_tau)
    counts = np.bincount(flat, weights, minlength=height * width).reshape(height, width)
    blurred = blur_counts(counts, kernel) / (kernel.scale() * len(clicks))
    return settings.geometry(clicks.native).finish(blurred.astype(np.float32))


def trial_maps(
    clicks: ImageClicks, settings: MapSettings, trials: Sequence[int] | None = None
) -> Maps:
    """Compute the map of each trial, or of some trials.

    Returns:
        (n, h, w) float32, finished.
    """
    numbers = range(len(clicks)) if trials is None else trials
    native = trial_maps_native(clicks, settings, numbers)
    return settings.geometry(clicks.native).finish(native)


def trial_maps_native(clicks: ImageClicks, settings: MapSettings, trials: Sequence[int]) -> Maps:
    """Compute the map of each trial at the native size, before resizing and cropping.

    Returns:
        (n, H, W) float32.
    """
    kernel = settings.kernel(clicks.native)
    weights = clicks.weights(settings.decay_tau)
    maps = np.empty((len(trials), *clicks.native), dtype=np.float32)
    for at, number in enumerate(trials):
        x, y = clicks.trial(number)
        part = slice(clicks.offsets[number], clicks.offsets[number + 1])
        blurred = blur_clicks(
            x, y, clicks.native, kernel, None if weights is None else weights[part]
        )
        np.divide(blurred, kernel.scale(), out=maps[at], casting="unsafe")
    return maps


def bin_maps(clicks: ImageClicks, settings: MapSettings, bins: int, time_based: bool) -> Maps:
    """Compute cumulative mean maps: the means after the first clicks of every trial.

    Args:
        clicks: the image's trials.
        settings: the blur and the geometry.
        bins: number of maps, T.
        time_based: if True, bin k holds the first k/T of each trial; else the first n clicks of
            each trial, with n evenly spaced up to the length of the longest trial.

    Returns:
        (T, h, w) float32; the last equals the mean map.
    """
    lengths = np.diff(clicks.offsets)
    longest = int(lengths.max())
    maps = []
    for step in range(1, bins + 1):
        whole = lengths if time_based else np.full_like(lengths, longest)
        limit = -(-whole * step // bins)  # rounded up, in whole numbers
        maps.append(mean_map(clicks.first(limit), settings))
    return np.stack(maps)


def covered_pixels(clicks: ImageClicks, settings: MapSettings) -> NDArray[np.int64]:
    """Count (n) pixels above zero in each trial's map, before resizing and cropping."""
    counted = [
        np.count_nonzero(trial_maps_native(clicks, settings, [t])) for t in range(len(clicks))
    ]
    return np.array(counted, dtype=np.int64)
