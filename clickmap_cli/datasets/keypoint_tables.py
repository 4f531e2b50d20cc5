"""Tables of key points in the usual formats: DeepLabCut's CSV and HDF5, and the flat CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.maps import IMAGE_SUFFIXES
from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.pandas_hdf5 import read_pandas_table
from clickmap_cli.storage.text_files import delimiter_hint, delimiter_of, line_blocks

DLC_KEY = "df_with_missing"
"""DeepLabCut's name for its table in an HDF5 file."""

DLC_HEADER = ("scorer", "bodyparts", "coords")
"""First cells of the three header rows of DeepLabCut's CSV."""

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
_IGNORED = frozenset({"likelihood"})
_MAX_BYTES = 512 << 20
_HEADER = 1 << 20  # characters in which the first line is searched


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The coordinates of a file, one column per coordinate.

    Attributes:
        source: the file.
        columns: (m) key point and `x` or `y` of each column.
        images: (n) names of the images as the file gives them, folders joined by `/`.
        rows: (n) row or line of each image in the file, for messages.
        values: (n, m) float64; NaN for a missing label.
    """

    source: str
    columns: list[tuple[str, str]]
    images: list[str]
    rows: list[str]
    values: NDArray[np.float64]


def read_label_table(path: Path) -> LabelTable:
    """Read a file of key points; `keypoint_labels.read_labels` describes the formats.

    Raises:
        DataError: the file is missing, damaged, or in another format.
    """
    if path.suffix.lower() in _HDF5_SUFFIXES:
        return _from_hdf5(path)
    rows = _csv_rows(path)
    first = rows[0][1][0].strip().lower()
    return _from_dlc_csv(path, rows) if first == DLC_HEADER[0] else _from_flat_csv(path, rows)


def _from_hdf5(path: Path) -> LabelTable:
    table = read_pandas_table(path, DLC_KEY)
    levels = {len(label) for label in table.columns}
    if levels != {3}:
        if levels == {4}:
            raise _several_animals(str(path))
        raise DataError(f"{path}: its columns are not labelled by scorer, body part and x or y.")
    _one_scorer(str(path), [label[0] for label in table.columns])
    columns = [(part.strip(), coordinate.strip().lower()) for _, part, coordinate in table.columns]
    kept = _kept(str(path), columns)
    if np.any(np.isinf(table.values[:, kept])):
        raise DataError(f"{path}: a coordinate is infinite.")
    return LabelTable(
        source=str(path),
        columns=[columns[at] for at in kept],
        images=["/".join(label) for label in table.rows],
        rows=[f"row {number}" for number in range(1, len(table.rows) + 1)],
        values=table.values[:, kept],
    )


# --- CSV --------------------------------------------------------------------------------------

_Rows = list[tuple[int, list[str]]]
"""Line number and cells of every row that is not empty."""


def _csv_rows(path: Path) -> _Rows:
    blocks: list[bytes] = []
    size = 0
    for block in line_blocks(path):
        blocks.append(block)
        size += len(block)
        if size > _MAX_BYTES:
            raise DataError(f"{path}: more than {_MAX_BYTES >> 20} MiB; no table of key points.")
    try:
        content = b"".join(blocks).decode("utf-8-sig")
        first = next(iter(content[:_HEADER].splitlines()), "")
        comma = delimiter_of(first.encode()).decode()
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=comma, strict=True)
        rows = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV table ({short_reason(error)}).") from error
    if not rows:
        raise DataError(f"{path}: the file is empty; expected a table of key points.")
    if hint := delimiter_hint(first.encode()):
        raise DataError(f"{path}: one column, '{printable(first)}'.{hint}")
    return rows


def _from_dlc_csv(path: Path, rows: _Rows) -> LabelTable:
    """Read three header rows, then rows of the image (in one or three columns) and numbers."""
    heads = [cells[0].strip().lower() for _, cells in rows[:4]]
    if "individuals" in heads:
        raise _several_animals(str(path))
    if tuple(heads[:3]) != DLC_HEADER:
        raise DataError(
            f"{path}: expected DeepLabCut's rows {', '.join(DLC_HEADER)}, found "
            f"'{printable(', '.join(heads[:3]))}'."
        )
    scorers, parts, coordinates = ([cell.strip() for cell in cells] for _, cells in rows[:3])
    if not len(scorers) == len(parts) == len(coordinates):
        raise DataError(f"{path}: the three header rows have unequal numbers of columns.")
    first = next((at for at in range(1, len(parts)) if parts[at] or coordinates[at]), len(parts))
    _one_scorer(str(path), scorers[first:])
    columns = list(zip(parts[first:], [text.lower() for text in coordinates[first:]], strict=True))
    kept = _kept(str(path), columns)
    body = _body(path, rows[3:], len(parts))
    return LabelTable(
        source=str(path),
        columns=[columns[at] for at in kept],
        images=["/".join(cell.strip() for cell in cells[:first]) for _, cells in body],
        rows=[f"line {line}" for line, _ in body],
        values=_numbers(path, body, [(first + at, " ".join(columns[at])) for at in kept]),
    )


def _from_flat_csv(path: Path, rows: _Rows) -> LabelTable:
    """Read one header row: the image, optional other columns, then `<part> x,<part> y,...`."""
    header = [cell.strip() for cell in rows[0][1]]
    split = [_part_and_coordinate(name) for name in header]
    first = next((at for at in range(1, len(header)) if split[at] is not None), None)
    if first is None:
        raise DataError(
            f"{path}: no columns of key points; expected '<part> x,<part> y,...' behind the "
            f"image's name, or DeepLabCut's three rows, found '{printable(', '.join(header))}'."
        )
    columns = []
    for number, (name, pair) in enumerate(zip(header[first:], split[first:], strict=True), first):
        if pair is None:
            raise DataError(
                f"{path}: column {number + 1} is '{printable(name)}', neither x nor y of a key "
                "point; other columns stand before the first key point."
            )
        columns.append(pair)
    kept = _kept(str(path), columns)
    body = _body(path, rows[1:], len(header))
    at_image = _image_column([cells[:first] for _, cells in body])
    return LabelTable(
        source=str(path),
        columns=[columns[at] for at in kept],
        images=[cells[at_image].strip() for _, cells in body],
        rows=[f"line {line}" for line, _ in body],
        values=_numbers(path, body, [(first + at, header[first + at]) for at in kept]),
    )


def _part_and_coordinate(name: str) -> tuple[str, str] | None:
    """Split `eye top x` into (`eye top`, `x`); return None if it does not name a coordinate."""
    cut = max(name.rfind(" "), name.rfind("_"))
    coordinate = name[cut + 1 :].lower()
    if cut < 1 or coordinate not in {"x", "y", *_IGNORED}:
        return None
    return name[:cut].strip(), coordinate


def _image_column(leading: Sequence[Sequence[str]]) -> int:
    """Return the first column whose cells all end like image files, else 0 (for frames)."""
    width = len(leading[0]) if leading else 1
    for at in range(width):
        if all(cells[at].strip().lower().endswith(IMAGE_SUFFIXES) for cells in leading):
            return at
    return 0


def _body(path: Path, rows: _Rows, width: int) -> _Rows:
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(
                f"{path}, line {line}: {len(cells)} fields where the header has {width}."
            )
    return rows


def _numbers(path: Path, rows: _Rows, columns: Sequence[tuple[int, str]]) -> NDArray[np.float64]:
    values = np.empty((len(rows), len(columns)))
    for row, (line, cells) in enumerate(rows):
        for column, (at, name) in enumerate(columns):
            value = _number(cells[at])
            if value is None:
                raise DataError(
                    f"{path}, line {line}, column '{printable(name)}': '{printable(cells[at])}' is "
                    "no number; write a coordinate in pixels, or nothing where there is no label."
                )
            values[row, column] = value
    return values


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN for a missing one, or None if it is not a finite number."""
    text = cell.strip()
    if text.lower() in _MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    # Python reads 1_000 as a thousand
    return value if math.isfinite(value) and "_" not in text else None


# --- columns ----------------------------------------------------------------------------------


def _kept(source: str, columns: Sequence[tuple[str, str]]) -> list[int]:
    """Return the positions of the x and y columns; likelihoods of predictions are left out."""
    for part, coordinate in columns:
        if coordinate not in {"x", "y", *_IGNORED}:
            raise DataError(
                f"{source}: the key point '{printable(part)}' has a column "
                f"'{printable(coordinate)}', which is neither x nor y."
            )
    return [at for at, (_, coordinate) in enumerate(columns) if coordinate not in _IGNORED]


def _one_scorer(source: str, scorers: Sequence[str]) -> None:
    names = list(dict.fromkeys(scorers))
    if len(names) > 1:
        raise DataError(
            f"{source}: labels of {len(names)} scorers, '{printable(names[0])}' and "
            f"'{printable(names[1])}' for two; keep the columns of one."
        )


def _several_animals(source: str) -> DataError:
    return DataError(
        f"{source}: a labelling of several animals (it has a row 'individuals'), which is not "
        "supported; export the key points of one animal as scorer, bodyparts and coords."
    )
