"""Files of images and of their foreground masks: finding, measuring and comparing them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import read_npy, read_tensors
from clickmap_cli.storage.safe_images import image_size, read_image


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


_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def find_masks(folder: Path, keys: Sequence[str]) -> dict[str, Path]:
    """Find the mask file of each image that has one.

    A mask is named like its image, with any ending, in the same sub-folders of `folder`. A `.pth`
    file may also hold (image, mask, category); then it belongs to the image `<category>/<file
    name>`.

    Raises:
        DataError: the folder is missing or holds no masks, or two masks belong to one image.
    """
    if not folder.is_dir():
        raise DataError(f"mask_dir {folder} is not a folder (looked from {Path.cwd()}).")
    alike: defaultdict[str, list[str]] = defaultdict(list)  # `a/1.png` and `a/1.jpg`
    for key in keys:
        alike[_stem(key)].append(key)
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (*_PICTURES, ".npy", ".pth") and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if path.suffix == ".pth" and "/" not in name:
                category = _category(path)
                name = f"{category}/{name}" if category else name
            if name in files:
                raise DataError(f"{files[name]} and {path} are masks of the same image.")
            files[name] = path
    if not files:
        raise DataError(f"mask_dir {folder} holds no images, .npy or .pth files.")
    masks: dict[str, Path] = {}
    for name, stem in match_keys(list(files), list(alike)).items():
        for key in alike[stem]:
            if key in masks:
                raise DataError(f"{masks[key]} and {files[name]} are masks of the same image.")
            masks[key] = files[name]
    return masks


def read_mask(path: Path) -> NDArray[np.float32]:
    """Read a mask as (H, W) float32; values above zero are foreground.

    Raises:
        DataError: the mask is not readable, or not two-dimensional.
    """
    if path.suffix == ".npy":
        value: Any = read_npy(path)
    elif path.suffix == ".pth":
        value = read_tensors(path)
        if isinstance(value, list | tuple):
            value = value[1] if len(value) > 1 else value[0]
    else:
        value = read_image(path, "L")
    mask = np.squeeze(np.asarray(value))
    if mask.ndim == 3 and mask.shape[-1] in (3, 4):
        mask = mask[..., :3].max(axis=-1)
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise DataError(f"{path}: a mask of shape {mask.shape}; it must be one plane of numbers.")
    return mask.astype(np.float32)


def heat_on_mask(
    mean: NDArray[np.float32], mask: NDArray[np.float32], geometry: Geometry, image: Size | None
) -> float:
    """Compute the IoU (Jaccard index) of {map > half its maximum} and {mask > 0}.

    Both are compared on the finished map's pixels.

    Args:
        mean: (h, w) the finished mean map.
        mask: (H, W) mask of the whole image or of the finished map.
        geometry: geometry of the image.
        image: (height, width) of the image's file; None if it is not known.

    Raises:
        DataError: the mask's aspect ratio does not fit; see `Geometry.place_map`.
    """
    placed = geometry.place_map((mask.shape[0], mask.shape[1]), image).finish(mask)
    hot, foreground = mean > mean.max() / 2, placed > 0
    union = int(np.count_nonzero(hot | foreground))
    return math.nan if union == 0 else float(np.count_nonzero(hot & foreground) / union)


def _stem(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return folder + slash + (name.rsplit(".", 1)[0] if "." in name else name)


def _category(path: Path) -> str | None:
    """Return the category in a file of (image, mask, category), or None."""
    value = read_tensors(path)
    if not isinstance(value, list | tuple) or len(value) < 3:
        return None
    category = value[2][0] if isinstance(value[2], list | tuple) and value[2] else value[2]
    return category if isinstance(category, str) else None
