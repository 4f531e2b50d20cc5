"""Means of scores over items and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


class Means:
    """Sums and counts of defined scores, which can be added over processes.

    Args:
        names: names of the scores.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._sums = dict.fromkeys(names, 0.0)
        self._counts = dict.fromkeys(names, 0.0)

    def add(self, scores: Mapping[str, float]) -> None:
        """Add the scores of one item."""
        for name, value in scores.items():
            if not math.isnan(value):
                self._sums[name] += value
                self._counts[name] += 1

    def numbers(self) -> list[float]:
        """Return the sums and counts, to be added over processes."""
        return [*self._sums.values(), *self._counts.values()]

    def of(self, numbers: Sequence[float]) -> dict[str, float]:
        """Compute means from sums and counts; NaN where no score was defined."""
        n = len(self._sums)
        return {
            name: numbers[at] / numbers[n + at] if numbers[n + at] else math.nan
            for at, name in enumerate(self._sums)
        }
