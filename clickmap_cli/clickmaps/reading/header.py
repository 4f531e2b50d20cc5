"""Kinds of tables that can be read, their headers, and recognition of columns by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.text_files import (
    Row,
    csv_rows,
    delimiter_hint,
    delimiter_of,
    line_blocks,
    split_fields,
)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXTS = (".csv", ".tsv", ".txt")
_KINDS = (
    *_TEXTS,
    *(text + packed for text in _TEXTS for packed in (".gz", ".zst")),
    ".parquet",
    ".npz",
)
_NAMES = {
    "image": ("image_path", "file_pointer", "image"),
    "user": ("user_id", "user"),
    "clicks": ("clicks",),
    "x": ("clickmap_x",),
    "y": ("clickmap_y",),
    "catch": ("user_catch_trial",),
    "mobile": ("is_mobile",),
    "time": ("timestamp",),
}
"""Content of a column -> its usual names."""

_SHOWN = 20
"""Number of columns that a message holds at most."""


def kind_of(path: Path) -> str:
    """Return the ending of a table of trials, which determines its format.

    Raises:
        DataError: the file has another ending.
    """
    name = path.name.lower()
    for kind in _KINDS:
        if name.endswith(kind):
            return kind
    raise DataError(
        f"{path}: trials come as {', '.join(_TEXTS)} (also with .gz or .zst), .parquet or .npz; "
        "this ends otherwise. Rename it if it is one of these."
    )


class TextTable:
    """A text table whose first line has been read.

    Attributes:
        names: names of the columns.
        hint: a hint for messages if the table seems to have another separator, else empty.

    Raises:
        DataError: the file is missing, damaged or empty, or its first line is not text.
    """

    def __init__(self, path: Path) -> None:
        self._blocks = line_blocks(path)
        block = next(self._blocks, b"").removeprefix(_BYTE_ORDER_MARK)
        if not block.strip():
            raise DataError(f"{path} is empty.")
        line, _, self._rest = block.partition(b"\n")
        if b"\0" in line:
            raise DataError(
                f"{path}: not a text table (its first line holds zero bytes). If it is UTF-16, "
                "save it as UTF-8."
            )
        line = line.removesuffix(b"\r")
        self._comma = delimiter_of(line)
        fields = split_fields(line, self._comma) or [line]
        self.names = [field.decode("utf-8", "replace").strip() for field in fields]
        self.hint = delimiter_hint(line)

    def rows(self, is_row: Callable[[list[bytes]], bool]) -> Iterator[Row]:
        """Yield the rows, once; see `csv_rows`."""
        return csv_rows(self._lines(), 2, len(self.names), is_row, self._comma)

    def _lines(self) -> Iterator[bytes]:
        block, self._rest = self._rest, b""
        while True:
            lines = block.split(b"\n")
            if not lines[-1]:
                lines.pop()
            yield from lines
            following = next(self._blocks, None)
            if following is None:
                return
            block = following


def find_columns(
    names: Sequence[str], file: str, category: str | None = None, hint: str = ""
) -> dict[str, str]:
    """Recognise the columns by their usual names.

    Args:
        names: names of the table's columns (or arrays).
        file: the table, for messages.
        category: the column that `category_column` names.
        hint: a hint about the header's separator, for messages.

    Returns:
        Content -> name of its column: `image`, `user`, either `clicks` or both `x` and `y`, and
        those of `catch`, `mobile`, `time` and `category` that the table has.

    Raises:
        DataError: a required column is missing, or a name occurs twice; the message lists the
            columns found.
    """
    double = next((name for name, times in Counter(names).items() if times > 1), None)
    if double is not None:
        raise DataError(f"{file}: the column {double[:80]!r} occurs twice; {_found(names)}.")
    columns = {}
    for content, usual in _NAMES.items():
        name = next((name for name in usual if name in names), None)
        if name is not None:
            columns[content] = name
    if "clicks" in columns:
        columns.pop("x", None)
        columns.pop("y", None)
    missing = []
    if "image" not in columns:
        missing.append("image_path (or file_pointer)")
    if "clicks" not in columns and not {"x", "y"} <= columns.keys():
        missing.append("clicks (or clickmap_x and clickmap_y)")
    if "user" not in columns:
        missing.append("user_id")
    if category is not None:
        columns["category"] = category
        if category not in names:
            missing.append(f"{category} (category_column)")
    if missing:
        if not hint and {"x", "y"} <= {name.lower() for name in names}:
            hint = " A row is a whole trial, with all its clicks in order, not one click."
        raise DataError(f"{file}: no column {' and no '.join(missing)}; {_found(names)}.{hint}")
    return columns


def _found(names: Sequence[str]) -> str:
    """List as many columns as fit a message; `repr` escapes unprintable characters."""
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN]) or "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"found: {shown}{more}"
