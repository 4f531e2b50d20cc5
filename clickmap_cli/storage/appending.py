"""Files that are only appended to: logs and tables that outlive single runs, journals of one run.

A kill loses at most the line that was being written.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.storage.atomic import to_run_error


class LineJournal:
    """JSON records that are appended one by one.

    Args:
        path: the file; it is created with its folder on writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.FileIO | None = None

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every complete record; lines that are cut or damaged are skipped."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines[:-1]:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # a line that a kill has cut; the next run continued after it
            if isinstance(record, dict):
                yield record

    @contextmanager
    def writing(self) -> Iterator[LineJournal]:
        """Open the journal for `append`.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        with _open_to_append(self.path) as file:
            self._file = file
            try:
                yield self
            finally:
                self._file = None

    def append(self, record: dict[str, Any]) -> None:
        """Append a record, and wait until it is on the disk.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
            ValueError: the journal is not open for writing.
        """
        if self._file is None:
            raise ValueError("append outside writing()")
        _write(self.path, self._file, json.dumps(record, allow_nan=True).encode() + b"\n")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a text file, creating it with the first; existing text never changes.

    Raises:
        RunError: the file cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    with _open_to_append(path) as file:
        _write(path, file, text.encode("utf-8", "backslashreplace"))


def append_row(path: Path, header: Sequence[str], row: Sequence[Any]) -> None:
    """Append a row to a table, and its header first if the table is new.

    Raises:
        ConfigError: the table has other columns.
        RunError: the file cannot be written.
    """
    exists = require_columns(path, header)
    append_lines(path, [_csv_line(words) for words in ([] if exists else [header]) + [row]])


def require_columns(path: Path, header: Sequence[str]) -> bool:
    """Raise if a table has other columns than these; return True if it exists and is not empty.

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


def _open_to_append(path: Path) -> io.FileIO:
    """Open a file, and end a last line that a kill may have cut, so that new ones stay readable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # unbuffered: bytes that a full disk refused must not be written again on closing
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise to_run_error(path, error) from error
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            _write(path, file, b"\n")
    return file


def _write(path: Path, file: io.FileIO, data: bytes) -> None:
    try:
        while data:
            data = data[file.write(data) :]  # a nearly full disk accepts only a part
        os.fsync(file.fileno())
    except OSError as error:
        raise to_run_error(path, error) from error
