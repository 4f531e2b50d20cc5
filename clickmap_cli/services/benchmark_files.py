"""What a benchmark writes, and the pictures its report may show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import HeatmapPictures
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.services.benchmark_tables import (
    BenchmarkResult,
    ComparisonRow,
    DecileRow,
    DiveRow,
    ExtremeRow,
    Failure,
    MetricSummary,
    ModelResult,
    PeopleScore,
    as_summary,
)
from clickmap_cli.services.predictions import Predictor
from clickmap_cli.storage.atomic import write_csv, write_json


@dataclass(frozen=True)
class Heatmap:
    """A prediction to draw.

    Attributes:
        heat: (h, w), not negative.
        image: (h, w, 3) in 0..1 for the overlay, or None.
        settings: scale, colours, alpha.
        path: of the heat alone (PNG).
        overlay_path: of the heat over the image, or None.
    """

    heat: NDArray[np.float64]
    image: NDArray[np.float32] | None
    settings: HeatmapPictures
    path: Path
    overlay_path: Path | None


class KeptPictures:
    """Images, maps and kept predictions of a benchmark, read when they are looked at.

    Args:
        stimuli: data set -> its images.
        predictors: (data set, model) -> where its predictions are kept.
        outputs: model -> what its predictions are.

    Attributes:
        unread: images and maps that could not be read.
    """

    def __init__(
        self,
        stimuli: Mapping[str, Sequence[Stimulus]],
        predictors: Mapping[tuple[str, str], Predictor],
        outputs: Mapping[str, str],
    ) -> None:
        self._stimuli = {
            (label, stimulus.image_id): stimulus
            for label, some in stimuli.items()
            for stimulus in some
        }
        self._predictors = predictors
        self._outputs = outputs
        self.unread: list[Failure] = []

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """(h, w, 3) RGB in 0..1; None where the image is missing."""
        try:
            return self._stimuli[dataset, image_id].image()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the ground-truth map; None where there is none."""
        try:
            return self._stimuli[dataset, image_id].truth()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def _note(self, dataset: str, image_id: str, error: DataError) -> None:
        """Note what is missing; the page says so in its place."""
        self.unread.append(Failure(dataset, "", image_id, str(error)))

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the prediction (the mean of those of people); None where it was not kept."""
        stimulus = self._stimuli[dataset, image_id]
        maps = self._predictors[dataset, model].stored(stimulus)
        return shown_map(maps, self._outputs[model]) if maps else None


def shown_map(maps: Sequence[NDArray[np.float32]], output: str) -> NDArray[np.float64]:
    """What is drawn of a prediction: the mean over people, never a logarithm."""
    mean = np.mean(np.stack(maps).astype(np.float64), axis=0)
    return np.asarray(np.exp(mean - mean.max()) if output == "log_density" else mean)


def write_tables(folder: Path, result: BenchmarkResult) -> list[Path]:
    """Every table of a benchmark; returns their paths."""
    written: list[Path] = []

    def table(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        write_csv(folder / name, header, ([_cell(value) for value in row] for row in rows))
        written.append(folder / name)

    for found in result.models:
        stem = f"{found.dataset}__{found.model}"
        table(f"{stem}.csv", ["image_id", *result.metrics], _image_rows(found, result.metrics))
        if any(row.details for row in found.images):
            table(f"{stem}_details.csv", *_detail_rows(found))
        header = [f.name for f in fields(MetricSummary)]
        table(f"{stem}_summary.csv", header, [list(asdict(row).values()) for row in found.summary])
    for label, people in result.people.items():
        if people:
            table(f"{label}__people.csv", *_people_rows(people, result.metrics))
    table("ALL_SUMMARY.csv", *_all_summary(result))
    plain: list[tuple[str, type, Sequence[Any]]] = [
        ("comparisons.csv", ComparisonRow, result.comparisons),
        ("deciles.csv", DecileRow, result.deciles),
        ("extremes.csv", ExtremeRow, result.extremes),
        ("failures.csv", Failure, result.failures),
    ]
    for name, kind, some in plain:
        header = [f.name for f in fields(kind)]
        table(name, header, [list(asdict(row).values()) for row in some])
    if result.dives:
        table("deep_dive.csv", *_dive_rows(result.dives))
    write_json(folder / "summary.json", as_summary(result))
    return [*written, folder / "summary.json"]


def _image_rows(found: ModelResult, metrics: Sequence[str]) -> list[list[Any]]:
    return [[row.image_id, *(row.scores[metric] for metric in metrics)] for row in found.images]


def _people_rows(
    people: Sequence[PeopleScore], metrics: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """One row an image: how well people predict people there."""
    columns = [f"{metric}_{part}" for metric in metrics for part in ("ceiling", "null")]
    return ["image_id", "n_people", *columns], [
        [row.image_id, row.n_people]
        + [part[metric] for metric in metrics for part in (row.ceiling, row.null)]
        for row in people
    ]


def _detail_rows(found: ModelResult) -> tuple[list[str], list[list[Any]]]:
    """One row an image: what the model gave along with its prediction."""
    names = list(dict.fromkeys(name for row in found.images for name in row.details))
    return ["image_id", *names], [
        [row.image_id, *(row.details.get(name, "") for name in names)] for row in found.images
    ]


def _dive_rows(dives: Sequence[DiveRow]) -> tuple[list[str], list[list[Any]]]:
    """One row an image, one column a variant."""
    names = list(dict.fromkeys(name for row in dives for name in row.variants))
    header = ["dataset", "model", "metric", "image_id", "score", "best", "best_score", *names]
    return header, [
        [
            *(getattr(row, column) for column in header[:7]),
            *(row.variants.get(n, "") for n in names),
        ]
        for row in dives
    ]


def _all_summary(result: BenchmarkResult) -> tuple[list[str], list[list[Any]]]:
    """One row a data set and model: means, and normalised scores where people are known."""
    joined = [m for m in result.metrics if any(_row(f, m).n_people_images for f in result.models)]
    header = ["dataset", "model", "n_images", "n_failed", *result.metrics]
    header += [f"{metric}_normalised" for metric in joined]
    rows = [
        [found.dataset, found.model, len(found.images), found.n_failed]
        + [_row(found, metric).mean for metric in result.metrics]
        + [_row(found, metric).normalised for metric in joined]
        for found in result.models
    ]
    return header, rows


def _row(found: ModelResult, metric: str) -> MetricSummary:
    return next(row for row in found.summary if row.metric == metric)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
