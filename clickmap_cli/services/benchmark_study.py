"""A closer look at a model's scores: tenths of the images, and a dive into the worst ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.others import OtherFixations
from clickmap_cli.metrics.saliency import SALIENCY_SCORES, Prediction
from clickmap_cli.services.benchmark_scores import whole_target
from clickmap_cli.services.benchmark_tables import (
    DecileRow,
    DiveRow,
    ExtremeRow,
    ImageScore,
    ModelResult,
)
from clickmap_cli.services.predictions import Predictor

_GROUPS = 10


def worst_first(images: Sequence[ImageScore], metric: str) -> list[ImageScore]:
    """Images that have the score, from the worst to the best; equal ones by their id."""
    turn = 1 if SALIENCY_SCORES[metric].higher_is_better else -1
    known = [row for row in images if not math.isnan(row.scores[metric])]
    return sorted(known, key=lambda row: (turn * row.scores[metric], row.image_id))


def decile_rows(results: Sequence[ModelResult], metrics: Sequence[str]) -> tuple[DecileRow, ...]:
    """Every model's images from worst to best, cut into ten groups.

    Groups differ by one image at most; fewer than ten images make as many groups.
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
    """Every model's best and worst images and, if scores may be negative, those nearest to 0."""
    rows = []
    for found in results:
        for metric in metrics:
            worst = worst_first(found.images, metric)
            groups = {"best": worst[::-1], "worst": worst}
            if SALIENCY_SCORES[metric].range[0] < 0:
                groups["zero"] = sorted(worst, key=partial(_from_zero, metric))
            rows += [
                ExtremeRow(
                    found.dataset, found.model, metric, group, rank, row.image_id,
                    row.scores[metric],
                )
                for group, ordered in groups.items()
                for rank, row in enumerate(ordered[:n_images], 1)
            ]  # fmt: skip
    return tuple(rows)


def _from_zero(metric: str, row: ImageScore) -> tuple[float, str]:
    return abs(row.scores[metric]), row.image_id


def deep_dive(
    found: ModelResult,
    metric: str,
    stimuli: Sequence[Stimulus],
    others: OtherFixations,
    predictor: Predictor,
) -> Iterator[DiveRow]:
    """What a model's other settings would have scored on some of its images.

    Args:
        found: the model's scores.
        metric: what is scored.
        stimuli: the images, usually its worst.
        others: of the same data set.
        predictor: of the same model.

    Yields:
        A row an image; none where the model has no other settings.

    Raises:
        ClickmapError: an image or its ground truth cannot be read.
    """
    score = SALIENCY_SCORES[metric]
    scores = {row.image_id: row.scores[metric] for row in found.images}
    turn = 1 if score.higher_is_better else -1
    for stimulus in stimuli:
        target = whole_target(stimulus, others.around(stimulus))
        variants = {
            name: score(Prediction(values, predictor.kind), target)
            for name, values in predictor.variants(stimulus).items()
        }
        known = {name: value for name, value in variants.items() if not math.isnan(value)}
        if known:
            best = max(known, key=lambda name: turn * known[name])
            yield DiveRow(
                found.dataset, found.model, metric, stimulus.image_id, scores[stimulus.image_id],
                best, known[best], variants,
            )  # fmt: skip
