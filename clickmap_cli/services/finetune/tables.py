"""Turn scores of held-out images into the tables of a fine-tuning."""

from __future__ import annotations

import csv
import json
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
class CvSummary:
    """The content of `summary.json`.

    Attributes:
        experiment: its name.
        model: name of the model.
        metrics: names of the metrics, in the order of columns.
        resamples: number of resamples of an interval.
        permutations: number of random sign patterns of a p-value.
        exact_permutations_up_to: number of pairs up to which every sign pattern is counted.
        results: the summaries over folds.
        comparisons: every pair of models on the same images.
        failures: images that could not be predicted or scored.
    """

    experiment: str
    model: str
    metrics: tuple[str, ...]
    resamples: int
    permutations: int
    exact_permutations_up_to: int
    results: tuple[CvRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    failures: tuple[Failure, ...]

    @classmethod
    def load(cls, folder: Path) -> CvSummary:
        """Read `summary.json`."""
        values = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        typed = {
            "metrics": tuple(values["metrics"]),
            "results": tuple(
                CvRow(**_read_numbers(row) | {"folds": _read_numbers(row["folds"])})
                for row in values["results"]
            ),
            "comparisons": tuple(ComparisonRow(**_read_numbers(r)) for r in values["comparisons"]),
            "failures": tuple(Failure(**row) for row in values["failures"]),
        }
        return cls(**values | typed)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file; undefined numbers are null."""
        return dict(json_ready(asdict(self)))


def _read_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of JSON with null as NaN."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def summarise(
    experiment: str,
    model: str,
    metrics: Sequence[str],
    scores: Sequence[FoldScores],
    failures: Sequence[Failure],
    seed: int,
) -> CvSummary:
    """Compute means over folds and images, and compare every pair of models."""
    rows: list[CvRow] = []
    pooled: list[ModelResult] = []
    for split in dict.fromkeys(part.split for part in scores):
        for name in dict.fromkeys(part.model for part in scores if part.split == split):
            parts = [part for part in scores if (part.split, part.model) == (split, name)]
            images = _average_folds(parts, metrics)
            pooled.append(ModelResult(split, name, tuple(images), (), 0))
            rows += [_summarise_metric(parts, images, metric, seed) for metric in metrics]
    order = {metric: at for at, metric in enumerate(metrics)}
    rows.sort(key=lambda row: (row.split != HELD_OUT, order[row.metric]))
    return CvSummary(
        experiment, model, tuple(metrics), **RANDOM_DRAWS, results=tuple(rows),
        comparisons=compare_models(pooled, metrics, seed), failures=tuple(failures),
    )  # fmt: skip


def _summarise_metric(
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


def _average_folds(parts: Sequence[FoldScores], metrics: Sequence[str]) -> list[ImageScore]:
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


def write_tables(folder: Path, scores: Sequence[FoldScores], summary: CvSummary) -> list[Path]:
    """Write `cv_summary.csv` under both its names, image scores, comparisons and failures.

    The summary is also written as `summary.json`. Return all paths.
    """
    names = [
        "cv_summary.csv", f"{summary.model}_finetuned_cv_summary.csv", _SCORES, "comparisons.csv",
        _FAILURES, SUMMARY,
    ]  # fmt: skip
    paths = [folder / name for name in names]
    folds = list(dict.fromkeys(part.fold for part in scores))
    after = ("mean", "sd", "image_mean", "low", "high", "n_images")
    rows = [
        [row.split, row.metric, row.model]
        + [row.folds.get(fold, math.nan) for fold in folds]
        + [getattr(row, name) for name in after]
        for row in summary.results
    ]
    for path in paths[:2]:
        write_csv(path, ["split", "metric", "model", *folds, *after], rows)
    images = [
        [part.split, part.fold, part.model, row.image_id]
        + [row.scores[metric] for metric in summary.metrics]
        for part in scores
        for row in part.images
    ]
    write_csv(paths[2], ["split", "fold", "model", "image_id", *summary.metrics], images)
    write_rows(paths[3], ComparisonRow, summary.comparisons)
    write_rows(paths[4], Failure, summary.failures)
    write_json(paths[5], summary.as_json())
    return paths


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
