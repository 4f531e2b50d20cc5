"""Small tables that accompany a data set: labels of people, boxes of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.text_files import (
    csv_rows,
    delimiter_hint,
    delimiter_of,
    line_blocks,
    split_fields,
)

TableRow = tuple[int, dict[str, str]]
"""Line number in the file, and column -> text without surrounding blanks."""

_MAX_LINES = 10_000_000


def table_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[TableRow]:
    """Read line number and fields of every row of a small table; an invalid row is an error.

    Args:
        path: a CSV or tab-separated table with a header; may be compressed (`.gz`).
        required: columns that the table must have.
        optional: columns that are read if present; other columns are ignored.

    Raises:
        DataError: the table is missing, damaged, too long, lacks a column or holds no row.
    """
    lines = b"".join(line_blocks(path)).split(b"\n")
    first = lines[0].removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")
    comma = delimiter_of(first)
    header = split_fields(first, comma) or []
    names = [_text(name, path, 1) for name in header]
    lacking = [name for name in required if name not in names]
    if lacking:
        raise DataError(
            f"{path}: no column {' and '.join(lacking)} (found: "
            f"{printable(', '.join(names)) or 'nothing'}).{delimiter_hint(first)}"
        )
    twice = next((n for n in (*required, *optional) if names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: the column {twice} is there twice.")
    if len(lines) > _MAX_LINES:
        raise DataError(f"{path}: {len(lines)} lines are too many for such a table.")
    whole = partial(_whole, len(names))
    rows = []
    for row in csv_rows(lines[1:], 2, len(names), whole, comma):
        if row.problem:
            raise DataError(f"{path}, line {row.line}: {row.problem}.")
        texts = [_text(field, path, row.line) for field in row.fields]
        fields = dict(zip(names, texts, strict=True))
        rows.append((row.line, {n: fields[n] for n in (*required, *optional) if n in fields}))
    if not rows:
        raise DataError(f"{path}: a header and no rows.")
    return rows


def _whole(width: int, fields: list[bytes]) -> bool:
    return len(fields) == width


def _text(field: bytes, path: Path, line: int) -> str:
    try:
        return field.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {line}: not UTF-8.") from error


def first_line(table: Path) -> bytes:
    """Return the first line of a table, without its byte order mark.

    Raises:
        DataError: the table is missing or damaged.
    """
    first = next(line_blocks(table), b"").split(b"\n", 1)[0]
    return first.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")


def table_columns(table: Path) -> list[str]:
    """Return the names in the first line of a table whose columns are separated by tabs or commas.

    Raises:
        DataError: the table is missing or damaged.
    """
    first = first_line(table)
    fields = split_fields(first, delimiter_of(first)) or []
    return [field.decode("utf-8", "replace").strip() for field in fields]
