"""Trial maps that are given, for tests that begin with maps and not with clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.maps import Ints, Maps
from clickmap_cli.metrics.views import MapView


class MapStack:
    """A stack of given maps.

    Args:
        maps: (n, H, W) float32.
        clicks: (n, H, W) clicks per pixel, for scores that need them.
    """

    def __init__(self, maps: Maps, clicks: NDArray[Any] | None = None) -> None:
        self._maps = maps
        self.shape = maps.shape[1:]
        self._clicks = clicks

    def __len__(self) -> int:
        return len(self._maps)

    def one(self, trial: int) -> MapView:
        """The map of one trial, with its clicks."""
        return MapView(self._maps[trial], None if self._clicks is None else self._clicks[trial])

    def others(self, trial: int) -> MapView:
        """The mean of all other participants' maps."""
        return self.mean(np.delete(np.arange(len(self)), trial))

    def mean(self, trials: Ints) -> MapView:
        """The mean of some trials' maps, with their clicks."""
        mean = self._maps[trials].mean(axis=0, dtype=np.float64).astype(np.float32)
        return MapView(mean, None if self._clicks is None else self._clicks[trials].sum(axis=0))

    def halves(self, first: Ints, second: Ints) -> tuple[MapView, MapView]:
        """The means of two halves that together are all trials, the second with its clicks."""
        return self.mean(first), self.mean(second)
