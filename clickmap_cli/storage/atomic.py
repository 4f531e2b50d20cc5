"""Files that are whole or absent: everything is written beside its place and renamed into it."""

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
from dataclasses import fields
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import DiskFullError, RunError

PARTIAL = ".partial"
"""Ending of a file that is being written; a leftover of a killed run may be deleted."""

_OWN = secrets.token_hex(3)
"""Machines that share a folder may give two processes one number."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; on leaving without an error it becomes `path` in one step.

    The data is on the disk before the rename, so a kill or a power cut at any moment leaves
    either the old file or the new one.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    # a worker that outlives a killed run must not write into the next run's file
    partial = path.with_name(f"{path.name}.{os.getpid()}{_OWN}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        _discard(partial)
        raise explained(path, error) from error
    except BaseException:
        _discard(partial)
        raise


def _discard(partial: Path) -> None:
    """Remove what was begun; what stopped the writing is reported, not that this fails too."""
    with suppress(OSError):
        partial.unlink()


def explained(path: Path, error: OSError) -> RunError:
    """Why a file could not be written, in a sentence that names it."""
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"{path}: the disk is full; free some room and run the same again.")
    if error.errno == errno.EDQUOT:
        return DiskFullError(
            f"{path}: your disk quota is used up; free some room and run the same again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(f"{path}: not writable ({error.strerror}); choose another --output.")
    if error.errno == errno.ENAMETOOLONG:
        return RunError(f"{path.name[:60]}...: the name is too long for this file system.")
    return RunError(f"{path}: could not be written ({error.strerror or error}).")


@contextmanager
def removing_when_full(written: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Remove what a call has written if the disk fills, so that the same call can start again.

    Args:
        written: files and folders that only this call has made.
    """
    try:
        yield
    except DiskFullError:
        for path in list(written()):
            with suppress(OSError):  # that the disk is full is what is reported
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or leave the old one."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with two spaces of indent; NaN and infinity are refused (they are not JSON)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8", "surrogatepass"))


def json_ready(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite (NaN, infinity) are null.

    Args:
        value: of dicts, lists, tuples, numbers, words and None.
    """
    if isinstance(value, Mapping):
        return {name: json_ready(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table with a header line; a NaN is an empty cell, a bool `true` or `false`."""
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
    """Write rows of one dataclass as a CSV table, a column a field."""
    header = [column.name for column in fields(kind)]
    write_csv(path, header, ([getattr(row, name) for name in header] for row in rows))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
