"""Fine-tuning with cross-validation: folds, stages, held-out scores, resuming a stopped run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.nn import Module

from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.config.saliency import SaliencyConfig, fold_numbers, stages_of
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.people import OnlySome
from clickmap_cli.metrics.map_scores import require_solver
from clickmap_cli.models.building import (
    BuiltModel,
    build_model,
    describe_download,
    require_devices,
    try_network,
)
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import LocalPool, worker_count
from clickmap_cli.runtime.progress import Checks, Progress, Silent
from clickmap_cli.scoring.data import (
    LoadedSet,
    check_names,
    load_sets,
    require_unchanged,
    require_usable,
)
from clickmap_cli.scoring.scorer import Scorer
from clickmap_cli.scoring.summaries import RANDOM_DRAWS
from clickmap_cli.services.finetune.scores import score_folds
from clickmap_cli.services.finetune.tables import OWN, CvSummary, summarise, write_tables
from clickmap_cli.services.job import FileFacts, Identity, Job, Outcome, Run, Shared, run_job
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, make_trackers
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.text_files import read_ids, write_ids
from clickmap_cli.training.blocks import apply_freeze
from clickmap_cli.training.checkpoints import BEST, FINAL, FOLD_FILES, LAST
from clickmap_cli.training.distributed import Group, join_processes
from clickmap_cli.training.fitting import FitJob, FitSettings, Watch, fit
from clickmap_cli.training.folds import Division, Fold, FoldSettings, divide
from clickmap_cli.training.optimisation import block_rates
from clickmap_cli.training.tasks.saliency import SaliencyTask, Targets
from clickmap_cli.training.trackers import Tracker, WandbTracker, require_trackers


def run(
    config: SaliencyConfig,
    progress: Progress,
    views: TrainingViews,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[CvSummary | None] | None:
    """Train a model on every fold, then score it on the fold's held-out images.

    Args:
        config: the checked configuration.
        progress: receives progress and notices.
        views: functions that show the training.
        when: what to do with existing outputs.
        dry_run: read the data and build the network; train and write nothing, and return no
            summary.

    Returns:
        The outcome; None in the processes of a distributed run that report nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs; a name is unknown; a fold
            would be empty.
        DataError: the data or the weights cannot be used; an image has no ground truth.
        RunError: the loss became NaN or infinite, the GPU's memory is full, or another run has
            locked the folder.
        MissingExtraError: a tracker or a metric needs a package that is not installed.
    """
    with join_processes() as group:
        told = progress if group.first else Silent()
        outcome = run_job(SaliencyJob(config, views, group), when, dry_run=dry_run, progress=told)
    return outcome if group.first else None


def fold_settings(config: SaliencyConfig) -> FoldSettings:
    """Return the settings by which a configuration divides its data set."""
    cv = config.cv
    files = tuple(Path(path) for path in cv.fold_files)
    held = None if cv.holdout is None else Path(cv.holdout)
    return FoldSettings(cv.folds, cv.group_by, files, held, cv.val_share, config.seed)


def require_blocks(network: Module, config: SaliencyConfig) -> None:
    """Raise unless a network has the blocks that the stages name.

    Raises:
        ConfigError: a block is missing, or a stage leaves nothing to train.
    """
    for stage in stages_of(config):
        apply_freeze(network, stage.freeze)
        block_rates(network, stage)


@dataclass(frozen=True)
class _Inputs:
    """The data set, its division into folds, and the model before training."""

    loaded: LoadedSet
    division: Division
    built: BuiltModel


class SaliencyJob(Job[_Inputs, CvSummary | None]):
    """Fine-tuning of a saliency model; only `work` calls `views`."""

    command = "finetune"
    owns = (*OWN, *FOLD_FILES)

    def __init__(self, config: SaliencyConfig, views: TrainingViews, group: Group) -> None:
        self.config: SaliencyConfig = config
        self.folder = Path(config.output_dir)
        self.views = views
        self.group = group
        self.first = group.first
        cache = None if config.gt_cache_dir is None else Path(config.gt_cache_dir)
        self.targets = Targets(config.gt_aggregate, config.gt_resize_interp, cache, config.seed)
        self.only_folds = config.cv.only_folds  # with folds that an earlier run finished, later

    def share(self, value: Shared) -> Shared:
        """Return the first process's value."""
        return self.group.broadcast(value)

    def check(self, progress: Progress) -> list[str]:
        """Check plugins, names and settings of the data set and the model, and lists of ids."""
        checks, folds = Checks(progress), fold_settings(self.config)
        notices = check_names(self.config, [self.config.model], progress)
        for listed in (*folds.files, *([] if folds.holdout is None else [folds.holdout])):
            with checks.part():
                read_ids(listed)
        return notices

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Read and divide the data set, and check the model; a dry run downloads no weights."""
        config, checks = self.config, Checks(progress)
        self.check(progress)
        with checks.part():
            require_trackers(tensorboard=config.tensorboard, wandb=config.wandb.enabled)
        with checks.part():
            if "EMD" in config.metrics:
                require_solver()
        with checks.part():
            cache = self.targets.cache_dir
            if cache is not None and not cache.is_dir():
                raise DataError(f"gt_cache_dir: no folder at {cache} (looked from {Path.cwd()}).")
        with checks.part():
            (loaded,) = load_sets(
                config.datasets, progress, max_lost=config.max_lost, limit=config.limit_images
            )
            require_usable(loaded)
            division = divide(loaded.stimuli, fold_settings(config))
            fold_numbers(config.cv.only_folds, len(division.folds))
        with checks.part(f"model {config.model.label}"):
            built = self._build(progress, download=not dry_run)
        checks.require_all()
        learnt = {i for fold in division.folds for i in (*fold.train, *fold.validation)}
        for stimulus in loaded.stimuli:
            if stimulus.image_id in learnt:
                self.targets.check(stimulus, config.loss)
        return _Inputs(loaded, division, built)

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the scores depend on; a fold does not depend on which others are trained."""
        loaded, division, config = inputs.loaded, inputs.division, self.config
        words = [loaded.digest, inputs.built.identity, repr(division)]
        if self.targets.cache_dir is not None:
            for stimulus in loaded.stimuli:
                path = self.targets.cache_dir / f"{stimulus.image_id}.npy"
                words.append(sha256_of(path) if path.is_file() else "")
        digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
        every = replace(config, cv=replace(config.cv, only_folds=None))
        numbers = fold_numbers(config.cv.only_folds, len(division.folds))
        return Identity(
            numbers_hash(every, ["scores"], digest),
            {
                f"data set {loaded.label}": {"sha256": loaded.digest},
                f"model {config.model.label}": {"sha256": inputs.built.identity},
            },
            missing=[problem.reason for problem in loaded.problems],
            needed=[f"{division.folds[number - 1].name}/{BEST}" for number in numbers],
        )

    def preview(self, inputs: _Inputs) -> None:
        """Return nothing, because nothing is trained."""

    def stored(self, inputs: _Inputs, manifest: Manifest) -> CvSummary:
        """Return the summary of a finished run."""
        return CvSummary.load(self.folder)

    def failures(self, summary: CvSummary | None) -> Sequence[str]:
        """Return why each image that was left out could not be used."""
        return [] if summary is None else [str(failure) for failure in summary.failures]

    def recorded_config(self) -> Mapping[str, Any]:
        """Return the configuration, whose `only_folds` names the kept folds too."""
        return as_dict(replace(self.config, cv=replace(self.config.cv, only_folds=self.only_folds)))

    def work(self, inputs: _Inputs, run: Run) -> CvSummary | None:
        """Train the folds that are not finished, score all of them, and write the tables."""
        config, loaded, division = self.config, inputs.loaded, inputs.division
        folds = self.share(self._choose_folds(division, run) if self.first else [])
        for fold in folds:
            is_done = self.first and _files_of(fold, run) is not None
            if not self.share(is_done):
                self._train(fold, loaded.stimuli, len(division.folds), run)
        if not self.first:
            return None
        scorer = Scorer(config.metrics, LocalPool(config.n_jobs), run.progress, seed=config.seed)
        for problem in loaded.problems:
            scorer.fail(loaded.label, "", problem.image_id, problem.reason)
        scores = score_folds(config, loaded, division, folds, run.path, scorer)
        failures = scorer.failures
        require_unchanged([loaded], [row for row in failures if row.model])
        label = config.model.label
        summary = summarise(
            config.experiment, label, config.metrics, scores, failures, config.seed
        )  # fmt: skip
        run.add(write_tables(run.path, scores, summary))
        for fold in folds:
            run.outputs |= _files_of(fold, run) or {}
        run.counts |= {
            "images": len(loaded.stimuli), "folds": len(folds), "holdout": len(division.holdout),
            "failures": len(failures), **RANDOM_DRAWS,
        }  # fmt: skip
        return summary

    def _choose_folds(self, division: Division, run: Run) -> list[Fold]:
        """Return the folds to train and those already finished.

        Raises:
            ConfigError: a fold is partly trained and not among the folds to train.
        """
        numbers = fold_numbers(self.config.cv.only_folds, len(division.folds))
        others = [fold for fold in division.folds if fold.number not in numbers]
        kept = [fold for fold in others if _files_of(fold, run) is not None]
        for fold in others:
            path = run.path / fold.name
            if run.resumed and fold not in kept and (path / LAST).is_file():
                raise ConfigError(
                    f"{path} is partly trained, and cv.only_folds leaves it out, which "
                    f"would delete it; add {fold.number} to cv.only_folds, or use another output "
                    "folder."
                )
        if kept:
            names = ", ".join(fold.name for fold in kept)
            run.progress.notice(f"{names} of {run.path} is finished and is kept.", keep=False)
        chosen = sorted({*numbers, *(fold.number for fold in kept)})
        if self.only_folds is not None and chosen != list(numbers):
            self.only_folds = chosen
        return [division.folds[number - 1] for number in chosen]

    def _train(self, fold: Fold, stimuli: Sequence[Stimulus], n_folds: int, run: Run) -> None:
        """Train a fold, and record its files."""
        config, folder = self.config, run.path / fold.name
        lists = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        if self.first:
            if not run.resumed:
                (folder / LAST).unlink(missing_ok=True)
            for name, ids in lists.items():
                write_ids(folder / f"{name}.txt", ids)
        model = self._build_model(download=True).model
        assert isinstance(model, TorchSaliencyModel)  # noqa: S101 - `load` has checked
        by_id = {stimulus.image_id: stimulus for stimulus in stimuli}
        train, validation = (
            [
                OnlySome(by_id[i], fold.train_people) if fold.train_people else by_id[i]
                for i in ids
            ]
            for ids in (fold.train, fold.validation)
        )  # fmt: skip
        model.see([*train, *validation])  # never the held-out images
        how = config.training
        settings = FitSettings(
            stages_of(config), how.batch_size, how.accumulate, how.precision, how.clip_norm,
            how.optimizer, how.momentum, config.seed, worker_count(config.n_jobs),
        )  # fmt: skip
        title = f"fold {fold.number} of {n_folds}"
        job = FitJob(
            SaliencyTask(model, train, validation, self.targets, config.loss),
            settings,
            folder,
            f"{run.identity} {fold.name}",
            self._trackers(fold, folder) if self.first else (),
            Shown(title, self.views, run.progress) if self.first else Watch(),
            self.group,
        )
        fit(job, run.resumed)
        model.release()
        if self.first:
            names = (BEST, FINAL, LAST, HISTORY, *(f"{name}.txt" for name in lists))
            files = describe_files(run.path, [folder / name for name in names])
            run.folder.record(fold.name, files)

    def _trackers(self, fold: Fold, folder: Path) -> list[Tracker]:
        config, settings = self.config, self.config.wandb
        found = make_trackers(folder, config.tensorboard)
        if settings.enabled:
            tracker = WandbTracker(
                folder if settings.dir is None else Path(settings.dir),
                name=f"{settings.name or config.experiment}_{fold.name}",
                group=settings.group or config.experiment,
                mode=settings.mode,
                project=settings.project,
                entity=settings.entity,
                notes=settings.notes,
                tags=list(settings.tags),
                config=as_dict(config),
            )
            found.append(tracker)
        return found

    def _build_model(self, *, download: bool) -> BuiltModel:
        spec = self.config.model
        built = build_model(
            spec.label, spec.name, spec.settings, self.config.device, download=download
        )
        require_devices([built])
        return built

    def _build(self, progress: Progress, *, download: bool) -> BuiltModel:
        """Return the model, after checks for everything that would stop a training later.

        Without `download`, missing weights are not downloaded and the blocks are checked on a
        network without weights.
        """
        built = self._build_model(download=download)
        if not isinstance(built.model, TorchSaliencyModel):
            raise ConfigError(
                f"model {built.label} is not a PyTorch network; there is nothing to tune."
            )
        for text in built.model.notices:
            progress.notice(text)
        note = None if download else describe_download(f"model {built.label}", built.settings)
        if note is None:
            require_blocks(built.model.network(), self.config)
            built.model.release()
            return built
        progress.notice(note)
        spec = self.config.model
        network = try_network(spec.label, spec.name, spec.settings, self.config.device)
        if network is not None:
            require_blocks(network, self.config)
        return built


def _files_of(fold: Fold, run: Run) -> FileFacts | None:
    """Return the undamaged files of a fold finished in this or the resumed run, else None."""
    names = [pattern.replace("fold_*", fold.name) for pattern in FOLD_FILES]
    return run.folder.recorded(fold.name) or run.folder.proved(names)
