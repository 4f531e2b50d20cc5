"""Import scores of an earlier study, and report them like those of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import SALIENCY_METRICS, plain_word
from clickmap_cli.datasets.gathering import as_folder, files_by_stem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, MAP_SUFFIXES, read_map
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.runtime.progress import Stopwatch
from clickmap_cli.services.benchmark.pictures import Pictures
from clickmap_cli.services.benchmark.result import BenchmarkResult, ImageScore, ModelResult
from clickmap_cli.services.benchmark.study import decile_rows, extreme_rows
from clickmap_cli.services.benchmark.summaries import compare_models, summarise
from clickmap_cli.services.benchmark.tables import RANDOM_DRAWS, as_summary, write_tables
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.folder import RunFolder, WhenPresent
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


@dataclass(frozen=True)
class ImportedScores:
    """The outcome of an import.

    Attributes:
        folder: folder of the tables and the report.
        summary: the content of `summary.json`.
        dropped: metrics left out because clickmap does not know them.
    """

    folder: Path
    summary: Mapping[str, Any]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """Names for the imported data set and models.

    Attributes:
        label: name of the data set.
        models: names of the models, one per set of scores in the file.
    """

    label: str = "imported"
    models: tuple[str, ...] = ("raw", "smoothed")


def run(
    path: Path,
    folder: Path,
    naming: Naming,
    draw_report: DrawReport,
    pictures: Pictures,
    when: WhenPresent = WhenPresent.STOP,
) -> ImportedScores:
    """Read a study's backup of scores and report on it: tables, deciles, extremes, a page.

    The file is a NumPy object array of one dict: image -> [image path, map path, [scores, ...]],
    each `scores` a dict metric -> number, the layout of the field's EigenCAM study. The reader
    accepts only plain data.

    Args:
        path: the `.npy` file.
        folder: folder for the tables and the report.
        naming: names of the data set and the models.
        draw_report: writes the page.
        pictures: images and maps for the page.
        when: what to do with existing outputs.

    Raises:
        ConfigError: outputs exist already, a name is invalid, or there are more sets of scores
            than names.
        DataError: the file does not have this layout.
    """
    started = Stopwatch()
    _check_names(naming)
    run_folder = RunFolder(folder, "import-scores", ("report.html", "summary.json"))
    when = run_folder.require_startable(when)
    described = describe_files(None, [path]) if path.is_file() else {}
    images, unknown = _read(path, naming)
    metrics = [
        name
        for name in SALIENCY_METRICS
        if any(name in row.scores for rows in images.values() for row in rows)
    ]
    if not metrics:
        said = f" but {', '.join(unknown)}, which mean nothing here" if unknown else ""
        raise DataError(f"{path}: holds no scores{said}.")
    models = [_model(naming.label, name, rows, metrics) for name, rows in images.items()]
    result = BenchmarkResult(
        naming.label, folder, tuple(metrics), tuple(models), {},
        compare_models(models, metrics, 0), (), decile_rows(models, metrics),
        extreme_rows(models, metrics, _EXTREMES),
    )  # fmt: skip
    identity = str(next(iter(described.values()))["sha256"])
    with run_folder.held():
        run_folder.reuse_or_begin(identity, when)
        paths = write_tables(folder, result)
        report = folder / "report.html"
        with replacing(report) as partial:
            draw_report(result, pictures, partial, _EXTREMES)
        run_folder.finish(
            Manifest.made(
                command="data import-scores",
                config={"label": naming.label, "models": list(naming.models)},
                config_hash=identity,
                inputs=described,
                outputs=describe_files(folder, [*paths, report]),
                counts={"images": len(models[0].images), "models": len(models), **RANDOM_DRAWS},
                started=started,
                seed=0,
                notices=(),
            )
        )
    return ImportedScores(folder, as_summary(result), unknown)


def _check_names(naming: Naming) -> None:
    """Raise unless all names can be file names and models have different ones.

    Raises:
        ConfigError: a name contains a character such as a slash, or two models have one name.
    """
    plain_word(naming.label, "--label")
    names = [plain_word(name, "a name in --models").lower() for name in naming.models]
    if len(set(names)) < len(names):
        raise ConfigError(f"--models {','.join(naming.models)}: give each its own name.")


def _read(path: Path, naming: Naming) -> tuple[dict[str, list[ImageScore]], tuple[str, ...]]:
    """Return model name -> scores of its images, by id; and the names of unknown metrics.

    Raises:
        ConfigError: there are more sets of scores than model names.
        DataError: the file does not have the layout that `run` describes.
    """
    backup = read_npy(path)
    if not isinstance(backup, dict) or not backup:
        raise DataError(f"{path}: holds no dict of images; it is no backup of scores.")
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
        if len(sets) > len(naming.models):
            raise ConfigError(
                f"{path} has {len(sets)} sets of scores an image and {len(naming.models)} names; "
                "name each with --models."
            )
        for name, scores in zip(naming.models, sets, strict=False):
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

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Return the image, (h, w, 3) RGB in 0..1, or None if it has no file."""
        path = self._images.get(image_id)
        return None if path is None else read_image(path).astype(np.float32) / np.float32(255)

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:  # noqa: ARG002
        """Return the map, (h, w), or None if it has no file."""
        path = self._maps.get(image_id)
        return None if path is None else read_map(path)

    def prediction(self, dataset: str, model: str, image_id: str) -> None:  # noqa: ARG002
        """Return None, because studies keep scores and no predicted maps."""
        return


def _by_stem(folder: Path | None, option: str, suffixes: Sequence[str]) -> Mapping[str, Path]:
    return {} if folder is None else files_by_stem(as_folder(folder, option), suffixes)
