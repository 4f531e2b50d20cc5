"""Train one fold of a fine-tuning, with its images, trackers and progress display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.config.loading import as_dict
from clickmap_cli.config.saliency import SaliencyConfig, stages_of
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.people import OnlySome
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, trackers
from clickmap_cli.storage.text_files import write_ids
from clickmap_cli.training.checkpoints import BEST, FINAL, LAST
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.fitting import FitJob, FitSettings, Watch, fit
from clickmap_cli.training.folds import Fold
from clickmap_cli.training.tasks.saliency import SaliencyTask, Targets
from clickmap_cli.training.trackers import Tracker, WandbTracker


@dataclass(frozen=True)
class FoldRun:
    """A fold and everything that its training needs; `of` is the number of folds."""

    config: SaliencyConfig
    fold: Fold
    path: Path
    identity: str
    targets: Targets
    views: TrainingViews
    progress: Progress
    group: Group
    of: int

    def train(
        self, model: TorchSaliencyModel, stimuli: Sequence[Stimulus], resume: bool
    ) -> list[Path]:
        """Train the fold; return the files that it wrote."""
        fold = self.fold
        by_id = {stimulus.image_id: stimulus for stimulus in stimuli}
        lists = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        paths = [self.path / name for name in (BEST, FINAL, LAST, HISTORY)]
        if self.group.first:
            for name, ids in lists.items():
                write_ids(self.path / f"{name}.txt", ids)
        train = [self._seen(by_id[image_id]) for image_id in fold.train]
        validation = [self._seen(by_id[image_id]) for image_id in fold.validation]
        model.see([*train, *validation])  # never the held-out images
        job = FitJob(
            SaliencyTask(model, train, validation, self.targets, self.config.loss),
            self._settings(), self.path, f"{self.identity} {fold.name}",
            self._trackers() if self.group.first else (),
            Shown(f"fold {fold.number} of {self.of}", self.views, self.progress)
            if self.group.first else Watch(),
            self.group,
        )  # fmt: skip
        fit(job, resume)
        return [*paths, *(self.path / f"{name}.txt" for name in lists)]

    def _seen(self, stimulus: Stimulus) -> Stimulus:
        """Return an image with only the fixations of the fold's training people, if it has any."""
        people = self.fold.train_people
        return OnlySome(stimulus, people) if people else stimulus

    def _settings(self) -> FitSettings:
        config, training = self.config, self.config.training
        return FitSettings(
            stages_of(config), training.batch_size, training.accumulate,
            training.precision, training.clip_norm, training.optimizer, training.momentum,
            config.seed, worker_count(config.n_jobs),
        )  # fmt: skip

    def _trackers(self) -> list[Tracker]:
        config, settings = self.config, self.config.wandb
        found = trackers(self.path, config.tensorboard)
        if settings.enabled:
            tracker = WandbTracker(
                self.path if settings.dir is None else Path(settings.dir),
                name=f"{settings.name or config.experiment}_{self.fold.name}",
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
