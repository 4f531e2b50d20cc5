"""Import scores of an earlier study, and report them like those of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import SALIENCY_METRICS, plain_word
from clickmap_cli.datasets.gathering import as_folder, files_by_stem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES, read_map
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.scoring.results import BenchmarkResult, ImageScore, ModelResult, Pictures
from clickmap_cli.scoring.summaries import (
    RANDOM_DRAWS,
    compare_models,
    decile_rows,
    extreme_rows,
    summarise,
)
from clickmap_cli.scoring.tables import load_result, write_tables
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.storage.safe_images import read_image

_TODAY = {
    "CC_standard": "CC", "AUC-Judd": "AUC_Judd", "AUC-Borji": "AUC", "KLD": "KL", "KLDiv": "KL",
    "sAUC": "sAUC", "Similarity": "SIM",
}  # fmt: skip
"""A metric's name in studies -> its name in clickmap."""

_EXTREMES = 25

DrawReport = Callable[[BenchmarkResult, Pictures, Path, int], None]


def run(
    path: Path,
    folder: Path,
    *,
    label: str,
    models: Sequence[str],
    draw_report: DrawReport,
    pictures: Pictures,
    progress: Progress,
    when: WhenPresent = WhenPresent.STOP,
) -> Outcome[BenchmarkResult]:
    """Read a study's backup of scores and report on it: tables, deciles, extremes, a page.

    The file is a NumPy object array of one dict: image -> [image path, map path, [scores, ...]],
    each `scores` a dict metric -> number, the layout of the field's EigenCAM study. The reader
    accepts only plain data.

    Args:
        path: the `.npy` file.
        folder: folder for the tables and the report.
        label: name of the data set.
        models: names of the models, one per set of scores in the file.
        draw_report: writes the page.
        pictures: images and maps for the page.
        progress: receives a notice about metrics that clickmap does not know.
        when: what to do with existing outputs.

    Raises:
        ConfigError: outputs exist already, a name is invalid, or there are more sets of scores
            than names.
        DataError: the file does not have this layout.
    """
    plain_word(label, "--label")
    names = [plain_word(name, "a name in --models").lower() for name in models]
    if len(set(names)) < len(names):
        raise ConfigError(f"--models {','.join(models)}: give each its own name.")
    job = _ImportJob(path, folder, label, tuple(models), draw_report, pictures)
    return run_job(job, when, progress=progress)


class _ImportJob(Job[dict[str, list[ImageScore]], BenchmarkResult]):
    command = "data import-scores"
    owns = ("report.html", "summary.json")

    def __init__(
        self,
        path: Path,
        folder: Path,
        label: str,
        models: tuple[str, ...],
        draw_report: DrawReport,
        pictures: Pictures,
    ) -> None:
        self.path = path
        self.folder = folder
        self.label = label
        self.models = models
        self.draw_report = draw_report
        self.pictures = pictures

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the names that the call gives."""
        return {"label": self.label, "models": list(self.models)}

    def load(self, progress: Progress, *, dry_run: bool) -> dict[str, list[ImageScore]]:
        """Read model -> scores of its images, by id."""
        images, unknown = _read(self.path, self.models)
        if not any(row.scores for rows in images.values() for row in rows):
            named = f" but {', '.join(unknown)}, which clickmap does not know" if unknown else ""
            raise DataError(f"{self.path}: holds no scores{named}.")
        if unknown:
            progress.notice(f"Metrics that are not known here: {', '.join(unknown)}.")
        return images

    def identity(self, inputs: dict[str, list[ImageScore]]) -> Identity:
        """Return the hash of the file."""
        files = describe_files(None, [self.path])
        return Identity(str(files[str(self.path)]["sha256"]), files)

    def preview(self, inputs: dict[str, list[ImageScore]]) -> BenchmarkResult:
        """Return the summaries of the scores."""
        held = {name for rows in inputs.values() for row in rows for name in row.scores}
        metrics = [name for name in SALIENCY_METRICS if name in held]
        models = [_model(self.label, name, rows, metrics) for name, rows in inputs.items()]
        return BenchmarkResult(
            self.label, self.folder, tuple(metrics), tuple(models), {},
            compare_models(models, metrics, 0), (), decile_rows(models, metrics),
            extreme_rows(models, metrics, _EXTREMES),
        )  # fmt: skip

    def stored(self, inputs: dict[str, list[ImageScore]], manifest: Manifest) -> BenchmarkResult:
        """Load the tables of a finished import."""
        return load_result(self.folder)

    def work(self, inputs: dict[str, list[ImageScore]], run: Run) -> BenchmarkResult:
        """Write the tables and the report."""
        result = self.preview(inputs)
        report = run.path / "report.html"
        run.add(write_tables(run.path, result))
        with replacing(report) as partial:
            self.draw_report(result, self.pictures, partial, _EXTREMES)
        run.add([report])
        n_images = len(result.models[0].images)
        run.counts = {"images": n_images, "models": len(result.models), **RANDOM_DRAWS}
        run.notices = ()
        return result


def _read(path: Path, models: Sequence[str]) -> tuple[dict[str, list[ImageScore]], tuple[str, ...]]:
    """Return model name -> scores of its images, by id; and the names of unknown metrics.

    Raises:
        ConfigError: there are more sets of scores than model names.
        DataError: the file does not have the layout that `run` describes.
    """
    backup = read_npy(path)
    if not isinstance(backup, dict) or not backup:
        raise DataError(f"{path}: holds no dict of images; it is not a backup of scores.")
    found: dict[str, list[ImageScore]] = {}
    unknown: dict[str, None] = {}
    for key in sorted(backup, key=str):
        entry = backup[key]
        sets = entry[2] if isinstance(entry, list | tuple) and len(entry) == 3 else None
        if not isinstance(sets, list | tuple) or not all(isinstance(s, dict) for s in sets):
            raise DataError(
                f"{path}: the entry '{printable(str(key))}' is not [image path, map path, "
                "[scores, ...]]."
            )
        if len(sets) > len(models):
            raise ConfigError(
                f"{path} has {len(sets)} sets of scores an image and {len(models)} names; "
                "name each with --models."
            )
        for name, scores in zip(models, sets, strict=False):
            known, lost = _scores(scores, f"{path}: '{printable(str(key))}'")
            unknown.update(dict.fromkeys(lost))
            found.setdefault(name, []).append(ImageScore(str(key), "all", known))
    return found, tuple(unknown)


def _scores(scores: Mapping[Any, Any], where: str) -> tuple[dict[str, float], list[str]]:
    """Return the scores by clickmap's metric names, and the names of unknown metrics.

    Raises:
        DataError: a score is not a number.
    """
    known: dict[str, float] = {}
    lost = []
    for name, value in scores.items():
        today = _TODAY.get(str(name), str(name))
        if today not in SALIENCY_METRICS:
            lost.append(str(name))
            continue
        if not isinstance(value, int | float | np.integer | np.floating):
            raise DataError(f"{where}: {name} is '{printable(str(value), 40)}', not a number.")
        known[today] = float(value)
    return known, lost


def _model(label: str, name: str, rows: list[ImageScore], metrics: list[str]) -> ModelResult:
    """Return one set of scores as a model's result; missing scores are NaN."""
    whole = [
        ImageScore(row.image_id, row.category, {m: row.scores.get(m, np.nan) for m in metrics})
        for row in rows
    ]
    return ModelResult(label, name, tuple(whole), summarise(label, metrics, whole, (), 0), 0)


class FolderPictures:
    """Images and ground-truth maps from folders, found by file stem, without predictions.

    Args:
        images: folder of images, or None.
        maps: folder of maps, or None.

    Raises:
        DataError: one of the paths is not a folder.
    """

    def __init__(self, images: Path | None, maps: Path | None) -> None:
        self._images = _by_stem(images, "--images", IMAGE_SUFFIXES)
        self._maps = _by_stem(maps, "--maps", MAP_SUFFIXES)

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """Return the image, (h, w, 3) RGB in 0..1, or None if it has no file."""
        path = self._images.get(image_id)
        return None if path is None else read_image(path).astype(np.float32) / np.float32(255)

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """Return the map, (h, w), or None if it has no file."""
        path = self._maps.get(image_id)
        return None if path is None else read_map(path)

    def prediction(self, dataset: str, model: str, image_id: str) -> None:
        """Return None, because studies keep scores and no predicted maps."""
        return


def _by_stem(folder: Path | None, option: str, suffixes: Sequence[str]) -> Mapping[str, Path]:
    return {} if folder is None else files_by_stem(as_folder(folder, option), suffixes)
