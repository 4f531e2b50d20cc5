"""The trial maps of one image, and means of any subset of them."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import blur_clicks, blur_counts
from clickmap_cli.clickmaps.maps import ImageClicks
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.metrics.ranks import RankTable
from clickmap_cli.metrics.views import CountView, MapView

Ints = NDArray[np.intp]


class TrialStack(Protocol):
    """The data that agreement is computed from: maps of trials, their means, and clicks."""

    def __len__(self) -> int:
        """Return the number of trials."""

    def one(self, trial: int) -> MapView:
        """Return the map of one trial, with its clicks."""

    def others(self, trial: int) -> MapView:
        """Return the mean of all other participants' maps."""

    def mean(self, trials: Ints) -> MapView:
        """Return the mean of some trials' maps, with their clicks."""

    def halves(self, first: Ints, second: Ints) -> tuple[MapView, MapView]:
        """Return the means of two halves that together are all trials, the second with clicks."""


class ClickStack:
    """Trial maps computed from clicks on demand; only sums are kept.

    With the flat disk (and without blur) sums stay whole numbers until the end, so that equal
    values are exactly equal.

    Args:
        clicks: the image's trials.
        settings: the blur and the geometry.
        people: (trials) participant of each trial; None if each trial has a different participant.
    """

    def __init__(
        self,
        clicks: ImageClicks,
        settings: MapSettings,
        people: NDArray[np.int32] | None = None,
    ) -> None:
        self._clicks = clicks
        self.people = np.arange(len(clicks), dtype=np.int32) if people is None else people
        self._geometry = settings.geometry(clicks.native)
        self._kernel = settings.kernel(clicks.native)
        self._weights = clicks.weights(settings.decay_tau)
        self._exact = self._weights is None and self._kernel.kind != "gaussian"
        self._total = self._blurred(np.arange(len(clicks))) if self._exact else None
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
        return self._view(self._blurred(others), len(others))

    def mean(self, trials: Ints) -> MapView:
        """Return the mean of some trials' maps, with their clicks."""
        return self._view(self._blurred(trials), len(trials), trials)

    def halves(self, first: Ints, second: Ints) -> tuple[MapView, MapView]:
        """Return the means of two halves that together are all trials, the second with clicks."""
        sum_first = self._blurred(first)
        sum_second = self._total - sum_first if self._total is not None else self._blurred(second)
        return (
            self._view(sum_first, len(first)),
            self._view(sum_second, len(second), second),
        )

    def _part(self, trial: int) -> NDArray[Any]:
        if self._last is None or self._last[0] != trial:
            x, y = self._clicks.trial(trial)
            span = slice(self._clicks.offsets[trial], self._clicks.offsets[trial + 1])
            weights = None if self._weights is None else self._weights[span]
            blurred = blur_clicks(x, y, self._clicks.native, self._kernel, weights)
            self._last = (trial, blurred)
        return self._last[1]

    def _blurred(self, trials: Ints) -> NDArray[Any]:
        """Sum some trials' blurred clicks, at the native size, not yet scaled."""
        height, width = self._clicks.native
        where = self._where(trials)
        flat = self._clicks.y[where].astype(np.int64) * width + self._clicks.x[where]
        weights = None if self._weights is None else self._weights[where]
        counts = np.bincount(flat, weights, minlength=height * width).reshape(height, width)
        return blur_counts(counts, self._kernel)

    def _view(self, total: NDArray[Any], n: int, clicked: Ints | None = None) -> MapView:
        """Return the mean of `n` maps whose blurred clicks sum to `total`."""
        divisor = self._kernel.scale() * n
        points = None if clicked is None else partial(self._points, clicked)
        if self._table is not None:
            return CountView(self._geometry.cropped(total), divisor, self._table, points)
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
