"""Classifies attention maps: nested cross-validation by participant, from maps to tables.

Test participants neither train nor choose a model: an outer fold divides its other participants
into training and validation, and only its finished model sees those it holds out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.classifier.data import ClassifierStudy, load_study, new_network
from clickmap_cli.services.classifier.folds import FoldRun, clear_folds
from clickmap_cli.services.classifier.interpretation import (
    FOLDER,
    ClassifierFigures,
    Interpretation,
    usable_methods,
)
from clickmap_cli.services.classifier.logs import RunLog
from clickmap_cli.services.classifier.tables import (
    SUMMARY,
    TABLES,
    HeatmapResult,
    as_summary,
    scored,
    write_tables,
)
from clickmap_cli.services.classifier.testing import tested
from clickmap_cli.services.training_views import HISTORY, TrainingViews
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.training.folds import OuterFold
from clickmap_cli.training.tasks.classifier import PlaneCache


@dataclass(frozen=True)
class ClassifierRun:
    """Results of a run.

    Attributes:
        folder: folder of all outputs.
        summary: content of `summary.json`; empty for a dry run.
        n_failures: number of maps that could not be read.
        seconds: duration in seconds.
        folds: test folds, for a dry run only.
        written: False for a dry run, which writes nothing.
    """

    folder: Path
    summary: Mapping[str, Any]
    n_failures: int
    seconds: float
    folds: tuple[OuterFold, ...] = field(default=())
    written: bool = True


def run(
    config: ClassifierConfig,
    progress: Progress,
    views: TrainingViews,
    figures: ClassifierFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> ClassifierRun:
    """Train and test a classifier of attention maps, with logistic regression as a baseline.

    Args:
        config: the checked configuration.
        progress: receives the current stage and notices.
        views: show the trainings.
        figures: draw pictures.
        when: what to do with existing outputs.
        dry_run: read the maps, divide participants and build the network; train and write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs, or names something that
            does not exist.
        DataError: the maps, their sizes, classes or participants do not allow such a study.
        RunError: the loss became NaN or infinite, the GPU ran out of memory, or the folder is busy.
    """
    return _Run(config, progress, views, figures).go(when, dry_run)


class _Run:
    def __init__(
        self,
        config: ClassifierConfig,
        progress: Progress,
        views: TrainingViews,
        figures: ClassifierFigures,
    ) -> None:
        self.config = config
        self.progress = progress
        self.views = views
        self.figures = figures
        self.started = Stopwatch()
        own = [f"fold_{number + 1}" for number in range(config.cv.outer_kfolds)]
        self.folder = RunFolder(
            Path(config.output_dir), "train-classifier", (*TABLES, FOLDER, *own)
        )
        self.cache = PlaneCache()

    def go(self, when: WhenPresent, dry_run: bool) -> ClassifierRun:
        path = self.folder.path
        if not dry_run:
            when = self.folder.require_startable(when)
        log = RunLog(path)
        study = load_study(self.config, self.progress)
        failures = len(study.images.problems)
        methods = self._methods(study)
        if dry_run:
            return self._result({}, failures, study.folds, written=False)
        identity = self._identity(study)
        with self.folder.held():
            if self.folder.reuse_or_begin(identity, when) is not None:
                self.progress.notice(already_done(path), keep=False)
                stored = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
                return self._result(stored, failures)
            result = self._validated(study, identity, log, methods, when is WhenPresent.RESUME)
        return self._result(as_summary(result), failures)

    def _validated(
        self,
        study: ClassifierStudy,
        identity: str,
        log: RunLog,
        methods: Sequence[str],
        resume: bool,
    ) -> HeatmapResult:
        """Train and test every fold, then write the tables and the manifest."""
        config, path = self.config, self.folder.path
        if not resume:
            clear_folds(path)
        log.begin(config, study, resume and any(path.glob("fold_*")))
        shown = None
        if methods:
            shown = Interpretation(config, study, path, methods, self.figures, self.cache)
        outcomes, histories = [], {}
        for fold in study.folds:
            trained = self._train(study, fold, identity, log, resume)
            outcome, network = tested(config, study, fold, path / fold.name, self.cache)
            log.tested(outcome, study.images.classes, trained)
            if shown is not None:
                shown.add(network, outcome, self.progress)
            outcomes.append(outcome)
            histories[fold.number] = {
                inner.number: _history(path / fold.name / inner.name / HISTORY)
                for inner in fold.inner
            }
        result = scored(config, study, outcomes, histories)
        files = write_tables(path, result) + ([] if shown is None else shown.finish())
        log.end(config, study, result.scores)
        self._finish(result, identity, files)
        return result

    def _train(
        self, study: ClassifierStudy, fold: OuterFold, identity: str, log: RunLog, resume: bool
    ) -> bool:
        """Train a fold; return False if an earlier run has already trained it."""
        path = self.folder.path / fold.name
        training = FoldRun(
            self.config, study, fold, path, identity, self.views, self.progress, log, self.cache
        )
        done = self.folder.recorded(fold.name) is not None
        if not done:
            files = training.train(resume)
            self.folder.record(fold.name, describe_files(self.folder.path, files))
        training.tidy()
        return not done

    def _methods(self, study: ClassifierStudy) -> tuple[str, ...]:
        """Return the saliency methods to use; give a notice if the network does not allow all."""
        if not self.config.interpretation.enabled:
            return ()
        seed = self.config.seed
        network = new_network(self.config, study.images, study.size, seed, pretrained=False)
        found, why = usable_methods(network, study)
        if why:
            self.progress.notice(why)
        return found

    def _finish(self, result: HeatmapResult, identity: str, files: Sequence[Path]) -> None:
        """Write the manifest, which does not include the logs."""
        config, study = self.config, result.study
        outputs = describe_files(self.folder.path, files)
        for fold in study.folds:
            outputs |= self.folder.recorded(fold.name) or {}
        inputs: dict[str, dict[str, Any]] = {
            f"maps {config.data.root}": {
                "files": len(study.images.files), "sha256": study.digest,
            }
        }  # fmt: skip
        settings = config.model
        if settings.weights_path is not None:
            inputs |= describe_files(None, [Path(settings.weights_path)])
        self.folder.finish(
            Manifest.made(
                command="train-classifier", config=as_dict(config), config_hash=identity,
                inputs=inputs, outputs=outputs,
                counts={
                    "maps": len(study.images.items),
                    "participants": len(study.images.participants), "folds": len(study.folds),
                    "failures": len(study.images.problems), "resamples": RESAMPLES,
                    "permutations": config.permutations if study.mixed else 0,
                },
                started=self.started,
                seed=config.seed, notices=self.progress.kept,
            )
        )  # fmt: skip

    def _identity(self, study: ClassifierStudy) -> str:
        """Return a hash of everything the results depend on; files count by their content."""
        config = self.config
        weights = config.model.weights_path
        words = [study.digest, "" if weights is None else sha256_of(Path(weights))]
        placed = replace(
            config,
            data=replace(config.data, root=None, labels=None),
            model=replace(config.model, weights_path=None),
        )
        return numbers_hash(placed, ["scores", "output"], *words)

    def _result(
        self,
        summary: Mapping[str, Any],
        failures: int,
        folds: tuple[OuterFold, ...] = (),
        written: bool = True,
    ) -> ClassifierRun:
        seconds = self.started.seconds
        return ClassifierRun(self.folder.path, summary, failures, seconds, folds, written)


def _history(path: Path) -> list[dict[str, str]]:
    """Return the rows of an inner fold's history as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
