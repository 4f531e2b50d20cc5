"""How a job says where it is, without knowing who shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a service reports to; `reports.console` shows it, libraries may stay silent."""

    @property
    def kept(self) -> list[str]:
        """Every notice so far that belongs to the results, in order, each once."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; `total` is its number of steps where that is known."""

    def advance(self, steps: int = 1) -> None:
        """So many steps of the current stage are done."""

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        """Say something that the person should know, in a sentence.

        Args:
            text: the sentence.
            keep: True if it belongs to the results, so that manifest and report repeat it; False
                if it is about this call alone (a stage that is done already, say).
            again: True if it is so important that it is said once more at the end.
        """


class Notices:
    """The notices of a run, each kept once.

    Attributes:
        kept: those that belong to the results.
        to_repeat: those that are said once more at the end.
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
        notices: everything it was told, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        """Kept."""
        self.notices.append(text)
        self.remember(text, keep, again)
