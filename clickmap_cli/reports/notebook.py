"""Write a notebook that opens the viewer on an experiment or a benchmark; plain JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import write_bytes
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import load_manifest

_OPENABLE = {"prepare": "experiment", "benchmark": "benchmark"}

_INTRODUCTION = """\
# Looking at clickmaps

Run every cell (in Jupyter: *Run*, *Run All Cells*). It needs clickmap with its extra `notebook`:
`pip install 'clickmap[notebook]'`.

- **Search** takes a part of a name; **Previous** and **Next** step through what it finds.
- **Map of** chooses whose map: everyone's or one participant's of an experiment, people's or a
  model's of a benchmark. Only predictions that were kept, and still hold, can be shown.
- **Colours** and **Normalize** choose how values become colours: `max` divides by the map's
  maximum, `sum` by its sum, `none` shows 0 to 1 as it is, `rank` the share of pixels at or below.
- **Alpha** covers the image with heat: 0 is the image alone, 1 the heat alone.
- **Save PNG** writes what is shown, as large as its map, into `viewer_pictures/`
  beside this notebook.
"""


def write_notebook(
    path: Path, folders: Sequence[Path], when: WhenPresent = WhenPresent.STOP
) -> bool:
    """Write a notebook that opens the viewer on folders.

    Args:
        path: the notebook, `.ipynb`.
        folders: folders written by `prepare` or `benchmark`.
        when: treatment of an existing notebook; `RESUME` leaves it unchanged, because a person may
            have worked in it.

    Returns:
        True if the notebook was written.

    Raises:
        ConfigError: the path does not end in `.ipynb`, no folder is given, or the notebook exists.
        DataError: a folder holds no finished run of `prepare` or `benchmark`.
    """
    if path.suffix != ".ipynb":
        raise ConfigError(f"{path}: a notebook's name ends in .ipynb.")
    if not folders:
        raise ConfigError("A notebook needs a folder to look at.")
    kinds = [_kind(folder) for folder in folders]
    if path.exists():
        if when is WhenPresent.RESUME:
            return False
        if when is WhenPresent.STOP:
            raise ConfigError(
                f"{path} is there already; add --resume to keep it, or --overwrite for a new one."
            )
    text = json.dumps(_notebook(path, folders, kinds), indent=1, ensure_ascii=True) + "\n"
    write_bytes(path, text.encode("ascii"))
    return True


def _kind(folder: Path) -> str:
    manifest = load_manifest(folder)
    if manifest is None or manifest.command not in _OPENABLE:
        raise DataError(
            f"{folder} holds no finished run of prepare or benchmark; a notebook has nothing to "
            "show of it."
        )
    return _OPENABLE[manifest.command]


def _notebook(path: Path, folders: Sequence[Path], kinds: Sequence[str]) -> dict[str, Any]:
    """Return the notebook, in version 4.5 of its format."""
    cells = [_markdown(_INTRODUCTION), _code(_start(path))]
    for folder, kind in zip(folders, kinds, strict=True):
        name = folder.as_posix().replace("`", "'")
        cells += [_markdown(f"## The {kind} in `{name}`"), _code(f"view({str(folder)!r})")]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _start(path: Path) -> str:
    """Return the first code cell, which enters the folder that paths in configurations refer to."""
    here, there = Path.cwd(), path.absolute().parent
    try:
        place = Path(os.path.relpath(here, there)).as_posix()
    except ValueError:  # another drive
        place = str(here)
    return (
        "from clickmap_cli.reports.viewer import go_to, view\n\n"
        f"go_to({place!r})  # the folder clickmap was called in, seen from this notebook"
    )


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
        "source": text.splitlines(keepends=True),
    }  # fmt: skip
