"""Records of finished pieces, one a line, that a kill can cost at most one of."""

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
    """JSON records, appended one by one.

    Args:
        path: the file; it and its folder appear with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.FileIO | None = None

    def records(self) -> Iterator[dict[str, Any]]:
        """Every whole record; a torn last line is no record."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines[:-1]:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # a line torn by a kill, and the next run wrote on behind it
            if isinstance(record, dict):
                yield record

    @contextmanager
    def writing(self) -> Iterator[LineJournal]:
        """Open for `append`.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # without a buffer: what a full disk refused must not be tried again on closing
            file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise explained(self.path, error) from error
        with file:
            self._file = file
            if file.tell():
                self._write(b"\n")  # ends a line that a kill may have torn
            try:
                yield self
            finally:
                self._file = None

    def append(self, record: dict[str, Any]) -> None:
        """Write a record, and see it reach the disk.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if self._file is None:
            raise ValueError("append outside writing()")
        self._write(json.dumps(record, allow_nan=True).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - seen by those who call
        try:
            while data:
                data = data[self._file.write(data) :]  # a disk that fills takes a part
            os.fsync(self._file.fileno())
        except OSError as error:
            raise explained(self.path, error) from error
