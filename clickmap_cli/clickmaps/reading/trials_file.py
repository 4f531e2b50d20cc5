"""Read raw trials from CSV, Parquet and NPZ files into `Trials`, or count the rows per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.keys import image_key
from clickmap_cli.clickmaps.reading.click_text import ParsedClicks, parse_columns, parse_pairs
from clickmap_cli.clickmaps.reading.header import (
    Columns,
    Header,
    find_columns,
    kind_of,
    split_header,
)
from clickmap_cli.clickmaps.reading.object_tables import npz_chunks, opened_parquet, parquet_chunks
from clickmap_cli.clickmaps.reading.raw_table import Reject, TableBuilder, TextChunk
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.errors import DataError, short_reason
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.safe_arrays import NpzArrays
from clickmap_cli.storage.text_files import (
    MAX_JOINED_BYTES,
    MAX_JOINED_LINES,
    Row,
    csv_rows,
    line_blocks,
    split_fields,
)


@dataclass(frozen=True)
class ReadOptions:
    """Settings that determine how a table is read.

    Attributes:
        shapes: height and width in which the clicks of each image are measured.
        remove_string: text to cut from the front of every image path.
        category_column: column that names the category, or None.
    """

    shapes: ImageShapes
    remove_string: str | None = None
    category_column: str | None = None


@dataclass(frozen=True)
class ReadResult:
    """The trials of a table, and the number of rows that could not be read.

    Attributes:
        trials: the readable trials, in the order of the file.
        rows: number of rows in the file, not counting blank lines.
        rejected: number of rows that were unreadable.
    """

    trials: Trials
    rows: int
    rejected: int


def read_trials(path: Path, options: ReadOptions, reject: Reject, progress: Progress) -> ReadResult:
    """Read a table of trials in bounded memory (beyond the trials themselves).

    Args:
        path: `.csv`, `.tsv` or `.txt` (also `.gz`, `.zst`), `.parquet` or `.npz`; a text table is
            separated by commas or tabs.
        options: settings of the reading.
        reject: called with (row, column, value, reason) for every row that cannot be read; `row`
            is the line of a text file (the header is 1), else the record (the first is 1).
        progress: receives each block that is read, and notices about names that were changed or
            look alike.

    Raises:
        DataError: the file is missing, damaged, of another kind, or lacks a column.
    """
    kind = kind_of(path)
    if not _exists(path):
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    progress.stage(f"Reading {path.name}")
    builder = TableBuilder(options.shapes, options.remove_string, reject)
    if kind == ".parquet":
        chunks = parquet_chunks(path, options.category_column)
    elif kind == ".npz":
        chunks = npz_chunks(path, options.category_column)
    else:
        chunks = _csv_chunks(path, options.category_column, builder)
    for chunk in chunks:
        builder.add(chunk)
        progress.advance(len(chunk.rows))
    for text in builder.notices():
        progress.notice(text)
    return ReadResult(builder.build(), builder.rows, builder.rejected)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that no file system accepts
        raise DataError(f"{str(path)[:200]} cannot be read ({error.strerror}).") from error


def _csv_chunks(path: Path, category: str | None, builder: TableBuilder) -> Iterator[TextChunk]:
    lines = _Lines(path)
    header = lines.header()
    columns = find_columns(header.names, str(path), category, header.hint)
    where = {name: at for at, name in enumerate(header.names)}

    def is_row(fields: list[bytes]) -> bool:
        chunk = _text_chunk([Row(0, fields)], columns, where)
        return bool(chunk.image[0].strip() and chunk.user[0].strip()) and not chunk.clicks.bad

    for rows in lines.batches(header, is_row):
        good = []
        for row in rows:
            if row.problem:
                builder.reject(row.line, "", row.text, row.problem)
            else:
                good.append(row)
        yield _text_chunk(good, columns, where)


class _Lines:
    """The lines of a text table in blocks, after its header."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks = line_blocks(path)
        self._first: list[bytes] = []

    def header(self) -> Header:
        header = split_header(next(self._blocks, b""), self._path)
        self._first = _lines_of(header.rest)
        return header

    def batches(self, header: Header, is_row: Callable[[list[bytes]], bool]) -> Iterator[list[Row]]:
        """Yield batches of rows; a row may continue beyond the end of its block."""

        def numbered() -> Iterator[bytes]:
            yield from self._first
            self._first = []
            for block in self._blocks:
                yield from _lines_of(block)

        batch: list[Row] = []
        size = 0
        for row in csv_rows(numbered(), 2, len(header.names), is_row, header.comma):
            batch.append(row)
            size += _ROW_BYTES + sum(map(len, row.fields)) + len(row.text)
            if size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


_ROW_BYTES = 32  # even an empty row takes memory
_BATCH_BYTES = 1 << 20  # a block of text and its numbers fit into the processor's cache


def _lines_of(block: bytes) -> list[bytes]:
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _text_chunk(rows: Sequence[Row], columns: Columns, where: dict[str, int]) -> TextChunk:
    def column(name: str | None) -> list[bytes] | None:
        return None if name is None else [row.fields[where[name]] for row in rows]

    clicks = column(columns.clicks)
    parsed: ParsedClicks
    if clicks is not None:
        parsed = parse_pairs(clicks)
    else:
        clicks = column(columns.x) or []
        parsed = parse_columns(clicks, column(columns.y) or [])
    return TextChunk(
        rows=[row.line for row in rows],
        image=column(columns.image) or [],
        user=column(columns.user) or [],
        clicks=parsed,
        clicks_text=clicks,
        clicks_column=columns.clicks or f"{columns.x}, {columns.y}",
        **{name: column(held) for name, held in columns.optional().items()},
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
