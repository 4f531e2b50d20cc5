"""Read text tables, plain or compressed, as blocks of complete lines in bounded memory."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from clickmap_cli.runtime.errors import DataError

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
"""A longer line cannot be a trial, and reading it as a whole could exhaust the memory."""

_SMALL_BYTES = 64 << 20
_MOST_PER_BYTE = 100
"""Largest plausible ratio of unpacked to packed bytes, for tables above `_SMALL_BYTES`. Tables
usually shrink to about a tenth; a much higher ratio indicates a decompression bomb."""

_PACKED = (".gz", ".zst")


def line_blocks(path: Path) -> Iterator[bytes]:
    """Yield blocks of complete lines; the last one may lack its line end.

    Args:
        path: the table; decompressed if its name ends in `.gz` or `.zst`.

    Raises:
        DataError: the file is missing, unreadable, damaged or truncated, or a line is too long.
    """
    held: list[bytes] = []
    size = 0
    for piece in _pieces(path):
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*held, piece[:cut]])
            held, size = [], 0
        held.append(piece[cut:])
        size += len(piece) - cut
        if size > MAX_LINE_BYTES:
            raise DataError(
                f"{path}: a line is longer than {MAX_LINE_BYTES >> 20} MiB; this is no table of "
                "trials."
            )
    rest = b"".join(held)
    if rest:
        yield rest


def _pieces(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a table of trials.")
    try:
        with contextlib.ExitStack() as stack:
            stream = _opened(path, stack)
            most = max(_SMALL_BYTES, _MOST_PER_BYTE * path.stat().st_size)
            n_read = 0
            while piece := stream.read(BLOCK_BYTES):
                n_read += len(piece)
                if n_read > most and path.suffix.lower() in _PACKED:
                    raise DataError(
                        f"{path}: it unpacks to more than {_MOST_PER_BYTE} times its size, as no "
                        "table does; it looks made to fill the memory, and is not read."
                    )
                yield bytes(piece)
    except FileNotFoundError as error:
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).") from error
    except (EOFError, zlib.error, OSError) as error:
        kind = (
            "the compressed file is damaged or cut"
            if path.suffix.lower() in _PACKED
            else "it cannot be read"
        )
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: {kind} ({reason}).") from error


def _opened(path: Path, stack: contextlib.ExitStack) -> IO[bytes]:
    if path.suffix.lower() == ".zst":
        import pyarrow

        raw = stack.enter_context(pyarrow.OSFile(str(path), "rb"))
        return cast("IO[bytes]", stack.enter_context(pyarrow.CompressedInputStream(raw, "zstd")))
    file = stack.enter_context(path.open("rb"))
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", stack.enter_context(gzip.open(file)))
    return file
