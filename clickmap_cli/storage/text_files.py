"""Read text files of strangers: tables of lines, plain or compressed, and lists of ids.

A table is read as blocks of complete lines in bounded memory. Its lines are split into rows here
rather than by a library: in a CSV reader, a quote that is never closed swallows the rest of the
file. Here, a line with an open quote is joined to the next lines only until one of them is a
complete row, so damage costs the damaged rows alone.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from clickmap_cli.runtime.errors import DataError, short_reason
from clickmap_cli.storage.atomic import write_bytes

_MAX_LINE_BYTES = 64 << 20
"""A longer line cannot be a trial, and reading it as a whole could exhaust the memory."""

_BLOCK_BYTES = 1 << 20
_SMALL_BYTES = 64 << 20
_MOST_PER_BYTE = 100
"""Largest plausible ratio of unpacked to packed bytes, for tables above `_SMALL_BYTES`. Tables
usually shrink to about a tenth; a much higher ratio indicates a decompression bomb."""

_PACKED = (".gz", ".zst")
_MAX_JOINED_LINES = 100
_MAX_JOINED_BYTES = 64 << 20
"""Largest size of a record whose fields contain line ends."""

_COMMA, _TAB = b",", b"\t"
_OTHERS = ((b";", "semicolons"), (b"|", "vertical bars"))

csv.field_size_limit(1 << 27)  # fields of long trials exceed the default of the csv module


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
        if size > _MAX_LINE_BYTES:
            raise DataError(
                f"{path}: a line is longer than {_MAX_LINE_BYTES >> 20} MiB; this is not a table "
                "of trials."
            )
    rest = b"".join(held)
    if rest:
        yield rest


def _pieces(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a table of trials.")
    try:
        with contextlib.ExitStack() as stack:
            stream = _open(path, stack)
            most = max(_SMALL_BYTES, _MOST_PER_BYTE * path.stat().st_size)
            n_read = 0
            while piece := stream.read(_BLOCK_BYTES):
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
        packed = path.suffix.lower() in _PACKED
        problem = "the compressed file is damaged or cut" if packed else "it cannot be read"
        raise DataError(f"{path}: {problem} ({short_reason(error)}).") from error


def _open(path: Path, stack: contextlib.ExitStack) -> IO[bytes]:
    if path.suffix.lower() == ".zst":
        import pyarrow

        return cast("IO[bytes]", stack.enter_context(pyarrow.input_stream(path, "zstd")))
    file = stack.enter_context(path.open("rb"))
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", stack.enter_context(gzip.open(file)))
    return file


@dataclass(frozen=True)
class Row:
    """One row of a table, or the reason why it could not be read.

    Attributes:
        line: number of the row's first line in the file; the header is line 1.
        fields: unquoted fields; empty if `problem` is not.
        problem: why the row cannot be read; empty for a valid one.
        text: damaged text, for `rejected.csv`.
    """

    line: int
    fields: list[bytes]
    problem: str = ""
    text: bytes = b""


def delimiter_of(header: bytes) -> bytes:
    r"""Return the delimiter of a table: tab if that gives more columns, else comma.

    >>> delimiter_of(b"image\tx\ty"), delimiter_of(b"image,x,y")
    (b'\t', b',')
    """
    by_tab, by_comma = (len(split_fields(header, mark) or ()) for mark in (_TAB, _COMMA))
    return _TAB if by_tab > by_comma else _COMMA


def delimiter_hint(header: bytes) -> str:
    """Return a hint if the header has only one column; an empty string otherwise.

    >>> delimiter_hint(b"image;x;y")
    ' Its columns are separated by semicolons; save it with commas or tabs.'
    """
    line = header.strip()
    fields = split_fields(line, delimiter_of(line))
    if fields is None or len(fields) > 1:
        return ""
    word = next((word for mark, word in _OTHERS if mark in line), None)
    word = word or ("blanks" if len(line.split()) > 2 else None)  # a name has two words at most
    return f" Its columns are separated by {word}; save it with commas or tabs." if word else ""


def csv_rows(
    lines: Iterable[bytes],
    first_line: int,
    width: int,
    is_row: Callable[[list[bytes]], bool],
    comma: bytes = _COMMA,
) -> Iterator[Row]:
    """Yield rows with `width` fields each; a damaged row comes with its problem instead.

    Args:
        lines: lines of the file after the header, without their line ends.
        first_line: number of the first of them.
        width: number of columns in the header.
        is_row: returns True if `width` fields can be a row. It is called only after an open quote:
            there a line may be a piece of a field that happens to contain the right number of
            delimiters, and lines may form a record only because the quotes of two damaged lines
            pair up.
        comma: delimiter, as returned by `delimiter_of`.
    """
    held: list[bytes] = []
    held_line = held_bytes = 0
    for number, raw in enumerate(lines, first_line):
        line = raw.removesuffix(b"\r")
        fields = split_fields(line, comma)
        row = fields if fields and len(fields) == width else None
        if held:
            full = len(held) >= _MAX_JOINED_LINES or held_bytes + len(line) > _MAX_JOINED_BYTES
            if not full and not (row and is_row(row)):
                if fields is not None:
                    held.append(line)
                    held_bytes += len(line)
                    continue
                # an odd number of quotes: this line closes the open quote or opens another one
                joined = split_fields(b"\n".join([*held, line]), comma) or []
                if len(joined) == width and is_row(joined):
                    yield Row(held_line, joined)
                    held = []
                    continue
            yield from _unclosed(held_line, held)
            held = []
        if row:
            yield Row(number, row)
        elif fields is None:
            held, held_line, held_bytes = [line], number, len(line)
        elif line.strip():
            few = f"{len(fields)} fields where the header has {width}"
            yield Row(number, [], few if fields else "its quotes do not pair", line)
    yield from _unclosed(held_line, held)


def _unclosed(first_line: int, lines: list[bytes]) -> Iterator[Row]:
    """Yield each line after an open quote as damaged, because any of them may have been a row."""
    for number, line in enumerate(lines, first_line):
        if line.strip():
            yield Row(number, [], "a quote is opened and not closed by a readable row", line)


def split_fields(line: bytes, comma: bytes = _COMMA) -> list[bytes] | None:
    """Return the fields of one record, or None if a quote is still open.

    >>> split_fields(b'a,"b ""c"", d",e')
    [b'a', b'b "c", d', b'e']
    """
    if b'"' not in line:
        return line.split(comma)
    first, last = line.find(b'"'), line.rfind(b'"')
    inner = line[first + 1 : last]
    alone = (
        last > first
        and (first == 0 or line[first - 1] == comma[0])
        and (last == len(line) - 1 or line[last + 1] == comma[0])
    )
    if alone:
        # the common case: one quoted field, inside which every quote is doubled
        if b'"' in inner:
            bare = inner.replace(b'""', b"")
            alone = b'"' not in bare
            inner = inner.replace(b'""', b'"')
        if alone:
            before = line[: first - 1].split(comma) if first else []
            after = line[last + 2 :].split(comma) if last < len(line) - 1 else []
            return [*before, inner, *after]
    return _split_any(line, comma)


def _split_any(line: bytes, comma: bytes) -> list[bytes] | None:
    """Parse a record with the csv module; None if a quote is open, no fields if it is invalid."""
    if line.count(b'"') % 2:
        return None
    text = line.decode("utf-8", "surrogateescape")
    pieces = [f"{piece}\n" for piece in text.split("\n")]
    try:
        rows = list(csv.reader(pieces, delimiter=comma.decode(), strict=True))
    except csv.Error:
        return []
    # two rows: quotes of damaged lines paired by chance, and a line end lies outside them
    return [f.encode("utf-8", "surrogateescape") for f in rows[0]] if len(rows) == 1 else []


def read_ids(path: Path) -> list[str]:
    """Read the ids of a list in order, without repeats, empty lines and `#` comments.

    Raises:
        DataError: the file is missing, is not a text file, or holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"No list of ids at {path} (looked from {Path.cwd()}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as a list of ids, one a line.") from error
    ids = [line.strip() for line in lines]
    found = list(dict.fromkeys(word for word in ids if word and not word.startswith("#")))
    if not found:
        raise DataError(f"{path}: the list holds no id.")
    return found


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Write a list of ids, one per line.

    Raises:
        DataError: an id could not be read back, because it begins with `#`, begins or ends with
            whitespace, or spans several lines.
    """
    words = list(ids)
    for word in words:
        if word.splitlines() != [word.strip()] or word.startswith("#"):
            raise DataError(f"The id {word!r} cannot stand in a list of ids; rename the image.")
    write_bytes(path, "".join(f"{word}\n" for word in words).encode())
