"""The first line of a text table, and which kinds of tables there are."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.csv_rows import split_fields

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KINDS = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz")


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
        f"{path}: trials come as {', '.join(_KINDS)}; this ends otherwise. Rename it if it is one "
        "of these."
    )


def split_header(block: bytes, path: Path) -> tuple[list[str], bytes]:
    """The names of a text table's columns, and what follows the first line of its first block.

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
    fields = split_fields(line.removesuffix(b"\r")) or [line]
    return [field.decode("utf-8", "replace").strip() for field in fields], rest
