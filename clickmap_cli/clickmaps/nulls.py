"""Other images, for the score of a prediction that comes from one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.seeding import generator

CACHE_BYTES = 384 << 20


class OtherImages:
    """Images that may replace another one: of another category if there are several.

    Args:
        keys: the images, in the order of their codes.
        category: (images) category codes.
        usable: (images) True if an image has what the null needs.
        seed: seed of the experiment.
    """

    def __init__(
        self,
        keys: Sequence[str],
        category: NDArray[np.int32],
        usable: NDArray[np.bool_],
        seed: int,
    ) -> None:
        self._keys = keys
        self._seed = seed
        codes = np.flatnonzero(usable)
        self.by_category = len(np.unique(category[codes])) > 1
        group = category if self.by_category else np.arange(len(keys))
        self._order = codes[np.argsort(group[codes], kind="stable")]
        sorted_group = group[self._order]
        self._first = np.searchsorted(sorted_group, group, side="left")
        self._last = np.searchsorted(sorted_group, group, side="right")

    def draw(self, image: int, draws: int) -> list[int]:
        """Draw codes of other images with replacement; without other images, return an empty list.

        The draws of an image depend only on the seed, its key and the set of images.
        """
        first, last = int(self._first[image]), int(self._last[image])
        allowed = len(self._order) - (last - first)
        if allowed <= 0:
            return []
        rng = generator(self._seed, self._keys[image], "null images")
        places = rng.integers(0, allowed, draws)
        # the image's own category is one range of the order, which the draws skip
        return [int(self._order[p if p < first else p + last - first]) for p in places]


def remembered(make: Callable[[int, Size], MapView], pixels: int) -> Callable[[int, Size], MapView]:
    """Wrap `make(image, shape)` so that its latest views are kept, in a bounded amount of memory.

    Args:
        make: function that returns the map of an image, brought to a shape.
        pixels: number of pixels of the largest map.
    """
    per_view = 12 * max(pixels, 1)  # float32 pixels and float64 ranks
    return lru_cache(maxsize=max(16, CACHE_BYTES // per_view))(make)
