"""Tables that accompany a data set: files of its images, labels of people, boxes of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.text_files import (
    csv_rows,
    delimiter_hint,
    delimiter_of,
    line_blocks,
    split_fields,
)

_MAX_LINES = 10_000_000


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        where: the table and the line, for messages.
        line: number of the row's first line.
        fields: column -> text without surrounding blanks.
        problem: why the row cannot be read; empty if it can.
    """

    where: str
    line: int
    fields: dict[str, str]
    problem: str = ""


def table_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[TableRow]:
    """Read every row of a table; an invalid row is an error.

    Args:
        path: a CSV or tab-separated table with a header; may be compressed (`.gz`).
        required: columns that the table must have.
        optional: columns that are read if present; other columns are ignored.

    Raises:
        DataError: the table is missing, damaged, too long, lacks a column or holds no row.
    """
    rows = tolerant_rows(path, required, optional)
    for row in rows:
        if row.problem:
            raise DataError(f"{row.where}: {row.problem}.")
    if not rows:
        raise DataError(f"{path}: a header and no rows.")
    return rows


def tolerant_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> list[TableRow]:
    """Read every row of a table, like `table_rows`; an invalid row has its `problem`."""
    lines = b"".join(line_blocks(path)).split(b"\n")
    if len(lines) > _MAX_LINES:
        raise DataError(f"{path}: {len(lines)} lines are too many for such a table.")
    names = require_columns(path, lines[0], required)
    known = [name for name in (*required, *optional) if name in names]
    require_once(path, names, known)
    rows = []
    width, comma = len(names), delimiter_of(lines[0])
    for row in csv_rows(lines[1:], 2, width, lambda fields: len(fields) == width, comma):
        texts = [field.decode("utf-8", "replace").strip() for field in row.fields]
        fields = {name: text for name, text in zip(names, texts, strict=False) if name in known}
        bad = next((name for name, text in fields.items() if "\ufffd" in text), "")
        problem = row.problem or (f"{bad} is not UTF-8" if bad else "")
        rows.append(TableRow(f"{path}, line {row.line}", row.line, fields, problem))
    return rows


def require_columns(path: Path, header: bytes, required: Sequence[str], fix: str = "") -> list[str]:
    """Return the columns in the first line of a table, separated by tabs or commas.

    Args:
        path: the table.
        header: its first line.
        required: columns that it must have.
        fix: end of the message about a missing one.

    Raises:
        DataError: a required column is missing.
    """
    line = header.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")
    fields = split_fields(line, delimiter_of(line)) or []
    names = [field.decode("utf-8", "replace").strip() for field in fields]
    lacking = [name for name in required if name not in names]
    if lacking:
        raise DataError(
            f"{path}: no column {' and '.join(lacking)} (found: "
            f"{printable(', '.join(names)) or 'nothing'}){fix}.{delimiter_hint(line)}"
        )
    return names


def require_once(path: Path, names: Sequence[str], used: Sequence[str]) -> None:
    """Raise DataError if a column that is used is in the header twice."""
    twice = next((name for name in used if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice}; rename one.")


def table_columns(path: Path) -> list[str]:
    """Return the columns of a table.

    Raises:
        DataError: the table is missing or damaged.
    """
    return require_columns(path, next(line_blocks(path), b"").split(b"\n", 1)[0], ())
