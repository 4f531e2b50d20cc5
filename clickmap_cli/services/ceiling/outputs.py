"""Write the result of a ceiling as files: arrays, tables, one JSON file and figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.services.ceiling.result import (
    CategoryRow,
    CeilingResult,
    CurveRow,
    ImageRow,
    ParticipantRow,
    TrialRow,
)
from clickmap_cli.storage.atomic import write_csv, write_json
from clickmap_cli.storage.manifest import describe_files
from clickmap_cli.storage.safe_arrays import write_npz

SUMMARY = "summary.json"
DrawCeiling = Callable[[CeilingResult, Path], None]


@dataclass(frozen=True)
class CeilingFigures:
    """Functions that draw figures; the service decides what is drawn, `reports/` draws it.

    Attributes:
        ceiling: draws distributions of ceiling and null, and categories.
        curve: draws reliability against participants per half.
    """

    ceiling: DrawCeiling
    curve: DrawCeiling


def write_outputs(
    folder: Path, result: CeilingResult, figures: CeilingFigures
) -> dict[str, dict[str, Any]]:
    """Write every table and figure of one metric; return the files with size and SHA-256."""
    is_rsa = result.summary.metric == "rsa"
    written = [folder / "human_ceiling_results.npz", folder / SUMMARY]
    keys = np.array([row.image_path for row in result.images], dtype=np.str_)
    arrays = {
        "ceiling_correlations": np.array([row.ceiling for row in result.images]),
        "null_correlations": np.array([row.null for row in result.images]),
        "image_paths": keys,
        "raw_ceiling": _flat(result.raw_ceiling),
        "raw_null": _flat(result.raw_null),
        "raw_ceiling_counts": np.array([len(values) for values in result.raw_ceiling]),
        "raw_null_counts": np.array([len(values) for values in result.raw_null]),
    }
    if is_rsa:
        arrays["ceiling_correlations"], arrays["null_correlations"] = (
            result.raw_ceiling[0], result.raw_null[0],
        )  # fmt: skip
    write_npz(written[0], arrays.items())
    write_json(written[1], result.summary.as_json())
    tables: list[tuple[str, type, tuple[Any, ...]]] = [
        ("per_image.csv", ImageRow, result.images),
        ("by_category.csv", CategoryRow, result.categories),
        ("per_trial.csv", TrialRow, result.trials),
        ("per_participant.csv", ParticipantRow, result.participants),
        ("subject_curve.csv", CurveRow, result.curve),
    ]
    for name, kind, rows in tables:
        if rows:
            header = [f.name for f in fields(kind) if _has_column(rows, f.name)]
            write_csv(folder / name, header, ([getattr(row, c) for c in header] for row in rows))
            written.append(folder / name)
    for name, draw, wanted in (
        ("ceiling.png", figures.ceiling, not math.isnan(result.summary.ceiling_mean)),
        ("subject_curve.png", figures.curve, bool(result.curve)),
    ):
        if wanted:
            draw(result, folder / name)
            written.append(folder / name)
    return describe_files(folder, written)


def _has_column(rows: tuple[Any, ...], name: str) -> bool:
    """Return True unless the column is optional and no row has a number in it.

    For example, split halves have no `upper`.
    """
    if name not in ("upper", "spearman_brown"):
        return True
    return any(math.isfinite(getattr(row, name)) for row in rows)


def _flat(parts: tuple[Any, ...]) -> Any:
    return np.concatenate(parts) if parts else np.empty(0)
