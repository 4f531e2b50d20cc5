"""Tables of the results of a classifier's cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.metrics.classification import accuracy, f1, roc_auc
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.services.classifier.data import ClassifierStudy
from clickmap_cli.services.classifier.scores import (
    BASELINE,
    NETWORK,
    Difference,
    FoldOutcome,
    ModelScores,
    difference,
    model_scores,
)
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json

SUMMARY = "summary.json"
TABLES = (
    "per_image.csv", "per_participant.csv", "folds.csv", "divisions.csv",
    "history.csv", "failures.csv", SUMMARY,
)  # fmt: skip

_AHEAD = {NETWORK: "", BASELINE: "baseline_"}
"""Classifier -> prefix of its columns."""


@dataclass(frozen=True, eq=False)
class HeatmapResult:
    """Results of a cross-validation.

    Attributes:
        config: the run's configuration.
        study: the maps and their folds.
        outcomes: predictions of every fold.
        histories: fold -> inner fold -> rows of its history, as text.
        scores: network or baseline -> its scores.
        difference: network minus baseline; None without a baseline.
    """

    config: ClassifierConfig
    study: ClassifierStudy
    outcomes: tuple[FoldOutcome, ...]
    histories: Mapping[int, Mapping[int, Sequence[Mapping[str, str]]]]
    scores: Mapping[str, ModelScores]
    difference: Difference | None


def scored(
    config: ClassifierConfig,
    study: ClassifierStudy,
    outcomes: Sequence[FoldOutcome],
    histories: Mapping[int, Mapping[int, Sequence[Mapping[str, str]]]],
) -> HeatmapResult:
    """Score every classifier over all folds."""
    models = tuple(outcomes[0].said)
    scores = {
        model: model_scores(outcomes, model, config.seed, config.permutations) for model in models
    }
    away = difference(outcomes, config.seed) if BASELINE in models else None
    return HeatmapResult(config, study, tuple(outcomes), histories, scores, away)


def write_tables(folder: Path, result: HeatmapResult) -> list[Path]:
    """Write every table, and return their paths."""
    for name, rows in (
        ("per_image.csv", _image_rows(result)),
        ("per_participant.csv", _participant_rows(result)),
        ("folds.csv", _fold_rows(result)),
        ("divisions.csv", _division_rows(result)),
        ("history.csv", _history_rows(result)),
        ("failures.csv", _failure_rows(result)),
    ):
        write_csv(folder / name, list(next(rows)), rows)
    write_json(folder / SUMMARY, as_summary(result))
    return [folder / name for name in TABLES]


Rows = Iterator[Sequence[Any]]
"""Rows of a table, the header first."""


def _image_rows(result: HeatmapResult) -> Rows:
    classes = result.study.images.classes
    several = classes if len(classes) > 2 else ()
    names = ["predicted", "probability", *(f"probability_{label}" for label in several)]
    yield ["fold", "image", "participant", "true", *_columns(result, names)]
    for fold in result.outcomes:
        predicted = {model: fold.predicted(model) for model in result.scores}
        for at, item in enumerate(fold.items):
            row = [fold.fold.number, item.image_id, item.participant, item.label]
            for model in result.scores:
                said = [float(p) for p in fold.said[model][at]]
                row += [classes[predicted[model][at]], said[-1], *(said if several else ())]
            yield row


def _participant_rows(result: HeatmapResult) -> Rows:
    classes = result.study.images.classes
    pairs = [f"{true}_as_{said}" for true in classes for said in classes]
    yield ["fold", "participant", "n_maps", *_columns(result, ["accuracy", "f1", *pairs])]
    for fold in result.outcomes:
        found = {model: fold.confusions(model) for model in result.scores}
        for at, name in enumerate(fold.fold.test):
            row: list[Any] = [fold.fold.number, name, int(np.count_nonzero(fold.people == at))]
            for confusions in found.values():
                mine = confusions[at]
                row += [accuracy(mine), float(f1(mine)), *(int(n) for n in mine.ravel())]
            yield row


def _fold_rows(result: HeatmapResult) -> Rows:
    first = ["fold", "inner_fold", "epoch", "val_accuracy", "n_participants", "n_maps"]
    yield [*first, *_columns(result, ["accuracy", "f1", "auc"])]
    for fold in result.outcomes:
        best = fold.best
        row: list[Any] = [
            fold.fold.number, best.inner, best.epoch, best.val_accuracy, len(fold.fold.test),
            len(fold.items),
        ]  # fmt: skip
        for model in result.scores:
            row += _of_fold(fold, model).values()
        yield row


def _of_fold(fold: FoldOutcome, model: str) -> dict[str, float]:
    """Return the scores of a classifier on one fold."""
    total = fold.confusions(model).sum(axis=0)
    positive = fold.n_classes - 1
    return {
        "accuracy": accuracy(total),
        "f1": float(f1(total)),
        "auc": roc_auc(fold.said[model][:, positive], fold.truth == positive),
    }


def _division_rows(result: HeatmapResult) -> Rows:
    yield ["fold", "inner_fold", "participant", "part"]
    for outcome in result.outcomes:
        fold = outcome.fold
        for inner in fold.inner:
            for part, people in (
                ("train", inner.train), ("validation", inner.validation), ("test", fold.test),
            ):  # fmt: skip
                for name in people:
                    yield [fold.number, inner.number, name, part]


def _history_rows(result: HeatmapResult) -> Rows:
    names = ["epoch", "lr", "train_loss", "val_loss", "val_accuracy"]
    yield ["fold", "inner_fold", *names]
    for fold, inner_folds in result.histories.items():
        for inner, rows in inner_folds.items():
            for row in rows:
                yield [fold, inner, *(row[name] for name in names)]


def _failure_rows(result: HeatmapResult) -> Rows:
    yield ["image", "reason"]
    for problem in result.study.images.problems:
        yield [problem.image_id, problem.reason]


def _columns(result: HeatmapResult, names: Sequence[str]) -> list[str]:
    """Return the column names of every classifier, with its prefix."""
    return [f"{_AHEAD[model]}{name}" for model in result.scores for name in names]


# --- summary ------------------------------------------------------------------------------------


def as_summary(result: HeatmapResult) -> dict[str, Any]:
    """Return the content of `--json` and `summary.json`; an undefined number is null."""
    config, study = result.config, result.study
    images, away = study.images, result.difference
    summary = {
        "experiment": config.experiment,
        "model": config.model.name,
        "classes": list(images.classes),
        "positive": images.classes[-1],
        "size": list(study.size),
        "n_maps": len(images.items),
        "n_participants": len(images.participants),
        "outer_kfolds": study.n_folds,
        "inner_kfolds": config.cv.inner_kfolds,
        "inner_mode": config.cv.inner_mode,
        "shuffle_labels": config.shuffle_labels,
        "resamples": RESAMPLES,
        "permutations": config.permutations if study.mixed else 0,
        "results": {model: _of_model(found) for model, found in result.scores.items()},
        "difference": None
        if away is None
        else {
            "f1": away.mean,
            "f1_pooled": away.pooled,
            "f1_ci": away.interval,
        },
        "folds": [_fold_summary(fold, result) for fold in result.outcomes],
        "failures": [asdict(problem) for problem in images.problems],
    }
    return dict(json_ready(summary))


def _of_model(found: ModelScores) -> dict[str, Any]:
    return {
        "f1": found.mean,
        "f1_pooled": found.pooled,
        "f1_ci": found.interval,
        "f1_folds": list(found.folds),
        "f1_weighted": found.weighted,
        "accuracy": found.accuracy,
        "chance_f1": found.chance.mean,
        "chance_f1_95": found.chance.high,
        "p": found.chance.p,
        "auc": found.auc,
    }


def _fold_summary(fold: FoldOutcome, result: HeatmapResult) -> dict[str, Any]:
    return {
        "fold": fold.fold.number,
        "test_participants": list(fold.fold.test),
        "best": asdict(fold.best),
        **{
            model: {
                **_of_fold(fold, model),
                "confusion": {
                    name: matrix.tolist()
                    for name, matrix in zip(fold.fold.test, fold.confusions(model), strict=True)
                },
            }
            for model in result.scores
        },
    }
