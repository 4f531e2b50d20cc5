"""Small jobs on data sets: write a toy corpus, a split, mean maps, an export or attention maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.losses import check_losses
from clickmap_cli.clickmaps.simulation.people import Simulation
from clickmap_cli.clickmaps.simulation.reading_study import CLASSES, ReadingStudy
from clickmap_cli.config.fields import MAX_LOST
from clickmap_cli.datasets.base import DataSet, Problem
from clickmap_cli.datasets.recordings import Crop, CropSettings, plan_crops
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.progress import Progress, Silent
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.data import read_set
from clickmap_cli.storage.atomic import removing_when_full, replacing, write_bytes, write_csv
from clickmap_cli.storage.safe_arrays import write_npy
from clickmap_cli.storage.text_files import write_ids

_TOY_CONFIG = """\
# A benchmark of the toy corpus. Run: clickmap benchmark --config {config}
experiment: toy
output_dir: {results}
models: [uniform, center_bias, blur_baseline, gold_standard]
datasets:
  - {{name: fixations_csv, label: toy, csv: {csv}, images: {images}, sigma_px: 10}}
"""


@dataclass(frozen=True)
class Made:
    """The outputs of a job.

    Attributes:
        folder: the output folder.
        counts: kind of output -> number of them.
        problems: images that were left out, and why.
    """

    folder: Path
    counts: Mapping[str, int]
    problems: Sequence[str] = ()


@contextmanager
def writing(files: Callable[[], Iterable[Path]], overwrite: bool) -> Iterator[None]:
    """Open a block that writes files, which are removed if the disk becomes full.

    Args:
        files: function that returns the files.
        overwrite: replace existing files; these are then not removed.

    Raises:
        ConfigError: a file exists already, and `overwrite` is False.
    """
    there = next((path for path in files() if path.exists()), None)
    if there is not None and not overwrite:
        raise ConfigError(f"{there} is there already; add --overwrite, or choose another --output.")
    with removing_when_full(lambda: () if overwrite else files()):
        yield


def toy(folder: Path, n_images: int, seed: int, progress: Progress) -> Made:
    """Write a small corpus with a known truth: images, fixations of careful people, true maps.

    It has the layout of the data set `folder`, with `fixations.csv` that names the people, and a
    config for `benchmark`.

    Args:
        folder: the output folder.
        n_images: number of images.
        seed: seed of the simulation.
        progress: advances with each image.

    Raises:
        ConfigError: the folder is not empty, or is a file.
    """
    from PIL import Image

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; choose another --output.")
    with removing_when_full(folder.iterdir):
        study = Simulation(seed, n_images=n_images, shares=(0.0, 0.0), side=128)
        progress.stage("Drawing", n_images)
        rows: list[tuple[str, str, int, int, int]] = []
        for image in study.images():
            name = f"{Path(image.key).stem}.png"
            with replacing(folder / "images" / name) as partial:
                Image.fromarray(image.pixels).save(partial, format="PNG")
            counts = np.zeros((study.side, study.side), dtype=np.int32)
            for user, clicks in study.trials_of(image):
                np.add.at(counts, (clicks[:, 1], clicks[:, 0]), 1)
                rows += [(name, user, at, int(x), int(y)) for at, (x, y) in enumerate(clicks)]
            stem = Path(name).stem
            for kind, array in (
                ("fixations", counts), ("gt_maps", image.density.astype(np.float32)),
            ):  # fmt: skip
                write_npy(folder / kind / f"{stem}.npy", array)
            progress.advance()
        write_csv(folder / "fixations.csv", ("image", "subject", "order", "x", "y"), rows)
        config = folder / "benchmark.yaml"
        # a JSON string is valid YAML, also for folder names with commas or colons
        results, csv, images = (
            json.dumps(str(folder / name)) for name in ("results", "fixations.csv", "images")
        )
        text = _TOY_CONFIG.format(config=config, results=results, csv=csv, images=images)
        write_bytes(config, text.encode())
        return Made(folder, {"images": n_images, "fixations": len(rows)})


def split(
    settings: Mapping[str, Any],
    folder: Path | None,
    test_count: int,
    seed: int,
    overwrite: bool = False,
) -> Made:
    """Write a seeded holdout split of a data set: `train.txt` and `test.txt`, lists of ids.

    The choice of held-out images depends only on the ids and the seed.

    Args:
        settings: `name` and the data set's settings.
        folder: folder for the lists; None = the data set's `root`.
        test_count: number of images to hold out.
        seed: seed of the draw.
        overwrite: replace existing lists.

    Raises:
        ConfigError: `test_count` is not below the number of images, no folder is known, or lists
            exist already.
    """
    data = _read(settings)
    where = folder if folder is not None else settings.get("root")
    if where is None:
        raise ConfigError("Say where the lists go: --output FOLDER.")
    ids = sorted(stimulus.image_id for stimulus in data.stimuli)
    if test_count >= len(ids):
        raise ConfigError(
            f"--test-count is {test_count}, but there are only {len(ids)} images to split."
        )
    held = generator(seed, "split", *ids).permutation(len(ids))[:test_count]
    test = {ids[at] for at in held}
    lists = Path(where).expanduser()
    files = [lists / "test.txt", lists / "train.txt"]
    with writing(lambda: files, overwrite):
        write_ids(files[0], sorted(test))
        write_ids(files[1], (word for word in ids if word not in test))
    counts = {"train": len(ids) - len(test), "test": len(test)}
    return Made(lists, counts, _to_sentences(data.problems))


def mean_maps(
    settings: Mapping[str, Any],
    folder: Path,
    aggregate: str,
    progress: Progress,
    overwrite: bool = False,
) -> Made:
    """Write ground-truth maps averaged over participants, each of whom has the same weight.

    Each participant's map is scaled to sum 1; their mean or median over participants, scaled to
    sum 1 again, is written to `<folder>/<image_id>.npy` as float32.

    Args:
        settings: `name` and the data set's settings.
        folder: folder for the maps.
        aggregate: `mean` or `median`.
        progress: advances with each image.
        overwrite: replace existing maps.

    Raises:
        ConfigError: `aggregate` is neither, or maps exist already.
        DataError: no image has named people.
    """
    if aggregate not in ("mean", "median"):
        raise ConfigError(f"--aggregate is {aggregate!r}; it must be mean or median.")
    with writing(lambda: folder.glob("*.npy"), overwrite):
        data = _read(settings)
        problems, written = _to_sentences(data.problems), 0
        progress.stage("Averaging", len(data.stimuli))
        for stimulus in data.stimuli:
            progress.advance()
            people = stimulus.people()
            if people is None:
                problems.append(f"{stimulus.image_id}: fewer than two named people looked at it.")
                continue
            views = [people.target(person) for person in range(len(people.names))]
            densities = [
                view.density.reshape(view.shape)
                for view in views
                if view.least >= 0 and not view.constant
            ]
            if not densities:
                problems.append(f"{stimulus.image_id}: nobody's map has a point in it.")
                continue
            pool = np.mean if aggregate == "mean" else np.median
            pooled = np.asarray(pool(densities, axis=0))
            total = pooled.sum()
            scaled = pooled / total if total else pooled
            write_npy(folder / f"{stimulus.image_id}.npy", scaled.astype(np.float32))
            written += 1
        if not written:
            why = problems[0] if problems else "the set is empty"
            raise DataError(f"No map was written; {why}")
    return Made(folder, {"maps": written}, problems)


def export_pysaliency(settings: Mapping[str, Any], folder: Path, overwrite: bool = False) -> Made:
    """Write stimuli and fixations as pysaliency's HDF5 files.

    Raises:
        ConfigError: such files exist already.
    """
    from clickmap_cli.datasets.formats.pysaliency import write_pysaliency

    files = [folder / "stimuli.hdf5", folder / "fixations.hdf5"]
    with writing(lambda: files, overwrite):
        data = _read(settings)
        counts = {"images": len(data.stimuli), "files": len(write_pysaliency(data, folder))}
    return Made(folder, counts, _to_sentences(data.problems))


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

    def write(crop: Crop) -> str:
        """Write one map; return the reason if it could not be made, else an empty string."""
        try:
            crop.write(folder)
        except DataError as error:
            return str(error)
        return ""

    plan = plan_crops(root, settings, folder)
    problems = _to_sentences(plan.problems)
    written = []
    with writing(lambda: (folder / crop.target for crop in plan.crops), overwrite):
        for text in plan.notices:
            progress.notice(text)
        progress.stage("Cropping", len(plan.crops))
        reasons = ordered_map(write, plan.crops, n_jobs, "threading")
        for crop, why in zip(plan.crops, reasons, strict=True):
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


def _to_sentences(problems: Iterable[Problem]) -> list[str]:
    return [f"{problem.image_id}: {problem.reason}" for problem in problems]


def _read(settings: Mapping[str, Any]) -> DataSet:
    rest = dict(settings)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("Say which data set: name=folder root=photos, for example.")
    rest.pop("label", None)
    max_lost = rest.pop("max_lost", MAX_LOST)
    if not isinstance(max_lost, int | float) or not 0 <= max_lost <= 1:
        raise ConfigError(f"max_lost is {max_lost!r}; it must be a number from 0 to 1.")
    data = read_set(name, rest, f"data set {name}")
    check_losses(data.losses, max_lost, Silent(), f"data set {name}")
    return data
