"""Trains the networks of one test fold of a cross-validation, and keeps the best one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.saliency import Stage
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier.data import ClassifierStudy, new_network
from clickmap_cli.services.classifier.logs import LoggedEpochs, RunLog
from clickmap_cli.services.classifier.scores import Best
from clickmap_cli.services.training_views import HISTORY, TrainingViews, trackers
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.training.checkpoints import BEST, FINAL, LAST, load
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import InnerFold, OuterFold
from clickmap_cli.training.tasks.classifier import ClassifierTask, PlaneCache
from clickmap_cli.training.trackers import Row

BEST_MODEL = "best_model.pt"
KEPT_BESTS = "model_epoch_{}.pt"

_PASSING = (BEST, FINAL, LAST)
"""Checkpoints that resume an inner fold; they are removed once its test fold is done."""


@dataclass(frozen=True)
class FoldRun:
    """A test fold, and the objects that it shares with the other folds."""

    config: ClassifierConfig
    study: ClassifierStudy
    fold: OuterFold
    path: Path
    identity: str
    views: TrainingViews
    progress: Progress
    log: RunLog
    cache: PlaneCache

    def train(self, resume: bool) -> list[Path]:
        """Train on every inner fold, keep the best model, and return the files that are kept.

        Mode `restart` trains a new network on each inner fold. Mode `sequential` trains one network
        on all of them: each inner fold starts with the final weights of the previous one.

        Raises:
            RunError: the fold has no inner folds, or a training fails.
        """
        mode = self.config.cv.inner_mode
        self.log.fold(self.fold, mode)
        network: nn.Module | None = None
        best: tuple[float, Path] | None = None
        for inner in self.fold.inner:
            if network is None or mode == "restart":
                network = self._network(inner)
            rows = self._fit(inner, network, resume)
            reached = max(float(row["val_accuracy"]) for row in rows)
            if best is None or reached > best[0]:
                best = reached, self.path / inner.name / BEST
        if best is None:
            raise RunError(f"{self.fold.name}: there is no inner fold to learn from.")
        kept = self.path / BEST_MODEL
        with replacing(kept) as partial:
            shutil.copyfile(best[1], partial)
        folders = [self.path / inner.name for inner in self.fold.inner]
        bests = [path for folder in folders for path in sorted(folder.glob(KEPT_BESTS.format("*")))]
        return [kept, *(folder / HISTORY for folder in folders), *bests]

    def tidy(self) -> None:
        """Remove files that only an unfinished training needs."""
        for inner in self.fold.inner:
            for name in _PASSING:
                (self.path / inner.name / name).unlink(missing_ok=True)

    def _network(self, inner: InnerFold) -> nn.Module:
        """Return a new network on the device; random weights have a seed per inner fold."""
        study = self.study
        seed = self._seed("weights", inner)
        network = new_network(self.config, study.images, study.size, seed)
        return network.to(choose_device(self.config.device))

    def _fit(self, inner: InnerFold, network: nn.Module, resume: bool) -> tuple[Row, ...]:
        """Train on one inner fold, and return its history."""
        study, training = self.study, self.config.training
        check_apart(self.fold, inner)
        folder = self.path / inner.name
        task = ClassifierTask(
            network, study.of(inner.train), study.of(inner.validation), study.images.classes,
            training.class_weights, self.cache, self._about(inner),
        )  # fmt: skip
        self.log.inner(inner)
        title = f"fold {self.fold.number} of {study.n_folds}, inner fold {inner.number}"
        job = FitJob(
            task, self._settings(inner), folder, f"{self.identity} {self.fold.name} {inner.name}",
            trackers(folder),
            LoggedEpochs(title, self.views, self.progress, self.log),
        )  # fmt: skip
        return fit(job, resume)

    def _settings(self, inner: InnerFold) -> FitSettings:
        training = self.config.training
        stage = Stage(
            "train", training.num_epochs, training.lr, weight_decay=training.weight_decay,
            schedule=training.schedule, patience=training.patience,
        )  # fmt: skip
        return FitSettings(
            (stage,), training.batch_size, training.accumulate, training.precision,
            optimizer=training.optimizer, seed=self._seed("training", inner),
            threads=worker_count(self.config.n_jobs), monitor="val_accuracy", monitor_max=True,
            keep_bests=KEPT_BESTS if training.autosave else None,
        )  # fmt: skip

    def _seed(self, what: str, inner: InnerFold) -> int:
        rng = generator(self.config.seed, "classifier", what, self.fold.name, inner.name)
        return int(rng.integers(2**31))

    def _about(self, inner: InnerFold) -> dict[str, Any]:
        """Return the facts that a checkpoint stores in addition to its classes."""
        settings, study = self.config.model, self.study
        return {
            "fold": self.fold.number, "inner_fold": inner.number, "test": list(self.fold.test),
            "network": settings.name, "in_size": settings.in_size, "dropout": settings.dropout,
            "size": list(study.size), "channels": study.images.channels,
        }  # fmt: skip


def check_apart(fold: OuterFold, inner: InnerFold) -> None:
    """Raise if a participant is in two of test, training and validation.

    The folds are built without such overlaps; this check is a safeguard.

    Raises:
        RunError: a participant is in two of them.
    """
    sides = (set(fold.test), set(inner.train), set(inner.validation))
    if sum(len(side) for side in sides) != len(set().union(*sides)):
        raise RunError(
            f"{fold.name}, {inner.name}: a participant is in two of training, validation and test; "
            "nothing was trained."
        )


def best_of(path: Path) -> tuple[Best, dict[str, Any]]:
    """Return the origin and the weights of the model that a fold kept.

    Raises:
        RunError: the model's file is missing or damaged.
    """
    kept = load(path / BEST_MODEL)
    about = kept.get("about", {})
    try:
        best = Best(int(about["inner_fold"]), int(about["best_epoch"]), float(about["best"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path / BEST_MODEL}: not a model of this command; run again with --overwrite."
        ) from error
    return best, kept["state_dict"]


def clear_folds(folder: Path) -> None:
    """Remove files of an earlier run's trainings, which would be mistaken for this run's files."""
    for inner in folder.glob("fold_*/inner_*"):
        for pattern in (*_PASSING, KEPT_BESTS.format("*")):
            for path in inner.glob(pattern):
                path.unlink()
