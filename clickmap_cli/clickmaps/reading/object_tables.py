"""Tables whose values are not text: Parquet columns and the arrays of NPZ files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.reading.click_text import (
    ParsedClicks,
    floor_clicks,
    parse_columns,
    parse_pairs,
)
from clickmap_cli.clickmaps.reading.header import find_columns
from clickmap_cli.clickmaps.reading.raw_table import TrialChunk
from clickmap_cli.runtime.errors import DataError, short_reason
from clickmap_cli.storage.safe_arrays import NpzArrays

_CHUNK_ROWS = 8192
_CHUNK_SIZE = 16 << 20
_FEW_ROWS = 1 << 17
_MOST_ROWS_PER_BYTE = 4


def parquet_chunks(path: Path, category: str | None) -> Iterator[TrialChunk]:
    """Yield the rows of a Parquet file, some thousands at a time.

    Raises:
        DataError: the file is not a Parquet file or is damaged, or a column is missing.
    """
    with _open_parquet(path) as file:
        columns = find_columns(list(file.schema_arrow.names), str(path), category)
        first = 1
        for batch in file.iter_batches(batch_size=_CHUNK_ROWS, columns=list(columns.values())):
            by_name = {name: _python_values(batch.column(name)) for name in batch.schema.names}
            values = {content: by_name[name] for content, name in columns.items()}
            yield _chunk(values, columns, first)
            first += batch.num_rows


@contextlib.contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file, unless it states more rows than a file of its size plausibly holds.

    Equal values are stored once with a count, so that a few bytes may represent any number of rows;
    in a real table people's clicks differ.

    Raises:
        DataError: the file states more rows than that, is not a Parquet file, or is damaged.
    """
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        groups = range(file.metadata.num_row_groups)
        rows = sum(file.metadata.row_group(at).num_rows for at in groups)
        size = path.stat().st_size
        if rows > max(_FEW_ROWS, _MOST_ROWS_PER_BYTE * size):
            raise DataError(
                f"{path}: says it holds {rows} rows in {size} bytes; it looks made to take "
                "forever, and is not read."
            )
        yield file
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({short_reason(error)}).") from error


def _python_values(column: Any) -> Any:
    """Convert a column to Python values; invalid UTF-8 and dates out of range do not raise."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        # bytes may be invalid UTF-8, which is reported row by row later
        column = column.view("binary" if types.is_string(column.type) else "large_binary")
    if types.is_timestamp(column.type) or types.is_date(column.type):
        # Python's dates end with the year 9999
        return column.to_numpy(zero_copy_only=False)
    return column.to_pylist()


def npz_chunks(path: Path, category: str | None) -> Iterator[TrialChunk]:
    """Yield the trials of an NPZ file, some thousands at a time.

    Raises:
        DataError: the file is not an NPZ file, is damaged, has arrays of unequal lengths, holds
            more than plain data, or lacks an array.
    """
    arrays = NpzArrays(path)
    columns = find_columns(list(arrays), str(path), category)
    loaded = {content: arrays[name] for content, name in columns.items()}
    single = next((columns[content] for content, array in loaded.items() if not array.ndim), None)
    if single is not None:
        raise DataError(f"{path}: the array '{single}' holds one value, not one for each trial.")
    sizes = {columns[content]: len(array) for content, array in loaded.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"{path}: its arrays have unequal lengths: {sizes}.")
    first = 0
    while first < len(loaded["image"]):
        part = {name: array[first : first + _CHUNK_ROWS] for name, array in loaded.items()}
        rows = _few_rows(part.values())
        part = {name: array[:rows] for name, array in part.items()}
        yield _chunk(part, columns, first + 1)
        first += rows


def _few_rows(columns: Iterable[NDArray[Any]]) -> int:
    """Return how many rows, at least one, have texts and lists small enough to read at once.

    A pickle may refer to one long text in every row.
    """
    sizes: Any = 0
    for values in columns:
        if values.dtype.kind == "O":
            sizes += np.array([_length(value) for value in values])
        else:
            sizes += np.full(len(values), values.nbytes // len(values))
    return max(1, int(np.searchsorted(np.cumsum(sizes), _CHUNK_SIZE, side="right")))


def _length(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.size
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def _chunk(values: Mapping[str, Any], columns: Mapping[str, str], first: int) -> TrialChunk:
    held = [values["clicks"]] if "clicks" in values else [values["x"], values["y"]]
    parse_texts: Callable[..., ParsedClicks] = parse_pairs if len(held) == 1 else parse_columns
    if all(isinstance(value, str | bytes) for column in held for value in column):
        clicks = parse_texts(*([_as_bytes(value) for value in column] for column in held))
    else:
        clicks = _parse_rows(held, parse_texts)
    return TrialChunk(range(first, first + len(values["image"])), values, clicks, columns)


def _parse_rows(
    columns: Sequence[Sequence[Any]], parse_texts: Callable[..., ParsedClicks]
) -> ParsedClicks:
    """Parse rows that may hold texts, lists of (x, y), or a list of x and one of y."""
    bad: dict[int, str] = {}
    good = [np.empty((0, 2))]
    lengths = np.zeros(len(columns[0]), dtype=np.int64)
    for row, values in enumerate(zip(*columns, strict=True)):
        try:
            if all(isinstance(value, str | bytes) for value in values):
                pairs = _text_pairs(parse_texts(*([_as_bytes(value)] for value in values)))
            else:
                pairs = _pairs(*values) if len(values) == 1 else _two_lists(*values)
        except ValueError as error:
            bad[row] = str(error)
        else:
            good.append(pairs)
            lengths[row] = len(pairs)
    joined = np.concatenate(good)
    return ParsedClicks(floor_clicks(joined[:, 0]), floor_clicks(joined[:, 1]), lengths, bad)


def _pairs(value: Any) -> NDArray[np.float64]:
    """Return (clicks, 2) coordinates; raise ValueError with the reason why there are none."""
    if value is None:
        raise ValueError("clicks is empty")
    if isinstance(value, list | tuple) and all(isinstance(click, dict) for click in value):
        value = [(click.get("x"), click.get("y")) for click in value]
    pairs = _floats(value)
    if pairs.size == 0:
        return np.empty((0, 2))
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError("clicks is not a list of (x, y) pairs")
    return pairs


def _text_pairs(parsed: ParsedClicks) -> NDArray[np.float64]:
    if parsed.bad:
        raise ValueError(parsed.bad[0])
    return np.stack((parsed.x, parsed.y), axis=1).astype(np.float64)


def _two_lists(raw_x: Any, raw_y: Any) -> NDArray[np.float64]:
    """Return (clicks, 2) coordinates; raise ValueError with the reason why there are none."""
    x, y = _number_list("clickmap_x", raw_x), _number_list("clickmap_y", raw_y)
    if len(x) != len(y):
        raise ValueError(f"clickmap_x has {len(x)} values, clickmap_y has {len(y)}")
    return np.stack((x, y), axis=1)


def _number_list(name: str, value: Any) -> NDArray[np.float64]:
    if value is None:
        raise ValueError(f"{name}: it is empty")
    numbers = _floats(value, f"{name}: ")
    if numbers.ndim != 1:
        raise ValueError(f"{name}: it is not a list of numbers")
    return numbers


def _floats(value: Any, where: str = "") -> NDArray[np.float64]:
    problem = f"{where}clicks hold something that is not a number"
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iufO":
        raise ValueError(problem)  # dates, for example, would become numbers
    try:
        with np.errstate(all="ignore"):
            numbers = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(problem) from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where}a coordinate is not a number")
    return numbers


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
