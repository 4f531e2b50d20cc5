"""Find the paths that a config names, and test whether they exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.saliency import SaliencyConfig

_NAMES = frozenset(
    {
        "datasets", "models", "active_models", "model_kwargs", "model", "plugins",
        "train_csv_file", "train_data_dir", "test_csv_file", "test_data_dir", "root_directory",
    }
)  # fmt: skip
"""Keys of scope `input` that are not paths, or whose paths are checked when their data are read."""

_NO_FILES = ("timm", "none")
"""Values of `pretrained_dir` that are not paths: downloaded weights, or no weights."""


def named_paths(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys that name an input by its path, and the paths."""
    for name, key in keys_of(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from named_paths(value, f"{prefix}{name}.")
        elif key.scope != "input" or not isinstance(value, str) or name in _NAMES:
            continue
        elif name != "pretrained_dir" or value.lower() not in _NO_FILES:
            yield f"{prefix}{name}", value
    if isinstance(config, SaliencyConfig):
        files = config.cv.fold_files if isinstance(config.cv.fold_files, list) else []
        named = [("gt_cache_dir", config.gt_cache_dir), ("cv.holdout", config.cv.holdout)]
        for name, value in [*named, *(("cv.fold_files", path) for path in files)]:
            if value is not None:
                yield name, value


def there(path: Path) -> bool:
    """Return True if a file or folder exists at a path."""
    try:
        return path.exists()
    except OSError:  # such as a name too long for the file system, or a folder without access
        return False


def is_folder(path: Path | str) -> bool:
    """Return True if a folder exists at a path."""
    return there(Path(path)) and Path(path).is_dir()
