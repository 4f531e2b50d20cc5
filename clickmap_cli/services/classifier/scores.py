"""Predictions of the network and the baseline for test maps, and their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.class_blocks import ClassBlocks, class_blocks
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
from clickmap_cli.training.nested_folds import OuterFold

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

    def blocks(self, model: str, labels: Codes | None = None) -> ClassBlocks:
        """Return the blocks of participant and class, by `labels` if given, else by true class."""
        return class_blocks(self.said[model], self.truth if labels is None else labels, self.people)


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
class F1:
    """F1 in a cross-validation.

    Attributes:
        mean: mean F1 over folds.
        pooled: F1 of the maps (or blocks) of all folds together.
        interval: 95% interval of `pooled`, with the participants of all folds resampled together.
        folds: F1 of each fold.
        weighted: mean over folds of all classes' F1, each weighted by how often the class is true,
            as the reading study reported it.
        accuracy: accuracy of all maps (or blocks) together.
        chance: F1 under shuffled labels.
    """

    mean: float
    pooled: float
    interval: tuple[float, float]
    folds: tuple[float, ...]
    weighted: float
    accuracy: float
    chance: Chance


@dataclass(frozen=True)
class ModelScores:
    """Scores of a classifier on participants it has not seen.

    Attributes:
        maps: F1 of single maps.
        blocks: F1 of blocks: a participant's maps of a class, by their mean probabilities.
        auc: AUC of the positive class against the others, over the maps of all folds together.
    """

    maps: F1
    blocks: F1
    auc: float


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
    maps = [fold.confusions(model) for fold in outcomes]
    blocks = [fold.blocks(model).confusions(len(fold.fold.test)) for fold in outcomes]
    chance = _chance(outcomes, model, seed, permutations)
    positive = outcomes[0].n_classes - 1
    said = np.concatenate([fold.said[model][:, positive] for fold in outcomes])
    truth = np.concatenate([fold.truth for fold in outcomes])
    return ModelScores(
        _f1(maps, seed, [drawn[0] for drawn in chance]),
        _f1(blocks, seed, [drawn[1] for drawn in chance]),
        roc_auc(said, truth == positive),
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


def _f1(confusions: Sequence[Codes], seed: int, chance: Sequence[float]) -> F1:
    folds = _of_folds(confusions)
    mean = float(np.mean(folds))
    interval = percentile_interval(_resampled(confusions, seed))
    total = _together(confusions)
    weighted = float(np.mean(_of_folds(confusions, "weighted")))
    return F1(
        mean, float(f1(total)), interval, tuple(folds), weighted, accuracy(total),
        _judged(mean, chance),
    )  # fmt: skip


def _together(confusions: Sequence[Codes]) -> Codes:
    """Return the confusion matrix of all folds' maps."""
    total: Codes = np.concatenate(confusions).sum(axis=0)
    return total


def _of_folds(confusions: Sequence[Codes], average: str = "auto") -> list[float]:
    return [float(f1(fold.sum(axis=0), average)) for fold in confusions]


def _resampled(confusions: Sequence[Codes], seed: int) -> NDArray[np.float64]:
    return bootstrap_f1(np.concatenate(confusions), generator(seed, "f1", "bootstrap"), RESAMPLES)


def _judged(mean: float, chance: Sequence[float]) -> Chance:
    if not chance:
        return Chance()
    high = float(np.percentile(chance, _RARE))
    return Chance(float(np.mean(chance)), high, permutation_p(mean, chance))


def _chance(
    outcomes: Sequence[FoldOutcome], model: str, seed: int, permutations: int
) -> list[tuple[float, float]]:
    """Return mean F1 over folds of maps and of blocks, for every permutation.

    The list is empty if no shuffle within participants can change a label.
    """
    if all(_one_class_each(fold) for fold in outcomes):
        return []
    maps, blocks = [], []
    for fold in outcomes:
        predicted = fold.predicted(model)
        scored = list(_permuted(fold, seed, permutations))
        n = fold.n_classes
        maps.append(f1(_stack([confusion_matrix(t, predicted, n) for t in scored], n)))
        found = [fold.blocks(model, t).confusions(len(fold.fold.test)).sum(axis=0) for t in scored]
        blocks.append(f1(_stack(found, n)))
    pairs = zip(np.mean(maps, axis=0), np.mean(blocks, axis=0), strict=True)
    return [(float(one), float(other)) for one, other in pairs]


def _permuted(fold: FoldOutcome, seed: int, permutations: int) -> Iterator[Codes]:
    """Yield the labels of a fold shuffled within participants, the same for every model."""
    rng = generator(seed, "permutations", fold.fold.name)
    whose = [item.participant for item in fold.items]
    for _ in range(permutations):
        yield shuffled_within(fold.truth, whose, rng)


def _one_class_each(fold: FoldOutcome) -> bool:
    people = fold.people.tolist()
    return len(set(zip(people, fold.truth.tolist(), strict=True))) == len(set(people))


def _stack(confusions: Sequence[Codes], n_classes: int) -> Codes:
    empty = np.empty((0, n_classes, n_classes), dtype=np.int64)
    return np.stack(confusions) if len(confusions) else empty
