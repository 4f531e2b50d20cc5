"""Predictions of the network and the baseline for test maps, their scores, and the tables."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.classification import (
    accuracy,
    bootstrap_f1,
    confusion_matrix,
    f1,
    permutation_p,
    roc_auc,
    shuffle_within,
)
from clickmap_cli.metrics.uncertainty import RESAMPLES, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier.data import ClassifierStudy
from clickmap_cli.services.training_views import HISTORY
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json
from clickmap_cli.training.folds import OuterFold

Codes = NDArray[np.int64]
Interval = Sequence[float | None]

NETWORK, BASELINE = "network", "baseline"
SUMMARY = "summary.json"
TABLES = (
    "per_image.csv", "per_participant.csv", "folds.csv", "history.csv", "failures.csv", SUMMARY,
)  # fmt: skip

_RARE = 95
"""Reported percentile of the scores at chance."""

_PREFIX = {NETWORK: "", BASELINE: "baseline_"}
"""Classifier -> prefix of its columns."""


@dataclass(frozen=True)
class Best:
    """The origin of a fold's model.

    Attributes:
        inner: number of the inner fold that chose it.
        epoch: epoch of that inner fold.
        val_accuracy: accuracy on the validation participants of that inner fold.
    """

    inner: int
    epoch: int
    val_accuracy: float


@dataclass(frozen=True, eq=False)
class FoldOutcome:
    """Predictions for a fold's test maps.

    Attributes:
        fold: the fold, which names its test participants.
        best: origin of the tested network.
        items: the test maps.
        truth: (n) codes of their true classes.
        probabilities: network or baseline -> (n, classes) predicted probabilities.
    """

    fold: OuterFold
    best: Best
    items: tuple[LabelledImage, ...]
    truth: Codes
    probabilities: Mapping[str, NDArray[np.float64]]

    @cached_property
    def people(self) -> Codes:
        """(n) index in `fold.test` of each map's participant."""
        place = {name: at for at, name in enumerate(self.fold.test)}
        return np.array([place[item.participant] for item in self.items], dtype=np.int64)

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return int(self.probabilities[NETWORK].shape[1])

    def predicted(self, model: str) -> Codes:
        """Return (n) codes of the most probable classes; the first one if several are equal."""
        codes: Codes = self.probabilities[model].argmax(axis=1)
        return codes

    def confusions(self, model: str) -> Codes:
        """Return (participants, classes, classes) counts of maps, in the order of `fold.test`."""
        predicted, people, n = self.predicted(model), self.people, self.n_classes
        mine = [people == at for at in range(len(self.fold.test))]
        return np.stack([confusion_matrix(self.truth[own], predicted[own], n) for own in mine])


@dataclass(frozen=True)
class ModelScores:
    """Scores of a classifier on single maps of participants it has not seen; None = undefined.

    Attributes:
        f1: mean F1 over folds.
        f1_pooled: F1 of the maps of all folds together.
        f1_ci: 95% interval of `f1_pooled`, with the participants of all folds resampled together.
        f1_folds: F1 of each fold.
        f1_weighted: mean over folds of all classes' F1, each weighted by how often the class is
            true, as the reading study reported it.
        accuracy: accuracy of the maps of all folds together.
        chance_f1: mean F1 over permutations of the labels within participants.
        chance_f1_95: F1 that one permutation in twenty exceeds.
        p: permutation p-value: how often shuffled labels score at least as high as the true ones.
        auc: AUC of the positive class against the others, over the maps of all folds together.
    """

    f1: float | None
    f1_pooled: float | None
    f1_ci: Interval
    f1_folds: Sequence[float | None]
    f1_weighted: float | None
    accuracy: float | None
    chance_f1: float | None
    chance_f1_95: float | None
    p: float | None
    auc: float | None


@dataclass(frozen=True)
class Difference:
    """F1 of the network minus that of the baseline, over the same folds and resamples.

    Attributes:
        f1: difference of the means over folds.
        f1_pooled: difference of the F1 of all folds' maps together.
        f1_ci: 95% interval of `f1_pooled`.
    """

    f1: float | None
    f1_pooled: float | None
    f1_ci: Interval


@dataclass(frozen=True)
class FoldSummary:
    """A test fold.

    Attributes:
        fold: its number.
        test_participants: participants it holds out.
        best: origin of its network; None before the training.
        scores: network or baseline -> `accuracy`, `f1`, `auc` and `confusion`, which has a matrix
            of counts per participant.
    """

    fold: int
    test_participants: Sequence[str]
    best: Best | None = None
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassifierSummary:
    """The content of `summary.json`; after a dry run, only what is known before the training.

    Attributes:
        model: name of the network.
        positive: the positive class.
        size: height and width of the maps.
        outer_kfolds: number of test folds, including those that were not run.
        permutations: number of shuffles of the labels; 0 if none can change a label.
        results: network or baseline -> its scores.
        difference: network minus baseline; None without a baseline.
        folds: the test folds that were run.
        failures: maps that could not be read.
    """

    experiment: str
    model: str
    classes: Sequence[str]
    positive: str
    size: Sequence[int]
    n_maps: int
    n_participants: int
    outer_kfolds: int
    inner_kfolds: int
    inner_mode: str
    shuffle_labels: bool
    resamples: int
    permutations: int
    results: Mapping[str, ModelScores]
    difference: Difference | None
    folds: Sequence[FoldSummary]
    failures: Sequence[Problem]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClassifierSummary:
        """Build a summary from the content of `summary.json`."""
        away = values["difference"]
        known = ("fold", "test_participants", "best")
        folds = [
            FoldSummary(
                fold["fold"],
                tuple(fold["test_participants"]),
                Best(**fold["best"]),
                {name: scores for name, scores in fold.items() if name not in known},
            )
            for fold in values["folds"]
        ]
        typed = {
            "results": {name: ModelScores(**found) for name, found in values["results"].items()},
            "difference": None if away is None else Difference(**away),
            "folds": tuple(folds),
            "failures": tuple(Problem(**problem) for problem in values["failures"]),
        }
        return cls(**{**values, **typed})

    @classmethod
    def load(cls, folder: Path) -> ClassifierSummary:
        """Read `summary.json`."""
        return cls.from_json(json.loads((folder / SUMMARY).read_text(encoding="utf-8")))

    def as_json(self) -> dict[str, Any]:
        """Return the content of `summary.json`."""
        folds = [
            {**{name: value for name, value in fold.items() if name != "scores"}, **fold["scores"]}
            for fold in asdict(self)["folds"]
        ]
        return dict(json_ready({**asdict(self), "folds": folds}))


def summarise(
    config: ClassifierConfig, study: ClassifierStudy, outcomes: Sequence[FoldOutcome] = ()
) -> ClassifierSummary:
    """Score every classifier over all folds; without outcomes, describe the study.

    Undefined scores are NaN here, and None in a summary that was loaded.
    """
    models = tuple(outcomes[0].probabilities) if outcomes else ()
    images = study.images
    folds = [
        FoldSummary(
            outcome.fold.number,
            outcome.fold.test,
            outcome.best,
            {model: _score_fold(outcome, model) for model in models},
        )
        for outcome in outcomes
    ] or [FoldSummary(fold.number, fold.test) for fold in study.folds]
    return ClassifierSummary(
        experiment=config.experiment,
        model=config.model.name,
        classes=tuple(images.classes),
        positive=images.classes[-1],
        size=study.size,
        n_maps=len(images.items),
        n_participants=len(images.participants),
        outer_kfolds=study.n_folds,
        inner_kfolds=config.cv.inner_kfolds,
        inner_mode=config.cv.inner_mode,
        shuffle_labels=config.shuffle_labels,
        resamples=RESAMPLES,
        permutations=config.permutations if study.mixed else 0,
        results={
            model: score_model(outcomes, model, config.seed, config.permutations)
            for model in models
        },
        difference=compare_models(outcomes, config.seed) if BASELINE in models else None,
        folds=tuple(folds),
        failures=tuple(images.problems),
    )


def _score_fold(outcome: FoldOutcome, model: str) -> dict[str, Any]:
    confusions = outcome.confusions(model)
    positive = outcome.n_classes - 1
    return {
        "accuracy": accuracy(confusions.sum(axis=0)),
        "f1": float(f1(confusions.sum(axis=0))),
        "auc": roc_auc(outcome.probabilities[model][:, positive], outcome.truth == positive),
        "confusion": {
            name: matrix.tolist()
            for name, matrix in zip(outcome.fold.test, confusions, strict=True)
        },
    }


def score_model(
    outcomes: Sequence[FoldOutcome], model: str, seed: int, permutations: int
) -> ModelScores:
    """Return the scores of a classifier; NaN = undefined.

    Args:
        outcomes: predictions of every fold.
        model: `network` or `baseline`.
        seed: seed of resamples and permutations, which are the same for every model.
        permutations: number of shuffles of the labels within participants; 0 = none.
    """
    confusions = [outcome.confusions(model) for outcome in outcomes]
    folds = _score_folds(confusions)
    mean = float(np.mean(folds))
    total: Codes = np.concatenate(confusions).sum(axis=0)
    positive = outcomes[0].n_classes - 1
    shares = np.concatenate([outcome.probabilities[model][:, positive] for outcome in outcomes])
    truth = np.concatenate([outcome.truth for outcome in outcomes])
    chance, high, p = _score_chance(outcomes, model, mean, seed, permutations)
    return ModelScores(
        f1=mean,
        f1_pooled=float(f1(total)),
        f1_ci=percentile_interval(_resample(confusions, seed)),
        f1_folds=tuple(folds),
        f1_weighted=float(np.mean(_score_folds(confusions, "weighted"))),
        accuracy=accuracy(total),
        chance_f1=chance,
        chance_f1_95=high,
        p=p,
        auc=roc_auc(shares, truth == positive),
    )


def compare_models(outcomes: Sequence[FoldOutcome], seed: int) -> Difference:
    """Return F1 of the network minus F1 of the baseline, on single maps."""
    samples, means, pooled = [], [], []
    for model in (NETWORK, BASELINE):
        confusions = [outcome.confusions(model) for outcome in outcomes]
        samples.append(_resample(confusions, seed))
        means.append(float(np.mean(_score_folds(confusions))))
        pooled.append(float(f1(np.concatenate(confusions).sum(axis=0))))
    interval = percentile_interval(samples[0] - samples[1])
    return Difference(means[0] - means[1], pooled[0] - pooled[1], interval)


def _score_folds(confusions: Sequence[Codes], average: str = "auto") -> list[float]:
    return [float(f1(fold.sum(axis=0), average)) for fold in confusions]


def _resample(confusions: Sequence[Codes], seed: int) -> NDArray[np.float64]:
    return bootstrap_f1(np.concatenate(confusions), generator(seed, "f1", "bootstrap"), RESAMPLES)


def _score_chance(
    outcomes: Sequence[FoldOutcome], model: str, mean: float, seed: int, permutations: int
) -> tuple[float, float, float]:
    """Compare the mean F1 over folds with that of every permutation of the labels.

    Returns:
        Mean and 95th percentile over permutations, and the p-value of `mean`; NaN without
        permutations, or if no shuffle within participants can change a label.
    """
    if not permutations or all(_has_one_class_each(outcome) for outcome in outcomes):
        return math.nan, math.nan, math.nan
    by_fold = []
    for outcome in outcomes:
        predicted, n = outcome.predicted(model), outcome.n_classes
        # the same shuffles for every model
        rng = generator(seed, "permutations", outcome.fold.name)
        whose = [item.participant for item in outcome.items]
        shuffled = [shuffle_within(outcome.truth, whose, rng) for _ in range(permutations)]
        by_fold.append(f1(np.stack([confusion_matrix(t, predicted, n) for t in shuffled])))
    drawn = np.mean(by_fold, axis=0)
    return float(np.mean(drawn)), float(np.percentile(drawn, _RARE)), permutation_p(mean, drawn)


def _has_one_class_each(outcome: FoldOutcome) -> bool:
    people = outcome.people.tolist()
    return len(set(zip(people, outcome.truth.tolist(), strict=True))) == len(set(people))


# --- tables -------------------------------------------------------------------------------------


def write_tables(
    folder: Path,
    study: ClassifierStudy,
    outcomes: Sequence[FoldOutcome],
    summary: ClassifierSummary,
) -> list[Path]:
    """Write every table, and return their paths."""
    models, classes = tuple(summary.results), study.images.classes
    for name, rows in (
        ("per_image.csv", _image_rows(outcomes, models, classes)),
        ("per_participant.csv", _participant_rows(outcomes, models, classes)),
        ("folds.csv", _fold_rows(outcomes, models)),
        ("history.csv", _history_rows(outcomes, folder)),
        ("failures.csv", _failure_rows(study)),
    ):
        write_csv(folder / name, list(next(rows)), rows)
    write_json(folder / SUMMARY, summary.as_json())
    return [folder / name for name in TABLES]


Rows = Iterator[Sequence[Any]]
"""Rows of a table, the header first."""


def _columns(models: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the column names of every classifier, with its prefix."""
    return [f"{_PREFIX[model]}{name}" for model in models for name in names]


def _image_rows(
    outcomes: Sequence[FoldOutcome], models: Sequence[str], classes: Sequence[str]
) -> Rows:
    several = classes if len(classes) > 2 else ()
    names = ["predicted", "probability", *(f"probability_{label}" for label in several)]
    yield ["fold", "image", "participant", "true", *_columns(models, names)]
    for outcome in outcomes:
        predicted = {model: outcome.predicted(model) for model in models}
        for at, item in enumerate(outcome.items):
            row = [outcome.fold.number, item.image_id, item.participant, item.label]
            for model in models:
                shares = [float(p) for p in outcome.probabilities[model][at]]
                row += [classes[predicted[model][at]], shares[-1], *(shares if several else ())]
            yield row


def _participant_rows(
    outcomes: Sequence[FoldOutcome], models: Sequence[str], classes: Sequence[str]
) -> Rows:
    pairs = [f"{true}_as_{guess}" for true in classes for guess in classes]
    yield ["fold", "participant", "n_maps", *_columns(models, ["accuracy", "f1", *pairs])]
    for outcome in outcomes:
        found = [outcome.confusions(model) for model in models]
        for at, name in enumerate(outcome.fold.test):
            n_maps = int(np.count_nonzero(outcome.people == at))
            row: list[Any] = [outcome.fold.number, name, n_maps]
            for confusions in found:
                mine = confusions[at]
                row += [accuracy(mine), float(f1(mine)), *(int(n) for n in mine.ravel())]
            yield row


def _fold_rows(outcomes: Sequence[FoldOutcome], models: Sequence[str]) -> Rows:
    scores = ["accuracy", "f1", "auc"]
    first = ["fold", "inner_fold", "epoch", "val_accuracy", "n_participants", "n_maps"]
    yield [*first, *_columns(models, scores)]
    for outcome in outcomes:
        best, number = outcome.best, outcome.fold.number
        row: list[Any] = [number, best.inner, best.epoch, best.val_accuracy]
        row += [len(outcome.fold.test), len(outcome.items)]
        for model in models:
            found = _score_fold(outcome, model)
            row += [found[name] for name in scores]
        yield row


def _history_rows(outcomes: Sequence[FoldOutcome], folder: Path) -> Rows:
    names = ["epoch", "lr", "train_loss", "val_loss", "val_accuracy"]
    yield ["fold", "inner_fold", *names]
    for fold in (outcome.fold for outcome in outcomes):
        for inner in fold.inner:
            path = folder / fold.name / inner.name / HISTORY
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    yield [fold.number, inner.number, *(row[name] for name in names)]


def _failure_rows(study: ClassifierStudy) -> Rows:
    yield ["image", "reason"]
    for problem in study.images.problems:
        yield [problem.image_id, problem.reason]
