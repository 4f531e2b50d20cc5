"""Results of a ceiling by one method and one metric, from one image's row to its files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.storage.atomic import json_ready, write_csv, write_json
from clickmap_cli.storage.manifest import describe_files
from clickmap_cli.storage.safe_arrays import write_npz

Scores = NDArray[np.float64]
SUMMARY = "summary.json"


@dataclass(frozen=True)
class ImageRow:
    """One image of a ceiling; NaN where a number is undefined."""

    image_path: str
    category: str
    n_participants: int
    ceiling: float
    null: float
    upper: float
    spearman_brown: float


@dataclass(frozen=True)
class CategoryRow:
    """One category and how well people agree on its images."""

    category: str
    n_images: int
    ceiling: float
    ceiling_low: float
    ceiling_high: float
    null: float


@dataclass(frozen=True)
class TrialRow:
    """One held-out participant's score on one image."""

    image_path: str
    user_id: str
    score: float


@dataclass(frozen=True)
class ParticipantRow:
    """One participant against the others on the same images.

    A low `robust_z` means that the participant disagrees with the others, whether high or low
    scores are better.
    """

    user_id: str
    n_trials: int
    mean_score: float
    robust_z: float
    flagged: bool


@dataclass(frozen=True)
class CurveRow:
    """Reliability of halves of `participants` each; `fit` is the fitted Spearman-Brown curve."""

    participants: int
    n_images: int
    reliability: float
    low: float
    high: float
    fit: float


@dataclass(frozen=True, kw_only=True)
class CeilingSummary:
    """A ceiling in numbers: the content of `summary.json`.

    NaN stands for an undefined number (null in JSON), None for a number that this method or metric
    does not have (no key in JSON).

    Attributes:
        method: `split-half` or `hold-one-out`.
        metric: its name.
        higher_is_better: whether higher scores mean more agreement.
        n_images: images that have a score.
        n_maps: maps of these images.
        n_participants: people who made them.
        ceiling_mean: mean over images; `ceiling_ci` is its 95% percentile bootstrap interval.
        null_mean: mean over images of the score of other images' maps, with `null_ci`.
        ratio: ceiling / null, or NaN.
        no_ratio: the reason why `ratio` is NaN; empty if it is a number.
        spearman_brown_mean: mean of the corrected correlations of halves.
        upper_mean: mean upper bound of held-out participants.
        randomization_iters: random splits per image.
        null_iterations: draws of another image per image.
        bootstrap: what the intervals resample.
        resamples: number of resamples.
        seed: seed of every draw.
        left_out: reason -> number of images without a score.
        n_flagged: participants whose robust z is below -3.
        single_participant_reliability: Spearman-Brown fit to the subject curve.
        target_reliability: the reliability that `participants_needed` are for.
        participants_needed: participants per half that reach it, by the fit.
        fit_error: largest distance of the curve from the fit.
    """

    method: str
    metric: str
    higher_is_better: bool
    n_images: int
    n_maps: int
    n_participants: int
    ceiling_mean: float
    ceiling_ci: tuple[float, float]
    null_mean: float
    null_ci: tuple[float, float]
    ratio: float
    no_ratio: str
    spearman_brown_mean: float | None = None
    upper_mean: float | None = None
    randomization_iters: int | None = None
    null_iterations: int
    bootstrap: str
    resamples: int
    seed: int
    left_out: Mapping[str, int]
    n_flagged: int | None = None
    single_participant_reliability: float | None = None
    target_reliability: float | None = None
    participants_needed: float | None = None
    fit_error: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return dict(json_ready(known | {"no_ratio": self.no_ratio or None}))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CeilingSummary:
        """Read a summary that `as_json` returned.

        Raises:
            KeyError, TypeError: keys are missing or unknown.
        """

        def number(value: Any) -> Any:
            if isinstance(value, list):
                return tuple(map(number, value))
            return math.nan if value is None else value

        known = {name: number(value) for name, value in stored.items()}
        return cls(**known | {"no_ratio": stored["no_ratio"] or ""})


@dataclass(frozen=True)
class CeilingResult:
    """A ceiling by one method and one metric.

    Attributes:
        summary: the ceiling in numbers.
        images: one row per image that has a score.
        categories: one row per category.
        trials: one row per held-out trial (hold-one-out).
        participants: one row per participant (hold-one-out).
        curve: the subject curve; empty unless requested.
        raw_ceiling: raw ceiling scores, one array per row of `images`; for rsa one array (splits).
        raw_null: raw null scores, one array per row of `images`; for rsa one array (draws).
        rows: rows in the file of trials, as read by this call.
        rejected: rows that could not be read.
    """

    summary: CeilingSummary
    images: tuple[ImageRow, ...]
    categories: tuple[CategoryRow, ...]
    trials: tuple[TrialRow, ...] = ()
    participants: tuple[ParticipantRow, ...] = ()
    curve: tuple[CurveRow, ...] = ()
    raw_ceiling: tuple[Scores, ...] = field(default=(), repr=False)
    raw_null: tuple[Scores, ...] = field(default=(), repr=False)
    rows: int = 0
    rejected: int = 0


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
