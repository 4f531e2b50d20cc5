"""Small tables that accompany the trials: lists of categories, image sizes."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.runtime.errors import DataError, printable, short_reason
from clickmap_cli.storage.safe_arrays import read_npy

_MAX_BYTES = 1 << 30
_MAX_SIDE = 65_536


def read_table(path: Path) -> Any:
    """Read a `.npy`, `.json`, `.yaml` or `.txt` (one name per line) file.

    Raises:
        DataError: the file is missing, damaged, too large, or of another kind.
    """
    if path.suffix == ".npy":
        value = read_npy(path)
        return value.tolist() if isinstance(value, np.ndarray) else value
    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} is larger than 1 GiB; expected a small table of names or sizes.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
    except (
        OSError, ValueError, yaml.YAMLError, RecursionError, KeyError, AttributeError, IndexError,
        TypeError,
    ) as error:  # fmt: skip
        raise DataError(f"{path}: not readable ({short_reason(error)}).") from error
    if path.suffix == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    raise DataError(f"{path}: expected .npy, .json, .yaml or .txt.")


def read_categories(path: Path) -> frozenset[str]:
    """Read the names of the categories to keep: a list, or the keys of a mapping.

    Raises:
        DataError: the file is not readable, or is neither a list nor a mapping.
    """
    value = read_table(path)
    if not isinstance(value, Mapping | list | tuple):
        raise DataError(f"{path}: expected a list of categories, or a mapping whose keys they are.")
    return frozenset(_word(path, name) for name in value)


def read_sizes(path: Path) -> dict[str, Size]:
    """Read image sizes as key -> (height, width); the file holds (width, height).

    Raises:
        DataError: the file is not readable, is not a mapping, or holds an invalid size.
    """
    value = read_table(path)
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: expected image key -> (width, height), found no mapping.")
    sizes = {}
    for key, pair in value.items():
        try:
            width, height = (int(side) for side in pair)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: {_shown(key)} has {_shown(pair)}, not (width, height)."
            ) from error
        if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
            raise DataError(
                f"{path}: {_shown(key)} has the sides {_shown(pair)}; they must be 1 to "
                f"{_MAX_SIDE}."
            )
        sizes[_word(path, key)] = (height, width)
    return sizes


def _word(path: Path, name: Any) -> str:
    """Return a name as text; refuse a container, which may contain itself and have endless text."""
    try:
        if isinstance(name, str | int | float | bool | None):
            return str(name)
    except ValueError:
        pass  # a number of thousands of digits
    raise DataError(f"{path}: a name is {_shown(name)}, not a word.")


def _shown(value: Any) -> str:
    """Shorten any value from an untrusted file for a message."""
    try:
        return printable(reprlib.repr(value))
    except ValueError:  # a number of thousands of digits
        return f"a long {type(value).__name__}"
