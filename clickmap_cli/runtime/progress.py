"""Interface through which a job reports its progress, whatever shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from clickmap_cli.runtime.errors import ClickmapError, IncompleteError, typed_reason


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


class Findings(Silent):
    """A `Progress` that collects notices and problems, so that `Checks` go on after the first one.

    Args:
        shown: shows stages and their steps; None = nothing is shown.
        ignored: errors that are not collected, because the caller finds their causes itself.

    Attributes:
        problems: the problems, a sentence each, in order, without repeats.
        exit_code: the highest exit code of the collected errors; 0 without any.
        subjects: what the checks that are made now are about, such as `data set toy`.
    """

    def __init__(
        self, shown: Progress | None = None, ignored: tuple[type[Exception], ...] = ()
    ) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.exit_code = 0
        self.subjects: list[str] = []
        self._shown = shown or Silent()
        self._ignored: tuple[type[Exception], ...] = (IncompleteError, *ignored)

    def stage(self, name: str, total: int | None = None) -> None:
        """Show the stage."""
        self._shown.stage(name, total)

    def advance(self, steps: int = 1) -> None:
        """Show the steps."""
        self._shown.advance(steps)

    def problem(self, text: str) -> None:
        """Collect a problem."""
        if text not in self.problems:
            self.problems.append(text)

    def add(self, error: Exception) -> None:
        """Collect an error; each line of its message is a problem, and begins with its subjects."""
        if isinstance(error, self._ignored):
            return
        if isinstance(error, ClickmapError):
            text, code = str(error), error.exit_code
        else:
            text, code = typed_reason(error), 1
        self.exit_code = max(self.exit_code, code)
        for sentence in text.splitlines():
            named = sentence
            for subject in reversed(self.subjects):
                if not named.startswith(subject):
                    named = f"{subject}: {named}"
            self.problem(named)


class Checks:
    """Independent checks: `Findings` hear of every error, else the first one is raised.

    Args:
        progress: the progress of the job that makes the checks.
    """

    def __init__(self, progress: Progress) -> None:
        self._found = progress if isinstance(progress, Findings) else None
        self._failed = False

    @contextmanager
    def part(self, subject: str = "") -> Iterator[None]:
        """Surround one check.

        Args:
            subject: what it is about, such as `data set toy`; empty if messages name it.
        """
        if self._found is None:
            yield
            return
        self._found.subjects.append(subject)
        try:
            yield
        except Exception as error:  # a user's own model may raise anything
            self._found.add(error)
            self._failed = True
        finally:
            self._found.subjects.pop()

    def require_all(self) -> None:
        """Raise IncompleteError if a check failed that the rest of the job depends on."""
        if self._failed:
            raise IncompleteError("Something before this is missing or wrong.")


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
