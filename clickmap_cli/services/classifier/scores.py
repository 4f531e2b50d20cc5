"""Predictions of the network and the baseline for test maps, and their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.classification import (
    accuracy,
    bootstrap_f1,
    confusion_matrix,
    f1,
    permutation_p,
    roc_auc,
    shuffled_within,
)
from clickmap_cli.metrics.uncertainty import RESAMPLES, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.folds import OuterFold

Codes = NDArray[np.int64]

NETWORK, BASELINE = "network", "baseline"
_RARE = 95
"""Reported percentile of the scores at chance."""


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
        said: network or baseline -> (n, classes) predicted probabilities.
    """

    fold: OuterFold
    best: Best
    items: tuple[LabelledImage, ...]
    truth: Codes
    said: Mapping[str, NDArray[np.float64]]

    @cached_property
    def people(self) -> Codes:
        """(n) index in `fold.test` of each map's participant."""
        place = {name: at for at, name in enumerate(self.fold.test)}
        return np.array([place[item.participant] for item in self.items], dtype=np.int64)

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return int(self.said[NETWORK].shape[1])

    def predicted(self, model: str) -> Codes:
        """Return (n) codes of the most probable classes; the first one if several are equal."""
        codes: Codes = self.said[model].argmax(axis=1)
        return codes

    def confusions(self, model: str) -> Codes:
        """Return (participants, classes, classes) counts of maps, in the order of `fold.test`."""
        predicted, people = self.predicted(model), self.people
        return np.stack(
            [
                confusion_matrix(
                    self.truth[people == at], predicted[people == at], self.n_classes
                )
                for at in range(len(self.fold.test))
            ]
        )  # fmt: skip


@dataclass(frozen=True)
class Chance:
    """Scores of the same predictions under shuffled labels; NaN if no labels were shuffled.

    Attributes:
        mean: mean F1 over permutations.
        high: F1 that one permutation in twenty exceeds.
        p: permutation p-value: how often shuffled labels score at least as high as the true ones.
    """

    mean: float = math.nan
    high: float = math.nan
    p: float = math.nan


@dataclass(frozen=True)
class ModelScores:
    """Scores of a classifier on single maps of participants it has not seen.

    Attributes:
        mean: mean F1 over folds.
        pooled: F1 of the maps of all folds together.
        interval: 95% interval of `pooled`, with the participants of all folds resampled together.
        folds: F1 of each fold.
        weighted: mean over folds of all classes' F1, each weighted by how often the class is true,
            as the reading study reported it.
        accuracy: accuracy of the maps of all folds together.
        auc: AUC of the positive class against the others, over the maps of all folds together.
        chance: F1 under shuffled labels.
    """

    mean: float
    pooled: float
    interval: tuple[float, float]
    folds: tuple[float, ...]
    weighted: float
    accuracy: float
    auc: float
    chance: Chance


@dataclass(frozen=True)
class Difference:
    """F1 of the network minus that of the baseline, over the same folds and resamples.

    Attributes:
        mean: difference of the means over folds.
        pooled: difference of the F1 of all folds' maps together.
        interval: 95% interval of `pooled`.
    """

    mean: float
    pooled: float
    interval: tuple[float, float]


def model_scores(
    outcomes: Sequence[FoldOutcome], model: str, seed: int, permutations: int
) -> ModelScores:
    """Return the scores of a classifier.

    Args:
        outcomes: predictions of every fold.
        model: `network` or `baseline`.
        seed: seed of resamples and permutations, which are the same for every model.
        permutations: number of shuffles of the labels within participants; 0 = none.
    """
    confusions = [fold.confusions(model) for fold in outcomes]
    folds = _of_folds(confusions)
    mean = float(np.mean(folds))
    total = _together(confusions)
    positive = outcomes[0].n_classes - 1
    said = np.concatenate([fold.said[model][:, positive] for fold in outcomes])
    truth = np.concatenate([fold.truth for fold in outcomes])
    return ModelScores(
        mean=mean,
        pooled=float(f1(total)),
        interval=percentile_interval(_resampled(confusions, seed)),
        folds=tuple(folds),
        weighted=float(np.mean(_of_folds(confusions, "weighted"))),
        accuracy=accuracy(total),
        auc=roc_auc(said, truth == positive),
        chance=_chance(outcomes, model, mean, seed, permutations),
    )


def difference(outcomes: Sequence[FoldOutcome], seed: int) -> Difference:
    """Return F1 of the network minus F1 of the baseline, on single maps."""
    samples, means, pooled = [], [], []
    for model in (NETWORK, BASELINE):
        confusions = [fold.confusions(model) for fold in outcomes]
        samples.append(_resampled(confusions, seed))
        means.append(float(np.mean(_of_folds(confusions))))
        pooled.append(float(f1(_together(confusions))))
    interval = percentile_interval(samples[0] - samples[1])
    return Difference(means[0] - means[1], pooled[0] - pooled[1], interval)


def _together(confusions: Sequence[Codes]) -> Codes:
    """Return the confusion matrix of all folds' maps."""
    total: Codes = np.concatenate(confusions).sum(axis=0)
    return total


def _of_folds(confusions: Sequence[Codes], average: str = "auto") -> list[float]:
    return [float(f1(fold.sum(axis=0), average)) for fold in confusions]


def _resampled(confusions: Sequence[Codes], seed: int) -> NDArray[np.float64]:
    return bootstrap_f1(np.concatenate(confusions), generator(seed, "f1", "bootstrap"), RESAMPLES)


def _chance(
    outcomes: Sequence[FoldOutcome], model: str, mean: float, seed: int, permutations: int
) -> Chance:
    """Compare the mean F1 over folds with that of every permutation of the labels.

    Without permutations, or if no shuffle within participants can change a label, all is NaN.
    """
    if not permutations or all(_one_class_each(fold) for fold in outcomes):
        return Chance()
    by_fold = []
    for fold in outcomes:
        predicted, n = fold.predicted(model), fold.n_classes
        shuffled = _permuted(fold, seed, permutations)
        by_fold.append(f1(np.stack([confusion_matrix(t, predicted, n) for t in shuffled])))
    drawn = np.mean(by_fold, axis=0)
    high = float(np.percentile(drawn, _RARE))
    return Chance(float(np.mean(drawn)), high, permutation_p(mean, drawn))


def _permuted(fold: FoldOutcome, seed: int, permutations: int) -> Iterator[Codes]:
    """Yield the labels of a fold shuffled within participants, the same for every model."""
    rng = generator(seed, "permutations", fold.fold.name)
    whose = [item.participant for item in fold.items]
    for _ in range(permutations):
        yield shuffled_within(fold.truth, whose, rng)


def _one_class_each(fold: FoldOutcome) -> bool:
    people = fold.people.tolist()
    return len(set(zip(people, fold.truth.tolist(), strict=True))) == len(set(people))
