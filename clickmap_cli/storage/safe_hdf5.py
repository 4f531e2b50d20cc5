"""Arrays from HDF5 files that strangers made: no links out of the file, no announced terabytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import short_reason

_MAX_BYTES = 8 << 30
_SMALL_BYTES = 64 << 20
_MOST_PER_BYTE = 1032
"""Deflate packs no more than this many bytes into one."""


@contextmanager
def hdf5_file(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to read from.

    Raises:
        DataError: the file is missing or no HDF5 file, or what is read in the block is damaged.
    """
    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (
        OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError,
        AttributeError, NotImplementedError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a readable HDF5 file, or a damaged one ({short_reason(error)})."
        ) from error


def hdf5_dataset(file: h5py.File, name: str) -> Any:
    """A dataset of the file itself, of a size that the file can hold; nothing is read yet.

    Raises:
        DataError: there is none, it is a link, its values lie elsewhere, or it is too large.
    """
    where = f"{file.filename}: '{name[:80]}'"
    link = file.get(name, getlink=True)
    if link is None or "/" in name:
        found = ", ".join(sorted(file)[:12]) or "nothing"
        raise DataError(f"{where} is not in the file (found: {found[:300]}).")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{where} is a link, which is not followed; copy the data into the file.")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise DataError(f"{where} is no array.")
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{where} lies in other files, which are not read; copy the data into it.")
    stated = int(np.prod(dataset.shape, dtype=object)) * max(dataset.dtype.itemsize, 1)
    size = Path(file.filename).stat().st_size
    if stated > min(_MAX_BYTES, max(_SMALL_BYTES, _MOST_PER_BYTE * size)):
        raise DataError(f"{where} says it holds {stated} bytes, too many for a file of {size}.")
    return dataset


def hdf5_numbers(file: h5py.File, name: str) -> NDArray[Any]:
    """The numbers of a dataset.

    Raises:
        DataError: as `hdf5_dataset`, or it holds no numbers.
    """
    dataset = hdf5_dataset(file, name)
    if dataset.dtype.kind not in "biuf":
        raise DataError(f"{file.filename}: '{name}' holds {dataset.dtype}, not numbers.")
    return np.asarray(dataset[...])


def hdf5_texts(file: h5py.File, name: str) -> list[str]:
    """The strings of a one-dimensional dataset.

    Raises:
        DataError: as `hdf5_dataset`, or it holds no UTF-8 strings.
    """
    dataset = hdf5_dataset(file, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise DataError(f"{file.filename}: '{name}' holds {dataset.dtype}, not a list of strings.")
    return [bytes(value).decode("utf-8") for value in dataset[...]]


def hdf5_attribute(file: h5py.File, name: str) -> Any:
    """An attribute of the file: a string or a number; None where there is none."""
    value = file.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value
