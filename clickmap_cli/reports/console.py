"""Write to the terminal: progress, tables and warnings to stderr, results to stdout."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from clickmap_cli.runtime.errors import escape_controls
from clickmap_cli.runtime.progress import Notices
from clickmap_cli.storage.atomic import json_ready

_FIRST_FAILURES = 5
"""Number of failures that a command prints."""


class Terminal(Notices):
    """Terminal output of a running command; it implements `runtime.progress.Progress`.

    Use it as a context manager: the bar is drawn only inside it, and only on a terminal.

    Args:
        quiet: show only errors.
        verbose: show details too.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__()
        self.quiet = quiet
        self.verbose = verbose
        # a pipe has no width; tables then need a fixed one
        width = None if sys.stderr.isatty() else 120
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, width=width)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            # while a bar is shown, rich would redirect stdout, which carries the result, to stderr
            redirect_stdout=False,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Terminal:
        self._bar.start()
        _shown.append(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _shown.remove(self._bar)
        self._bar.stop()
        for text in self.to_repeat:
            self.warn(text)

    def stage(self, name: str, total: int | None = None) -> None:
        """Show a new stage in place of the old one."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bar.advance(self._task, steps)

    def describe(self, text: str) -> None:
        """Change the description of the current stage."""
        if self._task is not None:
            self._bar.update(self._task, description=escape(escape_controls(text)))

    def notice(self, text: str, keep: bool = True, again: bool = False) -> None:
        """Show a notice above the bar; see `Progress.notice`."""
        self.remember(text, keep, again)
        if not self.quiet:
            self.console.print(f"[yellow]note[/] {escape(escape_controls(text))}")

    def warn(self, text: str) -> None:
        """Show a warning about a problem that does not stop the run."""
        self.console.print(f"[bold yellow]warning[/] {escape(escape_controls(text))}")

    def error(self, text: str) -> None:
        """Show the error that ends the run."""
        self.console.print(f"[bold red]error[/] {escape(escape_controls(text))}")

    def show(self, renderable: Any) -> None:
        """Show a table or text, unless quiet."""
        if not self.quiet:
            self.console.print(Text(renderable) if isinstance(renderable, str) else renderable)


_shown: list[Progress] = []
"""Bars that are shown now."""


def end_bars() -> None:
    """Remove the bars, because a result on stdout would mix with them."""
    for bar in _shown:
        bar.stop()


def print_json(value: Any) -> None:
    """Write one JSON value to stdout; see `json_ready` for what it may hold."""
    _write(json.dumps(json_ready(value), indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def print_line(text: str) -> None:
    """Write one line of a result to stdout."""
    _write(text + "\n")


def _write(text: str) -> None:
    """Write to stdout; a reader that closes the pipe early (`| head`) does not cause an error."""
    end_bars()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more when it exits, so stdout must lead to an open file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def new_table(
    title: str, words: Sequence[str] = (), numbers: Sequence[str] = (), **options: Any
) -> Table:
    """Return an empty table without lines.

    Args:
        title: title at the left.
        words: columns of words, at the left.
        numbers: columns of numbers, at the right.
        options: more arguments of rich's `Table`.
    """
    title_text = Text(title, style="table.title")
    table = Table(title=title_text, title_justify="left", box=None, pad_edge=False, **options)
    for name in words:
        table.add_column(Text(name), no_wrap=True)
    for name in numbers:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table


def dry_line(what: str, folder: Path) -> str:
    """Return the summary of a dry run, such as of `train`."""
    return f"Would {what} into {folder}; nothing was written."


def failure_lines(failures: Sequence[str], more: str = "") -> list[str]:
    """Return the first failures, and a line with the number of the others; `more` ends it."""
    left = len(failures) - _FIRST_FAILURES
    return [
        *failures[:_FIRST_FAILURES],
        *([f"... and {left:,} more{more}."] if left > 0 else []),
    ]


def number(value: float | None, digits: int = 3) -> str:
    """Format a number for tables; a dash if it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def interval(ends: Sequence[float | None] | None, digits: int = 3) -> str:
    """Format both ends of an interval in brackets; an empty string if it is undefined."""
    if ends is None or all(end is None or math.isnan(end) for end in ends):
        return ""
    return f"[{number(ends[0], digits)}, {number(ends[1], digits)}]"
