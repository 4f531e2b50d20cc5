"""Predict and score every image of a data set with a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.models.base import SubjectModel
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.services.benchmark.data import LoadedSet
from clickmap_cli.services.benchmark.job import Job
from clickmap_cli.services.benchmark.oddities import oddity_notices
from clickmap_cli.services.benchmark.predictions import Predicted, Predictor
from clickmap_cli.services.benchmark.result import ImageScore
from clickmap_cli.services.benchmark.scores import ModelTask, score_model

_PICTURES = "pictures"
_ODDITIES = "oddities"


def scores_of(
    job: Job, loaded: LoadedSet, built: BuiltModel, others: OtherFixations
) -> list[ImageScore]:
    """Return every image's scores for one model, in the data set's order of images.

    Args:
        job: the run; images in its journal are not scored again if their prediction still exists.
        loaded: the data set.
        built: the model.
        others: gives each image negatives and a centre bias from the set's other images.
    """
    label, model = loaded.label, built.label
    journal = job.folder.lines(f"{label}__{model}")
    predictor = job.predictor(built, label)
    odd: dict[str, Mapping[str, float]] = {}
    done = _done(job, loaded, predictor, journal.records(), odd)
    todo = [stimulus for stimulus in loaded.stimuli if stimulus.image_id not in done]
    job.progress.stage(f"{model} on {label}", len(todo))
    pending: list[Predicted] = []
    unfinished: set[str] = set()

    def tasks() -> Iterator[ModelTask]:
        for predicted in predictor.predict(todo):
            image_id = predicted.stimulus.image_id
            if predicted.reason:
                job.fail(label, model, image_id, predicted.reason)
                job.progress.advance()
                continue
            if not job.heatmaps.draw(label, built, predicted):
                unfinished.add(image_id)
            pending.append(predicted)
            odd[image_id] = predicted.oddities
            yield _task(job, built, predicted, others)

    results = job.pool.map(score_model, tasks(), job.seconds(loaded, len(todo)))
    with journal.writing():
        for at, found in enumerate(results):
            predicted = pending[at]
            stimulus = predicted.stimulus
            pending[at] = Predicted(stimulus, ())  # frees the maps
            if isinstance(found, str):
                job.fail(label, model, stimulus.image_id, found)
            else:
                scored = replace(found, details=predicted.details, placement=predicted.placement)
                done[scored.image_id] = scored
                if scored.image_id not in unfinished:
                    pictures = job.heatmaps.recorded(label, model, scored.image_id)
                    more = {_PICTURES: pictures, _ODDITIES: odd[scored.image_id]}
                    journal.append(asdict(scored) | more)
            job.progress.advance()
    for text in oddity_notices(odd):
        job.progress.notice(f"{label}, {model}: {text}")
    return [done[stimulus.image_id] for stimulus in loaded.stimuli if stimulus.image_id in done]


def _done(
    job: Job,
    loaded: LoadedSet,
    predictor: Predictor,
    records: Iterable[dict[str, Any]],
    odd: dict[str, Mapping[str, float]],
) -> dict[str, ImageScore]:
    """Return the scores of journal images whose pictures and predictions still exist, by id.

    The oddities of their predictions are added to `odd`.
    """
    stimuli = {stimulus.image_id: stimulus for stimulus in loaded.stimuli}
    done = {}
    for record in records:
        if not job.heatmaps.whole(record.pop(_PICTURES, {})):
            continue
        strange = record.pop(_ODDITIES, {})
        scored = ImageScore(**record)
        stimulus = stimuli.get(scored.image_id)
        if stimulus is None or predictor.keeps(stimulus):  # the report shows predictions too
            done[scored.image_id] = scored
            odd[scored.image_id] = strange
    return done


def _task(job: Job, built: BuiltModel, predicted: Predicted, others: OtherFixations) -> ModelTask:
    return ModelTask(
        predicted.stimulus,
        others.around(predicted.stimulus),
        predicted.maps,
        built.model.output,
        isinstance(built.model, SubjectModel),
        job.config.metrics,
        job.config.ceiling,
    )
