"""Read arrays from untrusted HDF5 files: no links are followed, stated sizes are checked.

The string heaps of a file are checked here before the HDF5 library reads them: a damaged heap makes
the library (2.0 and all earlier versions) loop forever, and nothing in Python can stop it. The
objects of a heap must follow each other up to its end. The layout is in the HDF5 file format,
III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.safe_arrays import is_bomb

_MAX_BYTES = 8 << 30
_TEXT_BYTES = 64 << 20
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = re.compile(b"GCOL\x01")
_LEAST_HEAP_BYTES = 4096


@contextmanager
def hdf5_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: the file is missing or not HDF5, or data read inside the block is damaged.
    """
    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            yield file
    except (
        OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError,
        AttributeError, NotImplementedError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a readable HDF5 file, or a damaged one ({short_reason(error)})."
        ) from error


def hdf5_group(place: h5py.Group, name: str) -> h5py.Group:
    """Return a group inside a file or another group, of the file itself.

    Raises:
        DataError: the group is missing, or it is a link.
    """
    found = _get_own(place, name)
    if not isinstance(found, h5py.Group):
        raise DataError(f"{_where(place, name)} is not a group.")
    return found


def _get_own(place: h5py.Group, name: str) -> Any:
    """Return the item of this name, unless it is a link."""
    link = place.get(name, getlink=True)
    if link is None or "/" in name:
        found = printable(", ".join(sorted(place)[:12])) or "nothing"
        raise DataError(f"{_where(place, name)} is not in the file (found: {found}).")
    if not isinstance(link, h5py.HardLink):
        raise DataError(
            f"{_where(place, name)} is a link, which is not followed; copy the data into the file."
        )
    return place[name]


def _where(place: Any, name: str) -> str:
    """Name the file of a group or a dataset, and something in it."""
    return f"{place.file.filename}: '{printable(name)}'"


def hdf5_dataset(place: h5py.Group, name: str) -> Any:
    """Return a dataset of the file itself, of plausible size, without reading its values.

    Raises:
        DataError: the dataset is missing, is a link, is stored in other files, or is too large.
    """
    dataset = _get_own(place, name)
    where = _where(place, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise DataError(f"{where} is not an array.")
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{where} lies in other files, which are not read; copy the data into it.")
    # a chunk may be larger than the whole array, and one value of it needs the whole chunk
    shapes = (dataset.shape, dataset.chunks or ())
    most = max(int(np.prod(shape, dtype=object)) for shape in shapes)
    stated = most * max(dataset.dtype.itemsize, 1)
    size = Path(place.file.filename).stat().st_size
    if stated > _MAX_BYTES or is_bomb(stated, size):
        raise DataError(f"{where} says it holds {stated} bytes, too many for a file of {size}.")
    return dataset


def hdf5_numbers(place: h5py.Group, name: str) -> NDArray[Any]:
    """Read the numbers of a dataset.

    Raises:
        DataError: as for `hdf5_dataset`, or the dataset does not hold numbers.
    """
    dataset = hdf5_dataset(place, name)
    if dataset.dtype.kind not in "biuf":
        raise DataError(f"{_where(place, name)} holds {dataset.dtype}, not numbers.")
    return np.asarray(dataset[...])


def hdf5_texts(place: h5py.Group, name: str) -> list[str]:
    """Read the strings of a one-dimensional dataset.

    Raises:
        DataError: as for `hdf5_dataset`, or the dataset does not hold strings, or states more text
            than the file can hold.
    """
    dataset = hdf5_dataset(place, name)
    where = _where(place, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise DataError(f"{where} holds {dataset.dtype}, not a list of strings.")
    size = Path(place.file.filename).stat().st_size
    # strings of variable length are never compressed, but many may point to one long string
    step = max(1, _TEXT_BYTES // size)
    texts: list[str] = []
    held = 0
    for first in range(0, len(dataset), step):
        values = [bytes(value) for value in dataset[first : first + step]]
        held += sum(map(len, values))
        if held > max(_TEXT_BYTES, size):
            raise DataError(f"{where} says it holds {held} bytes of text, in a file of {size}.")
        texts += [value.decode("utf-8") for value in values]
    return texts


def hdf5_attribute(place: Any, name: str) -> Any:
    """Return an attribute of a file, a group or a dataset: text or a number, or None if missing.

    Raises:
        DataError: the attribute is a list.
    """
    value = stored_attribute(place, name)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def stored_attribute(place: Any, name: str) -> Any:
    """Return an attribute as it is stored: text may be bytes, and a number may be NumPy's.

    Raises:
        DataError: the attribute is a list.
    """
    if name not in place.attrs:
        return None
    # the shape is checked before reading: a short list of strings may be endless
    if place.attrs.get_id(name).shape:
        raise DataError(
            f"{place.file.filename}: the attribute '{printable(name)}' holds a list, not a value."
        )
    return place.attrs[name]


def check_heaps(path: Path) -> None:
    """Check every string heap in a file; a large file is checked once, until it changes.

    Args:
        path: file to check; a file without heaps passes, HDF5 or not.

    Raises:
        DataError: a heap is damaged.
        OSError: the file cannot be read.
    """
    about = path.stat()
    if about.st_size > 1 << 20:
        _check_once(path, about.st_size, about.st_mtime_ns, about.st_ino)
    elif about.st_size:
        _check(path)


@lru_cache(maxsize=4096)
def _check_once(path: Path, _size: int, _time: int, _place: int) -> None:
    _check(path)


def _check(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        length = {4: "<I", 8: "<Q"}.get(_length_bytes(data))
        for found in _HEAP.finditer(data):
            if length is None or not _is_sound(data, found.start(), length):
                raise DataError(
                    f"{path}: not a readable HDF5 file, or a damaged one (a heap of texts, at byte "
                    f"{found.start()}, is broken)."
                )


def _length_bytes(data: mmap.mmap) -> int:
    """Return the number of bytes that store a length in this file, from its superblock."""
    at = 0
    while at + 16 <= len(data):
        if data[at : at + 8] == _SIGNATURE:
            return data[at + (14 if data[at + 8] < 2 else 10)]
        at = max(512, 2 * at)
    return 8


def _is_sound(data: mmap.mmap, begin: int, length: str) -> bool:
    """Return True if the objects of a heap follow each other and fill it."""
    head = _aligned(8 + struct.calcsize(length))
    if begin + head > len(data):
        return True  # too short to be read as a heap
    (size,) = struct.unpack_from(length, data, begin + 8)
    end = begin + size
    if size < _LEAST_HEAP_BYTES or end > len(data):
        return True  # other bytes that look like a heap's beginning; the library refuses them
    at = begin + head
    while at + head <= end:
        (number,) = struct.unpack_from("<H", data, at)
        (content,) = struct.unpack_from(length, data, at + 8)
        # object 0 is the free space, and its size includes its header
        taken = head + _aligned(content) if number else content
        if not head <= taken <= end - at:
            return False
        at += taken
    return True


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
