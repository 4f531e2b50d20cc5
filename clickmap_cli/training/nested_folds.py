"""Nested cross-validation by participant: who trains, who chooses the weights, who is tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clickmap_cli.datasets.heatmap_images import few, folds_fault
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator

Classes = Mapping[str, Collection[str]]
"""Participant -> the classes that their images are of."""


@dataclass(frozen=True)
class InnerFold:
    """A division of the participants that a test fold leaves.

    Attributes:
        number: from 1.
        train: who is learnt from.
        validation: who chooses the best weights.
    """

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its folder, in that of its outer fold."""
        return f"inner_{self.number}"


@dataclass(frozen=True)
class OuterFold:
    """A test fold, and the inner folds of everybody else.

    Attributes:
        number: from 1.
        test: who is held out.
        inner: of the others, each of whom validates once.
    """

    number: int
    test: tuple[str, ...]
    inner: tuple[InnerFold, ...]

    @property
    def name(self) -> str:
        """Its folder."""
        return f"fold_{self.number}"

    @property
    def train(self) -> tuple[str, ...]:
        """Everybody who is not held out, sorted."""
        first = self.inner[0]
        return tuple(sorted((*first.train, *first.validation)))


def nested_folds(
    participants: Classes, outer_kfolds: int, inner_kfolds: int, seed: int
) -> tuple[OuterFold, ...]:
    """Divide participants; nobody is left over, whatever their number divides into.

    Everybody is tested in one outer fold, and in each of the others validates once. Sizes of test
    folds differ by one at most, and so do those of an outer fold's validation folds. Participants
    whose images are of the same classes are dealt out evenly: where everybody has images of one
    class only, a fold's share of a class differs by one participant at most from any other's. The
    folds depend on the participants, their classes and the seed alone, not on the order they come
    in.

    Args:
        participants: who takes part, and the classes of their images.
        outer_kfolds: test folds, at least 2.
        inner_kfolds: validation folds of what a test fold leaves, at least 2.
        seed: of every draw.

    Raises:
        DataError: there are too few participants, or nobody of some class is left to learn from.
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
    """Shuffled participants, those of the same classes together, dealt out one after the other."""
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
    """There must be somebody of every class to learn from."""
    everybody = {label for labels in classes.values() for label in labels}
    learnt = {label for name in fold.train for label in classes[name]}
    lost = sorted(everybody - learnt)
    if lost:
        raise DataError(
            f"{where}: nobody with images of class {few(lost)} is left to learn from; use fewer "
            "folds, or more participants."
        )
