"""A deep dive into the worst images of a model: the scores and maps of its other settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import BenchmarkConfig
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.metrics.saliency import SALIENCY_SCORES, Kind, Prediction
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.runtime.errors import ClickmapError, DataError, typed_reason
from clickmap_cli.scoring.data import LoadedSet
from clickmap_cli.scoring.predictions import Map, Predictor, shown_map
from clickmap_cli.scoring.results import (
    DiveRow,
    Failure,
    ImageScore,
    ModelResult,
)
from clickmap_cli.scoring.scorer import Scorer
from clickmap_cli.scoring.scores import whole_target
from clickmap_cli.scoring.summaries import worst_first
from clickmap_cli.services.benchmark.pictures import DivePicture

DIVES = "deep_dive"
"""Folder of the pictures of a deep dive."""


def dive_rows(
    config: BenchmarkConfig,
    scorer: Scorer,
    draw: Callable[[DivePicture], None] | None,
    loaded: LoadedSet,
    predictor: Predictor,
    found: ModelResult,
    others: OtherFixations,
    folder: Path,
) -> list[DiveRow]:
    """Score and draw the predictions of a model's other settings for its worst images.

    Args:
        config: its `deep_dive` says how many images, and by which metric.
        scorer: records images that fail here.
        draw: draws one picture; None to draw none.
        loaded: the data set.
        predictor: predicts with the model.
        found: the model's scores.
        others: gives each image negatives and a centre bias from the set's other images.
        folder: the output folder.

    Returns:
        One row per image; empty if the model has no other settings, or the config asks for none.

    Raises:
        ClickmapError: an image or its ground truth cannot be read, or a picture cannot be written.
    """
    settings, built = config.deep_dive, predictor.built
    if not settings.n_images or settings.metric not in config.metrics:
        return []
    if type(built.model).predict_variants is SaliencyModel.predict_variants:
        return []
    worst = worst_first(found.images, settings.metric)[: settings.n_images]
    stimuli = {stimulus.image_id: stimulus for stimulus in loaded.stimuli}
    scorer.progress.stage(f"{built.label} on {loaded.label}, worst images", len(worst))
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
            scorer.fail(loaded.label, built.label, row.image_id, reason)
        else:
            for dived in _dived(found, settings.metric, row, scores):
                drawn = {name: shown_map([values], predictor.kind) for name, values in maps.items()}
                rows.append(
                    dived
                    if draw is None
                    else _draw_variants(draw, scorer, stimulus, dived, drawn, folder)
                )
        scorer.progress.advance()
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
    draw: Callable[[DivePicture], None],
    scorer: Scorer,
    stimulus: Stimulus,
    row: DiveRow,
    maps: Mapping[str, NDArray[np.float64]],
    folder: Path,
) -> DiveRow:
    """Draw the maps of all settings side by side; return the row with the picture's path."""
    image = None
    try:
        image = stimulus.image()
    except DataError as error:
        scorer.progress.notice(f"{error} Its picture of the deep dive lacks the image.")
        scorer.unread.append(Failure(row.dataset, "", row.image_id, str(error)))
    place = f"{DIVES}/{row.dataset}/{row.model}/{row.image_id}.png"
    draw(
        DivePicture(
            row.dataset, row.model, row.image_id, row.metric, row.score, row.best, row.variants,
            maps, image, stimulus.truth(), folder / place,
        )
    )  # fmt: skip
    return replace(row, picture=place)
