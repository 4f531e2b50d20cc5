"""Read variables from untrusted MATLAB files.

Versions 5 to 7.2 are read here, checking every stated size against the actual bytes, because
SciPy's reader trusts the sizes that a file states, and a damaged file can crash the process.
Version 7.3 is HDF5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.safe_hdf5 import hdf5_dataset, hdf5_file, stored_attribute

_HEADER_BYTES = 128
_MAX_BYTES = 4 << 30
_SMALL_BYTES = 256 << 20
_MOST_PER_BYTE = 100
"""Largest plausible ratio of unpacked to packed bytes, for variables above `_SMALL_BYTES`."""

_MAX_CELLS = 1 << 20
_MAX_DEPTH = 16
_MAX_SIDE = 1 << 31
_NAME_BYTES = 4096
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _SPARSE = 1, 2, 4, 5
_NUMERIC = range(6, 16)
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


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
            there = printable(", ".join(sorted(found)[:12])) or "nothing"
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
    arrays = {
        key: value
        for key, value in found.items()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "biuf"
    }
    if len(arrays) != 1:
        there = printable(", ".join(sorted(arrays or found)[:12])) or "nothing"
        what = "one two-dimensional array" if name is None else f"a two-dimensional array '{name}'"
        raise DataError(f"{path}: expected {what} of numbers, found {there}.")
    array: NDArray[Any] = next(iter(arrays.values()))
    return array


def _read_old(path: Path, names: list[str] | None) -> dict[str, Any]:
    """Read versions 5 to 7.2."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a .mat file.")
        return dict(_variables(path.read_bytes(), names))
    except (OSError, ValueError, TypeError, MemoryError, OverflowError, zlib.error) as error:
        raise DataError(f"{path}: not a readable .mat file ({short_reason(error)}).") from error


def _read_hdf5(path: Path, names: list[str] | None) -> dict[str, Any]:
    """Read version 7.3; structs and cells are left out unless they are named."""
    found = {}
    with hdf5_file(path) as file:
        for name in sorted(file) if names is None else names:
            listed = name in file and not name.startswith("#")
            if listed and (names is not None or _is_array(file, name)):
                found[name] = _read_hdf5_value(file, name)
    return found


def _is_array(file: h5py.File, name: str) -> bool:
    """Return True if a variable is a numeric array, not a link, a group (struct) or a cell."""
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and (
        file.get(name, getclass=True) is h5py.Dataset and file[name].dtype.kind in "biuf"
    )


def _read_hdf5_value(file: h5py.File, name: str) -> Any:
    """Return one array, with its axes in MATLAB's order."""
    dataset = hdf5_dataset(file, name)
    if dataset.dtype.kind not in "biuf":
        raise DataError(
            f"{file.filename}: '{printable(name)}' is not an array of numbers; in MATLAB, save it "
            "with -v7."
        )
    kind = stored_attribute(dataset, "MATLAB_class")
    if "MATLAB_empty" in dataset.attrs:
        # the dataset of an empty array holds the shape
        shape = tuple(int(side) for side in dataset[...].ravel())
        if not shape or min(shape) != 0 or max(shape) > _MAX_SIDE:
            raise DataError(
                f"{file.filename}: '{printable(name)}' states the shape {str(shape)[:80]}."
            )
        return np.zeros(shape)
    array = np.asarray(dataset[...]).T
    if kind == b"char":
        return np.asarray(["".join(chr(code) for code in row) for row in array])
    return array.astype(np.bool_) if kind == b"logical" else array


class _UnreadableError(ValueError):
    """Raised with the reason why a file, or a variable in it, cannot be read."""


@dataclass
class _Reader:
    """A position in bytes that are parsed.

    Attributes:
        data: the bytes.
        order: byte order, `<` or `>`.
        at: position of the next element.
    """

    data: memoryview
    order: str
    at: int = 0

    def left(self) -> int:
        """Return the number of bytes that are not parsed yet."""
        return len(self.data) - self.at

    def element(self) -> tuple[int, memoryview]:
        """Return kind and content of the next element."""
        if self.left() < 8:
            raise _UnreadableError("it ends too early")
        first, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        if first >> 16:
            # a small element: its size, followed by up to four bytes of content
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise _UnreadableError("a small element is too large")
            content = self.data[self.at + 4 : self.at + 4 + size]
            self.at += 8
            return kind, content
        begin = self.at + 8
        if size > len(self.data) - begin:
            raise _UnreadableError("it ends too early")
        padding = 0 if first == _COMPRESSED else -size % 8
        self.at = min(begin + size + padding, len(self.data))
        return first, self.data[begin : begin + size]

    def numbers(self) -> NDArray[Any]:
        """Return the next element as numbers of the type that it states."""
        kind, content = self.element()
        name = _TYPES.get(kind)
        if name is None:
            raise _UnreadableError(f"numbers of the unknown kind {kind}")
        dtype = np.dtype(self.order + name)
        if len(content) % dtype.itemsize:
            raise _UnreadableError("a number is cut")
        return np.frombuffer(content, dtype=dtype)


@dataclass(frozen=True)
class _Head:
    """Header of a variable."""

    kind: int
    is_complex: bool
    logical: bool
    shape: tuple[int, ...]
    name: str

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=object))


def _variables(data: bytes, names: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Yield names and values of a file's variables.

    Args:
        data: bytes of the file.
        names: variables to yield; None for all.

    Raises:
        _UnreadableError: the file is damaged, or holds something other than arrays, text, structs
            and cells.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or len(data) < _HEADER_BYTES:
        raise _UnreadableError(
            "it is not a .mat file of version 5 or later; in MATLAB, save it with -v7"
        )
    file = _Reader(memoryview(data), order, _HEADER_BYTES)
    while file.left() > 0:
        kind, content = file.element()
        if kind == _COMPRESSED:
            start = _Reader(memoryview(_inflate(content, whole=False)), order, 8)
            if names is not None and _read_head(start).name not in names:
                continue
            kind, content = _Reader(memoryview(_inflate(content, whole=True)), order).element()
        if kind != _MATRIX:
            raise _UnreadableError(f"an element of the unknown kind {kind}")
        body = _Reader(content, order)
        head = _read_head(body)
        # variables without a name are internal to MATLAB
        if head.name and (names is None or head.name in names):
            yield head.name, _read_value(body, head, 0)


def _inflate(content: memoryview, whole: bool) -> bytes:
    """Decompress a variable, or only its beginning."""
    most = max(_SMALL_BYTES, _MOST_PER_BYTE * len(content)) if whole else _NAME_BYTES
    stream = zlib.decompressobj()
    data = stream.decompress(content, min(most, _MAX_BYTES))
    if whole and not stream.eof:
        raise _UnreadableError("a compressed variable is cut, or too large")
    return data


def _read_head(body: _Reader) -> _Head:
    flags = body.numbers()
    shape = tuple(int(side) for side in body.numbers())
    _, name = body.element()
    if not 1 <= len(flags) <= 2 or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise _UnreadableError(f"a variable states the shape {str(shape)[:80]}")
    flag = int(flags[0])
    text = bytes(name).decode("latin-1")
    return _Head(flag & 0xFF, bool(flag & 0x800), bool(flag & 0x200), shape, text)


def _read_value(body: _Reader, head: _Head, depth: int) -> Any:
    if head.kind in _NUMERIC:
        return _read_numeric(body, head)
    if head.kind == _CHAR:
        return _read_text(body, head)
    if head.kind == _SPARSE:
        return _read_sparse(body, head)
    if head.kind not in (_CELL, _STRUCT):
        raise _UnreadableError(f"'{head.name[:80]}' is an object or a function, which is not read")
    if depth >= _MAX_DEPTH:
        raise _UnreadableError("structs or cells are nested too deeply")
    fields = _read_field_names(body) if head.kind == _STRUCT else [""]
    # every value takes at least eight bytes
    if head.size > _MAX_CELLS or head.size * len(fields) * 8 > body.left():
        raise _UnreadableError(f"{head.size} cells are announced, fewer follow")
    columns: list[NDArray[Any]] = [np.empty(head.size, dtype=object) for _ in fields]
    for at in range(head.size):
        for column in columns:
            column[at] = _read_inner(body, depth + 1)
    if head.kind == _CELL:
        return columns[0].reshape(head.shape, order="F")
    table = np.empty(head.size, dtype=[(name, object) for name in fields])
    for name, column in zip(fields, columns, strict=True):
        table[name] = column
    return table.reshape(head.shape, order="F")


def _read_inner(body: _Reader, depth: int) -> Any:
    """Return a value inside a struct or a cell."""
    kind, content = body.element()
    if kind != _MATRIX:
        raise _UnreadableError(f"an element of the unknown kind {kind}")
    if not len(content):
        return np.empty((0, 0))
    inner = _Reader(content, body.order)
    return _read_value(inner, _read_head(inner), depth)


def _read_field_names(body: _Reader) -> list[str]:
    lengths = body.numbers()
    _, packed = body.element()
    width = int(lengths[0]) if len(lengths) == 1 else 0
    names = [""]
    if 0 < width <= len(packed) + 1 and len(packed) % width == 0:
        starts = range(0, len(packed), width)
        texts = [bytes(packed[at : at + width]).split(b"\0")[0] for at in starts]
        names = [text.decode("latin-1") for text in texts]
    if not all(names) or len(set(names)) != len(names):
        raise _UnreadableError("the names of a struct's fields are damaged")
    return names


def _read_numeric(body: _Reader, head: _Head) -> NDArray[Any]:
    real = _reshape(body.numbers(), head)
    if head.is_complex:
        return np.asarray(real + 1j * _reshape(body.numbers(), head))
    return np.asarray(real, dtype=np.bool_ if head.logical else real.dtype.newbyteorder("="))


def _reshape(values: NDArray[Any], head: _Head) -> NDArray[Any]:
    if len(values) != head.size:
        raise _UnreadableError(f"{head.size} values are announced, {len(values)} follow")
    return values.reshape(head.shape, order="F")


def _read_text(body: _Reader, head: _Head) -> NDArray[np.str_]:
    """Return the rows of a char array."""
    kind, content = body.element()
    encoding = _TEXTS.get(kind)
    if encoding is None or len(head.shape) != 2:
        raise _UnreadableError(f"text of the unknown kind {kind}")
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if body.order == "<" else "-be"
    letters = bytes(content).decode(encoding, "replace")
    rows = head.shape[0]
    if rows == 1:
        return np.asarray([letters])
    if len(letters) != head.size:
        raise _UnreadableError(f"{head.size} letters are announced, {len(letters)} follow")
    # a char array without columns may state any number of rows
    return np.asarray([letters[row::rows] for row in range(min(rows, len(letters)))], dtype=np.str_)


def _read_sparse(body: _Reader, head: _Head) -> NDArray[Any]:
    """Return a sparse array as a dense one."""
    rows, starts, values = body.numbers(), body.numbers(), body.numbers()
    height, width = head.shape[0], head.size // max(head.shape[0], 1)
    if len(head.shape) != 2 or head.size * 8 > _MAX_BYTES // 8 or len(starts) != width + 1:
        raise _UnreadableError(f"a sparse array states the shape {str(head.shape)[:80]}")
    count = int(starts[-1])
    ends = starts.astype(np.int64)
    steps: NDArray[np.int64] = ends[1:] - ends[:-1]
    sound = starts[0] == 0 and bool(np.all(steps >= 0)) and count <= min(len(rows), len(values))
    if not sound or (count and not 0 <= rows[:count].min() <= rows[:count].max() < height):
        raise _UnreadableError("a sparse array points outside itself")
    dense = np.zeros(head.shape, dtype=np.bool_ if head.logical else values.dtype.newbyteorder("="))
    dense[rows[:count].astype(np.int64), np.repeat(np.arange(width), steps)] = values[:count]
    return dense
