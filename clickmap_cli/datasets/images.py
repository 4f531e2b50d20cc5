"""Where an image's file is."""

from __future__ import annotations

from pathlib import Path


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
