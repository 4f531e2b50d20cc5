"""Benchmark saliency models against people: predict, score, normalise by the ceiling, compare."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.clickmaps.geometry import AS_IT_IS
from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.config.benchmark import BenchmarkConfig, model_specs
from clickmap_cli.config.loading import numbers_hash
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.metrics.map_scores import require_solver
from clickmap_cli.models.building import BuiltModel, build_models
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.parallel import LocalPool, Pool, open_pool
from clickmap_cli.runtime.progress import Checks, Progress, Stopwatch
from clickmap_cli.scoring.coverage import require_maps
from clickmap_cli.scoring.data import (
    LoadedSet,
    changed_input,
    check_names,
    load_sets,
    require_unchanged,
)
from clickmap_cli.scoring.predictions import Predictor, oddity_notices
from clickmap_cli.scoring.results import (
    BenchmarkResult,
    DiveRow,
    Failure,
    ModelResult,
    PeopleScore,
)
from clickmap_cli.scoring.scorer import Scorer
from clickmap_cli.scoring.summaries import (
    RANDOM_DRAWS,
    compare_models,
    decile_rows,
    extreme_rows,
    summarise,
)
from clickmap_cli.scoring.tables import SUMMARY, load_result, write_tables
from clickmap_cli.services.benchmark.dives import DIVES, dive_rows
from clickmap_cli.services.benchmark.emd_cost import announce_emd
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures, HeatmapFiles, KeptPictures
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest
from clickmap_cli.storage.prediction_cache import PredictionCache

REPORT = "report.html"
Keys = Mapping[tuple[str, str, str], str]
"""(data set, model, image id) -> the cache key, a hash of the prediction's inputs."""


def run(
    config: BenchmarkConfig,
    progress: Progress,
    figures: BenchmarkFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[BenchmarkResult]:
    """Score every model on every data set.

    Args:
        config: the checked configuration; with `predict_only`, predictions are cached, nothing is
            scored, and existing results in the folder are not touched.
        progress: receives progress and notices.
        figures: functions that draw pictures and the report.
        when: what to do with existing outputs.
        dry_run: read the data sets and build the models; predict and write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs; a name is unknown.
        DataError: a data set or a model's weights are missing or cannot be used.
        RunError: another run has locked the folder, or it cannot be written; the cluster is gone.
    """
    job = BenchmarkJob(config, figures)
    if config.predict_only and not dry_run:
        return _predict_only(job, progress)
    return run_job(job, when, dry_run=dry_run, progress=progress)


@dataclass(frozen=True)
class _Inputs:
    """Models and data sets, and the cache key of every prediction (empty in a dry run)."""

    models: Sequence[BuiltModel]
    sets: Sequence[LoadedSet]
    keys: Keys


class BenchmarkJob(Job[_Inputs, BenchmarkResult]):
    """The benchmark of a configuration; only `work` calls `figures`."""

    command = "benchmark"
    owns = (
        "ALL_SUMMARY.csv", "comparisons.csv", "deciles.csv", "extremes.csv", "deep_dive.csv",
        "failures.csv", REPORT, SUMMARY, "heatmaps", DIVES,
    )  # fmt: skip

    def __init__(self, config: BenchmarkConfig, figures: BenchmarkFigures) -> None:
        self.config: BenchmarkConfig = config
        self.folder = Path(config.output_dir)
        self.figures = figures
        self.pool: Pool = LocalPool()

    @contextmanager
    def resources(self, progress: Progress, *, dry_run: bool) -> Iterator[None]:
        """Keep the workers that score images."""
        config = self.config
        connect = not dry_run and not config.predict_only
        with open_pool(config.backend, config.n_jobs, config.scheduler, progress, connect) as pool:
            self.pool = pool
            yield

    def check(self, progress: Progress) -> list[str]:
        """Check plugins, and the names and settings of data sets and models."""
        return check_names(self.config, model_specs(self.config), progress)

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Build the models and read the data sets; a dry run downloads no weights."""
        config, checks = self.config, Checks(progress)
        self.check(progress)
        with checks.part():
            if "EMD" in config.metrics:
                require_solver()
        models = build_models(model_specs(config), config.device, progress, dry_run=dry_run)
        sets = load_sets(
            config.datasets,
            progress,
            max_lost=config.max_lost,
            limit=config.limit_images,
            needs_truth=not config.predict_only,
        )
        with checks.part():
            _require_images(models, sets, config.max_lost, progress)
        require_maps(models, sets, config.postprocess, config.max_lost, progress)
        if dry_run:
            return _Inputs(models, sets, {})
        for built in models:
            for loaded in sets:
                built.model.see(loaded.stimuli)
        keys = {
            (loaded.label, built.label, stimulus.image_id): self._key(built, stimulus)
            for loaded in sets
            for built in models
            for stimulus in loaded.stimuli
        }
        return _Inputs(models, sets, keys)

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the scores depend on."""
        words = [word for loaded in inputs.sets for word in (loaded.label, loaded.digest)]
        words.append(hashlib.sha256(json.dumps(list(inputs.keys.items())).encode()).hexdigest())
        hashes = {f"data set {loaded.label}": {"sha256": loaded.digest} for loaded in inputs.sets}
        hashes |= {f"model {built.label}": {"sha256": built.identity} for built in inputs.models}
        missing = [problem.reason for loaded in inputs.sets for problem in loaded.problems]
        return Identity(numbers_hash(self.config, ["scores", "output"], *words), hashes, missing)

    def preview(self, inputs: _Inputs) -> BenchmarkResult:
        """Return the images that a run could not use."""
        return BenchmarkResult(
            self.config.experiment, self.folder, tuple(self.config.metrics),
            failures=tuple(self._foreseen(inputs)),
        )  # fmt: skip

    def stored(self, inputs: _Inputs, manifest: Manifest) -> BenchmarkResult:
        """Load the results of a finished run."""
        return load_result(self.folder)

    def failures(self, summary: BenchmarkResult) -> Sequence[str]:
        """Return the images that were left out."""
        return [str(row) for row in summary.failures]

    def work(self, inputs: _Inputs, run: Run) -> BenchmarkResult:
        """Score people and models, compare the models, and write tables and report."""
        scorer = self.scorer(run.progress, run.folder)
        heatmaps = self.heatmaps(scorer)
        result = self._score(inputs, scorer, heatmaps)
        run.progress.stage("Writing tables and report")
        run.add(write_tables(run.path, result))
        run.add([self._write_report(inputs, scorer, result)])
        run.add(run.path / row.picture for row in result.dives if row.picture)
        if heatmaps.folder.is_relative_to(run.path):
            for found in result.models:
                for row in found.images:
                    run.add(heatmaps.of(found.dataset, found.model, row.image_id))
        self._require_unchanged(inputs, scorer)
        run.counts = {
            "datasets": {loaded.label: len(loaded.stimuli) for loaded in inputs.sets},
            "models": [built.label for built in inputs.models],
            "failures": len(result.failures),
            "placement": {
                loaded.label: {
                    found.model: found.placements
                    for found in result.models
                    if found.dataset == loaded.label
                }
                for loaded in inputs.sets
            },
            "null_iterations": self.config.null_iterations,
            **RANDOM_DRAWS,
        }
        return result

    def scorer(self, progress: Progress, folder: RunFolder) -> Scorer:
        """Return what scores images with this run's settings and workers."""
        config = self.config
        return Scorer(
            config.metrics, self.pool, progress, seed=config.seed, ceiling=config.ceiling,
            null_iterations=config.null_iterations, postprocess=config.postprocess,
            journal=folder.lines,
        )  # fmt: skip

    def heatmaps(self, scorer: Scorer) -> HeatmapFiles:
        """Return what draws predictions while they are scored."""
        return HeatmapFiles(
            self.config.heatmaps_png, self.folder, self.figures.heatmap, scorer.progress,
            scorer.unread,
        )  # fmt: skip

    def predictor(self, built: BuiltModel, dataset: str) -> Predictor:
        """Return the predictor of a model for one data set, with its cache."""
        config = self.config
        where = config.prediction_cache_dir
        root = Path(where) if where else self.folder / "predictions"
        keep = config.cache_predictions and built.cached
        cache = PredictionCache(root / dataset / built.label) if keep else None
        return Predictor(built, cache, config.postprocess)

    def _score(self, inputs: _Inputs, scorer: Scorer, heatmaps: HeatmapFiles) -> BenchmarkResult:
        config, progress = self.config, scorer.progress
        announce_emd(scorer, inputs.models, inputs.sets)
        results: list[ModelResult] = []
        people: dict[str, tuple[PeopleScore, ...]] = {}
        dives: list[DiveRow] = []
        for loaded in inputs.sets:
            label, stimuli = loaded.label, loaded.stimuli
            _record_problems(scorer, loaded)
            others = OtherFixations(stimuli, config.centerbias_bandwidth)
            people[label] = scorer.score_people(label, stimuli, others) if config.ceiling else ()
            ours = []
            for built in inputs.models:
                predictor = self.predictor(built, label)
                images = scorer.score_model(label, stimuli, predictor, others, heatmaps)
                summary = summarise(label, config.metrics, images, people[label], config.seed)
                failed = len(stimuli) + len(loaded.problems) - len(images)
                found = ModelResult(
                    label, built.label, tuple(images), summary, failed, built.model.is_people
                )
                ours.append(found)
                _notify_infinite(found, config.metrics, progress)
                placements = {row.image_id: row.placement for row in found.images}
                _notify_cropped(progress, loaded, built, placements)
                dives += dive_rows(
                    config, scorer, self.figures.dive, loaded, predictor, found, others, self.folder
                )
            _notify_missing(progress, label, ours)
            results += ours
        return BenchmarkResult(
            config.experiment, self.folder, tuple(config.metrics), tuple(results), people,
            compare_models(results, config.metrics, config.seed), tuple(scorer.failures),
            decile_rows(results, config.metrics),
            extreme_rows(results, config.metrics, config.report_images), tuple(dives),
            tuple(progress.kept),
        )  # fmt: skip

    def _write_report(self, inputs: _Inputs, scorer: Scorer, result: BenchmarkResult) -> Path:
        pictures = KeptPictures(
            {loaded.label: loaded.stimuli for loaded in inputs.sets},
            {
                (loaded.label, built.label): self.predictor(built, loaded.label)
                for loaded in inputs.sets
                for built in inputs.models
            },
            scorer.unread,
        )
        report = self.folder / REPORT
        with replacing(report) as partial:
            self.figures.report(result, pictures, partial, self.config.report_images)
        return report

    def _foreseen(self, inputs: _Inputs) -> Iterator[Failure]:
        """Yield images that a run could not use: problems of sets, and what models cannot read."""
        for loaded in inputs.sets:
            for problem in loaded.problems:
                yield Failure(loaded.label, "", problem.image_id, problem.reason)
            for stimulus in loaded.stimuli:
                fault = loaded.unreadable.get(stimulus.image_id)
                if fault is None:
                    continue
                if fault.truth and not self.config.predict_only:
                    yield Failure(loaded.label, "", stimulus.image_id, fault.truth)
                    continue
                for built in inputs.models:
                    built.model.see(loaded.stimuli)
                    try:
                        built.key(stimulus, self.config.postprocess)
                    except DataError as error:
                        yield Failure(loaded.label, built.label, stimulus.image_id, str(error))

    def _require_unchanged(self, inputs: _Inputs, scorer: Scorer) -> None:
        """Raise unless the images left out are unchanged since the run began.

        See `require_unchanged`; for each model, this also compares the keys of its predictions.
        """
        require_unchanged(inputs.sets, [*scorer.failures, *scorer.unread])
        by_label = {built.label: built for built in inputs.models}
        stimuli = {(loaded.label, s.image_id): s for loaded in inputs.sets for s in loaded.stimuli}
        for row in scorer.failures:
            if row.model:
                now = self._key(by_label[row.model], stimuli[row.dataset, row.image_id])
                if now != inputs.keys[row.dataset, row.model, row.image_id]:
                    raise changed_input(row)

    def _key(self, built: BuiltModel, stimulus: Stimulus) -> str:
        try:
            return built.key(stimulus, self.config.postprocess)
        except DataError as error:
            return str(error)  # raised again when the image is predicted


def _predict_only(job: BenchmarkJob, progress: Progress) -> Outcome[BenchmarkResult]:
    """Predict every image into the cache without scoring."""
    started = Stopwatch()
    folder = RunFolder(job.folder, job.command, job.owns)
    with job.resources(progress, dry_run=False):
        inputs = job.load(progress, dry_run=False)
        with folder.held():
            scorer = job.scorer(progress, folder)
            heatmaps = job.heatmaps(scorer)
            done = 0
            for loaded in inputs.sets:
                _record_problems(scorer, loaded)
                for built in inputs.models:
                    done += _predict(job, scorer, heatmaps, loaded, built)
    result = BenchmarkResult(
        job.config.experiment, job.folder, tuple(job.config.metrics),
        failures=tuple(scorer.failures), predicted=done,
    )  # fmt: skip
    return Outcome(job.folder, result, tuple(job.failures(result)), started.seconds)


def _predict(
    job: BenchmarkJob,
    scorer: Scorer,
    heatmaps: HeatmapFiles,
    loaded: LoadedSet,
    built: BuiltModel,
) -> int:
    """Predict a data set with one model; return the number of predictions."""
    progress = scorer.progress
    progress.stage(f"{built.label} on {loaded.label}", len(loaded.stimuli))
    odd, placements = {}, {}
    for predicted in job.predictor(built, loaded.label).predict(loaded.stimuli):
        image_id = predicted.stimulus.image_id
        if predicted.reason:
            scorer.fail(loaded.label, built.label, image_id, predicted.reason)
        else:
            heatmaps.draw(loaded.label, built, predicted)
            odd[image_id] = predicted.oddities
            placements[image_id] = predicted.placement
        progress.advance()
    for text in oddity_notices(odd):
        progress.notice(f"{loaded.label}, {built.label}: {text}")
    _notify_cropped(progress, loaded, built, placements)
    return len(odd)


def _record_problems(scorer: Scorer, loaded: LoadedSet) -> None:
    for problem in loaded.problems:
        scorer.fail(loaded.label, "", problem.image_id, problem.reason)


def _require_images(
    models: Sequence[BuiltModel], sets: Sequence[LoadedSet], max_lost: float, progress: Progress
) -> None:
    """Raise if too many images are missing that a model must look at.

    Raises:
        DataError: more than `max_lost` of a data set's images are missing.
    """
    looking = [built.label for built in models if built.model.needs_image]
    for loaded in sets if looking else ():
        lost = [stimulus.image_id for stimulus in loaded.stimuli if not stimulus.has_image]
        what = f"images that {looking[0]} must look at are missing"
        cause = f"'{lost[0]}' is one of them; is it the right folder?" if lost else ""
        loss = Loss(len(lost), len(loaded.stimuli), what, cause)
        check_losses([loss], max_lost, progress, f"data set {loaded.label}")


def _notify_cropped(
    progress: Progress, loaded: LoadedSet, built: BuiltModel, placements: Mapping[str, str]
) -> None:
    """Give notices of how many predictions were cropped like the clickmaps, and how many not.

    Args:
        progress: receives the notices.
        loaded: the data set.
        built: the model.
        placements: image id -> what was done to its prediction.
    """
    if not built.model.of_file:
        return
    cropped = {stimulus.image_id for stimulus in loaded.stimuli if stimulus.cropped}
    rows = [done for image_id, done in placements.items() if image_id in cropped]
    taken = rows.count(AS_IT_IS)
    who, n = f"{loaded.label}, {built.label}", len(placements)
    if taken:
        progress.notice(
            f"{who}: {taken} of {n} maps have the shape of the cropped clickmaps and are taken as "
            "maps of the cropped image."
        )
    if len(rows) > taken:
        progress.notice(
            f"{who}: {len(rows) - taken} of {n} maps are of whole images and were cropped like the "
            "clicks."
        )


def _notify_infinite(found: ModelResult, metrics: Sequence[str], progress: Progress) -> None:
    """Give a notice of metrics with infinite scores, because their mean is then infinite too."""
    for metric in metrics:
        n = sum(math.isinf(row.scores[metric]) for row in found.images)
        if n:
            progress.notice(
                f"{found.dataset}, {found.model}: {metric} is infinite in {n} images (a density of "
                "0 at a fixation), and so is its mean."
            )


def _notify_missing(progress: Progress, label: str, results: Sequence[ModelResult]) -> None:
    """Give one notice of the metrics for which no image of the data set has the inputs."""
    none = [
        row.metric
        for row in (results[0].summary if results and results[0].images else ())
        if not row.n_images
    ]
    if none:
        progress.notice(
            f"{label}: no image has what {', '.join(none)} "
            f"{'needs' if len(none) == 1 else 'need'}; left empty."
        )
