"""Tables whose values are not text: Parquet columns and the arrays of NPZ files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.click_text import ParsedClicks, floored, parse_columns, parse_pairs
from clickmap_cli.clickmaps.columns import Columns, find_columns
from clickmap_cli.clickmaps.raw_table import TextChunk
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import NpzArrays

_CHUNK_ROWS = 8192


def parquet_chunks(path: Path, category: str | None) -> Iterator[TextChunk]:
    """Rows of a Parquet file, some thousands at a time.

    Raises:
        DataError: not a Parquet file, damaged, or a column is missing.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        columns = find_columns(names, str(path), category)
        wanted = [name for name in vars(columns).values() if name]
        first = 1
        for batch in file.iter_batches(batch_size=_CHUNK_ROWS, columns=wanted):
            values = {name: batch.column(name).to_pylist() for name in batch.schema.names}
            yield _chunk(values, columns, first)
            first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}).") from error


def npz_chunks(path: Path, category: str | None) -> Iterator[TextChunk]:
    """Trials of an NPZ file, some thousands at a time.

    Raises:
        DataError: not an NPZ file, damaged, unequal arrays, more than plain data in it, or an
            array is missing.
    """
    arrays = NpzArrays(path)
    columns = find_columns(list(arrays), str(path), category)
    loaded = {name: arrays[name] for name in vars(columns).values() if name}
    sizes = {name: len(values) if values.ndim else 0 for name, values in loaded.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"{path}: its arrays have unequal lengths: {sizes}.")
    n = sizes[columns.image]
    for first in range(0, n, _CHUNK_ROWS):
        part = {name: values[first : first + _CHUNK_ROWS] for name, values in loaded.items()}
        yield _chunk(part, columns, first + 1)


def _chunk(values: Mapping[str, Any], columns: Columns, first: int) -> TextChunk:
    def column(name: str | None) -> Sequence[Any] | None:
        return None if name is None else values[name]

    image = values[columns.image]
    if columns.clicks is not None:
        clicks_text = values[columns.clicks]
        clicks = _pairs(clicks_text)
    else:
        clicks_text = values[str(columns.x)]
        clicks = _two_lists(clicks_text, values[str(columns.y)])
    return TextChunk(
        rows=range(first, first + len(image)),
        image=image,
        user=values[columns.user],
        clicks=clicks,
        clicks_text=clicks_text,
        clicks_column=columns.clicks or f"{columns.x}, {columns.y}",
        catch=column(columns.catch),
        mobile=column(columns.mobile),
        time=column(columns.time),
        category=column(columns.category),
    )


def _pairs(values: Sequence[Any]) -> ParsedClicks:
    """Clicks as text, or as lists of (x, y)."""
    if all(isinstance(value, str | bytes) for value in values):
        return parse_pairs([_as_bytes(value) for value in values])
    return _gathered([_pair_array(value) for value in values])


def _two_lists(xs: Sequence[Any], ys: Sequence[Any]) -> ParsedClicks:
    """Clicks as two lists of numbers, or as two texts of them."""
    if all(isinstance(value, str | bytes) for values in (xs, ys) for value in values):
        return parse_columns([_as_bytes(x) for x in xs], [_as_bytes(y) for y in ys])
    rows: list[NDArray[np.float64] | str] = []
    for raw_x, raw_y in zip(xs, ys, strict=True):
        x, y = _numbers(raw_x), _numbers(raw_y)
        if isinstance(x, str) or isinstance(y, str):
            rows.append(x if isinstance(x, str) else str(y))
        elif len(x) != len(y):
            rows.append(f"clickmap_x has {len(x)} values, clickmap_y has {len(y)}")
        else:
            rows.append(np.stack((x, y), axis=1))
    return _gathered(rows)


def _gathered(rows: Sequence[NDArray[np.float64] | str]) -> ParsedClicks:
    """Rows of (clicks, 2) coordinates or reasons, joined."""
    bad = {i: row for i, row in enumerate(rows) if isinstance(row, str)}
    good = [row for row in rows if not isinstance(row, str)]
    lengths = np.array([0 if isinstance(row, str) else len(row) for row in rows], dtype=np.int64)
    joined = np.concatenate(good) if good else np.empty((0, 2))
    return ParsedClicks(floored(joined[:, 0]), floored(joined[:, 1]), lengths, bad)


def _pair_array(value: Any) -> NDArray[np.float64] | str:
    if value is None:
        return "clicks is empty"
    if isinstance(value, str | bytes):
        parsed = parse_pairs([_as_bytes(value)])
        return parsed.bad.get(0) or np.stack((parsed.x, parsed.y), axis=1).astype(np.float64)
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        value = [(click.get("x"), click.get("y")) for click in value]
    numbers = _floats(value)
    if isinstance(numbers, str):
        return numbers
    if numbers.size == 0:
        return np.empty((0, 2))
    if numbers.ndim != 2 or numbers.shape[1] != 2:
        return "clicks is not a list of (x, y) pairs"
    return numbers


def _numbers(value: Any) -> NDArray[np.float64] | str:
    numbers = _floats(value)
    if not isinstance(numbers, str) and numbers.ndim != 1:
        return "it is not a list of numbers"
    return numbers


def _floats(value: Any) -> NDArray[np.float64] | str:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return "clicks hold something that is not a number"
    if not np.isfinite(numbers).all():
        return "a coordinate is not a number"
    return numbers


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
