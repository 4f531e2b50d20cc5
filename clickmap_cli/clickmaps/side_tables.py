"""Small tables beside the trials: lists of categories, image sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import read_npy

_MAX_BYTES = 1 << 30
_MAX_SIDE = 65_536


def read_table(path: Path) -> Any:
    """The content of a `.npy`, `.json`, `.yaml` or `.txt` (one name a line) file.

    Raises:
        DataError: missing, damaged, or of another kind.
    """
    if path.suffix == ".npy":
        value = read_npy(path)
        return value.tolist() if isinstance(value, np.ndarray) else value
    if not path.is_file():
        raise DataError(f"No file at {path} (looked from {Path.cwd()}).")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} is larger than 1 GiB; that is no small table.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: not readable ({' '.join(str(error).split())[:200]}).") from error
    if path.suffix == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    raise DataError(f"{path}: expected .npy, .json, .yaml or .txt.")


def read_categories(path: Path) -> frozenset[str]:
    """Names of the categories to keep: a list, or the keys of a mapping.

    Raises:
        DataError: not readable, or neither a list nor a mapping.
    """
    value = read_table(path)
    if isinstance(value, Mapping | list | tuple):
        return frozenset(str(name) for name in value)
    raise DataError(f"{path}: expected a list of categories, or a mapping whose keys they are.")


def read_sizes(path: Path) -> dict[str, Size]:
    """Image sizes of a metadata file, key -> (height, width); the file holds (width, height).

    Raises:
        DataError: not readable, or of another form.
    """
    value = read_table(path)
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: expected image key -> (width, height), found no mapping.")
    sizes = {}
    for key, pair in value.items():
        try:
            width, height = (int(side) for side in pair)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: '{key}' has {pair!r}, not (width, height).") from error
        if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
            raise DataError(f"{path}: '{key}' has the size {width} x {height}.")
        sizes[str(key)] = (height, width)
    return sizes
