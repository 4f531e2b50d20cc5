"""The frame of every command: the terminal, and errors turned into sentences and exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from clickmap_cli.reports.console import Terminal, failure_lines, print_json
from clickmap_cli.runtime.errors import ClickmapError, typed_reason
from clickmap_cli.storage.folder import WhenPresent

if TYPE_CHECKING:
    from clickmap_cli.config.loading import LoadedConfig
    from clickmap_cli.services.job import Outcome

Config = TypeVar("Config")
INTERRUPTED = 130


def run_session(
    body: Callable[[Terminal], int],
    *,
    quiet: bool,
    verbose: bool,
    resume_hint: str = "Run the same command with --resume to go on.",
) -> None:
    """Run a command's body and exit with its code.

    Args:
        body: does the work; gets the terminal and returns the exit code.
        quiet: show only warnings and errors.
        verbose: show the traceback of an error.
        resume_hint: advice to a person who interrupts the command.

    Raises:
        typer.Exit: always, with the body's code, or that of the error.
    """
    terminal = Terminal(quiet, verbose)
    try:
        with terminal:
            code = body(terminal)
    except KeyboardInterrupt:
        terminal.error(f"Interrupted; what is finished is kept. {resume_hint}")
        raise typer.Exit(INTERRUPTED) from None
    except (ClickmapError, MemoryError, OSError) as error:
        if verbose:
            terminal.console.print_exception()
        terminal.error(_sentence(error))
        raise typer.Exit(error.exit_code if isinstance(error, ClickmapError) else 1) from None
    except Exception as error:
        # a defect of clickmap is reported in a sentence too, and is never hidden
        if verbose:
            terminal.console.print_exception()
        terminal.error(
            f"Unexpected {typed_reason(error).rstrip('.')}. This is a defect of "
            "clickmap; --verbose shows where."
        )
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def show_outcome(
    terminal: Terminal,
    outcome: Outcome[Any],
    lines: Iterable[str],
    *,
    tables: Iterable[Any] = (),
    json: Any = None,
) -> int:
    """Show the tables of a run, what it left out, and its last lines.

    Args:
        terminal: the terminal.
        outcome: the run's outcome.
        lines: the last lines.
        tables: tables, or other things that the terminal can show.
        json: value to print on stdout; None = print nothing.

    Returns:
        The exit code: 1 if an item was left out.
    """
    for table in tables:
        terminal.show(table)
    where = f"; see {outcome.folder / 'failures.csv'}" if outcome.written else ""
    for line in failure_lines(outcome.failures, where):
        terminal.warn(line)
    for line in lines:
        terminal.show(line)
    if json is not None:
        print_json(json)
    return 1 if outcome.failures else 0


def show_notices(terminal: Terminal, loaded: LoadedConfig[Config]) -> Config:
    """Show the notices of a configuration, and return the configuration."""
    for text in loaded.notices:
        terminal.notice(text)
    return loaded.config


def when_present(resume: bool | None) -> WhenPresent:
    """Return what to do with existing results; neither `--resume` nor `--overwrite` means stop."""
    if resume is None:
        return WhenPresent.STOP
    return WhenPresent.RESUME if resume else WhenPresent.OVERWRITE


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "Out of memory; try fewer --n-jobs, or a machine with more of it."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror})."
    return str(error) or type(error).__name__
