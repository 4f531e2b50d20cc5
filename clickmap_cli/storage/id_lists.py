"""Lists of image ids: a text file, one id a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.atomic import write_bytes


def read_ids(path: Path) -> list[str]:
    """The ids of a list, each once, in its order; empty lines and `#` comments are left out.

    Raises:
        DataError: the file is missing, is no text, or holds no id.
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
    """Write a list of ids, one a line.

    Raises:
        DataError: an id would not be read back: it begins with `#`, or begins or ends with blanks.
    """
    words = list(ids)
    for word in words:
        if word.splitlines() != [word.strip()] or word.startswith("#"):
            raise DataError(f"The id {word!r} cannot stand in a list of ids; rename the image.")
    write_bytes(path, "".join(f"{word}\n" for word in words).encode())
