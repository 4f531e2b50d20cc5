"""Write the result of a benchmark as tables and one JSON file, and load it from them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.scoring.results import (
    BenchmarkResult,
    ComparisonRow,
    DecileRow,
    DiveRow,
    ExtremeRow,
    Failure,
    ImageScore,
    MetricSummary,
    ModelResult,
    PeopleScore,
)
from clickmap_cli.scoring.summaries import RANDOM_DRAWS
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json, write_rows

SUMMARY = "summary.json"
Row = TypeVar("Row")


def write_tables(folder: Path, result: BenchmarkResult) -> list[Path]:
    """Write every table of a benchmark and `summary.json`; return their paths."""
    written: list[Path] = []

    def table(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        write_csv(folder / name, header, rows)
        written.append(folder / name)

    def listed(name: str, kind: type, rows: Sequence[Any]) -> None:
        write_rows(folder / name, kind, rows)
        written.append(folder / name)

    for found in result.models:
        stem = f"{found.dataset}__{found.model}"
        table(f"{stem}.csv", *_image_rows(found, result.metrics))
        if any(row.details for row in found.images):
            table(f"{stem}_details.csv", *_detail_rows(found))
        listed(f"{stem}_summary.csv", MetricSummary, found.summary)
    for label, people in result.people.items():
        if people:
            table(f"{label}__people.csv", *_people_rows(people, result.metrics))
    table("ALL_SUMMARY.csv", *_all_summary(result))
    listed("comparisons.csv", ComparisonRow, result.comparisons)
    listed("deciles.csv", DecileRow, result.deciles)
    listed("extremes.csv", ExtremeRow, result.extremes)
    listed("failures.csv", Failure, result.failures)
    if result.dives:
        table("deep_dive.csv", *_dive_rows(result.dives))
    write_json(folder / SUMMARY, as_summary(result))
    return [*written, folder / SUMMARY]


def _image_rows(found: ModelResult, metrics: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Return a header and one row per image: its scores, and its placement if any is known."""
    known = any(row.placement for row in found.images)
    return ["image_id", *metrics, *(["placement"] if known else [])], [
        [row.image_id, *(row.scores[metric] for metric in metrics)]
        + ([row.placement] if known else [])
        for row in found.images
    ]


def _people_rows(
    people: Sequence[PeopleScore], metrics: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Return a header and one row per image: ceiling and null of every metric."""
    columns = [f"{metric}_{part}" for metric in metrics for part in ("ceiling", "null")]
    return ["image_id", "n_people", *columns], [
        [row.image_id, row.n_people]
        + [part[metric] for metric in metrics for part in (row.ceiling, row.null)]
        for row in people
    ]


def _detail_rows(found: ModelResult) -> tuple[list[str], list[list[Any]]]:
    """Return a header and one row per image: the numbers returned with its prediction."""
    names = list(dict.fromkeys(name for row in found.images for name in row.details))
    return ["image_id", *names], [
        [row.image_id, *(row.details.get(name, "") for name in names)] for row in found.images
    ]


def _dive_rows(dives: Sequence[DiveRow]) -> tuple[list[str], list[list[Any]]]:
    """Return a header and one row per image, with one column per variant."""
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
    """Return a header and one row per data set and model: means, and normalised scores if any."""
    joined = [m for m in result.metrics if any(f.score(m).n_people_images for f in result.models)]
    header = ["dataset", "model", "n_images", "n_failed", *result.metrics]
    header += [f"{metric}_normalised" for metric in joined]
    rows = [
        [found.dataset, found.model, len(found.images), found.n_failed]
        + [found.score(metric).mean for metric in result.metrics]
        + [found.score(metric).normalised for metric in joined]
        for found in result.models
    ]
    return header, rows


def as_summary(result: BenchmarkResult) -> dict[str, Any]:
    """Return the result without its image tables as one JSON value; undefined numbers are null."""
    return {
        "experiment": result.experiment,
        "metrics": list(result.metrics),
        **RANDOM_DRAWS,
        "results": [
            {
                "dataset": found.dataset,
                "model": found.model,
                "n_images": len(found.images),
                "n_failed": found.n_failed,
                "placement": found.placements,
                "is_people": found.is_people,
                "scores": {row.metric: _score_json(row) for row in found.summary},
            }
            for found in result.models
        ],
        "comparisons": [json_ready(asdict(row)) for row in result.comparisons],
        "deep_dives": [json_ready(asdict(row)) for row in result.dives],
        "failures": [asdict(row) for row in result.failures],
        "notices": list(result.notices),
    }


def _score_json(row: MetricSummary) -> dict[str, Any]:
    plain = {
        "mean": row.mean,
        "ci": [row.low, row.high],
        "n_images": row.n_images,
        "n_undefined": row.n_undefined,
    }
    if row.n_people_images:
        plain |= {
            "people": row.people,
            "ceiling": row.ceiling,
            "ceiling_ci": [row.ceiling_low, row.ceiling_high],
            "null": row.null,
            "null_ci": [row.null_low, row.null_high],
            "normalised": row.normalised,
            "normalised_ci": [row.normalised_low, row.normalised_high],
            "n_people_images": row.n_people_images,
        }
    return dict(json_ready(plain))


def load_result(folder: Path) -> BenchmarkResult:
    """Load the result that `write_tables` wrote.

    Categories of images and their scores against single people are not in the tables.

    Raises:
        RunError: the folder holds no result, or a damaged one.
    """
    try:
        stored = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        metrics = tuple(stored["metrics"])
        people = {
            path.name.removesuffix("__people.csv"): tuple(
                _people_score(row, metrics) for row in rows
            )
            for path, rows in ((path, _rows(path)) for path in folder.glob("*__people.csv"))
        }
        return BenchmarkResult(
            stored["experiment"], folder, metrics,
            tuple(_model_result(folder, found, metrics) for found in stored["results"]),
            {found["dataset"]: people.get(found["dataset"], ()) for found in stored["results"]},
            _typed_rows(ComparisonRow, stored["comparisons"]),
            tuple(Failure(**row) for row in stored["failures"]),
            _typed_rows(DecileRow, _rows(folder / "deciles.csv")),
            _typed_rows(ExtremeRow, _rows(folder / "extremes.csv")),
            tuple(
                DiveRow(**_numbers(row) | {"variants": _numbers(row["variants"])})
                for row in stored["deep_dives"]
            ),
            tuple(stored["notices"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{folder}: no result of a benchmark can be loaded from it "
            f"({type(error).__name__}: {error}); run it again with --overwrite."
        ) from error


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of JSON with null as NaN."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def _typed_rows(kind: type[Row], rows: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Return rows of a table or of JSON as data classes; an empty number is NaN."""
    types = get_type_hints(kind)

    def typed(name: str, value: Any) -> Any:
        if types[name] is str:
            return str(value)
        return types[name](math.nan if value in (None, "") else value)

    return tuple(kind(**{name: typed(name, row[name]) for name in types}) for row in rows)


def _people_score(row: Mapping[str, str], metrics: Sequence[str]) -> PeopleScore:
    parts = [
        {metric: float(row[f"{metric}_{part}"] or "nan") for metric in metrics}
        for part in ("ceiling", "null")
    ]
    return PeopleScore(row["image_id"], int(row["n_people"]), *parts)


def _model_result(folder: Path, found: Mapping[str, Any], metrics: Sequence[str]) -> ModelResult:
    stem = f"{found['dataset']}__{found['model']}"
    details = folder / f"{stem}_details.csv"
    numbers = {
        row.pop("image_id"): {name: float(value) for name, value in row.items() if value}
        for row in (_rows(details) if details.is_file() else ())
    }
    images = tuple(
        ImageScore(
            row["image_id"], "", {metric: float(row[metric] or "nan") for metric in metrics},
            details=numbers.get(row["image_id"], {}), placement=row.get("placement", ""),
        )
        for row in _rows(folder / f"{stem}.csv")
    )  # fmt: skip
    return ModelResult(
        found["dataset"], found["model"], images,
        _typed_rows(MetricSummary, _rows(folder / f"{stem}_summary.csv")),
        found["n_failed"], found["is_people"],
    )  # fmt: skip
