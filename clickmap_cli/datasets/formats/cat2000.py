"""CAT2000 (Borji & Itti 2015): 20 categories of 100 images, with fixations for the train half."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np

from clickmap_cli.clickmaps.geometry import shown_size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.config.fields import Key
from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.fixations import FixationPool, PooledPoints
from clickmap_cli.datasets.gathering import Gathering, SigmaPx, as_folder, files_by_stem, find_map
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES, points_from_counts, read_counts
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_images import image_size
from clickmap_cli.storage.safe_mat import mat_array

_SPLITS = {"train": "trainSet", "test": "testSet"}
_PUBLISHED = ("Stimuli", "FIXATIONLOCS", "FIXATIONMAPS")
_LAYOUTS = (_PUBLISHED, ("images", "fixations", "gt_maps"))
"""Names of the folders of images, fixations and maps."""

_MAP_SUFFIXES = sorted(MAP_SUFFIXES, key=".jpg".__ne__)  # as published, and others after it

_NUMBER = re.compile(r"_\d+")
"""The text after the category in the name of an image that does not lie in a category's folder."""


def cat2000(
    root: str | Path,
    split: Annotated[str, Key(choices=tuple(_SPLITS))] = "train",
    sigma_px: SigmaPx = SIGMA_PX,
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
        DataError: the tree is missing, is not CAT2000's, or holds no image.
    """
    sigma = float(sigma_px)
    base, names = _find_tree(as_folder(root, "root"), split)
    locations, maps = base / names[1], base / names[2]
    has_locations, has_maps = locations.is_dir(), maps.is_dir()
    gathering = Gathering(str(base), sought=f"{names[1]} and {names[2]} in {base}")
    if split == "train" and not (has_locations or has_maps):
        raise DataError(
            f"{base}: neither {names[1]} nor {names[2]}; for images alone, set split: test."
        )
    if has_locations and not has_maps:
        gathering.notices.append(
            f"{base} has no {names[2]}; maps are the fixations blurred with {sigma:g} pixels."
        )
    for category, inner, image in _list_images(base / names[0], names is not _PUBLISHED):
        image_id = f"{inner}_{image.stem}" if inner else image.stem
        with gathering.image(image_id, image):
            size = image_size(image)
            points = _read_points(locations / inner, image.stem, size) if has_locations else None
            heat = None
            if has_maps:
                heat = find_map(maps / inner, [image.stem], _MAP_SUFFIXES)
            gathering.add(
                FileStimulus(image_id, size, image, category, points, map_path=heat, sigma_px=sigma)
            )
    if provide_sauc_nonfix and has_locations:
        nothing = Points(np.empty(0), np.empty(0))
        stimuli = gathering.stimuli
        pool = FixationPool([s.points or nothing for s in stimuli], [s.size for s in stimuli])
        gathering.stimuli = [
            replace(stimulus, nonfixations=PooledPoints(pool, at))
            for at, stimulus in enumerate(stimuli)
        ]
    elif provide_sauc_nonfix:
        gathering.notices.append(
            f"provide_sauc_nonfix has no effect: {base} has no {names[1]}, so there are no "
            "fixations to offer as negatives of sAUC."
        )
    return gathering.finished()


def _find_tree(root: Path, split: str) -> tuple[Path, tuple[str, str, str]]:
    """Return the folder of a split and the names of its folders."""
    name = _SPLITS[split]
    (other,) = set(_SPLITS.values()) - {name}
    for names in _LAYOUTS:
        for base in (root / name, root / name / name, root):
            if (base / names[0]).is_dir() and base.name != other:
                return base, names
    raise DataError(
        f"{root}: no folder Stimuli (or images) here, in {name} or in {name}/{name}; set root to "
        f"the unpacked {name} of CAT2000."
    )


def _list_images(stimuli: Path, flat: bool) -> Iterator[tuple[str, str, Path]]:
    """Yield category, folder (which may be empty) and file of every image.

    Args:
        stimuli: folder of the images.
        flat: True if images may lie outside categories' folders.
    """
    loose = files_by_stem(stimuli, IMAGE_SUFFIXES) if flat else {}
    for stem, image in sorted(loose.items()):
        number = _NUMBER.search(stem)
        yield (stem[: number.start()] or ALL) if number else ALL, "", image
    for folder in sorted(stimuli.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name.lower() != "output":
            for _, image in sorted(files_by_stem(folder, IMAGE_SUFFIXES).items()):
                yield folder.name, folder.name, image


def _read_points(folder: Path, stem: str, size: tuple[int, int]) -> Points:
    """Read an image's fixations: marked pixels of a `.mat` file, or counts of a `.npy` file."""
    path = folder / f"{stem}.mat"
    if not path.is_file() and (folder / f"{stem}.npy").is_file():
        return read_counts(folder / f"{stem}.npy", size)
    marks = mat_array(path, "fixLocs")
    if marks.shape != size:
        raise DataError(
            f"{path}: fixLocs has {shown_size(marks.shape)} pixels, the image {shown_size(size)}."
        )
    return points_from_counts(np.isfinite(marks) & (marks > 0), path)
