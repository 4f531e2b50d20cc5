"""What a ceiling is, by one method and one metric, from one image's row to the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class ImageRow:
    """One image of a ceiling; NaN where a number does not exist."""

    image_path: str
    category: str
    n_participants: int
    ceiling: float
    null: float
    upper: float
    spearman_brown: float


@dataclass(frozen=True)
class CategoryRow:
    """One category: how far people agree on its images."""

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

    `robust_z` is oriented so that low means unlike the others, whatever the score's direction.
    """

    user_id: str
    n_trials: int
    mean_score: float
    robust_z: float
    flagged: bool


@dataclass(frozen=True)
class CurveRow:
    """Reliability of halves of `participants` each; `fit` is the Spearman-Brown curve there."""

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
        summary: what `summary.json` holds.
        images: one row an image that has a score.
        categories: one row a category.
        trials: one row a held-out participant (hold-one-out).
        participants: one row a participant (hold-one-out).
        curve: the subject curve, where it was asked for.
        raw_ceiling: (images) raw scores behind each row of `images`.
        raw_null: (images) likewise.
    """

    summary: dict[str, Any]
    images: tuple[ImageRow, ...]
    categories: tuple[CategoryRow, ...]
    trials: tuple[TrialRow, ...] = ()
    participants: tuple[ParticipantRow, ...] = ()
    curve: tuple[CurveRow, ...] = ()
    raw_ceiling: tuple[Scores, ...] = field(default=(), repr=False)
    raw_null: tuple[Scores, ...] = field(default=(), repr=False)
