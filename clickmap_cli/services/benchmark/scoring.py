"""The steps of a benchmark: people, then every model, then tables, pictures and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.geometry import AS_IT_IS
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.services.benchmark.data import LoadedSet
from clickmap_cli.services.benchmark.emd_cost import announce_emd
from clickmap_cli.services.benchmark.images import scores_of
from clickmap_cli.services.benchmark.job import Job
from clickmap_cli.services.benchmark.oddities import oddity_notices
from clickmap_cli.services.benchmark.people import people_of
from clickmap_cli.services.benchmark.pictures import KeptPictures
from clickmap_cli.services.benchmark.result import (
    BenchmarkResult,
    DiveRow,
    ModelResult,
    PeopleScore,
)
from clickmap_cli.services.benchmark.study import decile_rows, dive_rows, extreme_rows
from clickmap_cli.services.benchmark.summaries import compare_models, summarise
from clickmap_cli.services.benchmark.tables import write_tables
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.manifest import describe_files

REPORT = "report.html"


def predict_all(job: Job, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> int:
    """Predict every image into the cache without scoring; return the number of predictions."""
    done = 0
    for loaded in sets:
        _note_problems(job, loaded)
        for built in models:
            job.progress.stage(f"{built.label} on {loaded.label}", len(loaded.stimuli))
            odd = {}
            placements: dict[str, str] = {}
            for predicted in job.predictor(built, loaded.label).predict(loaded.stimuli):
                if predicted.reason:
                    image_id = predicted.stimulus.image_id
                    job.fail(loaded.label, built.label, image_id, predicted.reason)
                else:
                    job.heatmaps.draw(loaded.label, built, predicted)
                    odd[predicted.stimulus.image_id] = predicted.oddities
                    placements[predicted.stimulus.image_id] = predicted.placement
                    done += 1
                job.progress.advance()
            for text in oddity_notices(odd):
                job.progress.notice(f"{loaded.label}, {built.label}: {text}")
            _say_what_was_cropped(job, loaded, built, placements)
    return done


def score_all(job: Job, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> BenchmarkResult:
    """Score people and models on every data set, and compare the models."""
    config = job.config
    announce_emd(job, models, sets)
    results: list[ModelResult] = []
    people: dict[str, tuple[PeopleScore, ...]] = {}
    dives: list[DiveRow] = []
    for loaded in sets:
        _note_problems(job, loaded)
        others = OtherFixations(loaded.stimuli, config.centerbias_bandwidth)
        people[loaded.label] = people_of(job, loaded, others) if config.ceiling else ()
        for built in models:
            images = scores_of(job, loaded, built, others)
            summary = summarise(
                loaded.label, config.metrics, images, people[loaded.label], config.seed
            )
            failed = len(loaded.stimuli) + len(loaded.problems) - len(images)
            found = ModelResult(
                loaded.label, built.label, tuple(images), summary, failed, built.model.is_people
            )
            results.append(found)
            _say_what_is_infinite(job, found)
            placements = {row.image_id: row.placement for row in found.images}
            _say_what_was_cropped(job, loaded, built, placements)
            dives += dive_rows(job, loaded, built, found, others)
        _say_what_is_missing(job, loaded, results[-len(models) :])
    return BenchmarkResult(
        config.experiment, job.folder.path, tuple(config.metrics), tuple(results), people,
        compare_models(results, config.metrics, config.seed), tuple(job.left_out.failures),
        decile_rows(results, config.metrics),
        extreme_rows(results, config.metrics, config.report_images), tuple(dives),
        tuple(job.progress.kept),
    )  # fmt: skip


def write_all(
    job: Job, models: Sequence[BuiltModel], sets: Sequence[LoadedSet], result: BenchmarkResult
) -> dict[str, dict[str, Any]]:
    """Write tables and report; return every output, also heatmaps, with size and SHA-256."""
    job.progress.stage("Writing tables and report")
    paths = [*write_tables(job.folder.path, result), _write_report(job, models, sets, result)]
    paths += [job.folder.path / row.picture for row in result.dives if row.picture]
    if job.heatmaps.folder.is_relative_to(job.folder.path):
        paths += [
            path
            for found in result.models
            for row in found.images
            for path in job.heatmaps.of(found.dataset, found.model, row.image_id)
        ]
    return describe_files(job.folder.path, paths)


def _write_report(
    job: Job, models: Sequence[BuiltModel], sets: Sequence[LoadedSet], result: BenchmarkResult
) -> Path:
    pictures = KeptPictures(
        {loaded.label: loaded.stimuli for loaded in sets},
        {
            (loaded.label, built.label): job.predictor(built, loaded.label)
            for loaded in sets
            for built in models
        },
        {built.label: built.model.output for built in models},
        job.left_out,
    )
    report = job.folder.path / REPORT
    with replacing(report) as partial:
        job.figures.report(result, pictures, partial, job.config.report_images)
    return report


def _note_problems(job: Job, loaded: LoadedSet) -> None:
    for problem in loaded.problems:
        job.fail(loaded.label, "", problem.image_id, problem.reason)


def _say_what_was_cropped(
    job: Job, loaded: LoadedSet, built: BuiltModel, placements: Mapping[str, str]
) -> None:
    """Say how many predictions were cropped to match cropped clickmaps, and how many were not.

    Args:
        job: the run.
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
        job.progress.notice(
            f"{who}: {taken} of {n} maps have the shape of the cropped clickmaps and are taken as "
            "maps of the cropped image."
        )
    if len(rows) > taken:
        job.progress.notice(
            f"{who}: {len(rows) - taken} of {n} maps are of whole images and were cropped like the "
            "clicks."
        )


def _say_what_is_infinite(job: Job, found: ModelResult) -> None:
    """Say which metrics have infinite scores, because their mean is then infinite too."""
    for metric in job.config.metrics:
        n = sum(math.isinf(row.scores[metric]) for row in found.images)
        if n:
            job.progress.notice(
                f"{found.dataset}, {found.model}: {metric} is infinite in {n} images (a density of "
                "0 at a fixation), and so is its mean."
            )


def _say_what_is_missing(job: Job, loaded: LoadedSet, results: Sequence[ModelResult]) -> None:
    """Say once which metrics no image of the data set has the inputs for."""
    none = [
        row.metric
        for row in (results[0].summary if results and results[0].images else ())
        if not row.n_images
    ]
    if none:
        job.progress.notice(
            f"{loaded.label}: no image has what {', '.join(none)} "
            f"{'needs' if len(none) == 1 else 'need'}; left empty."
        )
