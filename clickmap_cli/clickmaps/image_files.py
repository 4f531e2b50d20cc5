"""The files of images: their paths and their sizes."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_images import image_size


def image_file(image_dir: Path, key: str) -> Path | None:
    """Return the file of an image, or None if there is none.

    The key is a path inside `image_dir`. If it starts with the name of that folder, it may also be
    a path from the parent folder: `image_dir: data/osie` finds the key `osie/1.jpg`.
    """
    candidates = [image_dir / key]
    first, _, rest = key.partition("/")
    if rest and first == image_dir.resolve().name:
        candidates.append(image_dir / rest)
    return next((path for path in candidates if path.is_file()), None)


def size_of(file: Path | None) -> Size | None:
    """Return (height, width) of an image's file, or None if it is missing or damaged.

    The error of a damaged file is raised later, when its pixels are read.
    """
    try:
        return None if file is None else image_size(file)
    except DataError:
        return None
