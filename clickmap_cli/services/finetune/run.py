"""Fine-tuning with cross-validation: folds, stages, held-out scores, resuming a stopped run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.nn import Module

from clickmap_cli.config.benchmark import Spec
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.config.saliency import SaliencyConfig, fold_numbers, stages_of
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.metrics.map_scores import require_solver
from clickmap_cli.models.building import (
    BuiltModel,
    build_model,
    describe_download,
    model_settings,
    require_devices,
    try_network,
)
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.parallel import LocalPool
from clickmap_cli.runtime.progress import Progress, Silent, Stopwatch
from clickmap_cli.runtime.registry import load_plugin
from clickmap_cli.scoring.data import (
    LoadedSet,
    check_set,
    load_sets,
    require_unchanged,
    require_usable,
)
from clickmap_cli.scoring.scorer import Scorer
from clickmap_cli.scoring.summaries import RANDOM_DRAWS
from clickmap_cli.services.finetune.folds import FoldRun
from clickmap_cli.services.finetune.scores import score_folds
from clickmap_cli.services.finetune.tables import (
    OWN,
    SUMMARY,
    as_summary,
    cross_validated,
    write_tables,
)
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.text_files import read_ids
from clickmap_cli.training.blocks import apply_freeze
from clickmap_cli.training.checkpoints import BEST, FOLD_FILES, LAST
from clickmap_cli.training.distributed import Group, join_processes
from clickmap_cli.training.folds import Division, Fold, FoldSettings, divide
from clickmap_cli.training.optimisation import block_rates
from clickmap_cli.training.tasks.saliency import Targets
from clickmap_cli.training.trackers import need_tensorboard, need_wandb


@dataclass(frozen=True)
class FinetuneRun:
    """The outcome of a run of `finetune`.

    Attributes:
        folder: the output folder.
        summary: the content of `summary.json`.
        n_failures: images left out because they could not be used, predicted or scored.
        seconds: how long the run took.
        written: False for a dry run, which writes nothing.
        speaks: True if this process is the one that reports.
    """

    folder: Path
    summary: Mapping[str, Any]
    n_failures: int
    seconds: float
    written: bool = True
    speaks: bool = True


def run(
    config: SaliencyConfig,
    progress: Progress,
    views: TrainingViews,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> FinetuneRun:
    """Train a model on every fold, then score it on the fold's held-out images.

    Args:
        config: the checked configuration.
        progress: receives progress and notices.
        views: functions that show the training.
        when: what to do with existing outputs.
        dry_run: read the data and build the network; train and write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs; a name is unknown; a fold
            would be empty.
        DataError: the data or the weights cannot be used; an image has no ground truth.
        RunError: the loss became NaN or infinite, the GPU's memory is full, or another run has
            locked the folder.
        MissingExtraError: a tracker or a metric needs a package that is not installed.
    """
    with join_processes() as group:
        return _Run(config, progress if group.first else Silent(), views, group).go(when, dry_run)


def check(config: SaliencyConfig) -> list[str]:
    """Check that everything a config names exists and takes its settings; read no data.

    Returns:
        Notices about the data set.

    Raises:
        ConfigError: the data set, the model or a setting is unknown.
        DataError: a plugin's file or a list of image ids is missing.
    """
    for path in config.plugins:
        load_plugin(Path(path))
    notices = check_set(_data_spec(config))
    folds = fold_settings(config)
    for listed in (*folds.files, *([] if folds.holdout is None else [folds.holdout])):
        read_ids(listed)
    model = config.model
    model_settings(model.label, model.name, model.settings, config.device)
    return notices


def fold_settings(config: SaliencyConfig) -> FoldSettings:
    """Return the settings by which a configuration divides its data set."""
    cv = config.cv
    files = tuple(Path(path) for path in cv.fold_files)
    held = None if cv.holdout is None else Path(cv.holdout)
    return FoldSettings(cv.folds, cv.group_by, files, held, cv.val_share, config.seed)


def check_stages(network: Module, config: SaliencyConfig) -> None:
    """Raise unless a network has the blocks that the stages name.

    Raises:
        ConfigError: a block is missing, or a stage leaves nothing to train.
    """
    for stage in stages_of(config):
        apply_freeze(network, stage.freeze)
        block_rates(network, stage)


class _Run:
    def __init__(
        self, config: SaliencyConfig, progress: Progress, views: TrainingViews, group: Group
    ) -> None:
        self.config = config
        self.progress = progress
        self.views = views
        self.group = group
        self.started = Stopwatch()
        self.folder = RunFolder(Path(config.output_dir), "finetune", (*OWN, *FOLD_FILES))
        self.targets = Targets(
            config.gt_aggregate, config.gt_resize_interp,
            None if config.gt_cache_dir is None else Path(config.gt_cache_dir), config.seed,
        )  # fmt: skip

    def go(self, when: WhenPresent, dry_run: bool) -> FinetuneRun:
        config = self.config
        _need_packages(config)
        for path in config.plugins:
            load_plugin(Path(path))
        if not dry_run and self.group.first:
            when = self.folder.require_startable(when)
        loaded = load_sets(
            config.datasets,
            self.progress,
            max_lost=config.max_lost,
            limit=config.limit_images,
        )[0]
        require_usable(loaded)
        division = divide(loaded.stimuli, fold_settings(config))
        numbers = fold_numbers(config.cv.only_folds, len(division.folds))
        built = self._checked_model(loaded.stimuli, division, download=not dry_run)
        if dry_run:
            return self._result({}, 0, written=False)
        identity = self._identity(loaded, division, built)
        with self.folder.held() if self.group.first else nullcontext():
            lacking = [problem.reason for problem in loaded.problems]
            needed = [f"{division.folds[number - 1].name}/{BEST}" for number in numbers]
            there = (
                self.group.first
                and self.folder.reuse_or_begin(identity, when, lacking, needed) is not None
            )
            there, when = self.group.from_first((there, when))
            if there:
                self.progress.notice(
                    already_done(self.folder.path),
                    keep=False,
                )
                stored = json.loads((self.folder.path / SUMMARY).read_text(encoding="utf-8"))
                return self._result(stored, len(stored["failures"]))
            if self.group.first:
                numbers = self._with_finished(division, numbers, when)
            numbers = self.group.from_first(numbers)
            self._train(loaded, division, numbers, identity, when is WhenPresent.RESUME)
            found: dict[str, Any] = {}
            if self.group.first:
                found = self._score(loaded, division, numbers, identity, built)
            found = self.group.from_first(found)
        return self._result(found, len(found["failures"]))

    def _with_finished(
        self, division: Division, numbers: Sequence[int], when: WhenPresent
    ) -> list[int]:
        """Return the numbers of the folds to train and of those already finished.

        Raises:
            ConfigError: a fold is partly trained and not among the folds to train.
        """
        others = [fold for fold in division.folds if fold.number not in numbers]
        kept = [fold for fold in others if self._files_of(fold) is not None]
        for fold in others:
            path = self.folder.path / fold.name
            if when is WhenPresent.RESUME and fold not in kept and (path / LAST).is_file():
                raise ConfigError(
                    f"{path} is begun and not finished, and cv.only_folds leaves it out, which "
                    f"would delete it; add {fold.number} to cv.only_folds, or use another output "
                    "folder."
                )
        if kept:
            names = ", ".join(fold.name for fold in kept)
            self.progress.notice(
                f"{names} of {self.folder.path} is finished and is kept.", keep=False
            )
        return sorted({*numbers, *(fold.number for fold in kept)})

    def _files_of(self, fold: Fold) -> dict[str, dict[str, Any]] | None:
        """Return the undamaged files of a fold finished in this or the resumed run, else None."""
        names = [pattern.replace("fold_*", fold.name) for pattern in FOLD_FILES]
        return self.folder.recorded(fold.name) or self.folder.proved(names)

    def _train(
        self,
        loaded: LoadedSet,
        division: Division,
        numbers: Sequence[int],
        identity: str,
        resume: bool,
    ) -> None:
        """Train every fold that is not finished."""
        for number in numbers:
            fold = division.folds[number - 1]
            done = self.group.first and self._files_of(fold) is not None
            if self.group.from_first(done):
                continue
            path = self.folder.path / fold.name
            if self.group.first and not resume:
                (path / LAST).unlink(missing_ok=True)
            model = self._made().model
            assert isinstance(model, TorchSaliencyModel)  # noqa: S101 - checked before
            files = FoldRun(
                self.config, fold, path, identity, self.targets, self.views, self.progress,
                self.group, len(division.folds),
            ).train(model, loaded.stimuli, resume)  # fmt: skip
            model.release()
            if self.group.first:
                self.folder.record(fold.name, describe_files(self.folder.path, files))

    def _score(
        self,
        loaded: LoadedSet,
        division: Division,
        numbers: Sequence[int],
        identity: str,
        built: BuiltModel,
    ) -> dict[str, Any]:
        """Compute held-out scores, write tables and the manifest, and return the summary."""
        config = self.config
        scorer = Scorer(config.metrics, LocalPool(config.n_jobs), self.progress, seed=config.seed)
        failures = scorer.failures
        for problem in loaded.problems:
            scorer.fail(loaded.label, "", problem.image_id, problem.reason)
        folds = [division.folds[number - 1] for number in numbers]
        scores = score_folds(config, loaded, division, folds, self.folder.path, scorer)
        require_unchanged([loaded], [row for row in failures if row.model])
        model = config.model.label
        result = cross_validated(
            config.experiment, model, config.metrics, scores, failures, config.seed
        )
        outputs = describe_files(self.folder.path, write_tables(self.folder.path, result))
        for fold in folds:
            outputs |= self._files_of(fold) or {}
        wanted = fold_numbers(config.cv.only_folds, len(division.folds))
        if config.cv.only_folds is not None and wanted != list(numbers):
            config = replace(config, cv=replace(config.cv, only_folds=list(numbers)))
        counts = {
            "images": len(loaded.stimuli), "folds": len(folds), "holdout": len(division.holdout),
            "failures": len(failures), **RANDOM_DRAWS,
        }  # fmt: skip
        self.folder.finish(
            Manifest.made(
                command="finetune", config=as_dict(config), config_hash=identity,
                inputs={
                    f"data set {loaded.label}": {"sha256": loaded.digest},
                    f"model {model}": {"sha256": built.identity},
                },
                outputs=outputs, counts=counts,
                started=self.started,
                seed=config.seed, notices=self.progress.kept,
            )
        )  # fmt: skip
        return as_summary(result)

    def _made(self, *, download: bool = True) -> BuiltModel:
        spec = self.config.model
        built = build_model(
            spec.label, spec.name, spec.settings, self.config.device, download=download
        )
        require_devices([built])
        return built

    def _checked_model(
        self, stimuli: Sequence[Stimulus], division: Division, *, download: bool
    ) -> BuiltModel:
        """Return the model, after checks for everything that would stop a training later.

        Without `download`, missing weights are not downloaded and the blocks are checked on a
        network without weights.
        """
        built = self._made(download=download)
        if not isinstance(built.model, TorchSaliencyModel):
            raise ConfigError(
                f"model {built.label} is no PyTorch network; there is nothing to tune."
            )
        for text in built.model.notices:
            self.progress.notice(text)
        note = None if download else describe_download(f"model {built.label}", built.settings)
        if note is None:
            check_stages(built.model.network(), self.config)
            built.model.release()
        else:
            self.progress.notice(note)
            spec = self.config.model
            network = try_network(spec.label, spec.name, spec.settings, self.config.device)
            if network is not None:
                check_stages(network, self.config)
        learnt = {i for fold in division.folds for i in (*fold.train, *fold.validation)}
        for stimulus in stimuli:
            if stimulus.image_id in learnt:
                self.targets.check(stimulus, self.config.loss)
        return built

    def _identity(self, loaded: LoadedSet, division: Division, built: BuiltModel) -> str:
        """Return a hash of everything the results depend on."""
        words = [loaded.digest, built.identity, repr(division)]
        if self.targets.cache_dir is not None:
            for stimulus in loaded.stimuli:
                path = self.targets.cache_dir / f"{stimulus.image_id}.npy"
                words.append(sha256_of(path) if path.is_file() else "")
        digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
        # a fold does not depend on which other folds are trained
        every = replace(self.config, cv=replace(self.config.cv, only_folds=None))
        return numbers_hash(every, ["scores"], digest)

    def _result(self, summary: Mapping[str, Any], n: int, written: bool = True) -> FinetuneRun:
        seconds = self.started.seconds
        return FinetuneRun(self.folder.path, summary, n, seconds, written, self.group.first)


def _data_spec(config: SaliencyConfig) -> Spec:
    return config.datasets[0]


def _need_packages(config: SaliencyConfig) -> None:
    if config.wandb.enabled:
        need_wandb()
    if config.tensorboard:
        need_tensorboard()
    if "EMD" in config.metrics:
        require_solver()
