"""Check the string heaps of HDF5 files before the HDF5 library reads them.

A damaged heap makes the library (2.0 and all earlier versions) loop forever, and nothing in Python
can stop it. Every heap is therefore checked here first: its objects must follow each other up to
its end. The layout is in the HDF5 file format, III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
import re
import struct
from functools import lru_cache
from pathlib import Path

from clickmap_cli.runtime.errors import DataError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = re.compile(b"GCOL\x01")
_LENGTHS = {4: "<I", 8: "<Q"}
_LARGE_BYTES = 1 << 20
_LEAST_BYTES = 4096
"""Least size of a heap."""


def check_heaps(path: Path) -> None:
    """Check every string heap in a file; a large file is checked once, until it changes.

    Args:
        path: file to check; a file without heaps passes, HDF5 or not.

    Raises:
        DataError: a heap is damaged.
        OSError: the file cannot be read.
    """
    about = path.stat()
    if about.st_size > _LARGE_BYTES:
        _check_once(path, about.st_size, about.st_mtime_ns, about.st_ino)
    elif about.st_size:
        _check(path)


@lru_cache(maxsize=4096)
def _check_once(path: Path, _size: int, _time: int, _place: int) -> None:
    _check(path)


def _check(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        length = _LENGTHS.get(_length_bytes(data))
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
    if size < _LEAST_BYTES or end > len(data):
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
