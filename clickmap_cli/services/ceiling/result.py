"""Data classes of a ceiling by one method and one metric, from one image's row to the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.storage.atomic import json_ready

Scores = NDArray[np.float64]


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


@dataclass(frozen=True)
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
    spearman_brown_mean: float | None
    upper_mean: float | None
    randomization_iters: int | None
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
        """Read a summary that `as_json` returned."""

        def number(value: Any) -> Any:
            if isinstance(value, list):
                return tuple(map(number, value))
            return math.nan if value is None else value

        known = {name: number(value) for name, value in stored.items()}
        absent: dict[str, Any] = {f.name: None for f in fields(cls)}
        return cls(**absent | known | {"no_ratio": stored["no_ratio"] or ""})


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
