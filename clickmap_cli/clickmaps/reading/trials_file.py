"""Read raw trials from CSV, Parquet and NPZ files into `Trials`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.click_text import parse_columns, parse_pairs
from clickmap_cli.clickmaps.reading.header import TextTable, find_columns, kind_of
from clickmap_cli.clickmaps.reading.object_tables import (
    npz_chunks,
    parquet_chunks,
)
from clickmap_cli.clickmaps.reading.raw_table import Reject, TableBuilder, TrialChunk
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.text_files import Row

_ROW_BYTES = 32  # even an empty row takes memory
_BATCH_BYTES = 1 << 20  # a block of text and its numbers fit into the processor's cache


def read_trials(
    path: Path,
    shapes: ImageShapes,
    reject: Reject,
    progress: Progress,
    *,
    remove_string: str | None = None,
    category_column: str | None = None,
) -> tuple[Trials, int]:
    """Read a table of trials in bounded memory (beyond the trials themselves).

    Args:
        path: `.csv`, `.tsv` or `.txt` (also `.gz`, `.zst`), `.parquet` or `.npz`; a text table is
            separated by commas or tabs.
        shapes: height and width in which the clicks of each image are measured.
        reject: called with (row, column, value, reason) for every row that cannot be read; `row`
            is the line of a text file (the header is 1), else the record (the first is 1).
        progress: receives each block that is read, and notices about names that were changed or
            look alike.
        remove_string: text to cut from the front of every image path.
        category_column: column that names the category, or None.

    Returns:
        The readable trials in the order of the file, and the number of rows in the file, not
        counting blank lines.

    Raises:
        DataError: the file is missing, damaged, of another kind, or lacks a column.
    """
    kind = kind_of(path)
    try:
        exists = path.exists()
    except OSError as error:  # a name that no file system accepts
        raise DataError(f"{str(path)[:200]} cannot be read ({error.strerror}).") from error
    if not exists:
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    progress.stage(f"Reading {path.name}")
    builder = TableBuilder(shapes, remove_string, reject)
    if kind == ".parquet":
        chunks = parquet_chunks(path, category_column)
    elif kind == ".npz":
        chunks = npz_chunks(path, category_column)
    else:
        chunks = _text_chunks(path, category_column, builder)
    for chunk in chunks:
        builder.add(chunk)
        progress.advance(len(chunk.rows))
    for text in builder.notices():
        progress.notice(text)
    return builder.build(), builder.rows


def _text_chunks(path: Path, category: str | None, builder: TableBuilder) -> Iterator[TrialChunk]:
    table = TextTable(path)
    columns = find_columns(table.names, str(path), category, table.hint)
    for rows in _row_batches(table, columns):
        good = []
        for row in rows:
            if row.problem:
                builder.reject(row.line, "", row.text, row.problem)
            else:
                good.append(row)
        yield _text_chunk(good, table, columns)


def _row_batches(table: TextTable, columns: Mapping[str, str]) -> Iterator[list[Row]]:
    """Yield batches of rows, about `_BATCH_BYTES` each."""

    def is_row(fields: list[bytes]) -> bool:
        chunk = _text_chunk([Row(0, fields)], table, columns)
        names = (chunk.values["image"][0], chunk.values["user"][0])
        return all(name.strip() for name in names) and not chunk.clicks.bad

    batch: list[Row] = []
    size = 0
    for row in table.rows(is_row):
        batch.append(row)
        size += _ROW_BYTES + sum(map(len, row.fields)) + len(row.text)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _text_chunk(rows: Sequence[Row], table: TextTable, columns: Mapping[str, str]) -> TrialChunk:
    values = {}
    for content, name in columns.items():
        at = table.names.index(name)
        values[content] = [row.fields[at] for row in rows]
    clicks = (
        parse_pairs(values["clicks"])
        if "clicks" in values
        else parse_columns(values["x"], values["y"])
    )
    return TrialChunk([row.line for row in rows], values, clicks, columns)
