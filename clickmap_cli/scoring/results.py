"""Results of scoring as data classes, from one image's scores to the whole benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Failure:
    """An image that could not be predicted or scored; an empty `model` means all models."""

    dataset: str
    model: str
    image_id: str
    reason: str

    def __str__(self) -> str:
        model = f", {self.model}" if self.model else ""
        return f"{self.dataset}{model}, {self.image_id}: {self.reason}"


@dataclass(frozen=True)
class ImageScore:
    """One image's scores of one model.

    Attributes:
        image_id: the image.
        category: its category.
        scores: metric -> value against all people together; NaN where undefined.
        people: metric -> mean over people of the value against each; empty without named people.
        details: numbers the model returned with its prediction.
        placement: how the prediction was brought onto the pixels it is scored on.
    """

    image_id: str
    category: str
    scores: Mapping[str, float]
    people: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)
    placement: str = ""


@dataclass(frozen=True)
class PeopleScore:
    """Scores of people against people in one image, the same for every model.

    Attributes:
        image_id: the image.
        n_people: people who looked at it.
        ceiling: metric -> mean over people of the score that the other people's map gets.
        null: metric -> mean over draws of the score that another image's people get.
    """

    image_id: str
    n_people: int
    ceiling: Mapping[str, float]
    null: Mapping[str, float]


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one model on one data set; NaN where a number is undefined.

    Attributes:
        metric: its name.
        n_images: images that have the score.
        n_undefined: images whose target has no such score.
        mean: over images; `low` and `high` are its 95% percentile bootstrap interval.
        people: mean score of the model against people, one by one (m).
        ceiling: mean score of the others against people (c), with its interval.
        null: mean score of other images' people against people (z), with its interval.
        normalised: (m - z) / (c - z), with its joint interval; NaN where the ceiling is not better
            than the null, because the ratio then has no meaning.
        n_people_images: images that `people`, `ceiling`, `null` and `normalised` are computed from.
    """

    metric: str
    n_images: int
    n_undefined: int
    mean: float
    low: float
    high: float
    people: float
    ceiling: float
    ceiling_low: float
    ceiling_high: float
    null: float
    null_low: float
    null_high: float
    normalised: float
    normalised_low: float
    normalised_high: float
    n_people_images: int


@dataclass(frozen=True)
class ModelResult:
    """One model on one data set.

    Attributes:
        dataset: label of the data set.
        model: name of the model.
        images: one row per scored image, by `image_id`.
        summary: one row per metric.
        n_failed: images that could not be predicted or scored.
        is_people: True for people as a reference (`gold_standard`), which tables list last.
    """

    dataset: str
    model: str
    images: tuple[ImageScore, ...]
    summary: tuple[MetricSummary, ...]
    n_failed: int
    is_people: bool = False

    def score(self, metric: str) -> MetricSummary:
        """Return the summary of a metric."""
        return next(row for row in self.summary if row.metric == metric)

    @property
    def placements(self) -> dict[str, int]:
        """Number of images for each way a prediction was brought onto the scored pixels.

        The keys are such as `as it is` or `scaled and cropped`.
        """
        return dict(sorted(Counter(row.placement for row in self.images if row.placement).items()))


@dataclass(frozen=True)
class ComparisonRow:
    """A comparison of two models on the images of one data set for which both have a score.

    `difference` is the mean of a - b with its paired bootstrap interval. `p` is the p-value of the
    sign-flip test; `p_holm` is `p` after Holm's correction over all pairs of a data set and metric.
    """

    dataset: str
    metric: str
    model_a: str
    model_b: str
    n_images: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class DecileRow:
    """A tenth of the images of one model, from its worst scores (1) to its best (10)."""

    dataset: str
    model: str
    metric: str
    decile: int
    n_images: int
    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class ExtremeRow:
    """One of a model's `best` or `worst` images, or of those nearest to `zero`."""

    dataset: str
    model: str
    metric: str
    group: str
    rank: int
    image_id: str
    score: float


@dataclass(frozen=True)
class DiveRow:
    """One of a model's worst images, and the scores that its other settings get.

    `best` is the setting that scores best and `variants` holds the score of each setting. `picture`
    is the file with their maps side by side, relative to the output folder; empty if not drawn.
    """

    dataset: str
    model: str
    metric: str
    image_id: str
    score: float
    best: str
    best_score: float
    variants: Mapping[str, float]
    picture: str = ""


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of a benchmark.

    Attributes:
        experiment: its name.
        folder: the output folder.
        metrics: names of the metrics, in the order of columns.
        models: one per data set and model, data sets and models in the config's order.
        people: data set -> scores of people against people in each image; empty where unknown.
        comparisons: every pair of models on each data set and metric.
        failures: images that were left out, and why.
        deciles: each model's scores in ten groups of images.
        extremes: each model's best and worst images.
        dives: scores of a model's other settings on its worst images.
        notices: notices about the data and settings.
        predicted: predictions made by a run that scores nothing; None where scores were computed.
    """

    experiment: str
    folder: Path
    metrics: tuple[str, ...]
    models: tuple[ModelResult, ...] = ()
    people: Mapping[str, tuple[PeopleScore, ...]] = field(default_factory=dict)
    comparisons: tuple[ComparisonRow, ...] = ()
    failures: tuple[Failure, ...] = ()
    deciles: tuple[DecileRow, ...] = ()
    extremes: tuple[ExtremeRow, ...] = ()
    dives: tuple[DiveRow, ...] = ()
    notices: tuple[str, ...] = ()
    predicted: int | None = None


class Pictures(Protocol):
    """A source of images and maps for the report; its methods return None for a missing one."""

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """Return the image, (h, w, 3) RGB in 0..1."""

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """Return the ground-truth map, (h, w), any scale."""

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """Return the model's prediction, (h, w), any scale (densities, never their logarithm)."""
