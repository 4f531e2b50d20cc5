"""Interface through which a job reports its progress, whatever shows it."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """Receiver of a service's reports; `reports.console` shows them, libraries may stay silent."""

    @property
    def kept(self) -> list[str]:
        """All notices so far that belong to the results, in order, without repeats."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new stage; `total` is its number of steps, if known."""

    def advance(self, steps: int = 1) -> None:
        """Report that `steps` more steps of the current stage are done."""

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        """Tell the user something, in a sentence.

        Args:
            text: the sentence.
            keep: True if it belongs to the results, so that manifest and report repeat it; False if
                it is about this call alone (for example, a stage that was already done).
            again: True if it is so important that it is repeated at the end.
        """


class Notices:
    """The notices of a run, without repeats.

    Attributes:
        kept: notices that belong to the results.
        to_repeat: notices that are repeated at the end.
    """

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.to_repeat: list[str] = []

    def remember(self, text: str, keep: bool, again: bool) -> None:
        """Keep a notice; see `Progress.notice`."""
        if keep and text not in self.kept:
            self.kept.append(text)
        if again and text not in self.to_repeat:
            self.to_repeat.append(text)


class Silent(Notices):
    """A `Progress` that shows nothing.

    Attributes:
        notices: all notices it received, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore the stage."""

    def advance(self, steps: int = 1) -> None:
        """Ignore the steps."""

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        """Keep the notice."""
        self.notices.append(text)
        self.remember(text, keep, again)


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
