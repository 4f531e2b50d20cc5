"""A closer look at a model's scores: deciles of the images, and a deep dive into the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.metrics.ranks import best_and_worst
from clickmap_cli.metrics.saliency import SALIENCY_SCORES, Kind, Prediction
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import ClickmapError, DataError, typed_reason
from clickmap_cli.services.benchmark.data import LoadedSet
from clickmap_cli.services.benchmark.job import Job
from clickmap_cli.services.benchmark.pictures import DivePicture, shown_map
from clickmap_cli.services.benchmark.predictions import Map
from clickmap_cli.services.benchmark.result import (
    DecileRow,
    DiveRow,
    ExtremeRow,
    Failure,
    ImageScore,
    ModelResult,
)
from clickmap_cli.services.benchmark.scores import whole_target

DIVES = "deep_dive"
"""Folder of the pictures of a deep dive."""

_GROUPS = 10


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
                groups["zero"] = sorted(worst, key=partial(_from_zero, metric))[:n_images]
            rows += [
                ExtremeRow(
                    found.dataset, found.model, metric, group, rank, row.image_id,
                    row.scores[metric],
                )
                for group, ordered in groups.items()
                for rank, row in enumerate(ordered, 1)
            ]  # fmt: skip
    return tuple(rows)


def _from_zero(metric: str, row: ImageScore) -> tuple[float, str]:
    return abs(row.scores[metric]), row.image_id


def dive_rows(
    job: Job, loaded: LoadedSet, built: BuiltModel, found: ModelResult, others: OtherFixations
) -> list[DiveRow]:
    """Score and draw the predictions of a model's other settings for its worst images.

    Args:
        job: the run; it records images that fail here.
        loaded: the data set.
        built: the model.
        found: the model's scores.
        others: gives each image negatives and a centre bias from the set's other images.

    Returns:
        One row per image; empty if the model has no other settings, or the config asks for none.

    Raises:
        ClickmapError: an image or its ground truth cannot be read, or a picture cannot be written.
    """
    settings = job.config.deep_dive
    if not settings.n_images or settings.metric not in job.config.metrics:
        return []
    if type(built.model).predict_variants is SaliencyModel.predict_variants:
        return []
    worst = worst_first(found.images, settings.metric)[: settings.n_images]
    stimuli = {stimulus.image_id: stimulus for stimulus in loaded.stimuli}
    predictor = job.predictor(built, loaded.label)
    job.progress.stage(f"{built.label} on {loaded.label}, worst images", len(worst))
    rows: list[DiveRow] = []
    for row in worst:
        stimulus = stimuli[row.image_id]
        try:
            maps = predictor.variants(stimulus)
            scores = _score_variants(settings.metric, stimulus, others, maps, predictor.kind)
        except ClickmapError:
            raise
        except Exception as error:  # such as too little memory for the finest level
            reason = f"no deep dive: {typed_reason(error)}"
            job.fail(loaded.label, built.label, row.image_id, reason)
        else:
            for dived in _dived(found, settings.metric, row, scores):
                drawn = {name: shown_map([values], predictor.kind) for name, values in maps.items()}
                rows.append(_draw_variants(job, stimulus, dived, drawn))
        job.progress.advance()
    built.model.release()
    return rows


def _score_variants(
    metric: str, stimulus: Stimulus, others: OtherFixations, maps: Mapping[str, Map], kind: Kind
) -> dict[str, float]:
    """Score an image with each of a model's settings; NaN where undefined."""
    target = whole_target(stimulus, others.around(stimulus))
    return {
        name: SALIENCY_SCORES[metric](Prediction(values, kind), target)
        for name, values in maps.items()
    }


def _dived(
    found: ModelResult, metric: str, row: ImageScore, variants: dict[str, float]
) -> list[DiveRow]:
    """Return a list of one row with the best setting; empty if no setting has a score."""
    turn = 1 if SALIENCY_SCORES[metric].higher_is_better else -1
    known = {name: value for name, value in variants.items() if not math.isnan(value)}
    if not known:
        return []
    best = max(known, key=lambda name: turn * known[name])
    return [
        DiveRow(
            found.dataset, found.model, metric, row.image_id, row.scores[metric], best,
            known[best], variants,
        )
    ]  # fmt: skip


def _draw_variants(
    job: Job, stimulus: Stimulus, row: DiveRow, maps: Mapping[str, NDArray[np.float64]]
) -> DiveRow:
    """Draw the maps of all settings side by side; return the row with the picture's path."""
    if job.figures.dive is None:
        return row
    image = None
    try:
        image = stimulus.image()
    except DataError as error:
        job.progress.notice(f"{error} Its picture of the deep dive lacks the image.")
        job.left_out.unread.append(Failure(row.dataset, "", row.image_id, str(error)))
    place = f"{DIVES}/{row.dataset}/{row.model}/{row.image_id}.png"
    job.figures.dive(
        DivePicture(
            row.dataset, row.model, row.image_id, row.metric, row.score, row.best, row.variants,
            maps, image, stimulus.truth(), job.folder.path / place,
        )
    )  # fmt: skip
    return replace(row, picture=place)
