"""Read tables of numbers that pandas wrote as HDF5, without pandas.

`pandas.read_hdf` unpickles attributes, so a file can run code. Here the arrays are read as arrays.
The layout is that of pandas: `fixed` keeps the labels of rows and columns as arrays; `table` keeps
the columns as a pickled list, which the project's own unpickler reads (only text and numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.safe_hdf5 import (
    hdf5_dataset,
    hdf5_file,
    hdf5_numbers,
    hdf5_texts,
    stored_attribute,
)
from clickmap_cli.storage.safe_pickle import load_pickle

_MAX_LEVELS = 10
_MAX_BLOCKS = 1000
_MAX_LABELS = 1 << 22

Labels = list[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class NumberTable:
    """A table of numbers.

    Attributes:
        columns: (m) labels, each of one or more levels.
        rows: (n) labels, each of one or more levels.
        values: (n, m) float64.
    """

    columns: Labels
    rows: Labels
    values: NDArray[np.float64]


def read_pandas_table(path: Path, key: str) -> NumberTable:
    """Read a data frame of numbers from an HDF5 file.

    Args:
        path: the file.
        key: name of the frame in the file; if the file has only one group, that group is read.

    Raises:
        DataError: the file is missing, damaged, or holds no such table of numbers.
    """
    with hdf5_file(path) as file:
        group = _find_group(file, key)
        kind = _decode(stored_attribute(group, "pandas_type"))
        if kind == "frame":
            table = _read_fixed(group)
        elif kind == "frame_table":
            table = _read_table(group)
        else:
            raise _fault(group, f"'{printable(group.name)}' is not a data frame of pandas.")
    if len(set(table.columns)) != len(table.columns):
        raise DataError(f"{path}: two columns have the same labels.")
    if table.values.shape != (len(table.rows), len(table.columns)):
        raise DataError(
            f"{path}: the table has {len(table.rows)} rows and {len(table.columns)} columns, its "
            f"values the shape {table.values.shape}."
        )
    return table


def _fault(group: h5py.Group, what: str) -> DataError:
    return DataError(f"{group.file.filename}: {what}")


def _find_group(file: h5py.File, key: str) -> h5py.Group:
    names = sorted(file)
    name = names[0] if len(names) == 1 else key
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Group):
        found = printable(", ".join(names[:12])) or "nothing"
        raise DataError(f"{file.filename}: no table '{key}' in the file (found: {found}).")
    return file[name]


def _read_fixed(group: h5py.Group) -> NumberTable:
    """Read labels and blocks of values; each block has the labels of its columns."""
    columns, rows = _read_axis(group, "axis0"), _read_axis(group, "axis1")
    found: Labels = []
    parts = []
    for block in range(_read_whole_number(group, "nblocks", _MAX_BLOCKS)):
        items = _read_axis(group, f"block{block}_items")
        numbers = hdf5_numbers(group, f"block{block}_values")
        if numbers.shape != (len(rows), len(items)):
            raise _fault(group, "a block of values does not fit its labels.")
        found += items
        parts.append(numbers.astype(np.float64))
    if sorted(found) != sorted(columns):
        raise _fault(group, "the columns are not those that have values.")
    place = {label: at for at, label in enumerate(found)}
    values = np.concatenate(parts, axis=1)[:, [place[label] for label in columns]]
    return NumberTable(columns, rows, values)


def _read_axis(group: h5py.Group, name: str) -> Labels:
    """Return the labels of an axis, from one array or from codes into the labels of each level."""
    variety = _decode(stored_attribute(group, f"{name}_variety"))
    if variety == "regular":
        return [(text,) for text in _read_labels(group, name)]
    if variety != "multi":
        raise _fault(group, f"'{name}' is labelled in an unknown way ({variety!r}).")
    levels = []
    for level in range(_read_whole_number(group, f"{name}_nlevels", _MAX_LEVELS)):
        texts = _read_labels(group, f"{name}_level{level}")
        codes = np.asarray(_get_few(group, f"{name}_label{level}")[...])
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise _fault(group, f"'{name}' has codes that are not whole numbers.")
        if codes.size and (codes.min() < 0 or codes.max() >= len(texts)):
            raise _fault(group, f"'{name}' has a label that is missing.")
        levels.append([texts[code] for code in codes.tolist()])
    if len({len(level) for level in levels}) != 1:
        raise _fault(group, f"the levels of '{name}' are of unequal lengths.")
    return list(zip(*levels, strict=True))


def _read_labels(group: h5py.Group, name: str) -> list[str]:
    """Return one array of labels, which are text or whole numbers."""
    dataset = _get_few(group, name)
    if dataset.ndim == 1 and dataset.dtype.kind in "iu":
        return [str(value) for value in dataset[...].tolist()]
    return hdf5_texts(group, name)


def _get_few(group: h5py.Group, name: str) -> Any:
    """Return an array, or raise if it is too long: labels take far more memory than file space."""
    dataset = hdf5_dataset(group, name)
    if dataset.size > _MAX_LABELS:
        raise _fault(group, f"'{printable(name)}' has {dataset.size} labels, too many.")
    return dataset


def _read_table(group: h5py.Group) -> NumberTable:
    """Read an array of records; each block of values names its columns in a pickled list."""
    dataset = _get_few(group, "table")
    fields = dataset.dtype.fields or {}
    if dataset.ndim != 1 or "index" not in fields:
        raise _fault(group, f"'{printable(group.name)}/table' has no records with an index.")
    columns: Labels = []
    parts = [np.empty((len(dataset), 0))]
    for name in (name for name in fields if name != "index"):
        dtype = fields[name][0]
        if dtype.base.kind not in "biuf" or len(dtype.shape) != 1:
            raise _fault(group, f"'{printable(name)}' holds {dtype}, not numbers.")
        labels = _unpickle_labels(stored_attribute(dataset, f"{name}_kind"), group)
        if dtype.shape != (len(labels),):
            raise _fault(group, "a block of values does not fit its labels.")
        columns += labels
        parts.append(dataset.fields(name)[...].astype(np.float64))
    rows = _read_row_labels(dataset, fields["index"][0], group)
    return NumberTable(columns, rows, np.concatenate(parts, axis=1))


def _read_row_labels(dataset: Any, dtype: np.dtype[Any], group: h5py.Group) -> Labels:
    if dtype.kind not in "iuS" or dtype.shape:
        raise _fault(group, f"the rows are labelled by {dtype}, not text or numbers.")
    found = dataset.fields("index")[...].tolist()
    return [(v.decode("utf-8") if isinstance(v, bytes) else str(v),) for v in found]


def _unpickle_labels(value: Any, group: h5py.Group) -> Labels:
    """Return columns from a pickled list of strings, or of tuples with one string per level."""
    if not isinstance(value, bytes):
        raise _fault(group, "a block of values does not name its columns.")
    labels = load_pickle(bytes(value), group.file.filename)
    if not isinstance(labels, list):
        raise _fault(group, "the columns are not a list.")
    found = [label if isinstance(label, tuple) else (label,) for label in labels]
    if not all(isinstance(text, str) for label in found for text in label):
        raise _fault(group, "the columns have labels that are not text.")
    return found


def _read_whole_number(group: h5py.Group, name: str, most: int) -> int:
    value = stored_attribute(group, name)
    if not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise _fault(group, f"'{printable(name)}' is {value!r:.40}, not 1 to {most}.")
    return int(value)


def _decode(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
