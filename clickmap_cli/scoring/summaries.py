"""Turn image scores into reported numbers: means, intervals, comparisons, deciles, extremes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import best_and_worst
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.metrics.uncertainty import (
    DRAWS,
    EXACT_UP_TO,
    RESAMPLES,
    bootstrap_means,
    bootstrap_normalised,
    compare_paired,
    holm,
    known_mean,
    percentile_interval,
)
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.results import (
    ComparisonRow,
    DecileRow,
    ExtremeRow,
    ImageScore,
    MetricSummary,
    ModelResult,
    PeopleScore,
)

Scores = NDArray[np.float64]

RANDOM_DRAWS = {
    "resamples": RESAMPLES,
    "permutations": DRAWS,
    "exact_permutations_up_to": EXACT_UP_TO,
}
"""Numbers of draws for intervals and p-values; with few pairs, every sign pattern is counted."""

_GROUPS = 10


def summarise(
    dataset: str,
    metrics: Sequence[str],
    images: Sequence[ImageScore],
    people: Sequence[PeopleScore],
    seed: int,
) -> tuple[MetricSummary, ...]:
    """Return means, intervals and ceiling-normalised scores of one model on one data set.

    Args:
        dataset: label, part of the seed, so that every model is resampled on the same images.
        metrics: names of the metrics, in order.
        images: the model's scores.
        people: scores of people against people in each image; may be empty.
        seed: seed of every draw.
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
    together = ~(np.isnan(m) | np.isnan(c) | np.isnan(z))
    m, c, z = m[together], c[together], z[together]
    ceiling = _with_interval(c, generator(seed, dataset, metric, "ceiling"))
    null = _with_interval(z, generator(seed, dataset, metric, "null"))
    share, ends = math.nan, (math.nan, math.nan)
    if is_better(metric, ceiling[0], null[0]):
        share = normalised(known_mean(m), ceiling[0], null[0])
        rng = generator(seed, dataset, metric, "normalised")
        ends = percentile_interval(bootstrap_normalised(m, c, z, rng))
    return MetricSummary(
        metric, int(defined.sum()), int((~defined).sum()), mean, low, high,
        known_mean(m), *ceiling, *null, share, *ends, len(m),
    )  # fmt: skip


def is_better(metric: str, ceiling: float, null: float) -> bool:
    """Return True if a ceiling is better than its null; a NaN is not."""
    return ceiling > null if SALIENCY_SCORES[metric].higher_is_better else ceiling < null


def normalised(model: float, ceiling: float, null: float) -> float:
    """Return (m - z) / (c - z), never clipped; NaN if ceiling and null are equal or undefined."""
    return (model - null) / (ceiling - null) if ceiling != null else math.nan


def _with_interval(values: Scores, rng: np.random.Generator) -> tuple[float, float, float]:
    return known_mean(values), *percentile_interval(bootstrap_means(values, rng))


def compare_models(
    results: Sequence[ModelResult], metrics: Sequence[str], seed: int
) -> tuple[ComparisonRow, ...]:
    """Compare every pair of models on each data set and metric, with Holm's correction."""
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
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    rng = generator(seed, a.dataset, metric, a.model, b.model, "compare")
    found = compare_paired(pairs[:, 0], pairs[:, 1], rng)
    return ComparisonRow(
        a.dataset, metric, a.model, b.model, found.n,
        known_mean(pairs[:, 0]), known_mean(pairs[:, 1]),
        found.mean, found.low, found.high, found.p, math.nan,
    )  # fmt: skip


def worst_first(images: Sequence[ImageScore], metric: str) -> list[ImageScore]:
    """Return the images that have the score, from worst to best; ties are ordered by id."""
    turn = 1 if SALIENCY_SCORES[metric].higher_is_better else -1
    known = [row for row in images if not math.isnan(row.scores[metric])]
    return sorted(known, key=lambda row: (turn * row.scores[metric], row.image_id))


def decile_rows(results: Sequence[ModelResult], metrics: Sequence[str]) -> tuple[DecileRow, ...]:
    """Return every model's images from worst to best, cut into ten groups.

    Group sizes differ by at most one image; with fewer than ten images, each is its own group.
    """
    rows = []
    for found in results:
        for metric in metrics:
            ordered = [row.scores[metric] for row in worst_first(found.images, metric)]
            cuts = [k * len(ordered) // _GROUPS for k in range(_GROUPS + 1)]
            parts = [ordered[first:last] for first, last in pairwise(cuts) if last > first]
            for number, part in enumerate(parts, 1):
                ends = min(part), max(part), float(np.mean(part))
                rows.append(DecileRow(found.dataset, found.model, metric, number, len(part), *ends))
    return tuple(rows)


def extreme_rows(
    results: Sequence[ModelResult], metrics: Sequence[str], n_images: int
) -> tuple[ExtremeRow, ...]:
    """Return every model's best and worst images and, if scores can be negative, those nearest 0.

    No image is in both the best and the worst list; with too few images, both lists are shorter.
    """
    rows = []
    for found in results:
        for metric in metrics:
            worst = worst_first(found.images, metric)
            n_best, n_worst = best_and_worst(len(worst), n_images)
            groups = {"best": worst[::-1][:n_best], "worst": worst[:n_worst]}
            if SALIENCY_SCORES[metric].range[0] < 0:
                groups["zero"] = sorted(worst, key=partial(_distance_from_zero, metric))[:n_images]
            rows += [
                ExtremeRow(
                    found.dataset, found.model, metric, group, rank, row.image_id,
                    row.scores[metric],
                )
                for group, ordered in groups.items()
                for rank, row in enumerate(ordered, 1)
            ]  # fmt: skip
    return tuple(rows)


def _distance_from_zero(metric: str, row: ImageScore) -> tuple[float, str]:
    return abs(row.scores[metric]), row.image_id
