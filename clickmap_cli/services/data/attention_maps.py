"""Folders of attention maps for `train-classifier`: cut from recordings, or simulated."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from clickmap_cli.clickmaps.simulation.reading_study import CLASSES, ReadingStudy
from clickmap_cli.datasets.recordings import Crop, CropSettings, planned, write_cropped
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.data.tools import Made
from clickmap_cli.storage.atomic import removing_when_full


def crop_heatmaps(
    root: Path,
    folder: Path,
    settings: CropSettings,
    progress: Progress,
    n_jobs: int = -1,
    overwrite: bool = False,
) -> Made:
    """Screen recordings brought to one size, `<folder>/[<part>/]<class>/<participant>/<name>.png`.

    Args:
        root: folder of the recordings; see `datasets.recordings.planned`.
        folder: where the maps go; recordings are not looked for in it.
        settings: how.
        progress: told of each map.
        n_jobs: threads.
        overwrite: replace maps that are there.

    Raises:
        ConfigError: a setting is wrong, or maps are there already.
        DataError: there is nothing to cut, or two maps would have one name.
        RunError: a map cannot be written.
    """
    plan = planned(root, settings, folder)
    there = next((folder / crop.target for crop in plan.crops if _exists(folder, crop)), None)
    if there is not None and not overwrite:
        raise ConfigError(f"{there} is there already; add --overwrite, or choose another --output.")
    for text in plan.notices:
        progress.notice(text)
    progress.stage("Cropping", len(plan.crops))
    problems = [f"{problem.image_id}: {problem.reason}" for problem in plan.problems]
    written = []
    cut = partial(_written, folder)
    with removing_when_full(lambda: () if overwrite else (folder / c.target for c in plan.crops)):
        for crop, why in zip(
            plan.crops, ordered_map(cut, plan.crops, n_jobs, "threading"), strict=True
        ):
            if why:
                problems.append(why)
            else:
                written.append(crop.target)
            progress.advance()
    if not written:
        raise DataError(f"No map was written; {problems[0]}")
    counts = {
        "maps": len(written),
        "classes": len({target.parts[-3] for target in written}),
        "participants": len({target.parts[-2] for target in written}),
    }
    return Made(folder, counts, problems)


def reading_study(folder: Path, seed: int, progress: Progress, overwrite: bool = False) -> Made:
    """The simulated reading study: maps of two classes, with a known difference.

    Args:
        folder: where `<class>/<participant>/<name>.png` go.
        seed: of the simulation.
        progress: told that it is drawn.
        overwrite: replace the maps of a study that is there.

    Raises:
        ConfigError: the folder holds something already, or is a file.
        RunError: a map cannot be written.
    """
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; choose another --output.")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; add --overwrite, or choose another --output.")
    study = ReadingStudy(seed)
    progress.stage("Drawing")
    with removing_when_full(lambda: () if overwrite else folder.iterdir()):
        files = study.write(folder)
    for path in files:  # in a study of another seed a map of this name was of another class
        inside = path.relative_to(folder)
        for label in CLASSES:
            if label != inside.parts[0]:
                (folder / label / Path(*inside.parts[1:])).unlink(missing_ok=True)
    return Made(folder, {"maps": len(files), "participants": study.n_participants, "classes": 2})


def _exists(folder: Path, crop: Crop) -> bool:
    return (folder / crop.target).exists()


def _written(folder: Path, crop: Crop) -> str:
    """Write one map; why it could not be made, if so."""
    try:
        write_cropped(folder, crop)
    except DataError as error:
        return str(error)
    return ""
