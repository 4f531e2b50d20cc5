"""Nested cross-validation by participant: people who train, choose the weights, or are tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clickmap_cli.datasets.classifier_images import few, folds_fault
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator

Classes = Mapping[str, Collection[str]]
"""Participant -> the classes of their images."""


@dataclass(frozen=True)
class InnerFold:
    """A division of the participants outside a test fold.

    Attributes:
        number: number of the fold, from 1.
        train: participants whose images train.
        validation: participants whose images choose the best weights.
    """

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the fold's folder, inside that of its outer fold."""
        return f"inner_{self.number}"


@dataclass(frozen=True)
class OuterFold:
    """A test fold, and the inner folds of all other participants.

    Attributes:
        number: number of the fold, from 1.
        test: held-out participants.
        inner: divisions of the others, each of whom validates once.
    """

    number: int
    test: tuple[str, ...]
    inner: tuple[InnerFold, ...]

    @property
    def name(self) -> str:
        """Name of the fold's folder."""
        return f"fold_{self.number}"

    @property
    def train(self) -> tuple[str, ...]:
        """All participants who are not held out, sorted."""
        first = self.inner[0]
        return tuple(sorted((*first.train, *first.validation)))


def nested_folds(
    participants: Classes, outer_kfolds: int, inner_kfolds: int, seed: int
) -> tuple[OuterFold, ...]:
    """Divide all participants into folds, even if their number is not a multiple of the folds.

    Each participant is tested in one outer fold and validates once in each of the others. Sizes of
    test folds differ by at most one, and so do those of an outer fold's validation folds.
    Participants with the same classes are distributed evenly: if everybody has images of one class
    only, the number of a class's participants differs by at most one between folds. The folds
    depend only on the participants, their classes and the seed, not on the order of the
    participants.

    Args:
        participants: participants and the classes of their images.
        outer_kfolds: number of test folds, at least 2.
        inner_kfolds: number of validation folds outside a test fold, at least 2.
        seed: seed of every draw.

    Raises:
        DataError: there are too few participants, or nobody of some class is left to train on.
    """
    fault = folds_fault(len(participants), outer_kfolds, inner_kfolds)
    if fault is not None:
        raise DataError(fault)
    names = sorted(participants)
    folds = []
    for number, test in enumerate(_dealt(names, participants, outer_kfolds, seed, "outer"), 1):
        rest = _without(names, test)
        inner = tuple(
            InnerFold(at, _without(rest, chosen), chosen)
            for at, chosen in enumerate(_dealt(rest, participants, inner_kfolds, seed, "inner"), 1)
        )
        for fold in inner:
            _check_classes(fold, participants, f"Fold {number}, inner fold {fold.number}")
        folds.append(OuterFold(number, test, inner))
    return tuple(folds)


def _dealt(
    names: Sequence[str], classes: Classes, folds: int, seed: int, purpose: str
) -> list[tuple[str, ...]]:
    """Shuffle participants, grouped by their classes, and deal them out to folds in turn."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault(tuple(sorted(classes[name])), []).append(name)
    row = []
    for words in sorted(alike):
        group = alike[words]
        order = generator(seed, "nested", purpose, *words, "of", *names).permutation(len(group))
        row += [group[at] for at in order]
    return [tuple(sorted(row[at::folds])) for at in range(folds)]


def _without(names: Sequence[str], some: Collection[str]) -> tuple[str, ...]:
    out = set(some)
    return tuple(name for name in names if name not in out)


def _check_classes(fold: InnerFold, classes: Classes, where: str) -> None:
    """Raise DataError unless every class has a participant who trains."""
    everybody = {label for labels in classes.values() for label in labels}
    learnt = {label for name in fold.train for label in classes[name]}
    lost = sorted(everybody - learnt)
    if lost:
        raise DataError(
            f"{where}: nobody with images of class {few(lost)} is left to learn from; use fewer "
            "folds, or more participants."
        )
