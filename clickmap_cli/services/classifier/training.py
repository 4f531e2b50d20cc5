"""Train and test the networks of a cross-validation, and log it as the reading study did.

`log_<date>.txt` and `f1_history.csv`, which has a row per run, are only appended to, across runs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.saliency import Stage
from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.classification import accuracy, class_weights, f1, map_statistics
from clickmap_cli.models.classifier import fit_logistic
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import RunError, printable
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier.data import ClassifierStudy, new_network
from clickmap_cli.services.classifier.results import (
    BASELINE,
    NETWORK,
    Best,
    ClassifierSummary,
    Codes,
    FoldOutcome,
)
from clickmap_cli.services.job import Run
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, make_trackers
from clickmap_cli.storage.appending import append_lines, append_row, require_columns
from clickmap_cli.storage.atomic import replacing
from clickmap_cli.storage.manifest import describe_files
from clickmap_cli.training.checkpoints import BEST, FINAL, LAST, load
from clickmap_cli.training.fitting import FitJob, FitSettings, fit
from clickmap_cli.training.folds import InnerFold, OuterFold
from clickmap_cli.training.tasks.classifier import ClassifierTask, PlaneCache, read_planes
from clickmap_cli.training.trackers import Row

BEST_MODEL = "best_model.pt"
F1_HISTORY = "f1_history.csv"
KEPT_BESTS = "model_epoch_{}.pt"

_PASSING = (BEST, FINAL, LAST)
"""Checkpoints that resume an inner fold; they are removed once its test fold is done."""

_COLUMNS = (
    "date", "experiment", "model", "inner_mode", "shuffle_labels", "seed", "outer_kfolds",
    "inner_kfolds", "n_maps", "n_participants", "f1", "f1_low", "f1_high", "accuracy", "auc",
    "f1_folds",
)  # fmt: skip

_OPTIMISTIC = (
    "inner_mode sequential: one model goes on through the inner folds, so it has learnt from the "
    "participants of most validation folds before; Val acc is optimistic. Test participants are "
    "in none of them."
)


class FoldTraining:
    """Trains and tests the test folds of a study.

    Args:
        config: the run's configuration.
        study: the maps and their folds.
        run: the run, whose folder holds a folder per fold.
        views: show the trainings.
        log: log of the run.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        study: ClassifierStudy,
        run: Run,
        views: TrainingViews,
        log: RunLog,
    ) -> None:
        self.config = config
        self.study = study
        self.run = run
        self.views = views
        self.log = log
        self.cache = PlaneCache()
        if not run.resumed:  # files of an earlier run would be mistaken for this run's files
            for pattern in (*_PASSING, KEPT_BESTS.format("*")):
                for path in run.path.glob(f"fold_*/inner_*/{pattern}"):
                    path.unlink()

    def evaluate(self, fold: OuterFold) -> tuple[FoldOutcome, nn.Module]:
        """Train a fold unless it was trained before, and test it; return the network too.

        Raises:
            DataError: a map is missing or damaged.
            RunError: a training fails, or the fold's model is damaged.
        """
        run, folder = self.run, self.run.path / fold.name
        files = run.folder.recorded(fold.name)
        is_new = files is None
        if files is None:
            files = describe_files(run.path, self._train(fold, folder))
            run.folder.record(fold.name, files)
        run.outputs |= files
        for inner in fold.inner:
            for name in _PASSING:
                (folder / inner.name / name).unlink(missing_ok=True)
        outcome, network = self._test(fold, folder)
        if not is_new:
            self.log.add(f"Fold {fold.number}, trained in an earlier run")
        self.log.add(*_test_lines(outcome, self.study.images.classes))
        return outcome, network

    def _train(self, fold: OuterFold, folder: Path) -> list[Path]:
        """Train on every inner fold, keep the best model, and return the files that are kept.

        Mode `restart` trains a new network on each inner fold. Mode `sequential` trains one network
        on all of them: each inner fold starts with the final weights of the previous one.
        """
        mode, study = self.config.cv.inner_mode, self.study
        self.log.add(f"Fold {fold.number}", f"Test participants: {_join(fold.test)}")
        if mode == "sequential":
            self.log.add(_OPTIMISTIC)
        network: nn.Module | None = None
        best, bests = -1.0, folder
        for inner in fold.inner:
            if network is None or mode == "restart":
                seed = self._seed("weights", fold, inner)
                network = new_network(self.config, study.images, study.size, seed)
                network.to(choose_device(self.config.device))
            rows = self._fit(fold, inner, network)
            reached = max(float(row["val_accuracy"]) for row in rows)
            if reached > best:
                best, bests = reached, folder / inner.name / BEST
        kept = folder / BEST_MODEL
        with replacing(kept) as partial:
            shutil.copyfile(bests, partial)
        folders = [folder / inner.name for inner in fold.inner]
        pattern = KEPT_BESTS.format("*")
        others = [path for inner in folders for path in sorted(inner.glob(pattern))]
        return [kept, *(inner / HISTORY for inner in folders), *others]

    def _fit(self, fold: OuterFold, inner: InnerFold, network: nn.Module) -> tuple[Row, ...]:
        """Train on one inner fold, and return its history."""
        config, study, how = self.config, self.study, self.config.training
        folder = self.run.path / fold.name / inner.name
        about = {
            "fold": fold.number, "inner_fold": inner.number, "test": list(fold.test),
            "network": config.model.name, "in_size": config.model.in_size,
            "dropout": config.model.dropout, "size": list(study.size),
            "channels": study.images.channels,
        }  # fmt: skip
        train, validation = study.select(inner.train), study.select(inner.validation)
        task = ClassifierTask(
            network, train, validation, study.images.classes, how.class_weights, self.cache, about
        )
        stage = Stage(
            name="train", epochs=how.num_epochs, lr=how.lr, weight_decay=how.weight_decay,
            schedule=how.schedule, patience=how.patience,
        )  # fmt: skip
        settings = FitSettings(
            (stage,), how.batch_size, how.accumulate, how.precision, optimizer=how.optimizer,
            seed=self._seed("training", fold, inner), threads=worker_count(config.n_jobs),
            monitor="val_accuracy", monitor_max=True,
            keep_bests=KEPT_BESTS if how.autosave else None,
        )  # fmt: skip
        self.log.add(
            f"Inner fold {inner.number}, validation participants: {_join(inner.validation)}"
        )
        title = f"fold {fold.number} of {study.n_folds}, inner fold {inner.number}"
        watch = _LoggedEpochs(title, self.views, self.run.progress, self.log)
        identity = f"{self.run.identity} {fold.name} {inner.name}"
        return fit(
            FitJob(task, settings, folder, identity, make_trackers(folder), watch), self.run.resumed
        )

    def _seed(self, what: str, fold: OuterFold, inner: InnerFold) -> int:
        rng = generator(self.config.seed, "classifier", what, fold.name, inner.name)
        return int(rng.integers(2**31))

    def _test(self, fold: OuterFold, folder: Path) -> tuple[FoldOutcome, nn.Module]:
        """Predict probabilities for a fold's test maps with its best model."""
        config, study = self.config, self.study
        best, weights = _load_best(folder / BEST_MODEL)
        network = new_network(config, study.images, study.size, config.seed, pretrained=False)
        network.load_state_dict(weights)
        network.to(choose_device(config.device))
        items = study.select(fold.test)
        task = ClassifierTask(network, (), (), study.images.classes, False, self.cache)
        shares = {NETWORK: task.probabilities(items, config.training.batch_size)}
        if config.baseline:
            shares[BASELINE] = self._predict_baseline(fold)
        return FoldOutcome(fold, best, tuple(items), study.images.codes(items), shares), network

    def _predict_baseline(self, fold: OuterFold) -> NDArray[np.float64]:
        """Predict (n, classes) probabilities by logistic regression on five statistics of each map.

        It trains on all participants outside the test fold: it needs no validation participants,
        as it has nothing to choose.
        """

        def features(items: Sequence[LabelledImage]) -> NDArray[np.float64]:
            planes = [np.moveaxis(read_planes(item, self.cache).numpy(), 0, -1) for item in items]
            return np.stack([map_statistics(values) for values in planes])

        study = self.study
        train = study.select(fold.train)
        codes = study.images.codes(train)
        weights = None
        if self.config.training.class_weights:
            weights = class_weights(codes.tolist(), len(study.images.classes))[codes]
        fitted = fit_logistic(features(train), codes, weights)
        return np.asarray(fitted.predict_proba(features(study.select(fold.test))))


def _load_best(path: Path) -> tuple[Best, dict[str, Any]]:
    """Return the origin and the weights of the model that a fold kept.

    Raises:
        RunError: the model's file is missing or damaged.
    """
    kept = load(path)
    about = kept.get("about", {})
    try:
        best = Best(int(about["inner_fold"]), int(about["best_epoch"]), float(about["best"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: not a model of this command; run again with --overwrite."
        ) from error
    return best, kept["state_dict"]


# --- logs ---------------------------------------------------------------------------------------


class RunLog:
    """The log of a day in a folder; every line is written to disk at once.

    Args:
        folder: the run's folder.

    Raises:
        ConfigError: the folder's table of earlier runs has other columns.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"log_{time.strftime('%Y-%m-%d')}.txt"
        self._history = folder / F1_HISTORY
        require_columns(self._history, _COLUMNS)

    def add(self, *lines: str) -> None:
        """Add lines."""
        append_lines(self.path, lines)

    def begin(self, config: ClassifierConfig, study: ClassifierStudy, resumed: bool) -> None:
        """Log the data and settings of a run that begins or resumes."""
        images, cv = study.images, config.cv
        what = "goes on" if resumed else "begins"
        side = " x ".join(str(side) for side in study.size)
        *others, positive = (printable(name) for name in images.classes)
        self.add(
            *([""] if self.path.is_file() else []),
            f"{_now()} {config.experiment} {what}: {len(images.items)} maps of "
            f"{len(images.participants)} participants, classes {', '.join(others)} and {positive} "
            f"(positive)",
            f"Network {config.model.name}, {side}, {cv.outer_kfolds} outer folds, "
            f"{cv.inner_kfolds} inner folds ({cv.inner_mode}), seed {config.seed}",
        )
        if config.shuffle_labels:
            self.add("Labels are shuffled within participants: this is what chance gives.")

    def end(self, config: ClassifierConfig, summary: ClassifierSummary) -> None:
        """Log the means over folds, and append them to `f1_history.csv`."""
        for model, found in summary.results.items():
            low, high = found.f1_ci
            self.add(
                f"Mean F1 of {len(found.f1_folds)} folds, {model}: {found.f1:.4f} "
                f"[{low:.4f}, {high:.4f}]"
            )
        self.add(f"{_now()} {config.experiment} is done")
        found, cv = summary.results[NETWORK], config.cv
        append_row(
            self._history, _COLUMNS,
            [
                _now(), config.experiment, config.model.name, cv.inner_mode, config.shuffle_labels,
                config.seed, cv.outer_kfolds, cv.inner_kfolds, summary.n_maps,
                summary.n_participants, found.f1, *found.f1_ci, found.accuracy, found.auc,
                ";".join(map(repr, found.f1_folds)),
            ],
        )  # fmt: skip


class _LoggedEpochs(Shown):
    """Shows a training, and logs its epochs."""

    def __init__(self, title: str, views: TrainingViews, progress: Progress, log: RunLog) -> None:
        super().__init__(title, views, progress)
        self._log = log

    def epoch(self, row: Row) -> None:
        """Log an epoch."""
        super().epoch(row)
        self._log.add(
            f"Epoch [{row['epoch']}], Loss: {row['train_loss']:.4f}, "
            f"Val acc: {row['val_accuracy']:.4f}"
        )


def _test_lines(outcome: FoldOutcome, classes: Sequence[str]) -> Iterator[str]:
    best = outcome.best
    yield (
        f"Best model: inner fold {best.inner}, epoch {best.epoch}, Val acc: {best.val_accuracy:.4f}"
    )
    people = outcome.confusions(NETWORK)
    yield _format_scores(people.sum(axis=0))
    if BASELINE in outcome.probabilities:
        baseline = _format_scores(outcome.confusions(BASELINE).sum(axis=0))
        yield f"Baseline (logistic regression): {baseline}"
    yield f"Confusion matrices, a row a true class, a column a predicted one ({_join(classes)}):"
    for name, confusion in zip(outcome.fold.test, people, strict=True):
        rows = str(confusion).splitlines()
        yield f"{printable(name)}: {rows[0]}"
        yield from (" " * (len(printable(name)) + 2) + row for row in rows[1:])


def _format_scores(confusion: Codes) -> str:
    return f"Test accuracy: {accuracy(confusion):.4f}, F1 score: {float(f1(confusion)):.4f}"


def _join(words: Sequence[str]) -> str:
    return ", ".join(printable(word) for word in words)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
