"""What a benchmark finds, from one image's scores to the whole; computed and written elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """An image that a model could not predict or that could not be scored; no model = all."""

    dataset: str
    model: str
    image_id: str
    reason: str


@dataclass(frozen=True)
class ImageScore:
    """One image's scores of one model.

    Attributes:
        image_id: the image.
        category: its category.
        scores: metric -> value against all people together; NaN where undefined.
        people: metric -> mean over people of the value against each; empty where nobody is named.
        details: numbers the model gave along with its prediction.
        placement: what was done to bring the prediction onto the pixels it is scored on.
    """

    image_id: str
    category: str
    scores: Mapping[str, float]
    people: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)
    placement: str = ""


@dataclass(frozen=True)
class PeopleScore:
    """How well people predict people in one image: the same for every model.

    Attributes:
        image_id: the image.
        n_people: people who looked at it.
        ceiling: metric -> mean over people of the others' score.
        null: metric -> mean over draws of another image's people's score.
    """

    image_id: str
    n_people: int
    ceiling: Mapping[str, float]
    null: Mapping[str, float]


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one model on one data set; NaN where a number does not exist.

    Attributes:
        metric: its name.
        n_images: images that have the score.
        n_undefined: images whose target has no such score.
        mean: over images; `low` and `high` are its 95% percentile bootstrap interval.
        people: mean score of the model against people, one by one (m).
        ceiling: mean score of the others against people (c), with its interval.
        null: mean score of other images' people against people (z), with its interval.
        normalised: (m - z) / (c - z), with its joint interval; NaN where the ceiling is not better
            than the null, which leaves nothing to be between.
        n_people_images: images behind `people`, `ceiling`, `null` and `normalised`.
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
        images: one row an image that was scored, by `image_id`.
        summary: one row a metric.
        n_failed: images that could not be predicted or scored.
        is_people: True for people as a reference (`gold_standard`), which stand apart from models.
    """

    dataset: str
    model: str
    images: tuple[ImageScore, ...]
    summary: tuple[MetricSummary, ...]
    n_failed: int
    is_people: bool = False

    @property
    def placements(self) -> dict[str, int]:
        """What was done to predictions to bring them onto the pixels they are scored on.

        Such as `as it is` or `scaled and cropped` -> how many images.
        """
        return dict(sorted(Counter(row.placement for row in self.images if row.placement).items()))


@dataclass(frozen=True)
class ComparisonRow:
    """Two models on the images of one data set that both have a score for.

    `difference` is the mean of a - b with its paired bootstrap interval; `p` is that of the
    sign-flip test, `p_holm` the same after Holm's correction over all pairs of a data set and
    metric.
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
    """One of a model's worst images, and what its other settings would have scored.

    `best` is the setting that scores best, `variants` the score of each, `picture` the file with
    their maps side by side, as seen from the folder of the run; empty where none was drawn.
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
    """What a benchmark found.

    Attributes:
        experiment: its name.
        folder: where everything is.
        metrics: in the order of columns.
        models: one a data set and model, data sets and models in the config's order.
        people: data set -> how well people predict people in each image; empty where unknown.
        comparisons: every two models on each data set and metric.
        failures: images that were left out, and why.
        deciles: each model's scores in ten groups of images.
        extremes: each model's best and worst images.
        dives: what other settings of a model would have made of its worst images.
        notices: what the run said of its data and settings.
    """

    experiment: str
    folder: Path
    metrics: tuple[str, ...]
    models: tuple[ModelResult, ...]
    people: Mapping[str, tuple[PeopleScore, ...]]
    comparisons: tuple[ComparisonRow, ...]
    failures: tuple[Failure, ...]
    deciles: tuple[DecileRow, ...] = ()
    extremes: tuple[ExtremeRow, ...] = ()
    dives: tuple[DiveRow, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass
class LeftOut:
    """Images that could not be used, gathered while a run is at work.

    Attributes:
        failures: images that were left out of some model, or cannot be used at all.
        unread: images that something else lacks: the people's scores, a picture, the report.
    """

    failures: list[Failure] = field(default_factory=list)
    unread: list[Failure] = field(default_factory=list)
