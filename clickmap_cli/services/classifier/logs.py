"""Logs of a classifier's cross-validation, in the text format of the reading study.

`log_<date>.txt` and `f1_history.csv`, which has a row per run, are only appended to, across runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.metrics.classification import accuracy, f1
from clickmap_cli.runtime.errors import printable
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.classifier.data import ClassifierStudy
from clickmap_cli.services.classifier.scores import (
    BASELINE,
    NETWORK,
    Codes,
    FoldOutcome,
    ModelScores,
)
from clickmap_cli.services.training_views import Shown, TrainingViews
from clickmap_cli.storage.appending import append_lines, append_row, require_columns
from clickmap_cli.training.folds import InnerFold, OuterFold
from clickmap_cli.training.trackers import Row

F1_HISTORY = "f1_history.csv"

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

    def fold(self, fold: OuterFold, mode: str) -> None:
        """Log that a test fold begins."""
        self.add(f"Fold {fold.number}", f"Test participants: {_names(fold.test)}")
        if mode == "sequential":
            self.add(_OPTIMISTIC)

    def inner(self, inner: InnerFold) -> None:
        """Log that an inner fold begins or resumes."""
        self.add(f"Inner fold {inner.number}, validation participants: {_names(inner.validation)}")

    def tested(self, outcome: FoldOutcome, classes: Sequence[str], trained: bool) -> None:
        """Log the scores of a fold's model on its test participants."""
        if not trained:
            self.add(f"Fold {outcome.fold.number}, trained in an earlier run")
        self.add(*_test_lines(outcome, classes))

    def end(
        self, config: ClassifierConfig, study: ClassifierStudy, scores: Mapping[str, ModelScores]
    ) -> None:
        """Log the means over folds, and append them to `f1_history.csv`."""
        for model, found in scores.items():
            low, high = found.interval
            self.add(
                f"Mean F1 of {len(found.folds)} folds, {model}: {found.mean:.4f} "
                f"[{low:.4f}, {high:.4f}]"
            )
        self.add(f"{_now()} {config.experiment} is done")
        found, cv = scores[NETWORK], config.cv
        append_row(
            self._history, _COLUMNS,
            [
                _now(), config.experiment, config.model.name, cv.inner_mode, config.shuffle_labels,
                config.seed, cv.outer_kfolds, cv.inner_kfolds, len(study.images.items),
                len(study.images.participants), found.mean, *found.interval,
                found.accuracy, found.auc, ";".join(map(repr, found.folds)),
            ],
        )  # fmt: skip


class LoggedEpochs(Shown):
    """Shows a training, and logs its epochs.

    Args:
        title: title of the training.
        views: show the training.
        progress: counts the steps.
        log: log of the epochs.
    """

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
    yield _scores(people.sum(axis=0))
    if BASELINE in outcome.said:
        yield f"Baseline (logistic regression): {_scores(outcome.confusions(BASELINE).sum(axis=0))}"
    yield f"Confusion matrices, a row a true class, a column a predicted one ({_names(classes)}):"
    for name, confusion in zip(outcome.fold.test, people, strict=True):
        rows = str(confusion).splitlines()
        yield f"{printable(name)}: {rows[0]}"
        yield from (" " * (len(printable(name)) + 2) + row for row in rows[1:])


def _scores(confusion: Codes) -> str:
    return f"Test accuracy: {accuracy(confusion):.4f}, F1 score: {float(f1(confusion)):.4f}"


def _names(words: Sequence[str]) -> str:
    return ", ".join(printable(word) for word in words)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
