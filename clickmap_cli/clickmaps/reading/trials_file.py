"""Reading of raw trials from CSV, Parquet and NPZ files into one `Trials` table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.click_text import ParsedClicks, parse_columns, parse_pairs
from clickmap_cli.clickmaps.reading.columns import Columns, find_columns
from clickmap_cli.clickmaps.reading.object_tables import npz_chunks, parquet_chunks
from clickmap_cli.clickmaps.reading.raw_table import Reject, TableBuilder, TextChunk
from clickmap_cli.clickmaps.reading.text_header import Header, kind_of, split_header
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.text_files import Row, csv_rows, line_blocks


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
