"""Write files so that they are complete or absent: write to a temporary file, then rename it.

`is_whole` is the only place that decides if bytes that were read are those that were written.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from clickmap_cli.runtime.errors import DiskFullError, RunError

PARTIAL = ".partial"
"""Ending of a file that is being written; one left by a killed run may be deleted."""

_OWN = secrets.token_hex(3)
"""Part of temporary names: machines that share a folder may give two processes the same id."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` on leaving without an error.

    The data reaches the disk before the rename, so a kill or a power cut at any moment leaves
    either the old file or the new one.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    # a worker that survives a killed run must not write into the next run's file
    partial = path.with_name(f"{path.name}.{os.getpid()}{_OWN}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the original error is reported
            partial.unlink()
        if isinstance(error, OSError):
            raise to_run_error(path, error) from error
        raise


def to_run_error(path: Path, error: OSError) -> RunError:
    """Turn the reason why a file could not be written into an error that names the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full" if error.errno == errno.ENOSPC else "your disk quota is used up"
        return DiskFullError(f"{path}: {what}; free some room and run the same again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(f"{path}: not writable ({error.strerror}); choose another --output.")
    if error.errno == errno.ENAMETOOLONG:
        return RunError(f"{path.name[:60]}...: the name is too long for this file system.")
    return RunError(f"{path}: could not be written ({error.strerror or error}).")


@contextmanager
def removing_when_full(written: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Remove the files of a call if the disk fills up, so that the same call can start again.

    Args:
        written: function that returns the files and folders that only this call has made.
    """
    try:
        yield
    except DiskFullError:
        for path in list(written()):
            with suppress(OSError):  # the full disk is the error to report
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a complete file, or keep the old one."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with an indent of two spaces; raise ValueError for NaN and infinity."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8", "surrogatepass"))


def json_ready(value: Any) -> Any:
    """Return a value as JSON can hold it.

    NaN and infinity become None, a dataclass an object of its fields, a path a string, and a tuple
    a list.

    Args:
        value: dataclasses, mappings, lists, tuples, numbers, strings, paths or None, nested in any
            way.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_ready(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: json_ready(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, PurePath) else value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table with a header; NaN becomes an empty cell, a bool `true` or `false`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_bytes(path, out.getvalue().encode("utf-8", "backslashreplace"))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if isinstance(value, float) and math.isnan(value) else value


def write_rows(path: Path, kind: type, rows: Iterable[Any]) -> None:
    """Write instances of one dataclass as a CSV table with one column per field."""
    header = [column.name for column in fields(kind)]
    write_csv(path, header, ([getattr(row, name) for name in header] for row in rows))


def sha256_of(path: Path, end: int | None = None) -> str:
    """Return the SHA-256 of a file's bytes, or of its first `end` bytes, in hexadecimal."""
    with path.open("rb") as file:
        if end is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while part := file.read(min(end - file.tell(), 1 << 20)):
            digest.update(part)
        return digest.hexdigest()


def is_whole(source: Path | bytes, stated: Mapping[str, Any], end: int | None = None) -> bool:
    """Return True if bytes are those of which size and SHA-256 were stated when they were written.

    Args:
        source: a file, which may be missing, or the bytes themselves.
        stated: the SHA-256 as `sha256`, in hexadecimal, and possibly the number of bytes as `size`.
        end: number of bytes that the SHA-256 covers, from the beginning of a file; None for all.

    Raises:
        OSError: the file exists and cannot be read.
    """
    sha256 = stated.get("sha256")
    if isinstance(source, bytes):
        return bool(
            stated.get("size", len(source)) == len(source)
            and hashlib.sha256(source).hexdigest() == sha256
        )
    if not source.is_file():
        return False
    size = source.stat().st_size
    return bool(stated.get("size", size) == size and sha256_of(source, end) == sha256)
