"""CAT2000 (Borji & Itti 2015): 20 categories of 100 images, with fixations for the train half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points
from clickmap_cli.datasets.files import (
    IMAGE_SUFFIXES,
    MAP_SUFFIXES,
    FileStimulus,
    counted_points,
    image_size,
)
from clickmap_cli.datasets.gathering import Gathering, as_folder, checked_sigma, files_by_stem
from clickmap_cli.datasets.nonfixations import FixationPool, PooledPoints
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.safe_mat import mat_array

_FOLDERS = {"train": "trainSet", "test": "testSet"}


def cat2000(
    root: str | Path,
    split: str = "train",
    sigma_px: float = SIGMA_PX,
    provide_sauc_nonfix: bool = False,
) -> DataSet:
    """The train or the test tree as it is published; ids are `<category>_<stem>`.

    Train: `Stimuli/<Category>/<stem>.jpg`, `FIXATIONLOCS/<Category>/<stem>.mat` (`fixLocs`) and
    `FIXATIONMAPS/<Category>/<stem>.jpg`; test: `Stimuli` alone. The folders `Output` of blurred
    copies are left out.

    Args:
        root: the tree, or a folder that holds `trainSet` or `testSet`.
        split: `train` or `test`.
        sigma_px: blur of fixations, in pixels, where there is no `FIXATIONMAPS`.
        provide_sauc_nonfix: offer the fixations of all other images as negatives of sAUC.

    Raises:
        ConfigError: a setting is wrong, or there is no image.
        DataError: the tree is missing or is not CAT2000's.
    """
    sigma = checked_sigma(sigma_px)
    if split not in _FOLDERS:
        raise ConfigError(f"split: CAT2000 has 'train' and 'test', found {split!r}.")
    base = _tree(as_folder(root, "root"), split)
    train = split == "train"
    sought = "FIXATIONLOCS and FIXATIONMAPS" if train else "split: test has none"
    gathering = Gathering(str(base), sought=sought)
    locations, maps = base / "FIXATIONLOCS", base / "FIXATIONMAPS"
    has_locations, has_maps = train and locations.is_dir(), train and maps.is_dir()
    if train and not (has_locations or has_maps):
        raise DataError(f"{base}: neither FIXATIONLOCS nor FIXATIONMAPS; for images alone, set "
                        "split: test.")  # fmt: skip
    if train and not has_maps:
        gathering.notices.append(
            f"{base} has no FIXATIONMAPS; maps are the fixations blurred with {sigma:g} pixels."
        )
    for category, stem, image in _images(base / "Stimuli"):
        image_id = f"{category}_{stem}"
        with gathering.image(image_id, image):
            size = image_size(image)
            points = None
            if has_locations:
                points = _fixations(locations / category / f"{stem}.mat", size)
            heat = _map_of(maps / category, stem) if has_maps else None
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
    if provide_sauc_nonfix:
        gathering.stimuli = _with_negatives(gathering.stimuli)
    return gathering.finished()


def _tree(root: Path, split: str) -> Path:
    inner = root / _FOLDERS[split]
    other = next(name for key, name in _FOLDERS.items() if key != split)
    for base in (inner, root):
        if (base / "Stimuli").is_dir() and base.name != other:
            return base
    raise DataError(
        f"{root}: no folder Stimuli here or in {inner.name}; set root to the unpacked "
        f"{inner.name} of CAT2000."
    )


def _images(stimuli: Path) -> Iterator[tuple[str, str, Path]]:
    """Category, stem and file of every image."""
    for folder in sorted(stimuli.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name.lower() != "output":
            for stem, image in sorted(files_by_stem(folder, IMAGE_SUFFIXES).items()):
                yield folder.name, stem, image


def _fixations(path: Path, size: tuple[int, int]) -> Points:
    """Every marked pixel is one fixation."""
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
    if any(stimulus.points is None for stimulus in stimuli):
        raise ConfigError("provide_sauc_nonfix: CAT2000 has no fixations here; set it to false.")
    pool = FixationPool.of(
        [stimulus.points or Points(np.empty(0), np.empty(0)) for stimulus in stimuli],
        [stimulus.size for stimulus in stimuli],
    )
    return [
        replace(stimulus, nonfixations=PooledPoints(pool, at))
        for at, stimulus in enumerate(stimuli)
    ]
