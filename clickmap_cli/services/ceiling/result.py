"""Data classes of a ceiling by one method and one metric, from one image's row to the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
class CeilingResult:
    """A ceiling by one method and one metric.

    Attributes:
        summary: the content of `summary.json`.
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

    summary: dict[str, Any]
    images: tuple[ImageRow, ...]
    categories: tuple[CategoryRow, ...]
    trials: tuple[TrialRow, ...] = ()
    participants: tuple[ParticipantRow, ...] = ()
    curve: tuple[CurveRow, ...] = ()
    raw_ceiling: tuple[Scores, ...] = field(default=(), repr=False)
    raw_null: tuple[Scores, ...] = field(default=(), repr=False)
    rows: int = 0
    rejected: int = 0
