"""CAT2000 (Borji & Itti 2015): 20 categories of 100 images, with fixations for the train half."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.fixations import FixationPool, PooledPoints
from clickmap_cli.datasets.gathering import Gathering, as_folder, checked_sigma, files_by_stem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES, counted_points, read_counts
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.safe_images import image_size
from clickmap_cli.storage.safe_mat import mat_array

_FOLDERS = {"train": "trainSet", "test": "testSet"}
_NUMBER = re.compile(r"_\d+")
"""The text after the category in the name of an image that does not lie in a category's folder."""


@dataclass(frozen=True)
class _Layout:
    """Names of the folders of a tree; `flat` if images may lie outside categories' folders."""

    images: str
    fixations: str
    maps: str
    flat: bool


_LAYOUTS = (
    _Layout("Stimuli", "FIXATIONLOCS", "FIXATIONMAPS", flat=False),
    _Layout("images", "fixations", "gt_maps", flat=True),
)


def cat2000(
    root: str | Path,
    split: str = "train",
    sigma_px: float = SIGMA_PX,
    provide_sauc_nonfix: bool = False,
) -> DataSet:
    """Read the train or the test tree as it is published; ids are `<category>_<stem>`.

    Train: `Stimuli/<Category>/<stem>.jpg`, `FIXATIONLOCS/<Category>/<stem>.mat` (`fixLocs`) and
    `FIXATIONMAPS/<Category>/<stem>.jpg`; test: `Stimuli` alone. The folders `Output`, which hold
    blurred copies, are ignored. The folders may also be called `images`, `fixations` (`.mat`, or
    `.npy` counts per pixel) and `gt_maps`, and may hold their files directly, as
    `<Category>_<number>.jpg`.

    Args:
        root: the tree, or a folder that holds `trainSet` or `testSet` (also `trainSet/trainSet`).
        split: `train` or `test`.
        sigma_px: blur of fixations, in pixels, used if there is no `FIXATIONMAPS`.
        provide_sauc_nonfix: provide the fixations of all other images as negatives for sAUC, if the
            tree has fixations.

    Raises:
        ConfigError: a setting is invalid.
        DataError: the tree is missing, is not CAT2000's, or holds no image.
    """
    sigma = checked_sigma(sigma_px)
    if split not in _FOLDERS:
        raise ConfigError(f"split: CAT2000 has 'train' and 'test', found {split!r}.")
    base, names = _tree(as_folder(root, "root"), split)
    gathering = Gathering(str(base), sought=f"{names.fixations} and {names.maps} in {base}")
    locations, maps = base / names.fixations, base / names.maps
    has_locations, has_maps = locations.is_dir(), maps.is_dir()
    if split == "train" and not (has_locations or has_maps):
        raise DataError(f"{base}: neither {names.fixations} nor {names.maps}; for images alone, "
                        "set split: test.")  # fmt: skip
    if has_locations and not has_maps:
        gathering.notices.append(
            f"{base} has no {names.maps}; maps are the fixations blurred with {sigma:g} pixels."
        )
    for category, inner, stem, image in _images(base / names.images, names.flat):
        image_id = f"{inner}_{stem}" if inner else stem
        with gathering.image(image_id, image):
            size = image_size(image)
            points = _fixations(locations / inner, stem, size) if has_locations else None
            heat = _map_of(maps / inner, stem) if has_maps else None
            gathering.add(
                FileStimulus(
                    image_id=image_id,
                    size=size,
                    image_path=image,
                    category=category,
                    points=points,
                    map_path=heat,
                    sigma_px=sigma,
                )
            )
    if provide_sauc_nonfix and has_locations:
        gathering.stimuli = _with_negatives(gathering.stimuli)
    elif provide_sauc_nonfix:
        gathering.notices.append(
            f"provide_sauc_nonfix has no effect: {base} has no {names.fixations}, so there are no "
            "fixations to offer as negatives of sAUC."
        )
    return gathering.finished()


def _tree(root: Path, split: str) -> tuple[Path, _Layout]:
    """Return the folder of a split and the layout of its folders."""
    name = _FOLDERS[split]
    inner = root / name
    other = next(folder for key, folder in _FOLDERS.items() if key != split)
    for layout in _LAYOUTS:
        for base in (inner, inner / name, root):
            if (base / layout.images).is_dir() and base.name != other:
                return base, layout
    raise DataError(
        f"{root}: no folder Stimuli (or images) here, in {name} or in {name}/{name}; set root to "
        f"the unpacked {name} of CAT2000."
    )


def _images(stimuli: Path, flat: bool) -> Iterator[tuple[str, str, str, Path]]:
    """Yield category, folder, stem and file of every image; the folder may be empty."""
    loose = files_by_stem(stimuli, IMAGE_SUFFIXES) if flat else {}
    for stem, image in sorted(loose.items()):
        number = _NUMBER.search(stem)
        yield (stem[: number.start()] or ALL) if number else ALL, "", stem, image
    for folder in sorted(stimuli.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name.lower() != "output":
            for stem, image in sorted(files_by_stem(folder, IMAGE_SUFFIXES).items()):
                yield folder.name, folder.name, stem, image


def _fixations(folder: Path, stem: str, size: tuple[int, int]) -> Points:
    """Read an image's fixations: marked pixels of a `.mat` file, or counts of a `.npy` file."""
    path = folder / f"{stem}.mat"
    if not path.is_file() and (folder / f"{stem}.npy").is_file():
        return read_counts(folder / f"{stem}.npy", size)
    marks = mat_array(path, "fixLocs")
    if marks.shape != size:
        raise DataError(
            f"{path}: fixLocs has {marks.shape[0]} x {marks.shape[1]} pixels, the image "
            f"{size[0]} x {size[1]}."
        )
    return counted_points(np.isfinite(marks) & (marks > 0), path)


def _map_of(folder: Path, stem: str) -> Path:
    for suffix in (".jpg", *MAP_SUFFIXES):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise DataError(f"{folder}: no map {stem}.jpg.")


def _with_negatives(stimuli: list[FileStimulus]) -> list[FileStimulus]:
    pool = FixationPool.of(
        [stimulus.points or Points(np.empty(0), np.empty(0)) for stimulus in stimuli],
        [stimulus.size for stimulus in stimuli],
    )
    return [
        replace(stimulus, nonfixations=PooledPoints(pool, at))
        for at, stimulus in enumerate(stimuli)
    ]
