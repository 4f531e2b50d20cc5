"""Compute human ceilings by split halves or held-out participants, with uncertainty."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.geometry import shown_size
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import (
    Survivors,
    input_files,
    read_survivors,
    require_images,
)
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import METHODS, ExperimentConfig
from clickmap_cli.config.loading import numbers_hash
from clickmap_cli.metrics.map_scores import MAP_SCORES, require_solver
from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.runtime.parallel import Pool, open_pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.ceiling.results import (
    SUMMARY,
    CeilingFigures,
    CeilingResult,
    CeilingSummary,
    write_outputs,
)
from clickmap_cli.services.ceiling.rsa import rsa_ceiling
from clickmap_cli.services.ceiling.scores import Plan, curve_sizes, score_images
from clickmap_cli.services.ceiling.summaries import ceiling_result, summarise
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_jobs
from clickmap_cli.services.participant_quality.judge import load_judge
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files

_COUNTS = (
    "n_images", "n_maps", "n_participants", "left_out", "randomization_iters", "null_iterations",
    "resamples",
)  # fmt: skip
"""Keys of the summary that the manifest lists as counts."""


def run(
    config: ExperimentConfig,
    method: str,
    progress: Progress,
    figures: CeilingFigures,
    when: WhenPresent = WhenPresent.STOP,
    subject_curve: bool = False,
    dry_run: bool = False,
) -> list[Outcome[CeilingResult]]:
    """Compute the human ceiling of an experiment.

    Args:
        config: the checked configuration; `metric` names one or several metrics.
        method: `split-half` or `hold-one-out`.
        progress: receives progress and notices.
        figures: functions that draw the figures into their paths.
        when: what to do with existing outputs.
        subject_curve: also compute reliability by number of participants (split halves).
        dry_run: read and filter only; write nothing.

    Returns:
        One outcome per metric, in the config's order; each metric has its own folder.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs.
        DataError: the input cannot be used, or no image is left.
        RunError: another run has locked the folder, or it cannot be written; the cluster is gone.
    """
    _check_call(config, method, subject_curve)
    study = CeilingStudy(config, method, subject_curve)
    jobs = [CeilingJob(study, metric, figures) for metric in config.metric]
    return run_jobs(jobs, when, dry_run=dry_run, progress=progress)


class CeilingStudy:
    """Inputs, workers and computed scores, which the ceilings of all metrics of a call share."""

    def __init__(self, config: ExperimentConfig, method: str, subject_curve: bool) -> None:
        self.config = config
        self.method = method
        self.subject_curve = subject_curve
        self.inputs: dict[str, dict[str, Any]] = {}  # the input files with size and hash
        self._results: dict[str, CeilingResult] | None = None
        self._pool: Pool | None = None

    @contextmanager
    def workers(self, progress: Progress, *, connect: bool) -> Iterator[None]:
        """Keep worker processes."""
        config = self.config
        with open_pool(config.backend, config.n_jobs, config.scheduler, progress, connect) as pool:
            self._pool = pool
            yield

    def results(self, found: Survivors, run: Run) -> dict[str, CeilingResult]:
        """Return the results of every metric that is left to do, computed from the same maps."""
        if self._results is None:
            assert self._pool is not None  # noqa: S101 - `workers` surrounds the run
            todo = [job.metric for job in run.todo]
            curve = found.trials if self.subject_curve else None
            plan = _plan(self.config, self.method, todo, curve)
            self._results = {
                result.summary.metric: result
                for result in _compute(found.trials, plan, self.config, todo, self._pool, run)
            }
            self.notices = tuple(run.progress.kept)
        return self._results


class CeilingJob(Job[Survivors, CeilingResult]):
    """The ceiling by one metric."""

    def __init__(self, study: CeilingStudy, metric: str, figures: CeilingFigures) -> None:
        self.study = study
        self.metric = metric
        self.figures = figures
        self.command = f"ceiling {study.method}"
        self.config = study.config
        self.folder = study.config.folder / "ceiling" / f"{study.method}-{metric}"

    def resources(self, progress: Progress, *, dry_run: bool) -> Any:
        """Return the workers that score images."""
        return self.study.workers(progress, connect=not dry_run)

    def load(self, progress: Progress, *, dry_run: bool) -> Survivors:
        """Hash the input files, then read and filter the trials."""
        self.study.inputs = describe_files(None, input_files(self.config, progress))
        quality = load_judge(self.config, progress)
        found = read_survivors(self.config, progress, quality=quality)
        require_images(found)
        _notify_shapes(found.trials, MapSettings.from_config(self.config), progress)
        return found

    def identity(self, inputs: Survivors) -> Identity:
        """Return what this metric's numbers depend on; the other metrics do not count."""
        files = self.study.inputs
        content = [str(self.study.subject_curve), *(str(file["sha256"]) for file in files.values())]
        alone = replace(self.config, metric=[self.metric])
        return Identity(
            numbers_hash(alone, ["maps", "ceiling"], self.study.method, *content), files
        )

    def work(self, inputs: Survivors, run: Run) -> CeilingResult:
        """Compute the ceiling and write its folder."""
        result = self.study.results(inputs, run)[self.metric]
        # a metric's folder must not depend on which other metrics are computed beside it
        own = _notices_of(result)
        for text in own:
            run.progress.notice(text)
        run.notices = (*self.study.notices, *own)
        run.outputs |= write_outputs(run.path, result, self.figures)
        stored = result.summary.as_json()
        run.counts = {name: stored[name] for name in _COUNTS if name in stored}
        return replace(result, rows=inputs.rows, rejected=inputs.rejected)

    def preview(self, inputs: Survivors) -> CeilingResult:
        """Return a result without scores."""
        plan = _plan(self.config, self.study.method, [], None)
        none = (np.empty(0), np.empty(0))
        summary = summarise(inputs.trials, [], plan, self.metric, none, none, {})
        return CeilingResult(summary, (), (), rows=inputs.rows, rejected=inputs.rejected)

    def stored(self, inputs: Survivors, manifest: Manifest) -> CeilingResult:
        """Return the stored summary."""
        path = self.folder / SUMMARY
        try:
            summary = CeilingSummary.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} has other keys than this clickmap writes ({error}); run again with "
                "--overwrite."
            ) from error
        return CeilingResult(summary, (), (), rows=inputs.rows, rejected=inputs.rejected)


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
        require_solver()


def _notify_shapes(trials: Trials, settings: MapSettings, progress: Progress) -> None:
    """Give a notice if maps have different shapes, because a null pairs maps of two images."""
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
    plan: Plan,
    config: ExperimentConfig,
    todo: list[str],
    pool: Pool,
    run: Run,
) -> list[CeilingResult]:
    """Compute the metrics in `todo`, all from the same maps."""
    settings, progress = MapSettings.from_config(config), run.progress
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
        f"{summary.metric}: {count} images left out, {reason}."
        for reason, count in summary.left_out.items()
        if count
    ]
    if (summary.method, summary.metric) == ("split-half", "spearman") and summary.n_images:
        notices.append(
            "Spearman-Brown of spearman is the field's convention; its theory is about pearson."
        )
    return notices
