"""Files that are only appended to: logs and histories that outlive single runs."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ConfigError, RunError


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a text file, creating it with the first; existing text never changes.

    If a kill left an incomplete last line, that line is ended first, so the new ones stay readable.

    Raises:
        RunError: the file cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else f"\n{text}"
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror or error}).") from error


def append_row(path: Path, header: Sequence[str], row: Sequence[Any]) -> None:
    """Append a row to a table, and its header first if the table is new.

    Raises:
        ConfigError: the table has other columns.
        RunError: the file cannot be written.
    """
    there = check_columns(path, header)
    append_lines(path, [_csv_line(words) for words in ([] if there else [header]) + [row]])


def check_columns(path: Path, header: Sequence[str]) -> bool:
    """Return True if a table exists and has the expected columns.

    Raises:
        ConfigError: the table has other columns.
        RunError: the table cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(f"{path}: could not be read ({error.strerror or error}).") from error
    if first and first.rstrip(b"\r\n") != _csv_line(header).encode():
        raise ConfigError(f"{path} has other columns than this version writes; move it elsewhere.")
    return bool(first)


def _csv_line(words: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(words)
    return out.getvalue()
