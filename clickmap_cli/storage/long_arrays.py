"""Arrays of any length in bounded memory: a long one stands in a file without a name.

The file is mapped, so that a part of the array costs the memory of that part, and pages in use can
be taken back by the system. It has no name from its first byte on and is gone with its process,
however that ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import RunError

IN_MEMORY_BYTES = 128 << 20
"""An array no longer than this is an ordinary one."""

BLOCK_VALUES = 1 << 21
"""Values gathered at once: bounds index arrays, whatever the length."""

_BUCKET_BYTES = 64 << 20
_MOST_BUCKETS = 256  # each is an open file
_WRITE_BYTES = 1 << 20

Ints = NDArray[np.integer[Any]]


class LongArray:
    """An array that is made piece by piece.

    Args:
        dtype: of its values; what is appended must have it.
        in_memory: bytes held before it becomes a file; None = `IN_MEMORY_BYTES`.
    """

    def __init__(self, dtype: Any, in_memory: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._limit = IN_MEMORY_BYTES if in_memory is None else in_memory
        self._parts: list[NDArray[Any]] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def append(self, values: NDArray[Any]) -> None:
        """Add values at its end.

        Raises:
            RunError: there is no room for a long array.
            ValueError: the values are of another type.
        """
        if values.dtype != self._dtype:
            raise ValueError(f"an array of {self._dtype} was appended {values.dtype}")
        self._parts.append(values)
        self._held += values.nbytes
        if self._held > (self._limit if self._file is None else min(self._limit, _WRITE_BYTES)):
            self._write()

    def finished(self) -> NDArray[Any]:
        """(n) all values, read-only where they stand in a file; nothing can be appended after it.

        Raises:
            RunError: there is no room for it.
        """
        if self._file is None:
            parts, self._parts = self._parts, []
            if len(parts) == 1:
                return parts[0]
            return np.concatenate(parts) if parts else np.empty(0, self._dtype)
        self._write()
        with self._file as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=self._dtype)

    def _write(self) -> None:
        folder = scratch_folder()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder, prefix="clickmap-")  # noqa: SIM115
            for part in self._parts:
                self._file.write(np.ascontiguousarray(part).data)
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"{folder}: no room for the clicks that do not fit in memory "
                f"({error.strerror or error}); free some, or name another folder in TMPDIR."
            ) from error
        self._parts, self._held = [], 0


def scratch_folder() -> Path:
    """Where long arrays stand: TMPDIR, else the folder for large temporary files.

    Not the usual one for temporary files, which is a piece of the memory on many systems.
    """
    named = os.environ.get("TMPDIR")
    if named or not os.access("/var/tmp", os.W_OK):  # noqa: S108 - files in it have no names
        return Path(named or tempfile.gettempdir())
    return Path("/var/tmp")  # noqa: S108


def take_runs(column: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    """Runs of an array joined in another order, in two passes where the array is a long one.

    Args:
        column: (n) values, long or not.
        starts: (m) where each run begins.
        lengths: (m) how long each is.

    Returns:
        `column[starts[0] : starts[0] + lengths[0]]`, then the next, joined; a long array where it
        is long.

    Raises:
        RunError: there is no room for it.
    """
    total = int(lengths.sum())
    long = total * column.dtype.itemsize > IN_MEMORY_BYTES
    out = LongArray(column.dtype)
    if not long or bool(np.all(starts[1:] >= starts[:-1])):
        for runs in blocks_of_runs(lengths):
            out.append(column[ranges(starts[runs], lengths[runs])])
        return out.finished()
    for bucket in _buckets(column, starts, lengths, total):
        out.append(bucket)
    return out.finished()


def _buckets(
    column: NDArray[Any], starts: Ints, lengths: Ints, total: int
) -> Iterator[NDArray[Any]]:
    """The runs in their order, some at a time.

    Random access to a file larger than memory would read it once a block. So it is read once from
    its beginning to its end, each run going to the file of its place in the result; those are
    small enough to be put in order in memory.
    """
    n = min(-(-total * column.dtype.itemsize // _BUCKET_BYTES), _MOST_BUCKETS)
    place = np.cumsum(lengths) - lengths
    bucket = np.minimum(place * n // max(total, 1), n - 1).astype(np.int32)
    source = np.argsort(starts, kind="stable")
    parts = [LongArray(column.dtype, _WRITE_BYTES) for _ in range(n)]
    for block in blocks_of_runs(lengths[source]):
        runs = source[block]
        runs = runs[np.argsort(bucket[runs], kind="stable")]
        values = column[ranges(starts[runs], lengths[runs])]
        ends = np.cumsum(np.bincount(bucket[runs], lengths[runs], n)).astype(np.int64)
        for part, piece in zip(parts, np.split(values, ends[:-1]), strict=True):
            if len(piece):
                part.append(piece.copy())  # a piece alone, not the block behind it
    come = source[np.argsort(bucket[source], kind="stable")]
    bounds = np.searchsorted(bucket[come], np.arange(n + 1))
    for number, first, last in zip(range(n), bounds[:-1], bounds[1:], strict=True):
        values = parts[number].finished()
        runs = come[first:last]
        begin = np.cumsum(lengths[runs]) - lengths[runs]
        order = np.argsort(runs)
        yield values[ranges(begin[order], lengths[runs][order])]


def ranges(starts: Ints, lengths: Ints) -> NDArray[np.int64]:
    """`arange(starts[0], starts[0] + lengths[0])`, then the next, joined.

    >>> ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    first = np.repeat(starts - (ends - lengths), lengths)
    return first + np.arange(total)


def blocks_of_runs(lengths: Ints) -> list[slice]:
    """Runs `slice`d into blocks of a bounded number of values, or of one run."""
    ends = np.cumsum(lengths)
    n = len(lengths)
    blocks = []
    first = done = 0
    while first < n:
        last = int(np.searchsorted(ends, done + BLOCK_VALUES, side="right"))
        last = min(max(last, first + 1), n)
        blocks.append(slice(first, last))
        first, done = last, int(ends[last - 1])
    return blocks
