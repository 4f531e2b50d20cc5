"""Estimate, before scoring starts, how long the exact earth mover's distances will take."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.metrics.map_scores import earth_movers_distance
from clickmap_cli.metrics.saliency import SALIENCY_SCORES, Prediction, Target
from clickmap_cli.metrics.views import MapView
from clickmap_cli.models.base import SubjectModel, finish_prediction
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.scoring.data import LoadedSet
from clickmap_cli.scoring.scorer import Scorer

METRIC = "EMD"

WORTH_SAYING = 30.0
"""Seconds; a shorter estimate is not announced."""


def announce_emd(scorer: Scorer, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> None:
    """Give a notice of how long the earth mover's distances will take, if that is long.

    The estimate times one distance between maps of each data set's size.
    """
    if METRIC not in scorer.metrics:
        return
    total, n = 0.0, 0
    for loaded in sets:
        distances = count_distances(scorer, models, loaded)
        seconds = _seconds_of_one(scorer, loaded) if distances else 0.0
        workers = scorer.pool.workers(scorer.seconds(loaded.stimuli, len(loaded.stimuli)))
        total += distances * seconds / workers
        n += distances
    if total > WORTH_SAYING:
        scorer.progress.notice(
            f"EMD is solved exactly, and that is slow: {n:,} distances between maps will take "
            f"about {duration(total)} in all. Leave EMD out of metrics, or score fewer images "
            "(limit_images), to be done sooner.",
            keep=False,  # a time of this call, not of its results
        )


def count_distances(scorer: Scorer, models: Sequence[BuiltModel], loaded: LoadedSet) -> int:
    """Return how many distances a data set still needs.

    With `ceiling`, each image with people needs one distance for each person and each draw of the
    null. Each model needs one against all people together and, with `ceiling`, one for each person;
    people as a model always need only those for each person. Scores in the journal of an
    interrupted run are not recomputed.
    """
    label = loaded.label
    people = {s.image_id: n for s in loaded.stimuli if (n := _count_people(s))}
    draws = scorer.null_iterations if len(people) > 1 else 0
    total = 0
    if scorer.ceiling:
        done = _done(scorer, f"people of {label}")
        total += sum(n + draws for image, n in people.items() if image not in done)
    for built in models:
        done = _done(scorer, f"{label}__{built.label}")
        by_person = isinstance(built.model, SubjectModel)
        for stimulus in loaded.stimuli:
            if stimulus.image_id not in done:
                each = people.get(stimulus.image_id, 0) if scorer.ceiling or by_person else 0
                total += each + (0 if by_person else 1)
    return total


def _count_people(stimulus: Stimulus) -> int:
    people = stimulus.people()
    return 0 if people is None else len(people.names)


def _done(scorer: Scorer, journal: str) -> set[str]:
    return {record["image_id"] for record in scorer.recorded(journal)}


def _seconds_of_one(scorer: Scorer, loaded: LoadedSet) -> float:
    """Return the seconds of one distance between maps of a data set; 0 if no image has a map."""
    earth_movers_distance(np.eye(2), np.ones((2, 2)))  # loads the solver before the clock starts
    for stimulus in loaded.stimuli:
        pair = _some_pair(scorer, stimulus)
        if pair is not None:
            began = time.perf_counter()
            SALIENCY_SCORES[METRIC](*pair)
            return time.perf_counter() - began
    return 0.0


def _some_pair(scorer: Scorer, stimulus: Stimulus) -> tuple[Prediction, Target] | None:
    """Return a prediction and a target of an image: the map of all others, and a person's map.

    Without named people, they are a uniform map and the ground-truth map. Return None if the maps
    cannot be read, or if the target is missing or constant.
    """
    try:
        people = stimulus.people()
        if people is not None:
            view, values = people.target(0), people.others(0)
        else:
            truth = stimulus.truth()
            if truth is None:
                return None
            view, values = MapView(truth), np.ones(stimulus.size, dtype=np.float32)
        own = Geometry(stimulus.size, stimulus.size, None)
        values = finish_prediction(values, "map", own, scorer.postprocess)
    except (DataError, ValueError):
        return None  # scoring reports this image as a failure
    return None if view.constant else (Prediction(values), Target(map=view))


def duration(seconds: float) -> str:
    """Return a time as text in seconds, minutes or hours."""
    for limit, unit, name in ((120, 1, "seconds"), (7200, 60, "minutes")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} hours"
