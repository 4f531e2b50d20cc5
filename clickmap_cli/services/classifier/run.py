"""Classify attention maps: nested cross-validation by participant, from maps to tables.

Test participants neither train nor choose a model: an outer fold divides its other participants
into training and validation, and only its finished model sees those it holds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.loading import numbers_hash
from clickmap_cli.models.building import describe_release
from clickmap_cli.models.classifier import BASE
from clickmap_cli.models.timm_models import load_pretrained_config
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.services.classifier.data import ClassifierStudy, load_study, new_network
from clickmap_cli.services.classifier.interpretation import (
    FOLDER,
    ClassifierFigures,
    Interpretation,
    usable_methods,
)
from clickmap_cli.services.classifier.results import (
    TABLES,
    ClassifierSummary,
    summarise,
    write_tables,
)
from clickmap_cli.services.classifier.training import FoldTraining, RunLog
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files


def run(
    config: ClassifierConfig,
    progress: Progress,
    views: TrainingViews,
    figures: ClassifierFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[ClassifierSummary]:
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
    return run_job(ClassifierJob(config, views, figures), when, dry_run=dry_run, progress=progress)


class ClassifierJob(Job[ClassifierStudy, ClassifierSummary]):
    """Training and test of a classifier of attention maps; only `work` calls `figures`."""

    command = "train-classifier"

    def __init__(
        self, config: ClassifierConfig, views: TrainingViews, figures: ClassifierFigures
    ) -> None:
        self.config: ClassifierConfig = config
        self.folder = Path(config.output_dir)
        folds = (f"fold_{number + 1}" for number in range(config.cv.outer_kfolds))
        self.owns = (*TABLES, FOLDER, *folds)
        self.views = views
        self.figures = figures
        self.log: RunLog
        self.methods: tuple[str, ...] = ()

    def check(self, progress: Progress) -> tuple[()]:
        """Raise ConfigError unless the network exists."""
        name = self.config.model.name
        with Checks(progress).part():
            if name != BASE:
                load_pretrained_config(name, f"network {name}")
        return ()

    def load(self, progress: Progress, *, dry_run: bool) -> ClassifierStudy:
        """Read the maps, divide the participants, and try the network."""
        config, model = self.config, self.config.model
        self.check(progress)
        if dry_run and model.weights_path is None:
            note = describe_release("model", model.weights, model.name)
            if note is not None:
                progress.notice(note)
        self.log = RunLog(self.folder)
        study = load_study(config, progress, download=not dry_run)
        if config.interpretation.enabled:
            network = new_network(config, study.images, study.size, config.seed, pretrained=False)
            self.methods, left_out = usable_methods(network, study)
            if left_out:
                progress.notice(left_out)
        return study

    def identity(self, inputs: ClassifierStudy) -> Identity:
        """Return what the scores depend on; files count by their content."""
        config, weights = self.config, self.config.model.weights_path
        placed = replace(
            config,
            data=replace(config.data, root=None, labels=None),
            model=replace(config.model, weights_path=None),
        )
        words = [inputs.digest, "" if weights is None else sha256_of(Path(weights))]
        files: dict[str, dict[str, Any]] = {
            f"maps {config.data.root}": {
                "files": len(inputs.images.files),
                "sha256": inputs.digest,
            }
        }
        files |= describe_files(None, [] if weights is None else [Path(weights)])
        return Identity(numbers_hash(placed, ["scores", "output"], *words), files)

    def preview(self, inputs: ClassifierStudy) -> ClassifierSummary:
        """Return the folds and the maps that cannot be read."""
        return summarise(self.config, inputs)

    def stored(self, inputs: ClassifierStudy, manifest: Manifest) -> ClassifierSummary:
        """Return the summary of a finished run."""
        return ClassifierSummary.load(self.folder)

    def failures(self, summary: ClassifierSummary) -> Sequence[str]:
        """Return why each map that was left out could not be read."""
        return [f"{problem.image_id}: {problem.reason}" for problem in summary.failures]

    def work(self, inputs: ClassifierStudy, run: Run) -> ClassifierSummary:
        """Train and test every fold, and write the tables; the manifest leaves out the logs."""
        config, study = self.config, inputs
        self.log.begin(config, study, run.resumed and any(run.path.glob("fold_*")))
        training = FoldTraining(config, study, run, self.views, self.log)
        shown = None
        if self.methods:
            shown = Interpretation(config, study, run, self.methods, self.figures, training.cache)
        outcomes = []
        for fold in study.folds:
            outcome, network = training.evaluate(fold)
            if shown is not None:
                shown.add(network, outcome)
            outcomes.append(outcome)
        summary = summarise(config, study, outcomes)
        run.add(write_tables(run.path, study, outcomes, summary))
        if shown is not None:
            shown.finish()
        self.log.end(config, summary)
        run.counts |= {
            "maps": summary.n_maps, "participants": summary.n_participants,
            "folds": len(summary.folds), "failures": len(summary.failures),
            "resamples": summary.resamples, "permutations": summary.permutations,
        }  # fmt: skip
        return ClassifierSummary.from_json(summary.as_json())
