"""Compute human ceilings by split halves or held-out participants, with uncertainty."""

from __future__ import annotations

import collections
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.geometry import shown_size
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import (
    input_files,
    no_reject,
    require_images,
    surviving_trials,
)
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import METHODS, ExperimentConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.metrics.map_scores import MAP_SCORES, need_solver
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.parallel import Pool, open_pool
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.ceiling.outputs import SUMMARY, CeilingFigures, write_outputs
from clickmap_cli.services.ceiling.result import CeilingResult
from clickmap_cli.services.ceiling.rsa import rsa_ceiling
from clickmap_cli.services.ceiling.scores import Plan, curve_sizes, score_images
from clickmap_cli.services.ceiling.summaries import ceiling_result
from clickmap_cli.services.participant_quality.judge import quality_of
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files

_COUNTS = (
    "n_images", "n_maps", "n_participants", "left_out", "randomization_iters", "null_iterations",
    "resamples",
)  # fmt: skip
"""Keys of the summary that the manifest lists as counts."""


@dataclass(frozen=True)
class CeilingRun:
    """The outcome of a run of `ceiling`.

    Attributes:
        folder: the experiment's folder.
        results: one per metric, in the config's order.
        rejected: rows that could not be read.
        rows: rows in the file.
        seconds: how long the run took.
        written: False for a dry run, which writes nothing.
    """

    folder: Path
    results: tuple[CeilingResult, ...]
    rejected: int
    rows: int
    seconds: float
    written: bool = True


def run(
    config: ExperimentConfig,
    method: str,
    progress: Progress,
    figures: CeilingFigures,
    when: WhenPresent = WhenPresent.STOP,
    subject_curve: bool = False,
    dry_run: bool = False,
) -> CeilingRun:
    """Compute the human ceiling of an experiment.

    Args:
        config: the checked configuration; `metric` names one or several metrics.
        method: `split-half` or `hold-one-out`.
        progress: receives progress and notices.
        figures: functions that draw the figures into their paths.
        when: what to do with existing outputs.
        subject_curve: also compute reliability by number of participants (split halves).
        dry_run: read and filter only; write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs.
        DataError: the input cannot be used, or no image is left.
        RunError: another run has locked the folder, or it cannot be written; the cluster is gone.
    """
    started = Stopwatch()
    _check_call(config, method, subject_curve)
    with contextlib.ExitStack() as held:
        pool = held.enter_context(
            open_pool(config.backend, config.n_jobs, config.scheduler, progress, not dry_run)
        )
        described = describe_files(None, input_files(config))
        content = [str(subject_curve), *(str(entry["sha256"]) for entry in described.values())]
        folder = config.folder
        jobs = {name: _Job.of(config, method, name, content) for name in config.metric}
        if not dry_run:
            when = _refuse_if_there(list(jobs.values()), when)
        found = surviving_trials(config, no_reject, progress, quality_of(config, progress))
        require_images(found)
        settings = MapSettings.of(config)
        _say_shapes(found.trials, settings, progress)
        if dry_run:
            return CeilingRun(folder, (), found.rejected, found.rows, started.seconds, False)
        for job in jobs.values():
            held.enter_context(job.folder.held())
        for job in jobs.values():  # refuse before any folder is changed
            job.folder.refuse_if_other(job.identity, when)
        results = {
            name: CeilingResult(_stored_summary(job.folder.path), (), ())
            for name, job in jobs.items()
            if job.folder.finished(job.identity, when) is not None
        }
        todo = [name for name in jobs if name not in results]
        for name in results:
            progress.notice(already_done(jobs[name].folder.path), keep=False)
        plan = _plan(config, method, todo, found.trials if subject_curve else None)
        computed = _compute(found.trials, settings, plan, config, todo, pool, progress)
        of_all = tuple(progress.kept)
        for result in computed:
            name = str(result.summary["metric"])
            results[name] = result
            # a metric's folder must not depend on which other metrics are computed beside it
            of_metric = _notices_of(result)
            for text in of_metric:
                progress.notice(text)
            outputs = write_outputs(jobs[name].folder.path, result, figures)
            notices = (*of_all, *of_metric)
            jobs[name].folder.finish(
                _manifest(config, jobs[name], described, outputs, started, result, notices)
            )
        ordered = tuple(results[name] for name in config.metric)
        return CeilingRun(folder, ordered, found.rejected, found.rows, started.seconds)


def _refuse_if_there(jobs: Sequence[_Job], when: WhenPresent) -> WhenPresent:
    """Decide what to do with existing outputs; a plain call resumes a run that filled the disk.

    Raises:
        ConfigError: outputs exist and the call does not say what to do with them.
        RunError: another run has locked the folder.
    """
    if when is WhenPresent.STOP and any(job.folder.ran_out_of_room() for job in jobs):
        when = WhenPresent.RESUME  # also keeps the metrics that were done before
    for job in jobs:
        job.folder.refuse_if_there(when)
    return when


@dataclass(frozen=True)
class _Job:
    """One metric's folder, and a hash that identifies its results."""

    folder: RunFolder
    identity: str

    @classmethod
    def of(cls, config: ExperimentConfig, method: str, metric: str, content: list[str]) -> _Job:
        """Create the job of one metric; `content` holds everything else its numbers depend on."""
        folder = config.folder / "ceiling" / f"{method}-{metric}"
        alone = replace(config, metric=[metric])
        return cls(
            RunFolder(folder, f"ceiling {method} {metric}"),
            numbers_hash(alone, ["maps", "ceiling"], method, *content),
        )


def _plan(config: ExperimentConfig, method: str, todo: list[str], curve: Trials | None) -> Plan:
    """Return the plan of what to score; `curve` are the trials for a subject curve, or None."""
    return Plan(
        method=method,
        scores=[MAP_SCORES[name] for name in todo if name != "rsa"],
        splits=config.randomization_iters,
        null_draws=config.null_iterations,
        seed=config.seed,
        curve_sizes=() if curve is None else curve_sizes(curve.people_per_image()),
        keep=config.correlation_batch_size,
    )


def _stored_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a metric that an earlier run finished."""
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def _check_call(config: ExperimentConfig, method: str, subject_curve: bool) -> None:
    if method not in METHODS:
        raise ConfigError(f"--method is {method!r}; it must be {' or '.join(METHODS)}.")
    if subject_curve and method != "split-half":
        raise ConfigError("--subject-curve is about split halves; use it with split-half.")
    if config.bootstrap != "images" and method != "hold-one-out":
        raise ConfigError(
            f"bootstrap: {config.bootstrap} resamples scores of participants, which only "
            "hold-one-out has; use bootstrap: images with split-half."
        )
    if "emd" in config.metric:
        need_solver()


def _say_shapes(trials: Trials, settings: MapSettings, progress: Progress) -> None:
    """Say how maps of different shapes are compared, because a null pairs maps of two images."""
    finals = collections.Counter(
        settings.geometry((int(h), int(w))).final for h, w in trials.shape.tolist()
    )
    if len(finals) > 1:
        most = ", ".join(f"{shown_size(size)}: {n}" for size, n in finals.most_common(3))
        progress.notice(
            f"Maps have {len(finals)} shapes (height x width, images: {most}"
            f"{', ...' if len(finals) > 3 else ''}). For the null, the map of another image is "
            "resized to the shape of the image it is scored against; rsa resizes every map to "
            f"image_shape {shown_size(settings.image_shape)}."
        )


def _compute(
    trials: Trials,
    settings: MapSettings,
    plan: Plan,
    config: ExperimentConfig,
    todo: list[str],
    pool: Pool,
    progress: Progress,
) -> list[CeilingResult]:
    """Compute the metrics in `todo`, all from the same maps."""
    if not todo:
        return []
    scored, by_category = score_images(trials, settings, plan, pool, progress)
    usable = int(np.count_nonzero(trials.people_per_image() >= 2))
    if usable == 0:
        progress.notice("No image has two participants or more, so there is no ceiling.")
    elif usable == 1:
        progress.notice("Only one image has two participants or more, so there is no null.")
    elif not by_category:
        progress.notice(
            "All images are of one category, so the null comes from any other image of it."
        )
    results = {
        score.name: ceiling_result(
            trials, scored, score, plan, config.bootstrap, config.target_reliability
        )
        for score in plan.scores
    }
    if "rsa" in todo:
        results["rsa"] = rsa_ceiling(trials, settings, plan, config.n_jobs, progress)
    return list(results.values())


def _notices_of(result: CeilingResult) -> list[str]:
    """Return what a user should know about the ceiling of one metric."""
    summary = result.summary
    notices = [
        f"{summary['metric']}: {count} images left out, {reason}."
        for reason, count in summary["left_out"].items()
        if count
    ]
    if (summary["method"], summary["metric"]) == ("split-half", "spearman") and summary["n_images"]:
        notices.append(
            "Spearman-Brown of spearman is the field's convention; its theory is about pearson."
        )
    return notices


def _manifest(
    config: ExperimentConfig,
    job: _Job,
    inputs: dict[str, dict[str, Any]],
    outputs: dict[str, dict[str, Any]],
    started: Stopwatch,
    result: CeilingResult,
    notices: Sequence[str],
) -> Manifest:
    return Manifest.made(
        command=f"ceiling {result.summary['method']}",
        config=as_dict(config),
        config_hash=job.identity,
        inputs=inputs,
        outputs=outputs,
        counts={name: result.summary[name] for name in _COUNTS if name in result.summary},
        started=started,
        seed=config.seed,
        notices=notices,
    )
