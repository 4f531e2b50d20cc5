"""The first line of a text table, and the kinds of tables that can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.text_files import delimiter_hint, delimiter_of, split_fields

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
