"""The first line of a text table, and which kinds of tables there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.csv_rows import delimiter_hint, delimiter_of, split_fields

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXTS = (".csv", ".tsv", ".txt")
_KINDS = (
    *_TEXTS,
    *(text + packed for text in _TEXTS for packed in (".gz", ".zst")),
    ".parquet",
    ".npz",
)


def kind_of(path: Path) -> str:
    """The ending that says what a table of trials is.

    Raises:
        DataError: it has another.
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
        names: of the columns.
        comma: what separates them: a comma or a tab.
        hint: what is said of a table that is separated otherwise, else empty.
        rest: what follows the line in its block.
    """

    names: list[str]
    comma: bytes
    hint: str
    rest: bytes


def split_header(block: bytes, path: Path) -> Header:
    """Read the first line of the first block of a text table.

    Raises:
        DataError: there is no first line, or it is no text.
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
