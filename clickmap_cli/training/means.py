"""Means of scores over items and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


class Means:
    """Sums of scores that are defined, and how many there are, to be added over processes.

    Args:
        names: of the scores.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._sums = dict.fromkeys(names, 0.0)
        self._counts = dict.fromkeys(names, 0.0)

    def add(self, scores: Mapping[str, float]) -> None:
        """One item's."""
        for name, value in scores.items():
            if not math.isnan(value):
                self._sums[name] += value
                self._counts[name] += 1

    def numbers(self) -> list[float]:
        """What is added over processes."""
        return [*self._sums.values(), *self._counts.values()]

    def of(self, numbers: Sequence[float]) -> dict[str, float]:
        """The means of such sums; NaN where nothing was defined."""
        n = len(self._sums)
        return {
            name: numbers[at] / numbers[n + at] if numbers[n + at] else math.nan
            for at, name in enumerate(self._sums)
        }
