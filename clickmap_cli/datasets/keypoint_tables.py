"""Tables of key points in the usual formats: DeepLabCut's CSV and HDF5, and the flat CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import image_key
from clickmap_cli.datasets.keypoint_labels import KeypointLabels
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES
from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.atomic import write_csv
from clickmap_cli.storage.pandas_hdf5 import read_pandas_table
from clickmap_cli.storage.text_files import delimiter_hint, delimiter_of, line_blocks

SCORER = "clickmap"
"""Scorer of a network's key points in DeepLabCut's files."""

_DLC_KEY = "df_with_missing"
"""DeepLabCut's name for its table in an HDF5 file."""

_DLC_HEADER = ("scorer", "bodyparts", "coords")
"""First cells of the three header rows of DeepLabCut's CSV."""

_DLC_FOLDER = "labeled-data"
_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
_IGNORED = "likelihood"
_MAX_BYTES = 512 << 20
_HEADER = 1 << 20  # characters in which the first line is searched

_Rows = list[tuple[int, list[str]]]
"""Line number and cells of every row that is not empty."""

_Column = tuple[int, str, str]
"""Position of a column in the file, its key point, and `x` or `y`."""


def read_labels(path: Path) -> KeypointLabels:
    """Read the labelled key points of a file, with the names of key points and images.

    The file may be one of
    - DeepLabCut's CSV: three header rows `scorer`, `bodyparts` and `coords`; before the numbers
      the image's path, or the three columns `labeled-data`, folder, image;
    - DeepLabCut's HDF5 (`.h5`), `fixed` or `table`;
    - a flat CSV with the header `<image>,<part> x,<part> y,...` (or `<part>_x`). Other columns may
      come before the first key point; the image is in the first column whose cells all end like
      image files, else in the first column.

    Empty cells and NaN are missing labels; a column `likelihood` is ignored.

    Raises:
        DataError: the file is missing, damaged, empty or in another format; an image is listed
            twice or its name leads out of its folder; a key point lacks x or y; a cell is not a
            number.
    """
    if path.suffix.lower() in _HDF5_SUFFIXES:
        return _read_hdf5(path)
    rows = _read_rows(path)
    first = rows[0][1][0].strip().lower()
    return _read_dlc_csv(path, rows) if first == _DLC_HEADER[0] else _read_flat_csv(path, rows)


def _read_hdf5(path: Path) -> KeypointLabels:
    table = read_pandas_table(path, _DLC_KEY)
    levels = {len(label) for label in table.columns}
    if levels == {4}:
        raise _several_animals(path)
    if levels != {3}:
        raise DataError(f"{path}: its columns are not labelled by scorer, body part and x or y.")
    columns = _coordinate_columns(path, table.columns)
    values = table.values[:, [at for at, _, _ in columns]]
    if np.any(np.isinf(values)):
        raise DataError(f"{path}: a coordinate is infinite.")
    images = [("/".join(label), f"row {at}") for at, label in enumerate(table.rows, 1)]
    return _to_labels(path, columns, images, values)


def _read_rows(path: Path) -> _Rows:
    blocks: list[bytes] = []
    size = 0
    for block in line_blocks(path):
        blocks.append(block)
        size += len(block)
        if size > _MAX_BYTES:
            raise DataError(
                f"{path}: more than {_MAX_BYTES >> 20} MiB; this is not a table of key points."
            )
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


def _read_dlc_csv(path: Path, rows: _Rows) -> KeypointLabels:
    """Read three header rows, then rows of the image (in one or three columns) and numbers."""
    heads = [cells[0].strip().lower() for _, cells in rows[:4]]
    if "individuals" in heads:
        raise _several_animals(path)
    if tuple(heads[:3]) != _DLC_HEADER:
        raise DataError(
            f"{path}: expected DeepLabCut's rows {', '.join(_DLC_HEADER)}, found "
            f"'{printable(', '.join(heads[:3]))}'."
        )
    header = [[cell.strip() for cell in cells] for _, cells in rows[:3]]
    if len({len(cells) for cells in header}) > 1:
        raise DataError(f"{path}: the three header rows have unequal numbers of columns.")
    labels = list(zip(*header, strict=True))
    first = next((at for at in range(1, len(labels)) if any(labels[at][1:])), len(labels))
    columns = _coordinate_columns(path, labels[first:], first)
    names = [f"{part} {axis}" for _, part, axis in columns]
    return _read_body(path, rows[3:], len(labels), columns, names, range(first))


def _read_flat_csv(path: Path, rows: _Rows) -> KeypointLabels:
    """Read one header row: the image, optional other columns, then `<part> x,<part> y,...`."""
    header = [cell.strip() for cell in rows[0][1]]
    split = [_split_name(name) for name in header]
    first = next((at for at in range(1, len(header)) if split[at] is not None), None)
    if first is None:
        raise DataError(
            f"{path}: no columns of key points; expected '<part> x,<part> y,...' behind the "
            f"image's name, or DeepLabCut's three rows, found '{printable(', '.join(header))}'."
        )
    labels = []
    for number, (name, pair) in enumerate(zip(header[first:], split[first:], strict=True), first):
        if pair is None:
            raise DataError(
                f"{path}: column {number + 1} is '{printable(name)}', neither x nor y of a key "
                "point; other columns come before the first key point."
            )
        labels.append(("", *pair))
    columns = _coordinate_columns(path, labels, first)
    at_image = 0  # for frames, whose names have no ending
    for at in range(first):
        if all(
            len(cells) > at and cells[at].strip().lower().endswith(IMAGE_SUFFIXES)
            for _, cells in rows[1:]
        ):
            at_image = at
            break
    names = [header[at] for at, _, _ in columns]
    return _read_body(path, rows[1:], len(header), columns, names, [at_image])


def _read_body(
    path: Path,
    rows: _Rows,
    width: int,
    columns: Sequence[_Column],
    names: Sequence[str],
    image_columns: Iterable[int],
) -> KeypointLabels:
    """Read the rows below the header.

    Args:
        path: the file, for messages.
        rows: its rows.
        width: number of cells of each.
        columns: columns of coordinates.
        names: names of these columns, for messages.
        image_columns: columns whose cells, joined by `/`, name the image.
    """
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(
                f"{path}, line {line}: {len(cells)} fields where the header has {width}."
            )
    values = np.empty((len(rows), len(columns)))
    for row, (line, cells) in enumerate(rows):
        for column, (at, _, _) in enumerate(columns):
            value = _to_number(cells[at])
            if value is None:
                raise DataError(
                    f"{path}, line {line}, column '{printable(names[column])}': "
                    f"'{printable(cells[at])}' is not a number; write a coordinate in pixels, or "
                    "nothing where there is no label."
                )
            values[row, column] = value
    places = list(image_columns)
    images = [
        ("/".join(cells[at].strip() for at in places), f"line {line}") for line, cells in rows
    ]
    return _to_labels(path, columns, images, values)


def _split_name(name: str) -> tuple[str, str] | None:
    """Split `eye top x` into (`eye top`, `x`); return None if it does not name a coordinate."""
    cut = max(name.rfind(" "), name.rfind("_"))
    coordinate = name[cut + 1 :].lower()
    if cut < 1 or coordinate not in ("x", "y", _IGNORED):
        return None
    return name[:cut].strip(), coordinate


def _to_number(cell: str) -> float | None:
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


def _coordinate_columns(
    path: Path, labels: Sequence[Sequence[str]], first: int = 0
) -> list[_Column]:
    """Return the columns of x and y; likelihoods of predictions are left out.

    Args:
        path: the file, for messages.
        labels: scorer, key point and coordinate of each column.
        first: position of the first of these columns in the file.
    """
    scorers = list(dict.fromkeys(scorer for scorer, _, _ in labels))
    if len(scorers) > 1:
        raise DataError(
            f"{path}: labels of {len(scorers)} scorers, '{printable(scorers[0])}' and "
            f"'{printable(scorers[1])}' for two; keep the columns of one."
        )
    columns = []
    for at, (_, name, coordinate) in enumerate(labels, first):
        part, axis = name.strip(), coordinate.strip().lower()
        if axis not in ("x", "y", _IGNORED):
            raise DataError(
                f"{path}: the key point '{printable(part)}' has a column '{printable(axis)}', "
                "which is neither x nor y."
            )
        if axis != _IGNORED:
            columns.append((at, part, axis))
    return columns


def _several_animals(path: Path) -> DataError:
    return DataError(
        f"{path}: a labelling of several animals (it has a row 'individuals'), which is not "
        "supported; export the key points of one animal as scorer, bodyparts and coords."
    )


def _to_labels(
    path: Path,
    columns: Sequence[_Column],
    images: Sequence[tuple[str, str]],
    values: NDArray[np.float64],
) -> KeypointLabels:
    """Return the labels of a table.

    Args:
        path: the file.
        columns: (m) columns of coordinates; key points keep the order of their first one.
        images: (n) name of each image, and its row in the file, for messages.
        values: (n, m); NaN for a missing label.

    Raises:
        DataError: a key point has no x or no y, or two; only one of them is labelled; two images
            have one name, or a name leads out of its folder.
    """
    places: dict[str, dict[str, int]] = {}
    for at, (_, name, axis) in enumerate(columns):
        if not name or not name.isprintable():
            raise DataError(f"{path}: a key point's name is {printable(name)!r}.")
        if axis in places.setdefault(name, {}):
            raise DataError(f"{path}: the key point '{printable(name)}' has two columns {axis}.")
        places[name][axis] = at
    for name, found in places.items():
        for axis in ("x", "y"):
            if axis not in found:
                raise DataError(f"{path}: the key point '{printable(name)}' has no column {axis}.")
    if not places:
        raise DataError(f"{path}: the table has no key points.")
    rows = _require_distinct(path, images)
    x, y = ([found[axis] for found in places.values()] for axis in "xy")
    points = np.stack([values[:, x], values[:, y]], axis=2)
    half = np.argwhere(np.isnan(points[..., 0]) != np.isnan(points[..., 1]))
    if len(half):
        row, part = half[0]
        raise DataError(
            f"{path}, {images[row][1]}: the key point '{printable(list(places)[part])}' has only "
            "one of x and y; write both, or neither."
        )
    return KeypointLabels(tuple(places), tuple(rows), points, str(path))


def _require_distinct(path: Path, images: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return image key -> row in the file, after checking that no two are equal."""
    first: dict[str, str] = {}
    for name, row in images:
        try:
            key = str(PurePosixPath(image_key(name)))
        except ValueError as error:
            reason = str(error).replace("image_path", "the image's name")
            reason = reason.replace("inside image_dir (see remove_string)", "inside its folder")
            raise DataError(f"{path}, {row}: {reason}, found '{printable(name)}'.") from error
        if key in first:
            raise DataError(
                f"{path}: the image '{printable(key)}' is in {first[key]} and {row}; keep one of "
                "them."
            )
        first[key] = row
    if not first:
        raise DataError(f"{path}: the table names no image.")
    return first


# --- writing ----------------------------------------------------------------------------------


def write_flat_csv(path: Path, labels: KeypointLabels) -> None:
    """Write `image,<part> x,<part> y,...`, which `read_labels` reads back exactly."""
    header = ["image", *(f"{name} {axis}" for name in labels.names for axis in "xy")]
    rows = zip(labels.images, labels.points, strict=True)
    write_csv(path, header, ([image, *_cells(points)] for image, points in rows))


def write_dlc_csv(path: Path, labels: KeypointLabels, scorer: str = SCORER) -> None:
    """Write DeepLabCut's CSV of labelled images; DeepLabCut and `read_labels` read it exactly.

    If every image lies in a folder of `labeled-data`, the path is split into three columns, as
    DeepLabCut has done since version 2.2; else the image's path is one column.
    """
    parts = [tuple(image.split("/")) for image in labels.images]
    folders = all(len(part) == 3 and part[0] == _DLC_FOLDER for part in parts)
    keys = parts if folders else [(image,) for image in labels.images]
    columns = [(scorer, name, axis) for name in labels.names for axis in "xy"]
    blank = [""] * (2 if folders else 0)
    head = [
        [word, *blank, *(column[at] for column in columns)] for at, word in enumerate(_DLC_HEADER)
    ]
    rows = [[*key, *_cells(points)] for key, points in zip(keys, labels.points, strict=True)]
    write_csv(path, head[0], [*head[1:], *rows])


def _cells(points: NDArray[np.float64]) -> list[Any]:
    return ["" if np.isnan(value) else float(value) for value in points.ravel()]
