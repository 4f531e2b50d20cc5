"""Make folders of attention maps for `train-classifier`, cropped from recordings or simulated."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from clickmap_cli.clickmaps.simulation.reading_study import CLASSES, ReadingStudy
from clickmap_cli.datasets.recordings import Crop, CropSettings, plan_crops
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
    """Crop screen recordings to one size, `<folder>/[<part>/]<class>/<participant>/<name>.png`.

    Args:
        root: folder of the recordings; see `datasets.recordings.plan_crops`.
        folder: folder for the maps; it is not searched for recordings.
        settings: how recordings are cropped.
        progress: advances with each map.
        n_jobs: threads.
        overwrite: replace existing maps.

    Raises:
        ConfigError: a setting is wrong, or maps exist already.
        DataError: there is nothing to crop, or two maps would have one name.
        RunError: a map cannot be written.
    """
    plan = plan_crops(root, settings, folder)
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
    """Write the simulated reading study: maps of two classes, with a known difference.

    Args:
        folder: folder for `<class>/<participant>/<name>.png`.
        seed: seed of the simulation.
        progress: receives the current stage.
        overwrite: replace the maps of an existing study.

    Raises:
        ConfigError: the folder is not empty, or is a file.
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
    for path in files:  # with another seed, a map of this name can be in the other class
        inside = path.relative_to(folder)
        for label in CLASSES:
            if label != inside.parts[0]:
                (folder / label / Path(*inside.parts[1:])).unlink(missing_ok=True)
    return Made(folder, {"maps": len(files), "participants": study.n_participants, "classes": 2})


def _exists(folder: Path, crop: Crop) -> bool:
    return (folder / crop.target).exists()


def _written(folder: Path, crop: Crop) -> str:
    """Write one map; return the reason if it could not be made, else an empty string."""
    try:
        crop.write(folder)
    except DataError as error:
        return str(error)
    return ""
