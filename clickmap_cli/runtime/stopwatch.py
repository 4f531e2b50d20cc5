"""Measure elapsed time, even if the system clock is changed meanwhile."""

from __future__ import annotations

import time


class Stopwatch:
    """A stopwatch that starts when it is created.

    Attributes:
        began: time of the start by the system clock, in seconds since 1970.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self._from = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds until now, to three decimals; never negative."""
        return round(time.monotonic() - self._from, 3)
