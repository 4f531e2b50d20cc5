"""Benchmark saliency models against people: predict, score, normalise by the ceiling, compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.config.benchmark import BenchmarkConfig, model_specs
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.metrics.map_scores import need_solver
from clickmap_cli.models.building import (
    BuiltModel,
    build_model,
    download_note,
    model_settings,
    require_devices,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.parallel import open_pool
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.runtime.registry import load_plugin
from clickmap_cli.services.benchmark.coverage import require_maps
from clickmap_cli.services.benchmark.data import (
    LoadedSet,
    changed_input,
    check_set,
    load_sets,
    require_unchanged,
)
from clickmap_cli.services.benchmark.job import Job
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.benchmark.result import BenchmarkResult, Failure, LeftOut
from clickmap_cli.services.benchmark.scoring import REPORT, predict_all, score_all, write_all
from clickmap_cli.services.benchmark.study import DIVES
from clickmap_cli.services.benchmark.tables import RANDOM_DRAWS, SUMMARY, as_summary
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest

_OWN = (
    "ALL_SUMMARY.csv", "comparisons.csv", "deciles.csv", "extremes.csv", "deep_dive.csv",
    "failures.csv", REPORT, SUMMARY, "heatmaps", DIVES,
)  # fmt: skip


@dataclass(frozen=True)
class BenchmarkRun:
    """The outcome of a run of `benchmark`.

    Attributes:
        folder: the output folder.
        summary: the content of `summary.json`.
        n_failures: images that were left out of some model.
        seconds: how long the run took.
        written: False for a dry run, which writes nothing.
    """

    folder: Path
    summary: Mapping[str, Any]
    n_failures: int
    seconds: float
    written: bool = True


def run(
    config: BenchmarkConfig,
    progress: Progress,
    figures: BenchmarkFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> BenchmarkRun:
    """Score every model on every data set.

    Args:
        config: the checked configuration.
        progress: receives progress and notices.
        figures: functions that draw pictures and the report.
        when: what to do with existing outputs.
        dry_run: read the data sets and build the models; predict and write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs; a name is unknown.
        DataError: a data set or a model's weights are missing or cannot be used.
        RunError: another run has locked the folder, or it cannot be written; the cluster is gone.
    """
    started = Stopwatch()
    needed = not dry_run and not config.predict_only
    with open_pool(config.backend, config.n_jobs, config.scheduler, progress, needed) as pool:
        if "EMD" in config.metrics:
            need_solver()
        for path in config.plugins:
            load_plugin(Path(path))
        folder = RunFolder(Path(config.output_dir), "benchmark", _OWN)
        if not dry_run and not config.predict_only:
            when = folder.require_startable(when)
        models = [
            build_model(spec.label, spec.name, spec.settings, config.device, download=not dry_run)
            for spec in model_specs(config)
        ]
        require_devices(models)
        for text in dict.fromkeys(text for built in models for text in built.model.notices):
            progress.notice(text)
        sets = _load_sets_with_maps(config, models, progress)
        if dry_run:
            return _dry_run(config, models, sets, progress, started)
        for built in models:
            for loaded in sets:
                built.model.see(loaded.stimuli)
        job = Job(config, folder, progress, figures, pool)
        if config.predict_only:
            # existing results in the folder are not touched
            with folder.held():
                done = predict_all(job, models, sets)
            failures = job.left_out.failures
            summary = {"predicted": done, "failures": [asdict(row) for row in failures]}
            return BenchmarkRun(folder.path, summary, len(failures), started.seconds)
        keys = _keys(config, models, sets)
        identity = _identity(config, sets, keys)
        lacking = [problem.reason for loaded in sets for problem in loaded.problems]
        with folder.held():
            if folder.reuse_or_begin(identity, when, lacking) is not None:
                progress.notice(
                    already_done(folder.path),
                    keep=False,
                )
                stored = json.loads((folder.path / SUMMARY).read_text(encoding="utf-8"))
                return BenchmarkRun(folder.path, stored, len(stored["failures"]), started.seconds)
            result = score_all(job, models, sets)
            outputs = write_all(job, models, sets, result)
            _require_unchanged(config, models, sets, keys, job.left_out)
            counts = _counts(config, models, sets, result)
            inputs = _inputs(models, sets)
            folder.finish(
                _manifest(config, identity, inputs, outputs, counts, started, progress.kept)
            )
        return BenchmarkRun(folder.path, as_summary(result), len(result.failures), started.seconds)


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


def _load_sets_with_maps(
    config: BenchmarkConfig, models: Sequence[BuiltModel], progress: Progress
) -> list[LoadedSet]:
    """Read every data set, and check for its images' maps if models read maps from files.

    Raises:
        ConfigError: a data set or a setting is unknown.
        DataError: a data set cannot be read, or too many images or maps of models are missing.
    """
    sets = load_sets(config, progress)
    _require_images(models, sets, config.max_lost, progress)
    for text in require_maps(models, sets, config.postprocess, config.max_lost):
        progress.notice(text)
    return sets


def _counts(
    config: BenchmarkConfig,
    models: Sequence[BuiltModel],
    sets: Sequence[LoadedSet],
    result: BenchmarkResult,
) -> dict[str, Any]:
    """Return the counts for the manifest: images, models, failures, placements and draws."""
    return {
        "datasets": {loaded.label: len(loaded.stimuli) for loaded in sets},
        "models": [built.label for built in models],
        "failures": len(result.failures),
        "placement": {
            loaded.label: {
                found.model: found.placements
                for found in result.models
                if found.dataset == loaded.label
            }
            for loaded in sets
        },
        "null_iterations": config.null_iterations,
        **RANDOM_DRAWS,
    }


def _dry_run(
    config: BenchmarkConfig,
    models: Sequence[BuiltModel],
    sets: Sequence[LoadedSet],
    progress: Progress,
    started: Stopwatch,
) -> BenchmarkRun:
    """Say which weights a run would download, and return the images it could not use."""
    for built in models:
        note = download_note(f"model {built.label}", built.settings)
        if note is not None:
            progress.notice(note)
    rows = [asdict(row) for row in _foreseen(config, models, sets)]
    folder = Path(config.output_dir)
    return BenchmarkRun(folder, {"failures": rows}, len(rows), started.seconds, written=False)


def _foreseen(
    config: BenchmarkConfig, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]
) -> Iterator[Failure]:
    """Yield images that a run could not use: the set's problems, and those a model cannot read."""
    for loaded in sets:
        for problem in loaded.problems:
            yield Failure(loaded.label, "", problem.image_id, problem.reason)
        faulty = [stimulus for stimulus in loaded.stimuli if stimulus.image_id in loaded.unreadable]
        for stimulus in faulty:
            fault = loaded.unreadable[stimulus.image_id]
            if fault.truth and not config.predict_only:
                yield Failure(loaded.label, "", stimulus.image_id, fault.truth)
                continue
            for built in models:
                built.model.see(loaded.stimuli)
                try:
                    built.key(stimulus, config.postprocess)
                except DataError as error:
                    yield Failure(loaded.label, built.label, stimulus.image_id, str(error))


def _inputs(models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> dict[str, dict[str, str]]:
    """Return the hashes of data sets and models that the scores depend on, for the manifest."""
    return {
        **{f"data set {loaded.label}": {"sha256": loaded.digest} for loaded in sets},
        **{f"model {built.label}": {"sha256": built.identity} for built in models},
    }


def _manifest(
    config: BenchmarkConfig,
    identity: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    counts: Mapping[str, Any],
    started: Stopwatch,
    notices: Sequence[str],
) -> Manifest:
    return Manifest.made(
        command="benchmark", config=as_dict(config), config_hash=identity, inputs=inputs,
        outputs=outputs, counts=counts,
        started=started,
        seed=config.seed, notices=notices,
    )  # fmt: skip


def check(config: BenchmarkConfig) -> list[str]:
    """Check that everything a config names exists and takes its settings; read no data.

    Returns:
        Notices about the data sets.

    Raises:
        ConfigError: a data set, a model or a setting is unknown.
        DataError: a plugin's file or a list of image ids is missing.
    """
    for path in config.plugins:
        load_plugin(Path(path))
    notices = [text for spec in config.datasets for text in check_set(spec)]
    for spec in model_specs(config):
        model_settings(spec.label, spec.name, spec.settings, config.device)
    return notices


Keys = Mapping[tuple[str, str, str], str]
"""(data set, model, image id) -> the cache key, a hash of the prediction's inputs."""


def _keys(config: BenchmarkConfig, models: Sequence[BuiltModel], sets: Sequence[LoadedSet]) -> Keys:
    return {
        (loaded.label, built.label, stimulus.image_id): _key(built, stimulus, config)
        for loaded in sets
        for built in models
        for stimulus in loaded.stimuli
    }


def _identity(config: BenchmarkConfig, sets: Sequence[LoadedSet], keys: Keys) -> str:
    """Return a hash of everything the results depend on."""
    words = [word for loaded in sets for word in (loaded.label, loaded.digest)]
    made_from = hashlib.sha256(json.dumps(list(keys.items())).encode()).hexdigest()
    return numbers_hash(config, ["scores", "output"], *words, made_from)


def _require_unchanged(
    config: BenchmarkConfig,
    models: Sequence[BuiltModel],
    sets: Sequence[LoadedSet],
    keys: Keys,
    left_out: LeftOut,
) -> None:
    """Raise unless the images left out are unchanged since the run began.

    See `require_unchanged`; for each model, this also compares the keys of its predictions.
    """
    require_unchanged(sets, [*left_out.failures, *left_out.unread])
    by_label = {built.label: built for built in models}
    stimuli = {(loaded.label, s.image_id): s for loaded in sets for s in loaded.stimuli}
    for row in left_out.failures:
        if row.model:
            now = _key(by_label[row.model], stimuli[row.dataset, row.image_id], config)
            if now != keys[row.dataset, row.model, row.image_id]:
                raise changed_input(row)


def _key(built: BuiltModel, stimulus: Stimulus, config: BenchmarkConfig) -> str:
    try:
        return built.key(stimulus, config.postprocess)
    except DataError as error:
        return str(error)  # raised again when the image is predicted
