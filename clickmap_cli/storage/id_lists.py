"""Lists of image ids: text files with one id per line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.atomic import write_bytes


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
