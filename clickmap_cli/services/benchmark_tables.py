"""Scores of every image to the numbers a benchmark reports: summaries, ceilings, comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.comparison import compare_paired, holm
from clickmap_cli.metrics.uncertainty import (
    bootstrap_means,
    bootstrap_normalised,
    percentile_interval,
)
from clickmap_cli.runtime.seeding import generator

Scores = NDArray[np.float64]


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
    """

    image_id: str
    category: str
    scores: Mapping[str, float]
    people: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)


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
        normalised: (m - z) / (c - z), with its joint interval.
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
    """

    dataset: str
    model: str
    images: tuple[ImageScore, ...]
    summary: tuple[MetricSummary, ...]
    n_failed: int


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

    `best` is the setting that scores best, `variants` the score of each.
    """

    dataset: str
    model: str
    metric: str
    image_id: str
    score: float
    best: str
    best_score: float
    variants: Mapping[str, float]


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


class Pictures(Protocol):
    """What there is to look at; None where there is no such picture."""

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """(h, w, 3) RGB in 0..1."""

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the ground-truth map, any scale."""

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) what the model predicts, any scale (densities, never their logarithm)."""


def summarise(
    dataset: str,
    metrics: Sequence[str],
    images: Sequence[ImageScore],
    people: Sequence[PeopleScore],
    seed: int,
) -> tuple[MetricSummary, ...]:
    """Means, intervals and ceiling-normalised scores of one model on one data set.

    Args:
        dataset: label, for the seed of the resamples: they are the same images for every model.
        metrics: in order.
        images: the model's scores.
        people: how well people predict people in each image; may be empty.
        seed: of every draw.
    """
    known = {row.image_id: row for row in people}
    return tuple(_summary(dataset, metric, images, known, seed) for metric in metrics)


def _summary(
    dataset: str,
    metric: str,
    images: Sequence[ImageScore],
    people: Mapping[str, PeopleScore],
    seed: int,
) -> MetricSummary:
    scores = np.array([row.scores[metric] for row in images], dtype=np.float64)
    defined = ~np.isnan(scores)
    mean, low, high = _with_interval(scores, generator(seed, dataset, metric, "score"))
    m, c, z = np.array(
        [
            (
                row.people.get(metric, math.nan),
                people[row.image_id].ceiling.get(metric, math.nan),
                people[row.image_id].null.get(metric, math.nan),
            )
            for row in images
            if row.image_id in people
        ],
        dtype=np.float64,
    ).reshape(-1, 3).T  # fmt: skip
    together = np.isfinite(m) & np.isfinite(c) & np.isfinite(z)
    m, c, z = m[together], c[together], z[together]
    ceiling = _with_interval(c, generator(seed, dataset, metric, "ceiling"))
    null = _with_interval(z, generator(seed, dataset, metric, "null"))
    rng = generator(seed, dataset, metric, "normalised")
    ends = percentile_interval(bootstrap_normalised(m, c, z, rng))
    return MetricSummary(
        metric, int(defined.sum()), int((~defined).sum()), mean, low, high,
        _mean(m), *ceiling, *null, normalised(_mean(m), ceiling[0], null[0]), *ends, len(m),
    )  # fmt: skip


def normalised(model: float, ceiling: float, null: float) -> float:
    """(m - z) / (c - z), never clipped; NaN where ceiling and null are equal or unknown."""
    return (model - null) / (ceiling - null) if ceiling != null else math.nan


def _mean(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _with_interval(values: Scores, rng: np.random.Generator) -> tuple[float, float, float]:
    return _mean(values), *percentile_interval(bootstrap_means(values, rng))


def compare_models(
    results: Sequence[ModelResult], metrics: Sequence[str], seed: int
) -> tuple[ComparisonRow, ...]:
    """Every two models on each data set and metric, with Holm's correction over the pairs."""
    rows: list[ComparisonRow] = []
    for dataset in dict.fromkeys(result.dataset for result in results):
        ours = [result for result in results if result.dataset == dataset]
        for metric in metrics:
            pairs = [_compared(metric, a, b, seed) for a, b in combinations(ours, 2)]
            corrected = holm(np.array([row.p for row in pairs]))
            rows += [
                ComparisonRow(**{**row.__dict__, "p_holm": float(p)})
                for row, p in zip(pairs, corrected, strict=True)
            ]
    return tuple(rows)


def _compared(metric: str, a: ModelResult, b: ModelResult, seed: int) -> ComparisonRow:
    of_b = {row.image_id: row.scores[metric] for row in b.images}
    pairs = np.array(
        [(row.scores[metric], of_b[row.image_id]) for row in a.images if row.image_id in of_b],
        dtype=np.float64,
    ).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    rng = generator(seed, a.dataset, metric, a.model, b.model, "compare")
    found = compare_paired(pairs[:, 0], pairs[:, 1], rng)
    return ComparisonRow(
        a.dataset, metric, a.model, b.model, found.n, _mean(pairs[:, 0]), _mean(pairs[:, 1]),
        found.mean, found.low, found.high, found.p, math.nan,
    )  # fmt: skip


def as_summary(result: BenchmarkResult) -> dict[str, Any]:
    """The result without its tables of images, as one JSON value; undefined numbers are null."""
    return {
        "experiment": result.experiment,
        "metrics": list(result.metrics),
        "results": [
            {
                "dataset": found.dataset,
                "model": found.model,
                "n_images": len(found.images),
                "n_failed": found.n_failed,
                "scores": {row.metric: _score_json(row) for row in found.summary},
            }
            for found in result.models
        ],
        "comparisons": [
            {name: _number(value) for name, value in asdict(row).items()}
            for row in result.comparisons
        ],
        "deep_dives": [
            {name: _number(value) for name, value in asdict(row).items()} for row in result.dives
        ],
        "failures": [asdict(row) for row in result.failures],
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
    return {name: _number(value) for name, value in plain.items()}


def _number(value: Any) -> Any:
    """The value as JSON has it: neither NaN nor infinity."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {name: _number(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
