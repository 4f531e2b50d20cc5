"""The files of images: where they are, and how large."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_images import image_size


def image_file(image_dir: Path, key: str) -> Path | None:
    """The file of an image, or None where there is none.

    The key is looked for inside `image_dir`, and, when it starts with that folder's own name,
    beside it: `image_dir: data/osie` finds the key `osie/1.jpg`.
    """
    candidates = [image_dir / key]
    first, _, rest = key.partition("/")
    if rest and first == image_dir.resolve().name:
        candidates.append(image_dir / rest)
    return next((path for path in candidates if path.is_file()), None)


def size_of(file: Path | None) -> Size | None:
    """(height, width) of an image's file; None where it is missing or damaged.

    Whoever reads the pixels says what is wrong with the file.
    """
    try:
        return None if file is None else image_size(file)
    except DataError:
        return None
