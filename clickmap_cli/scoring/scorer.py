"""Score the images of a data set: models against people, and people against people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np

from clickmap_cli.clickmaps.agreement import OtherImages
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.models.base import SubjectModel
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.scoring.predictions import Predicted, Predictor, oddity_notices
from clickmap_cli.scoring.results import Failure, ImageScore, PeopleScore
from clickmap_cli.scoring.scores import ModelTask, PeopleTask, score_model, score_people
from clickmap_cli.storage.appending import LineJournal

_SECONDS = 1e-7  # time in which one core scores a pixel against one person

_PICTURES, _ODDITIES = "pictures", "oddities"


class PredictionPictures(Protocol):
    """Draws predictions while they are scored, and knows which pictures exist."""

    def draw(self, dataset: str, built: BuiltModel, predicted: Predicted) -> bool:
        """Draw the pictures of a prediction, if any are wanted; False if one is missing."""

    def recorded(self, dataset: str, model: str, image_id: str) -> dict[str, Any]:
        """Return the existing pictures of a prediction with size and SHA-256."""

    def whole(self, recorded: dict[str, Any]) -> bool:
        """Return True if pictures are unchanged since they were recorded."""


class Scorer:
    """Scores data sets with the workers and settings of one run.

    Args:
        metrics: names of the metrics.
        pool: the workers.
        progress: receives progress and notices.
        seed: seed of every draw.
        ceiling: True to score also against each person, and people against people.
        null_iterations: draws of another image in the null.
        postprocess: True to clip and scale maps of people as maps of models are.
        journal: returns the journal of a name, in which scored images survive an interruption;
            None = nothing is kept.

    Attributes:
        failures: images that were left out of some model, or cannot be used at all.
        unread: images missing only from the people's scores, a picture or the report.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        pool: Pool,
        progress: Progress,
        *,
        seed: int = 0,
        ceiling: bool = False,
        null_iterations: int = 0,
        postprocess: bool = True,
        journal: Callable[[str], LineJournal] | None = None,
    ) -> None:
        self.metrics = list(metrics)
        self.pool = pool
        self.progress = progress
        self.seed = seed
        self.ceiling = ceiling
        self.null_iterations = null_iterations
        self.postprocess = postprocess
        self.failures: list[Failure] = []
        self.unread: list[Failure] = []
        self._journal = journal

    def fail(self, dataset: str, model: str, image_id: str, reason: str) -> None:
        """Record that an image is left out of a model, or of all models if `model` is empty."""
        self.failures.append(Failure(dataset, model, image_id, reason))

    def seconds(self, stimuli: Sequence[Stimulus], n_images: int) -> float:
        """Estimate the time in which one core scores `n_images` against their people."""
        if not n_images:
            return 0
        height, width = stimuli[0].size
        people = stimuli[0].people() if self.ceiling else None
        return _SECONDS * n_images * height * width * (1 if people is None else len(people.names))

    def recorded(self, name: str) -> list[dict[str, Any]]:
        """Return the records of a journal."""
        return [] if self._journal is None else list(self._journal(name).records())

    def score_model(
        self,
        label: str,
        stimuli: Sequence[Stimulus],
        predictor: Predictor,
        others: OtherFixations,
        pictures: PredictionPictures | None = None,
        *,
        stage: str = "",
    ) -> list[ImageScore]:
        """Return every image's scores for one model, in the order of the images.

        Images in the journal are not scored again if their prediction and pictures still exist.

        Args:
            label: name of the data set.
            stimuli: its images.
            predictor: predicts the images.
            others: gives each image negatives and a centre bias from the set's other images.
            pictures: draws predictions; None = draws none.
            stage: what progress shows; empty for the model and the data set.
        """
        built = predictor.built
        model = built.label
        name = f"{label}__{model}"
        odd: dict[str, Mapping[str, float]] = {}
        done = self._already_scored(name, stimuli, predictor, pictures, odd)
        todo = [stimulus for stimulus in stimuli if stimulus.image_id not in done]
        self.progress.stage(stage or f"{model} on {label}", len(todo))
        pending: list[Predicted] = []
        unfinished: set[str] = set()

        def tasks() -> Iterator[ModelTask]:
            for predicted in predictor.predict(todo):
                stimulus = predicted.stimulus
                if predicted.reason:
                    self.fail(label, model, stimulus.image_id, predicted.reason)
                    self.progress.advance()
                    continue
                if pictures is not None and not pictures.draw(label, built, predicted):
                    unfinished.add(stimulus.image_id)
                pending.append(predicted)
                odd[stimulus.image_id] = predicted.oddities
                yield ModelTask(
                    stimulus, others.around(stimulus), predicted.maps, built.model.output,
                    isinstance(built.model, SubjectModel), self.metrics, self.ceiling,
                )  # fmt: skip

        journal = None if self._journal is None else self._journal(name)
        results = self.pool.map(score_model, tasks(), self.seconds(stimuli, len(todo)))
        with nullcontext() if journal is None else journal.writing():
            for at, found in enumerate(results):
                predicted = pending[at]
                image_id = predicted.stimulus.image_id
                pending[at] = Predicted(predicted.stimulus, ())  # frees the maps
                if isinstance(found, str):
                    self.fail(label, model, image_id, found)
                else:
                    row = replace(found, details=predicted.details, placement=predicted.placement)
                    done[image_id] = row
                    if journal is not None and image_id not in unfinished:
                        drawn = (
                            {} if pictures is None else pictures.recorded(label, model, image_id)
                        )
                        journal.append(asdict(row) | {_PICTURES: drawn, _ODDITIES: odd[image_id]})
                self.progress.advance()
        for text in oddity_notices(odd):
            self.progress.notice(f"{label}, {model}: {text}")
        return [done[stimulus.image_id] for stimulus in stimuli if stimulus.image_id in done]

    def _already_scored(
        self,
        journal: str,
        stimuli: Sequence[Stimulus],
        predictor: Predictor,
        pictures: PredictionPictures | None,
        odd: dict[str, Mapping[str, float]],
    ) -> dict[str, ImageScore]:
        """Return the journal's scores of images whose pictures and predictions still exist, by id.

        The oddities of their predictions are added to `odd`.
        """
        by_id = {stimulus.image_id: stimulus for stimulus in stimuli}
        done = {}
        for record in self.recorded(journal):
            drawn, strange = record.pop(_PICTURES, {}), record.pop(_ODDITIES, {})
            if pictures is not None and not pictures.whole(drawn):
                continue
            row = ImageScore(**record)
            stimulus = by_id.get(row.image_id)
            if stimulus is None or predictor.keeps(stimulus):  # the report shows predictions too
                done[row.image_id] = row
                odd[row.image_id] = strange
        return done

    def score_people(
        self, label: str, stimuli: Sequence[Stimulus], others: OtherFixations
    ) -> tuple[PeopleScore, ...]:
        """Return the ceiling and null of every image that at least two named people looked at.

        Args:
            label: name of the data set.
            stimuli: its images; the result follows their order.
            others: gives each image negatives and a centre bias from the set's other images.
        """
        known = [stimulus.people() is not None for stimulus in stimuli]
        if not any(known):
            return ()
        draws = self._other_images(label, stimuli, known)
        name = f"people of {label}"
        done = {record["image_id"]: PeopleScore(**record) for record in self.recorded(name)}
        todo = [
            code
            for code, has_people in enumerate(known)
            if has_people and stimuli[code].image_id not in done
        ]
        self.progress.stage(f"People on {label}", len(todo))
        tasks = (self._people_task(stimuli, others, draws, code) for code in todo)
        refused = []
        journal = None if self._journal is None else self._journal(name)
        with nullcontext() if journal is None else journal.writing():
            scored = self.pool.map(score_people, tasks, self.seconds(stimuli, len(todo)))
            for code, found in zip(todo, scored, strict=True):
                if isinstance(found, str):
                    refused.append(Failure(label, "", stimuli[code].image_id, found))
                else:
                    if journal is not None:
                        journal.append(asdict(found))
                    done[found.image_id] = found
                self.progress.advance()
        if refused:
            self.progress.notice(
                f"{label}: {len(refused)} images have no ceiling: {refused[0].reason}"
            )
            self.unread += refused
        return tuple(done[s.image_id] for s in stimuli if s.image_id in done)

    def _other_images(
        self, label: str, stimuli: Sequence[Stimulus], known: list[bool]
    ) -> OtherImages:
        """Return the source from which each image's null draws other images."""
        keys = [stimulus.key for stimulus in stimuli]
        _, category = np.unique([s.category for s in stimuli], return_inverse=True)
        draws = OtherImages(keys, category.astype(np.int32), np.array(known), self.seed)
        if not draws.by_category and sum(known) > 1:
            self.progress.notice(
                f"{label}: all images are of one category, so the null comes from any other image "
                "of it."
            )
        sizes = {s.size for s, has_people in zip(stimuli, known, strict=True) if has_people}
        if len(sizes) > 1:
            self.progress.notice(
                f"{label}: images have {len(sizes)} shapes. For the null, what people did in "
                "another image comes to the shape of this one in relative coordinates."
            )
        return draws

    def _people_task(
        self, stimuli: Sequence[Stimulus], others: OtherFixations, draws: OtherImages, code: int
    ) -> PeopleTask:
        stimulus = stimuli[code]
        people = stimulus.people()
        n = 0 if people is None else len(people.names)
        rng = generator(self.seed, stimulus.key, "null participants")
        null = [
            (stimuli[other], int(rng.integers(n)))
            for other in draws.draw(code, self.null_iterations)
        ]
        return PeopleTask(stimulus, others.around(stimulus), null, self.metrics, self.postprocess)
