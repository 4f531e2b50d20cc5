"""Records of finished pieces, one a line, that a kill can cost at most one of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class LineJournal:
    """JSON records, appended one by one.

    Args:
        path: the file; it and its folder appear with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

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
        """Open for `append`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell():
                file.write(b"\n")  # ends a line that a kill may have torn
            self._file = file
            try:
                yield self
            finally:
                self._file = None

    def append(self, record: dict[str, Any]) -> None:
        """Write a record, and see it reach the disk."""
        if self._file is None:
            raise ValueError("append outside writing()")
        self._file.write(json.dumps(record, allow_nan=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
