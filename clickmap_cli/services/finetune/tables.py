"""Turn scores of held-out images into the tables of a fine-tuning."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.metrics.uncertainty import bootstrap_means, known_mean, percentile_interval
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.results import ComparisonRow, Failure, ImageScore, ModelResult
from clickmap_cli.scoring.summaries import RANDOM_DRAWS, compare_models
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json, write_rows

FINETUNED, PRETRAINED, CENTER = "finetuned", "pretrained", "center_bias"
HELD_OUT, HOLDOUT = "held_out", "holdout"
SUMMARY = "summary.json"
_SCORES, _FAILURES = "held_out.csv", "failures.csv"
READ_AGAIN = (_SCORES, _FAILURES)
"""Tables that `read_scores` and `read_failures` read."""

OWN = ("cv_summary.csv", _SCORES, "comparisons.csv", _FAILURES, SUMMARY)
"""Tables that only a fine-tuning writes."""


@dataclass(frozen=True)
class FoldScores:
    """The scores of one model on the images of one fold.

    Attributes:
        split: `held_out` (the fold's test images) or `holdout` (the list that no fold sees).
        fold: name of the fold's folder.
        model: `finetuned`, `pretrained` or `center_bias`.
        images: one row per image.
    """

    split: str
    fold: str
    model: str
    images: tuple[ImageScore, ...]


@dataclass(frozen=True)
class CvRow:
    """One metric of one model over folds; NaN where a number is undefined.

    Attributes:
        split: `held_out` or `holdout`.
        metric: its name.
        model: `finetuned`, `pretrained` or `center_bias`.
        folds: name of the fold's folder -> mean over the fold's images.
        mean: mean over folds; `sd` is their standard deviation (n - 1).
        image_mean: mean over images, each first averaged over the folds that score it; `low` and
            `high` are its 95% percentile bootstrap interval over images.
        n_images: images that have the score.
    """

    split: str
    metric: str
    model: str
    folds: Mapping[str, float]
    mean: float
    sd: float
    image_mean: float
    low: float
    high: float
    n_images: int


@dataclass(frozen=True)
class CvResult:
    """The result of a fine-tuning.

    Attributes:
        experiment: its name.
        model: name of the model.
        metrics: names of the metrics, in the order of columns.
        scores: the scores of every fold and model.
        rows: the summaries over folds.
        comparisons: every pair of models on the same images.
        failures: images that could not be predicted or scored.
    """

    experiment: str
    model: str
    metrics: tuple[str, ...]
    scores: tuple[FoldScores, ...]
    rows: tuple[CvRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    failures: tuple[Failure, ...]


def cross_validated(
    experiment: str,
    model: str,
    metrics: Sequence[str],
    scores: Sequence[FoldScores],
    failures: Sequence[Failure],
    seed: int,
) -> CvResult:
    """Compute means over folds and images, and compare every pair of models."""
    rows: list[CvRow] = []
    pooled: list[ModelResult] = []
    for split in dict.fromkeys(part.split for part in scores):
        for name in dict.fromkeys(part.model for part in scores if part.split == split):
            parts = [part for part in scores if (part.split, part.model) == (split, name)]
            images = _by_image(parts, metrics)
            pooled.append(ModelResult(split, name, tuple(images), (), 0))
            rows += [_row(parts, images, metric, seed) for metric in metrics]
    order = {metric: at for at, metric in enumerate(metrics)}
    rows.sort(key=lambda row: (row.split != HELD_OUT, order[row.metric]))
    return CvResult(
        experiment, model, tuple(metrics), tuple(scores), tuple(rows),
        compare_models(pooled, metrics, seed), tuple(failures),
    )  # fmt: skip


def _row(
    parts: Sequence[FoldScores], images: Sequence[ImageScore], metric: str, seed: int
) -> CvRow:
    folds = {part.fold: known_mean([row.scores[metric] for row in part.images]) for part in parts}
    known = np.array([value for value in folds.values() if not math.isnan(value)])
    values = np.array([row.scores[metric] for row in images], dtype=np.float64)
    # the seed does not depend on the model, so every model has the same resamples
    rng = generator(seed, parts[0].split, metric, "score")
    low, high = percentile_interval(bootstrap_means(values, rng))
    return CvRow(
        parts[0].split, metric, parts[0].model, folds, known_mean(known),
        float(known.std(ddof=1)) if len(known) > 1 else math.nan, known_mean(values), low, high,
        int((~np.isnan(values)).sum()),
    )  # fmt: skip


def _by_image(parts: Sequence[FoldScores], metrics: Sequence[str]) -> list[ImageScore]:
    """Return one row per image: its scores averaged over the folds that score it."""
    found: dict[str, list[ImageScore]] = {}
    for part in parts:
        for row in part.images:
            found.setdefault(row.image_id, []).append(row)
    return [
        ImageScore(
            image_id, rows[0].category,
            {metric: known_mean([row.scores[metric] for row in rows]) for metric in metrics},
        )
        for image_id, rows in sorted(found.items())
    ]  # fmt: skip


def write_tables(folder: Path, result: CvResult) -> list[Path]:
    """Write `cv_summary.csv` under both its names, image scores, comparisons and failures.

    The same result is also written as `summary.json`. Return all paths.
    """
    paths: list[Path] = []

    def table(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        write_csv(folder / name, header, rows)
        paths.append(folder / name)

    folds = list(dict.fromkeys(part.fold for part in result.scores))
    header = ["split", "metric", "model", *folds, *_AFTER]
    rows = [
        [row.split, row.metric, row.model]
        + [row.folds.get(fold, math.nan) for fold in folds]
        + [getattr(row, name) for name in _AFTER]
        for row in result.rows
    ]
    for name in ("cv_summary.csv", f"{result.model}_finetuned_cv_summary.csv"):
        table(name, header, rows)
    images = [
        [part.split, part.fold, part.model, row.image_id]
        + [row.scores[metric] for metric in result.metrics]
        for part in result.scores
        for row in part.images
    ]
    table(_SCORES, ["split", "fold", "model", "image_id", *result.metrics], images)
    for name, kind, some in (
        ("comparisons.csv", ComparisonRow, result.comparisons),
        (_FAILURES, Failure, result.failures),
    ):
        write_rows(folder / name, kind, some)
        paths.append(folder / name)
    write_json(folder / SUMMARY, as_summary(result))
    return [*paths, folder / SUMMARY]


def read_scores(
    folder: Path, metrics: Sequence[str]
) -> dict[tuple[str, str, str], tuple[ImageScore, ...]]:
    """Read the scores of `held_out.csv`, by split, fold and model; categories are empty.

    Raises:
        DataError: the table lacks one of the metrics, or a cell is not a number.
    """
    path = folder / _SCORES
    found: dict[tuple[str, str, str], list[ImageScore]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                scores = {metric: float(row[metric] or math.nan) for metric in metrics}
                place = (row["split"], row["fold"], row["model"])
                image = ImageScore(row["image_id"], "", scores)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}: a row is not the scores of an image ({error}); copy the folder again."
                ) from error
            found.setdefault(place, []).append(image)
    return {place: tuple(images) for place, images in found.items()}


def read_failures(folder: Path) -> list[Failure]:
    """Read the rows of `failures.csv`.

    Raises:
        DataError: the table has different columns.
    """
    path = folder / _FAILURES
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [Failure(**row) for row in csv.DictReader(file)]
        except TypeError as error:
            raise DataError(
                f"{path}: its columns are not those of failures; copy the folder again."
            ) from error


_AFTER = ("mean", "sd", "image_mean", "low", "high", "n_images")


def as_summary(result: CvResult) -> dict[str, Any]:
    """Return the content of `--json` and `summary.json`; undefined numbers are null."""
    return {
        "experiment": result.experiment,
        "model": result.model,
        "metrics": list(result.metrics),
        **RANDOM_DRAWS,
        "results": [json_ready(asdict(row)) for row in result.rows],
        "comparisons": [json_ready(asdict(row)) for row in result.comparisons],
        "failures": [asdict(row) for row in result.failures],
    }
