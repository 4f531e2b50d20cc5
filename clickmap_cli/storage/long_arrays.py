"""Arrays of any length in bounded memory: a long array is kept in an unnamed temporary file.

The file is memory-mapped, so reading a part of the array takes only the memory of that part, and
the system can reclaim pages. The file never has a name and disappears with its process, even after
a crash; `numpy.memmap` needs a named file whose length is known beforehand.
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
"""Largest size of an array that is kept in memory."""

BLOCK_VALUES = 1 << 21
"""Number of values gathered at once; it bounds the index arrays, whatever the length."""

_BUCKET_BYTES = 64 << 20
_MOST_BUCKETS = 256  # each bucket is an open file
_WRITE_BYTES = 1 << 20

Ints = NDArray[np.integer[Any]]


class LongArray:
    """An array that grows piece by piece.

    Args:
        dtype: type of the values; all appended values must have it.
        in_memory: bytes kept in memory before a file is used; None = `IN_MEMORY_BYTES`.
    """

    def __init__(self, dtype: Any, in_memory: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._limit = IN_MEMORY_BYTES if in_memory is None else in_memory
        self._parts: list[NDArray[Any]] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def append(self, values: NDArray[Any]) -> None:
        """Append values.

        Raises:
            RunError: the disk has too little space for a long array.
            ValueError: the type of the values differs.
        """
        if values.dtype != self._dtype:
            raise ValueError(f"an array of {self._dtype} was appended {values.dtype}")
        self._parts.append(values)
        self._held += values.nbytes
        if self._held > (self._limit if self._file is None else min(self._limit, _WRITE_BYTES)):
            self._write()

    def finish(self) -> NDArray[Any]:
        """Return (n) all values, read-only if they are in a file; nothing can be appended later.

        Raises:
            RunError: the disk has too little space.
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
    """Return the folder for long arrays: TMPDIR, else the folder for large temporary files.

    The usual temporary folder is not used, because on many systems it is kept in memory.
    """
    named = os.environ.get("TMPDIR")
    if named or not os.access("/var/tmp", os.W_OK):  # noqa: S108 - files in it have no names
        return Path(named or tempfile.gettempdir())
    return Path("/var/tmp")  # noqa: S108


def take_runs(column: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    """Join runs of an array in another order, in two passes if the result is long.

    Args:
        column: (n) values, long or not.
        starts: (m) index at which each run begins.
        lengths: (m) length of each run.

    Returns:
        `column[starts[0] : starts[0] + lengths[0]]`, then the next run, joined; kept in a file if
        it is long.

    Raises:
        RunError: the disk has too little space.
    """
    total = int(lengths.sum())
    long = total * column.dtype.itemsize > IN_MEMORY_BYTES
    out = LongArray(column.dtype)
    if not long or bool(np.all(starts[1:] >= starts[:-1])):
        for runs in blocks_of_runs(lengths):
            out.append(column[ranges(starts[runs], lengths[runs])])
        return out.finish()
    for bucket in _buckets(column, starts, lengths, total):
        out.append(bucket)
    return out.finish()


def _buckets(
    column: NDArray[Any], starts: Ints, lengths: Ints, total: int
) -> Iterator[NDArray[Any]]:
    """Yield the runs in their order, some at a time.

    Random access to a file larger than memory would read the file once per block. The file is
    therefore read once from its beginning to its end, and each run is copied to the bucket of its
    place in the result. A bucket is small enough to be sorted in memory.
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
                part.append(piece.copy())  # copy the piece, so that its block is not kept
    come = source[np.argsort(bucket[source], kind="stable")]
    bounds = np.searchsorted(bucket[come], np.arange(n + 1))
    for number, first, last in zip(range(n), bounds[:-1], bounds[1:], strict=True):
        values = parts[number].finish()
        runs = come[first:last]
        begin = np.cumsum(lengths[runs]) - lengths[runs]
        order = np.argsort(runs)
        yield values[ranges(begin[order], lengths[runs][order])]


def ranges(starts: Ints, lengths: Ints) -> NDArray[np.int64]:
    """Return `arange(starts[0], starts[0] + lengths[0])`, then the next range, joined.

    >>> ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    first = np.repeat(starts - (ends - lengths), lengths)
    return first + np.arange(total)


def blocks_of_runs(lengths: Ints) -> list[slice]:
    """Return slices of runs, each with at most `BLOCK_VALUES` values or a single longer run."""
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
