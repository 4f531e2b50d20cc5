"""Journal of finished pieces, one record per line. A kill loses at most one record."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickmap_cli.storage.atomic import explained


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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # unbuffered: bytes that a full disk refused must not be written again on closing
            file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise explained(self.path, error) from error
        with file:
            self._file = file
            if file.tell():
                self._write(b"\n")  # ends a line that a kill may have cut
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
        self._write(json.dumps(record, allow_nan=True).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - checked by the callers
        try:
            while data:
                data = data[self._file.write(data) :]  # a nearly full disk accepts only a part
            os.fsync(self._file.fileno())
        except OSError as error:
            raise explained(self.path, error) from error
