"""Write the result of a benchmark as tables and as one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clickmap_cli.metrics.uncertainty import DRAWS, EXACT_UP_TO, RESAMPLES
from clickmap_cli.services.benchmark.result import (
    BenchmarkResult,
    ComparisonRow,
    DecileRow,
    DiveRow,
    ExtremeRow,
    Failure,
    MetricSummary,
    ModelResult,
    PeopleScore,
)
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json, write_rows

SUMMARY = "summary.json"

RANDOM_DRAWS = {
    "resamples": RESAMPLES,
    "permutations": DRAWS,
    "exact_permutations_up_to": EXACT_UP_TO,
}
"""Numbers of draws for intervals and p-values; with few pairs, every sign pattern is counted."""


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
