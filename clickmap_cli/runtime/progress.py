"""How a job says where it is, without knowing who shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a service reports to; `reports.console` shows it, libraries may stay silent."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; `total` is its number of steps where that is known."""

    def advance(self, steps: int = 1) -> None:
        """So many steps of the current stage are done."""

    def notice(self, text: str) -> None:
        """Something the person should know, said once, in a sentence."""


class Silent:
    """A `Progress` that shows nothing and keeps its notices."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def notice(self, text: str) -> None:
        """Kept, in order."""
        self.notices.append(text)
