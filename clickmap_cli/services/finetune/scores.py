"""Score the held-out images of a fine-tuning as a benchmark scores images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.datasets.people import OnlySome
from clickmap_cli.models.building import BuiltModel, build_model
from clickmap_cli.runtime.parallel import ordered_map, worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.benchmark.predictions import Predicted, Predictor
from clickmap_cli.services.benchmark.result import Failure, ImageScore
from clickmap_cli.services.benchmark.scores import ModelTask, score_model
from clickmap_cli.services.finetune.tables import (
    CENTER,
    FINETUNED,
    HELD_OUT,
    HOLDOUT,
    PRETRAINED,
    FoldScores,
)
from clickmap_cli.training.checkpoints import BEST
from clickmap_cli.training.folds import Division, Fold

_SECONDS = 1e-7  # time in which one core scores a pixel


@dataclass
class Scorer:
    """Scores the folds of a fine-tuning.

    Attributes:
        config: the checked configuration.
        stimuli: all images of the data set.
        label: name of the data set.
        progress: advances with each image.
        failures: images that could not be scored are appended here.
    """

    config: SaliencyConfig
    stimuli: Sequence[Stimulus]
    label: str
    progress: Progress
    failures: list[Failure]
    _last: tuple[tuple[str, ...], list[Stimulus], OtherFixations] | None = field(
        default=None, init=False
    )

    def all(self, folds: Sequence[Fold], division: Division, folder: str) -> list[FoldScores]:
        """Score each fold's model, the pretrained model and the centre bias on the same images."""
        scores: list[FoldScores] = []
        for fold in folds:
            trained = finetuned(self.config, f"{folder}/{fold.name}/{BEST}")
            for name, built in ((FINETUNED, trained), *self._baselines()):
                scores.append(self._fold(HELD_OUT, fold, name, built))
                if division.holdout and len(division.folds) > 1:
                    scores.append(self._fold(HOLDOUT, fold, name, built, division.holdout))
        return scores

    def _baselines(self) -> Iterator[tuple[str, BuiltModel]]:
        spec = self.config.model
        device = self.config.device
        yield PRETRAINED, build_model(PRETRAINED, spec.name, spec.settings, device)
        yield CENTER, build_model(CENTER, CENTER, {}, device)

    def _fold(
        self,
        split: str,
        fold: Fold,
        name: str,
        built: BuiltModel,
        ids: Sequence[str] = (),
    ) -> FoldScores:
        chosen = frozenset(ids or fold.test)
        seen, others = self._seen(tuple(fold.test_people) if split == HELD_OUT else ())
        test = [stimulus for stimulus in seen if stimulus.image_id in chosen]
        built.model.see(seen)
        self.progress.stage(f"{fold.name}, {name} on {split}", len(test))
        return FoldScores(split, fold.name, name, tuple(self._scored(built, test, others)))

    def _seen(self, people: tuple[str, ...]) -> tuple[list[Stimulus], OtherFixations]:
        """Return the data set with only the fixations of `people`, or of everyone if it is empty.

        It is the same for every model of a fold, so the last one is reused.
        """
        if self._last is None or self._last[0] != people:
            seen = [s if not people else OnlySome(s, people) for s in self.stimuli]
            others = OtherFixations(seen, self.config.centerbias_bandwidth)
            self._last = (people, seen, others)
        return self._last[1:]

    def _scored(
        self, built: BuiltModel, stimuli: Sequence[Stimulus], others: OtherFixations
    ) -> Iterator[ImageScore]:
        pending: list[Predicted] = []

        def tasks() -> Iterator[ModelTask]:
            for predicted in Predictor(built, None, postprocess=True).predict(stimuli):
                if predicted.reason:
                    self._fail(built, predicted.stimulus, predicted.reason)
                    self.progress.advance()
                    continue
                pending.append(Predicted(predicted.stimulus, ()))
                yield ModelTask(
                    predicted.stimulus, others.around(predicted.stimulus), predicted.maps,
                    built.model.output, False, self.config.metrics, False,
                )  # fmt: skip

        pixels = sum(stimulus.size[0] * stimulus.size[1] for stimulus in stimuli)
        workers = worker_count(self.config.n_jobs, _SECONDS * pixels)
        for at, found in enumerate(ordered_map(score_model, tasks(), workers, "loky")):
            if isinstance(found, str):
                self._fail(built, pending[at].stimulus, found)
            else:
                yield found
            self.progress.advance()

    def _fail(self, built: BuiltModel, stimulus: Stimulus, reason: str) -> None:
        self.failures.append(Failure(self.label, built.label, stimulus.image_id, reason))


def finetuned(config: SaliencyConfig, weights_path: str) -> BuiltModel:
    """Build the model with the weights of a checkpoint, as a benchmark builds it."""
    spec = config.model
    settings = {key: value for key, value in spec.settings.items() if key != "weights"}
    return build_model(
        FINETUNED, spec.name, {**settings, "weights_path": weights_path}, config.device
    )
