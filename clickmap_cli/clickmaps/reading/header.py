"""Kinds of tables that can be read, their headers, and recognition of columns by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.text_files import delimiter_hint, delimiter_of, split_fields

_IMAGE = ("image_path", "file_pointer", "image")
_USER = ("user_id", "user")
_SHOWN = 20


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read; None for a column that the table lacks.

    Either `clicks` is set, or both `x` and `y`.
    """

    image: str
    user: str
    clicks: str | None
    x: str | None
    y: str | None
    catch: str | None
    mobile: str | None
    time: str | None
    category: str | None

    def optional(self) -> dict[str, str | None]:
        """Return the columns a table may lack, by their content."""
        return {
            "catch": self.catch,
            "mobile": self.mobile,
            "time": self.time,
            "category": self.category,
        }


def find_columns(
    names: Sequence[str], file: str, category: str | None = None, hint: str = ""
) -> Columns:
    """Recognise the columns by their usual names.

    Args:
        names: names of the table's columns (or arrays).
        file: the table, for messages.
        category: the column that `category_column` names.
        hint: a hint about the header's separator, for messages.

    Raises:
        DataError: a required column is missing, or a name occurs twice; the message lists the
            columns found.
    """
    double = next((name for name, times in Counter(names).items() if times > 1), None)
    if double is not None:
        raise DataError(f"{file}: the column '{printable(double)}' stands twice; {_found(names)}.")

    def one_of(*wanted: str) -> str | None:
        return next((name for name in wanted if name in names), None)

    image, user = one_of(*_IMAGE), one_of(*_USER)
    clicks, x, y = one_of("clicks"), one_of("clickmap_x"), one_of("clickmap_y")
    missing = []
    if image is None:
        missing.append("image_path (or file_pointer)")
    if clicks is None and (x is None or y is None):
        missing.append("clicks (or clickmap_x and clickmap_y)")
    if user is None:
        missing.append("user_id")
    if category is not None and category not in names:
        missing.append(f"{category} (category_column)")
    if missing or image is None or user is None:
        raise DataError(
            f"{file}: no column {' and no '.join(missing)}; {_found(names)}.{hint or _hint(names)}"
        )
    return Columns(
        image=image,
        user=user,
        clicks=clicks,
        x=None if clicks else x,
        y=None if clicks else y,
        catch=one_of("user_catch_trial"),
        mobile=one_of("is_mobile"),
        time=one_of("timestamp"),
        category=category,
    )


def _hint(names: Sequence[str]) -> str:
    """Return a hint for a table that seems to hold one click per row."""
    if {"x", "y"} <= {name.lower() for name in names}:
        return " A row is a whole trial, with all its clicks in order, not one click."
    return ""


def _found(names: Sequence[str]) -> str:
    """List as many columns as fit a message; `repr` escapes unprintable characters."""
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN]) or "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"found: {shown}{more}"


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXTS = (".csv", ".tsv", ".txt")
_KINDS = (
    *_TEXTS,
    *(text + packed for text in _TEXTS for packed in (".gz", ".zst")),
    ".parquet",
    ".npz",
)


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


@dataclass(frozen=True)
class Header:
    """The first line of a text table.

    Attributes:
        names: names of the columns.
        comma: separator of the columns: a comma or a tab.
        hint: a hint for messages if the table seems to have another separator, else empty.
        rest: the rest of the block after the line.
    """

    names: list[str]
    comma: bytes
    hint: str
    rest: bytes


def split_header(block: bytes, path: Path) -> Header:
    """Read the first line of the first block of a text table.

    Raises:
        DataError: the table is empty, or its first line is not text.
    """
    block = block.removeprefix(_BYTE_ORDER_MARK)
    if not block.strip():
        raise DataError(f"{path} is empty.")
    line, _, rest = block.partition(b"\n")
    if b"\0" in line:
        raise DataError(
            f"{path}: not a text table (its first line holds zero bytes). If it is UTF-16, save "
            "it as UTF-8."
        )
    line = line.removesuffix(b"\r")
    comma = delimiter_of(line)
    fields = split_fields(line, comma) or [line]
    names = [field.decode("utf-8", "replace").strip() for field in fields]
    return Header(names, comma, delimiter_hint(line), rest)
