"""Row counts per image in a table of raw trials, without reading the clicks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.keys import image_key
from clickmap_cli.clickmaps.reading.columns import Columns, find_columns
from clickmap_cli.clickmaps.reading.object_tables import opened_parquet
from clickmap_cli.clickmaps.reading.text_header import kind_of, split_header
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.safe_arrays import NpzArrays, short_reason
from clickmap_cli.storage.text_files import (
    MAX_JOINED_BYTES,
    MAX_JOINED_LINES,
    line_blocks,
    split_fields,
)


def rows_per_image(
    path: Path, remove_string: str | None, category: str | None, progress: Progress
) -> dict[str, int]:
    """Count the rows that name each image; at least the number of its readable trials.

    Args:
        path: `.csv`, `.tsv` or `.txt` (also `.gz`, `.zst`), `.parquet` or `.npz`.
        remove_string: text to cut from the front of every image path.
        category: the column that `category_column` names.
        progress: receives the number of rows read.

    Raises:
        DataError: the file is missing, damaged, or lacks a column.
    """
    progress.stage(f"Counting the images of {path.name}")
    kind = kind_of(path)
    if kind == ".parquet":
        names = _of_parquet(path, category)
    elif kind == ".npz":
        names = _of_npz(path, category)
    else:
        names = _of_csv(path, category)
    raw: Counter[Any] = Counter()
    for some in names:
        raw.update(some)
        progress.advance(len(some))
    counts: Counter[str] = Counter()
    for value, times in raw.items():
        text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        try:
            counts[image_key(text, remove_string)] += times
        except ValueError:
            continue  # prepare rejects this row too, and says why
    return dict(counts)


def _of_csv(path: Path, category: str | None) -> Iterator[list[bytes]]:
    blocks = line_blocks(path)
    header = split_header(next(blocks, b""), path)
    names = header.names
    at = names.index(find_columns(names, str(path), category, header.hint).image)
    reader = _Records(at, len(names), header.comma)
    for block in _chained(header.rest, blocks):
        yield [name for line in block.split(b"\n") for name in reader.names(line)]


class _Records:
    """Reads the image name of every possible record, even if it turns out not to be a trial.

    Args:
        at: index of the name in a record.
        width: number of fields of a record.
        comma: separator of the fields.
    """

    def __init__(self, at: int, width: int, comma: bytes) -> None:
        self._comma = comma
        self._at = at
        self._width = width
        self._open: list[bytes] = []
        self._bytes = 0

    def names(self, raw: bytes) -> Iterator[bytes]:
        """Yield the names, at most one, of records that one more line completes."""
        if self._at == 0 and not self._open and raw[:1] != b'"':
            # the first field can be found without parsing the clicks
            field, comma, _ = raw.partition(self._comma)
            if comma:
                yield field
            return
        line = raw.removesuffix(b"\r")
        fields = split_fields(line, self._comma)
        if fields is None:
            # the quote closes an open record or opens a new one; the next such line shows which
            joined = b"\n".join([*self._open, line])
            fields = split_fields(joined, self._comma) if self._open else None
            self._open, self._bytes = [line], len(line)
        elif self._open:
            self._open.append(line)
            self._bytes += len(line)
            if len(self._open) > MAX_JOINED_LINES or self._bytes > MAX_JOINED_BYTES:
                self._open = []
        if fields is not None and len(fields) == self._width:
            yield fields[self._at]


def _chained(first: bytes, blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _of_parquet(path: Path, category: str | None) -> Iterator[list[Any]]:
    import pyarrow

    try:
        file = opened_parquet(path)
        column = _image_column(list(file.schema_arrow.names), path, category)
        for batch in file.iter_batches(columns=[column]):
            yield batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({short_reason(error)}).") from error


def _of_npz(path: Path, category: str | None) -> Iterator[list[Any]]:
    arrays = NpzArrays(path)
    values = arrays[_image_column(list(arrays), path, category)]
    if values.ndim != 1:
        raise DataError(f"{path}: the array of image names has {values.ndim} axes, not one.")
    # names come from an untrusted file: other values are made text, so that they can be counted
    yield [value if isinstance(value, str | bytes) else str(value) for value in values.tolist()]


def _image_column(names: list[str], path: Path, category: str | None) -> str:
    columns: Columns = find_columns(names, str(path), category)
    return columns.image
