"""The maps of one image: the map of each trial, means of any trials, and cumulative means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import Kernel, blur_clicks, blur_counts
from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.metrics.views import CountView, MapView, RankTable
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
        span = self.span(number)
        return self.x[span], self.y[span]

    def span(self, number: int) -> slice:
        """Return the places of one trial's clicks among all clicks."""
        return slice(self.offsets[number], self.offsets[number + 1])

    def weights(self, tau: float | None) -> NDArray[np.float64] | None:
        """Return (clicks) exp(-k / tau) for click k of its trial; None if all clicks count 1."""
        if tau is None:
            return None
        lengths = np.diff(self.offsets)
        return np.asarray(np.exp(-ranges(np.zeros_like(lengths), lengths) / tau))

    def count_pixels(
        self, weights: NDArray[np.float64] | None, where: slice | NDArray[np.bool_] = slice(None)
    ) -> NDArray[Any]:
        """Return (H, W) clicks per pixel, or sums of their weights.

        Args:
            weights: (clicks) `weights` of all clicks, or None.
            where: clicks that count; all unless given.
        """
        height, width = self.native
        flat = self.y[where].astype(np.int64) * width + self.x[where]
        some = None if weights is None else weights[where]
        return np.bincount(flat, some, minlength=height * width).reshape(height, width)

    def blur(
        self, number: int, kernel: Kernel, weights: NDArray[np.float64] | None
    ) -> NDArray[Any]:
        """Return (H, W) blurred clicks of one trial, not yet divided by the kernel's scale."""
        x, y = self.trial(number)
        some = None if weights is None else weights[self.span(number)]
        return blur_clicks(x, y, self.native, kernel, some)

    def first(self, limit: NDArray[np.int64]) -> ImageClicks:
        """Return the same trials with only the first `limit` clicks of each."""
        lengths = np.minimum(np.diff(self.offsets), limit)
        where = ranges(self.offsets[:-1], lengths)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return ImageClicks(self.x[where], self.y[where], offsets, self.native)


def image_clicks(trials: Trials, slices: NDArray[np.int64], image: int) -> ImageClicks:
    """Return the trials of one image of a compact table.

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
    counts = clicks.count_pixels(clicks.weights(settings.decay_tau))
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
        blurred = clicks.blur(number, kernel, weights)
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


Ints = NDArray[np.intp]


class ClickStack:
    """Trial maps computed from clicks on demand; only sums are kept.

    Agreement is computed from these: maps of trials, their means, and clicks. With the flat disk
    (and without blur) sums stay whole numbers until the end, so that equal
    values are exactly equal.

    Args:
        clicks: the image's trials.
        settings: the blur and the geometry.
        people: (trials) participant of each trial; None if each trial has a different participant.
    """

    def __init__(
        self, clicks: ImageClicks, settings: MapSettings, people: NDArray[np.int32] | None = None
    ) -> None:
        self._clicks = clicks
        self.people = np.arange(len(clicks), dtype=np.int32) if people is None else people
        self._geometry = settings.geometry(clicks.native)
        self._kernel = settings.kernel(clicks.native)
        self._weights = clicks.weights(settings.decay_tau)
        self._exact = self._weights is None and self._kernel.kind != "gaussian"
        self._total = self._sum_blurred(np.arange(len(clicks))) if self._exact else None
        largest = 0 if self._total is None else int(self._total.max(initial=0))
        # whole numbers are kept until the end, unless maps are resized
        whole = self._geometry.resized == self._geometry.native and largest < CountView.LARGEST
        self._table = RankTable(largest) if whole and self._total is not None else None
        self._last: tuple[int, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self._clicks)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a finished map."""
        return self._geometry.final

    def one(self, trial: int) -> MapView:
        """Return the map of one trial, with its clicks."""
        return self._view(self._part(trial), 1, np.array([trial]))

    def others(self, trial: int) -> MapView:
        """Return the mean of all other participants' maps."""
        others = np.flatnonzero(self.people != self.people[trial])
        if self._total is not None and len(others) == len(self) - 1:
            return self._view(self._total - self._part(trial), len(others))
        return self._view(self._sum_blurred(others), len(others))

    def mean(self, trials: Ints) -> MapView:
        """Return the mean of some trials' maps, with their clicks."""
        return self._view(self._sum_blurred(trials), len(trials), trials)

    def halves(self, first: Ints, second: Ints) -> tuple[MapView, MapView]:
        """Return the means of two halves that together are all trials, the second with clicks."""
        sums = self._sum_blurred(first)
        rest = self._sum_blurred(second) if self._total is None else self._total - sums
        return self._view(sums, len(first)), self._view(rest, len(second), second)

    def _part(self, trial: int) -> NDArray[Any]:
        if self._last is None or self._last[0] != trial:
            self._last = (trial, self._clicks.blur(trial, self._kernel, self._weights))
        return self._last[1]

    def _sum_blurred(self, trials: Ints) -> NDArray[Any]:
        """Sum some trials' blurred clicks, at the native size, not yet scaled."""
        counts = self._clicks.count_pixels(self._weights, self._where(trials))
        return blur_counts(counts, self._kernel)

    def _view(self, total: NDArray[Any], n: int, clicked: Ints | None = None) -> MapView:
        """Return the mean of `n` maps whose blurred clicks sum to `total`."""
        divisor = self._kernel.scale() * n
        points = None if clicked is None else partial(self._points, clicked)
        if self._table is not None:
            return CountView(self._geometry.crop_maps(total), divisor, self._table, points)
        return MapView(self._geometry.finish((total / divisor).astype(np.float32)), points)

    def _points(self, trials: Ints) -> NDArray[np.int64]:
        """Return (h, w) clicks per pixel of the finished map."""
        where = self._where(trials)
        x, y = self._geometry.move(self._clicks.x[where], self._clicks.y[where])
        height, width = self._geometry.final
        return np.bincount(y * width + x, minlength=height * width).reshape(height, width)

    def _where(self, trials: Ints) -> NDArray[np.bool_]:
        chosen = np.zeros(len(self), dtype=np.bool_)
        chosen[trials] = True
        return np.repeat(chosen, np.diff(self._clicks.offsets))
