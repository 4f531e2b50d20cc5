"""Read variables from untrusted MATLAB files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.mat5 import variables
from clickmap_cli.storage.safe_arrays import short, short_reason
from clickmap_cli.storage.safe_hdf5 import hdf5_dataset, hdf5_file, stored_attribute

_MAX_FILE_BYTES = 4 << 30
_MAX_SIDE = 1 << 31
_DAMAGED = (
    OSError, ValueError, TypeError, MemoryError, OverflowError, zlib.error, struct.error,
)  # fmt: skip


def read_mat(path: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Read the variables of a `.mat` file, in the same forms as `scipy.io.loadmat`.

    Structs are structured arrays of objects, cells are arrays of objects, char arrays have one
    string per row, sparse arrays become dense, and logical arrays are bool. Files of version 7.3
    are HDF5: their numeric, logical and char arrays are read, in MATLAB's order of axes.

    Args:
        path: the file.
        names: variables to read; None for all.

    Raises:
        DataError: the file is missing, damaged or too large, or a named variable is not in it
            (or, in version 7.3, is not an array).
    """
    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    wanted = None if names is None else list(names)
    found = _read_hdf5(path, wanted) if h5py.is_hdf5(path) else _read_old(path, wanted)
    for name in wanted or ():
        if name not in found:
            there = short(", ".join(sorted(found)[:12])) or "nothing"
            raise DataError(f"{path}: no variable '{name}' (found: {there}).")
    return found


def mat_array(path: Path, name: str | None = None) -> NDArray[Any]:
    """Read a two-dimensional numeric variable of a `.mat` file.

    Args:
        path: the file.
        name: name of the variable; None for the only one.

    Raises:
        DataError: as for `read_mat`, or the number of such variables is not one.
    """
    found = read_mat(path, None if name is None else [name])
    arrays = {key: value for key, value in found.items() if _is_plane(value)}
    if len(arrays) != 1:
        there = short(", ".join(sorted(arrays or found)[:12])) or "nothing"
        what = "one two-dimensional array" if name is None else f"a two-dimensional array '{name}'"
        raise DataError(f"{path}: expected {what} of numbers, found {there}.")
    array: NDArray[Any] = next(iter(arrays.values()))
    return array


def _is_plane(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "biuf"


def _read_old(path: Path, names: list[str] | None) -> dict[str, Any]:
    """Read versions 5 to 7.2."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a .mat file.")
        return dict(variables(path.read_bytes(), names))
    except _DAMAGED as error:
        raise DataError(f"{path}: not a readable .mat file ({short_reason(error)}).") from error


def _read_hdf5(path: Path, names: list[str] | None) -> dict[str, Any]:
    """Read version 7.3; structs and cells are left out unless they are named."""
    found = {}
    with hdf5_file(path) as file:
        for name in sorted(file) if names is None else names:
            if name not in file or name.startswith("#"):
                continue
            if names is None and not _is_array(file, name):
                continue
            found[name] = _hdf5_value(file, name)
    return found


def _is_array(file: h5py.File, name: str) -> bool:
    """Return True if a variable is a numeric array, not a link, a group (struct) or a cell."""
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and (
        file.get(name, getclass=True) is h5py.Dataset and file[name].dtype.kind in "biuf"
    )


def _hdf5_value(file: h5py.File, name: str) -> Any:
    """Return one array, with its axes in MATLAB's order."""
    dataset = hdf5_dataset(file, name)
    if dataset.dtype.kind not in "biuf":
        raise DataError(
            f"{file.filename}: {name[:80]!r} is no array of numbers; in MATLAB, save it with -v7."
        )
    kind = stored_attribute(dataset, "MATLAB_class")
    if "MATLAB_empty" in dataset.attrs:
        # the dataset of an empty array holds the shape
        shape = tuple(int(side) for side in dataset[...].ravel())
        if not shape or min(shape) != 0 or max(shape) > _MAX_SIDE:
            raise DataError(f"{file.filename}: {name[:80]!r} states the shape {str(shape)[:80]}.")
        return np.zeros(shape)
    array = np.asarray(dataset[...]).T
    if kind == b"char":
        return np.asarray(["".join(chr(code) for code in row) for row in array])
    return array.astype(np.bool_) if kind == b"logical" else array
