"""Score one image in a worker: a model against people, and people against people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.datasets.base import People, Stimulus
from clickmap_cli.datasets.fixations import Surroundings
from clickmap_cli.metrics.saliency import Kind, Prediction, Target, score_prediction
from clickmap_cli.metrics.views import MapView
from clickmap_cli.models.base import finish_prediction
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.scoring.results import ImageScore, PeopleScore

Map = NDArray[np.float32]


@dataclass(frozen=True)
class ModelTask:
    """One image and a model's prediction for it.

    Attributes:
        stimulus: the image.
        around: the image's points; negatives and baseline from other images' fixations.
        predictions: one map, or one per person in the order of `people()`.
        kind: kind of the predictions.
        by_person: True if there is one prediction per person.
        metrics: names of the metrics to compute.
        against_people: True to score also against each person separately.
    """

    stimulus: Stimulus
    around: Surroundings
    predictions: Sequence[Map]
    kind: Kind
    by_person: bool
    metrics: list[str]
    against_people: bool


@dataclass(frozen=True)
class PeopleTask:
    """One image's people, and the images whose people predict them in the null.

    Attributes:
        stimulus: the image.
        around: the image's points; negatives and baseline from other images' fixations.
        null: other images, each with the index of the person that it is scored against.
        metrics: names of the metrics to compute.
        postprocess: whether maps are clipped and scaled, as for models.
    """

    stimulus: Stimulus
    around: Surroundings
    null: Sequence[tuple[Stimulus, int]]
    metrics: list[str]
    postprocess: bool


def score_model(task: ModelTask) -> ImageScore | str:
    """Return the scores of one image, or the reason why it cannot be scored."""
    try:
        return _score_model(task)
    except (DataError, ValueError) as error:
        return str(error)


def _score_model(task: ModelTask) -> ImageScore:
    stimulus = task.stimulus
    people = stimulus.people() if task.against_people or task.by_person else None
    against: dict[str, float] = {}
    if people is not None:
        targets = (person_target(people, p, task.around) for p in range(len(people.names)))
        if task.by_person:
            made = (Prediction(values, task.kind) for values in task.predictions)
            against = _mean_scores(task.metrics, zip(made, targets, strict=True))
        else:
            prediction = Prediction(task.predictions[0], task.kind)
            against = _mean_scores(task.metrics, ((prediction, target) for target in targets))
    if task.by_person:
        scores = against
    else:
        whole = whole_target(stimulus, task.around)
        scores = score_prediction(task.metrics, Prediction(task.predictions[0], task.kind), whole)
    return ImageScore(
        stimulus.image_id, stimulus.category, scores, against if task.against_people else {}
    )


def score_people(task: PeopleTask) -> PeopleScore | str:
    """Return the ceiling and null of one image, or the reason why it has none."""
    try:
        return _score_people(task)
    except (DataError, ValueError) as error:
        return str(error)


def _score_people(task: PeopleTask) -> PeopleScore:
    stimulus, metrics = task.stimulus, task.metrics
    people = stimulus.people()
    if people is None:
        raise DataError(f"{stimulus.image_id}: fewer than two people looked at it.")
    n = len(people.names)
    own = Geometry(stimulus.size, stimulus.size, None)
    drawn = {person for _, person in task.null}
    kept: dict[int, Target] = {}
    held_out: list[dict[str, float]] = []
    for person in range(n):
        target = person_target(people, person, task.around)
        if person in drawn:
            kept[person] = target
        values = finish_prediction(people.others(person), "map", own, task.postprocess)
        held_out.append(score_prediction(metrics, Prediction(values), target))
    null: list[dict[str, float]] = []
    for other, person in task.null:
        others = other.people()
        if others is not None:
            everyone = others.everyone(stimulus.size)
            values = finish_prediction(everyone, "map", own, task.postprocess)
            null.append(score_prediction(metrics, Prediction(values), kept[person]))
    return PeopleScore(stimulus.image_id, n, _means(metrics, held_out), _means(metrics, null))


def whole_target(stimulus: Stimulus, around: Surroundings) -> Target:
    """Return the target of all people of an image together: their points and the map."""
    truth = stimulus.truth()
    view = None
    if truth is not None:
        view = MapView(truth, None, np.float64 if truth.dtype == np.float64 else np.float32)
    return Target(around.points, view, around.negatives, around.baseline)


def person_target(people: People, person: int, around: Surroundings) -> Target:
    """Return the target of one person of an image: their map, and their points if known."""
    view = people.target(person)
    if not view.has_clicks:
        return Target(None, view, around.negatives, None)
    points = view.clicked
    return Target(points, view, around.negatives, around.baseline_at(points[0]))


def _mean_scores(
    metrics: list[str], pairs: Iterable[tuple[Prediction, Target]]
) -> dict[str, float]:
    return _means(metrics, [score_prediction(metrics, p, t) for p, t in pairs])


def _means(metrics: list[str], rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return metric -> mean of its defined values; NaN if all are undefined."""
    found = {}
    for metric in metrics:
        values = [row[metric] for row in rows if not math.isnan(row[metric])]
        found[metric] = float(np.mean(values)) if values else math.nan
    return found
