"""How long something takes, whatever the clock on the wall does meanwhile."""

from __future__ import annotations

import time


class Stopwatch:
    """Runs from the moment it is made.

    Attributes:
        began: that moment by the clock on the wall, in seconds since 1970.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self._from = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds until now, to three places; never negative."""
        return round(time.monotonic() - self._from, 3)
