"""The steps of a benchmark: people, then every model, then tables, pictures and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.nulls import OtherImages
from clickmap_cli.config.benchmark import BenchmarkConfig
from clickmap_cli.datasets.others import OtherFixations
from clickmap_cli.models.base import SaliencyModel, SubjectModel
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import ClickmapError, DataError
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.benchmark_data import LoadedSet
from clickmap_cli.services.benchmark_files import (
    Heatmap,
    KeptPictures,
    shown_map,
    write_tables,
)
from clickmap_cli.services.benchmark_scores import (
    ModelTask,
    PeopleTask,
    score_model,
    score_people,
)
from clickmap_cli.services.benchmark_study import (
    decile_rows,
    deep_dive,
    extreme_rows,
    worst_first,
)
from clickmap_cli.services.benchmark_tables import (
    BenchmarkResult,
    DiveRow,
    Failure,
    ImageScore,
    ModelResult,
    PeopleScore,
    Pictures,
    compare_models,
    summarise,
)
from clickmap_cli.services.predictions import Predicted, Predictor
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.folder import RunFolder
from clickmap_cli.storage.manifest import damaged_outputs, describe_files
from clickmap_cli.storage.prediction_cache import PredictionCache

_PICTURES = "pictures"
_WORTH_WORKERS = 2e7  # pixels times people; less is scored before worker processes have started


@dataclass(frozen=True)
class BenchmarkFigures:
    """How pictures are drawn; the service says what and where, `reports/` draws.

    Attributes:
        heatmap: one prediction, alone and over its image.
        report: the page (result, pictures, path, images at either end).
    """

    heatmap: Callable[[Heatmap], None]
    report: Callable[[BenchmarkResult, Pictures, Path, int], None]


class Job:
    """One run: what all its steps share.

    Attributes:
        failures: images that were left out of some model, or cannot be used at all.
        unread: images that something else lacks: the people's scores, a picture, the report.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        folder: RunFolder,
        progress: Progress,
        figures: BenchmarkFigures,
        pool: Pool,
    ) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress
        self.figures = figures
        self.pool = pool
        self.failures: list[Failure] = []
        self.unread: list[Failure] = []
        pictures = config.heatmaps_png.out_dir
        self.heatmaps = Path(pictures) if pictures else folder.path / "heatmaps"

    def predictor(self, built: BuiltModel, label: str) -> Predictor:
        """The model's predictions for one data set."""
        config = self.config
        where = config.prediction_cache_dir
        root = Path(where) if where else self.folder.path / "predictions"
        keep = config.cache_predictions and built.cached
        cache = PredictionCache(root / label / built.label) if keep else None
        return Predictor(built, cache, config.postprocess)

    def predict_only(self, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> int:
        """Fill the cache and stop; returns how many predictions are there now."""
        done = 0
        for loaded in sets:
            self._note_problems(loaded)
            for built in models:
                self.progress.stage(f"{built.label} on {loaded.label}", len(loaded.stimuli))
                for predicted in self.predictor(built, loaded.label).predict(loaded.stimuli):
                    if predicted.reason:
                        self._fail(loaded.label, built.label, predicted)
                    else:
                        self._draw(loaded.label, built, predicted)
                        done += 1
                    self.progress.advance()
        return done

    def score(
        self, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]
    ) -> tuple[BenchmarkResult, dict[str, dict[str, Any]]]:
        """Everything: people, models, comparisons, tables, report."""
        config = self.config
        results: list[ModelResult] = []
        people: dict[str, tuple[PeopleScore, ...]] = {}
        dives: list[DiveRow] = []
        for loaded in sets:
            self._note_problems(loaded)
            others = OtherFixations(loaded.stimuli, config.centerbias_bandwidth)
            people[loaded.label] = self._people(loaded, others) if config.ceiling else ()
            for built in models:
                images = self._model(loaded, built, others)
                summary = summarise(
                    loaded.label, config.metrics, images, people[loaded.label], config.seed
                )
                failed = len(loaded.stimuli) + len(loaded.problems) - len(images)
                results.append(
                    ModelResult(loaded.label, built.label, tuple(images), summary, failed)
                )
                dives += self._dive(loaded, built, results[-1], others)
            self._say_what_is_missing(loaded, results[-len(models) :])
        result = BenchmarkResult(
            config.experiment, self.folder.path, tuple(config.metrics), tuple(results), people,
            compare_models(results, config.metrics, config.seed), tuple(self.failures),
            decile_rows(results, config.metrics),
            extreme_rows(results, config.metrics, config.report_images), tuple(dives),
        )  # fmt: skip
        self.progress.stage("Writing tables and report")
        paths = write_tables(self.folder.path, result)
        report = self.folder.path / "report.html"
        pictures = KeptPictures(
            {loaded.label: loaded.stimuli for loaded in sets},
            {
                (loaded.label, built.label): self.predictor(built, loaded.label)
                for loaded in sets
                for built in models
            },
            {built.label: built.model.output for built in models},
        )
        with replacing(report) as partial:
            self.figures.report(result, pictures, partial, config.report_images)
        self.unread += pictures.unread
        drawn = [path for found in results for path in self._drawn(found)]
        return result, describe_files(self.folder.path, [*paths, report, *drawn])

    def _people(self, loaded: LoadedSet, others: OtherFixations) -> tuple[PeopleScore, ...]:
        """Ceiling and null of every image that two named people looked at."""
        known = [stimulus.people() is not None for stimulus in loaded.stimuli]
        if not any(known):
            return ()
        keys = [stimulus.key for stimulus in loaded.stimuli]
        _, category = np.unique([s.category for s in loaded.stimuli], return_inverse=True)
        draws = OtherImages(keys, category.astype(np.int32), np.array(known), self.config.seed)
        if not draws.by_category and sum(known) > 1:
            self.progress.notice(
                f"{loaded.label}: all images are of one category, so the null comes from any "
                "other image of it."
            )
        journal = self.folder.lines(f"people of {loaded.label}")
        done = {record["image_id"]: PeopleScore(**record) for record in journal.records()}
        todo = [
            code
            for code, there in enumerate(known)
            if there and loaded.stimuli[code].image_id not in done
        ]
        self.progress.stage(f"People on {loaded.label}", len(todo))
        tasks = (self._people_task(loaded, others, draws, code) for code in todo)
        refused = []
        with journal.writing():
            scored = self.pool.map(score_people, tasks, self._worth(loaded, todo))
            for code, found in zip(todo, scored, strict=True):
                if isinstance(found, str):
                    refused.append(Failure(loaded.label, "", loaded.stimuli[code].image_id, found))
                else:
                    journal.append(asdict(found))
                    done[found.image_id] = found
                self.progress.advance()
        if refused:
            self.progress.notice(
                f"{loaded.label}: {len(refused)} images have no ceiling: {refused[0].reason}"
            )
            self.unread += refused
        order = [stimulus.image_id for stimulus in loaded.stimuli]
        return tuple(done[image_id] for image_id in order if image_id in done)

    def _people_task(
        self, loaded: LoadedSet, others: OtherFixations, draws: OtherImages, code: int
    ) -> PeopleTask:
        stimulus = loaded.stimuli[code]
        people = stimulus.people()
        n = 0 if people is None else len(people.names)
        rng = generator(self.config.seed, stimulus.key, "null participants")
        null = [
            (loaded.stimuli[other], int(rng.integers(n)))
            for other in draws.draw(code, self.config.null_iterations)
        ]
        return PeopleTask(
            stimulus, others.around(stimulus), null, self.config.metrics, self.config.postprocess
        )

    def _model(
        self, loaded: LoadedSet, built: BuiltModel, others: OtherFixations
    ) -> list[ImageScore]:
        """Every image's scores of one model, by `image_id`."""
        journal = self.folder.lines(f"{loaded.label}__{built.label}")
        predictor = self.predictor(built, loaded.label)
        done = dict(filter(None, map(self._scored, journal.records())))
        for stimulus in loaded.stimuli:
            if stimulus.image_id in done and not predictor.keeps(stimulus):
                del done[stimulus.image_id]  # the report shows predictions too
        todo = [stimulus for stimulus in loaded.stimuli if stimulus.image_id not in done]
        self.progress.stage(f"{built.label} on {loaded.label}", len(todo))
        pending: list[Predicted] = []
        unfinished: set[str] = set()

        def tasks() -> Iterator[ModelTask]:
            for predicted in predictor.predict(todo):
                if predicted.reason:
                    self._fail(loaded.label, built.label, predicted)
                    self.progress.advance()
                    continue
                if not self._draw(loaded.label, built, predicted):
                    unfinished.add(predicted.stimulus.image_id)
                pending.append(predicted)
                yield self._task(built, predicted, others)

        worth = self._worth(loaded, range(len(todo)))
        with journal.writing():
            for at, found in enumerate(self.pool.map(score_model, tasks(), worth)):
                if isinstance(found, str):
                    failed = Predicted(pending[at].stimulus, (), found)
                    self._fail(loaded.label, built.label, failed)
                else:
                    scored = replace(found, details=pending[at].details)
                    if found.image_id not in unfinished:
                        drawn = self._pictures(loaded.label, built.label, found.image_id)
                        journal.append(
                            asdict(scored) | {_PICTURES: describe_files(self.heatmaps, drawn)}
                        )
                    done[found.image_id] = scored
                pending[at] = Predicted(pending[at].stimulus, ())  # its maps are done with
                self.progress.advance()
        return [done[stimulus.image_id] for stimulus in loaded.stimuli if stimulus.image_id in done]

    def _dive(
        self, loaded: LoadedSet, built: BuiltModel, found: ModelResult, others: OtherFixations
    ) -> list[DiveRow]:
        """A model's worst images again, with its other settings."""
        settings = self.config.deep_dive
        if not settings.n_images or settings.metric not in self.config.metrics:
            return []
        worst = worst_first(found.images, settings.metric)[: settings.n_images]
        stimuli = {stimulus.image_id: stimulus for stimulus in loaded.stimuli}
        chosen = [stimuli[row.image_id] for row in worst]
        predictor = self.predictor(built, loaded.label)
        if type(built.model).predict_variants is SaliencyModel.predict_variants:
            return []
        self.progress.stage(f"{built.label} on {loaded.label}, worst images", len(chosen))
        rows: list[DiveRow] = []
        for stimulus in chosen:
            try:
                rows += deep_dive(found, settings.metric, [stimulus], others, predictor)
            except ClickmapError:
                raise
            except Exception as error:  # such as too little memory for the finest level
                reason = f"no deep dive: {type(error).__name__}: {' '.join(str(error).split())}"
                self._fail(loaded.label, built.label, Predicted(stimulus, (), reason[:300]))
            self.progress.advance()
        built.model.release()
        return rows

    def _task(self, built: BuiltModel, predicted: Predicted, others: OtherFixations) -> ModelTask:
        return ModelTask(
            predicted.stimulus,
            others.around(predicted.stimulus),
            predicted.maps,
            built.model.output,
            isinstance(built.model, SubjectModel),
            self.config.metrics,
            self.config.ceiling,
        )

    def _worth(self, loaded: LoadedSet, todo: Sequence[int]) -> bool:
        """Whether so many images are worth starting worker processes."""
        if not todo:
            return False
        height, width = loaded.stimuli[0].size
        people = loaded.stimuli[0].people() if self.config.ceiling else None
        work = len(todo) * height * width * (1 if people is None else len(people.names))
        return work >= _WORTH_WORKERS

    def _draw(self, label: str, built: BuiltModel, predicted: Predicted) -> bool:
        """Pictures of a prediction, where they are asked for; whether all of them are drawn."""
        settings = self.config.heatmaps_png
        if not settings.enabled:
            return True
        image = None
        if settings.overlay:
            try:
                image = predicted.stimulus.image()
            except DataError as error:
                self.progress.notice(f"{error} Its picture shows the heat alone.")
                self.unread.append(Failure(label, "", predicted.stimulus.image_id, str(error)))
        heat = shown_map(predicted.maps, built.model.output)
        plain, over = self._places(label, built.label, predicted.stimulus.image_id)
        self.figures.heatmap(Heatmap(heat, image, settings, plain, None if image is None else over))
        return image is not None or not settings.overlay

    def _places(self, label: str, model: str, image_id: str) -> tuple[Path, Path]:
        """Where the pictures of a prediction go: the heat alone, and over its image."""
        folder = self.heatmaps / label / model
        return folder / f"{image_id}.png", folder / f"{image_id}_overlay.png"

    def _drawn(self, found: ModelResult) -> list[Path]:
        """The pictures of a model's images inside the folder, also those of a run that was killed.

        An image's are drawn before its scores are recorded.
        """
        if not self.config.heatmaps_png.enabled or not self.heatmaps.is_relative_to(
            self.folder.path
        ):
            return []
        return [
            path
            for row in found.images
            for path in self._pictures(found.dataset, found.model, row.image_id)
        ]

    def _pictures(self, label: str, model: str, image_id: str) -> list[Path]:
        """The pictures of a prediction that are there."""
        if not self.config.heatmaps_png.enabled:
            return []
        return [path for path in self._places(label, model, image_id) if path.is_file()]

    def _scored(self, record: dict[str, Any]) -> tuple[str, ImageScore] | None:
        """An image of the journal with its scores; None where its pictures are damaged since."""
        if damaged_outputs(self.heatmaps, record.pop(_PICTURES, {})):
            return None
        return record["image_id"], ImageScore(**record)

    def _note_problems(self, loaded: LoadedSet) -> None:
        self.failures += [
            Failure(loaded.label, "", problem.image_id, problem.reason)
            for problem in loaded.problems
        ]

    def _fail(self, label: str, model: str, predicted: Predicted) -> None:
        self.failures.append(Failure(label, model, predicted.stimulus.image_id, predicted.reason))

    def _say_what_is_missing(self, loaded: LoadedSet, results: Sequence[ModelResult]) -> None:
        """Metrics that the data set cannot give, said once."""
        none = [
            row.metric
            for row in (results[0].summary if results and results[0].images else ())
            if not row.n_images
        ]
        if none:
            self.progress.notice(
                f"{loaded.label}: no image has what {', '.join(none)} "
                f"{'needs' if len(none) == 1 else 'need'}; left empty."
            )
