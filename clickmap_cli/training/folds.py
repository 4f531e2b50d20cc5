"""Folds: who or what trains, chooses the best weights, and is held out.

scikit-learn divides images, people, and good and bad participants (KFold, StratifiedKFold). Two
divisions are made here. Categories: GroupKFold sorts groups of equal size by NumPy's unstable sort
in the versions before it had a stable one, so that folds depend on the processor. Participants with
classes: StratifiedKFold refuses studies in which every group of participants with the same classes
is smaller than the number of folds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.participants import BAD, GOOD
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.classifier_images import folds_fault
from clickmap_cli.runtime.errors import ConfigError, DataError, join_few
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.text_files import read_ids


@dataclass(frozen=True)
class Fold:
    """One division of a data set.

    Attributes:
        number: number of the fold, from 1.
        train: ids of training images.
        validation: ids of images that choose the best weights; none of them is in `train`.
        test: ids of held-out images.
        train_people: names of people whose fixations train; empty = everybody.
        test_people: names of held-out people; empty = everybody.
    """

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    train_people: tuple[str, ...] = ()
    test_people: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the fold's folder."""
        return f"fold_{self.number:02d}"


@dataclass(frozen=True)
class FoldSettings:
    """Settings that divide a data set into folds.

    Attributes:
        folds: number of folds; 1 trains on everything that `holdout` does not list, and tests on
            that list.
        group_by: `image`, `category` or `participant`.
        files: lists of test ids, one per fold, in place of seeded folds.
        holdout: a list of ids that no fold uses (a single fold tests on them), or None.
        val_share: share of the training images that choose the best weights.
        seed: seed of every draw.
    """

    folds: int = 4
    group_by: str = "image"
    files: tuple[Path, ...] = ()
    holdout: Path | None = None
    val_share: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Division:
    """The folds of a data set, and the ids in the holdout list."""

    folds: tuple[Fold, ...]
    holdout: tuple[str, ...] = field(default=())


def divide(stimuli: Sequence[Stimulus], settings: FoldSettings) -> Division:
    """Divide a data set into folds, which depend only on its ids and the seed.

    With several folds, every image outside the holdout list is in exactly one test fold. With
    `group_by: participant`, every participant is in exactly one test fold instead, and an image is
    in the test folds of all its participants.

    Raises:
        ConfigError: a fold would be empty, an id is in two lists or not in the data set, an image
            is in no list, or the settings do not fit each other.
        DataError: a list cannot be read.
    """
    ids = sorted(stimulus.image_id for stimulus in stimuli)
    held = _read_listed(settings.holdout, ids, "cv.holdout")
    rest = [image_id for image_id in ids if image_id not in held]
    if settings.folds == 1 and not settings.files:
        if not held:
            raise ConfigError("cv.folds is 1 and there is no cv.holdout, so nothing is held out.")
        return Division((_make_fold(1, rest, sorted(held), settings),), tuple(sorted(held)))
    if settings.group_by == "participant":
        return Division(_divide_people(stimuli, rest, settings), tuple(sorted(held)))
    if settings.files:
        parts = _read_folds(rest, settings)
    elif settings.group_by == "category":
        category = {stimulus.image_id: stimulus.category for stimulus in stimuli}
        parts = _divide_categories(rest, category, settings)
    elif len(rest) < settings.folds:
        raise ConfigError(f"Fold {len(rest) + 1} is empty; use fewer cv.folds.")
    else:
        parts = _divide_names(rest, settings)
    folds = []
    for number, part in enumerate(parts, start=1):
        chosen = set(part)
        train = [image_id for image_id in rest if image_id not in chosen]
        folds.append(_make_fold(number, train, sorted(part), settings))
    return Division(tuple(folds), tuple(sorted(held)))


def _divide_names(names: Sequence[str], settings: FoldSettings) -> list[list[str]]:
    """Divide names into folds whose sizes differ by at most one; they depend on names and seed."""
    from sklearn.model_selection import KFold

    state = int(generator(settings.seed, "folds", *names).integers(2**32))
    splitter = KFold(settings.folds, shuffle=True, random_state=state)
    return [[names[at] for at in held] for _, held in splitter.split(names)]


def _make_fold(number: int, train: list[str], test: list[str], settings: FoldSettings) -> Fold:
    if not test:
        raise ConfigError(f"Fold {number} is empty; use fewer cv.folds.")
    order = generator(settings.seed, "validation", str(number), *train).permutation(len(train))
    n = round(settings.val_share * len(train))
    n = max(1, n) if settings.val_share > 0 else 0
    if len(train) - n < 1:
        raise ConfigError(f"Fold {number} has no image to train on; use other cv.folds.")
    chosen = sorted(train[at] for at in order[:n])
    return Fold(number, _exclude(train, chosen), tuple(chosen), tuple(test))


def _divide_categories(
    ids: Sequence[str], category: dict[str, str], settings: FoldSettings
) -> list[list[str]]:
    """Assign whole categories, the largest first, each to the fold with the fewest images."""
    groups: dict[str, list[str]] = {}
    for image_id in ids:
        groups.setdefault(category[image_id], []).append(image_id)
    if len(groups) < settings.folds:
        raise ConfigError(
            f"cv.group_by is category and there are {len(groups)} of them, so one of "
            f"{settings.folds} folds would be empty; use fewer cv.folds."
        )
    names = sorted(groups)
    order = generator(settings.seed, "folds", *names).permutation(len(names))
    parts: list[list[str]] = [[] for _ in range(settings.folds)]
    for name in sorted((names[at] for at in order), key=lambda name: -len(groups[name])):
        min(parts, key=len).extend(groups[name])
    return parts


def _divide_people(
    stimuli: Sequence[Stimulus], ids: Sequence[str], settings: FoldSettings
) -> tuple[Fold, ...]:
    """Make folds of people: images train on some people and are tested against the others."""
    if settings.files:
        raise ConfigError("cv.fold_files list images; set cv.group_by to image.")
    looked: dict[str, set[str]] = {}
    wanted = set(ids)
    for stimulus in stimuli:
        people = stimulus.people() if stimulus.image_id in wanted else None
        for name in () if people is None else people.names:
            looked.setdefault(name, set()).add(stimulus.image_id)
    names = sorted(looked)
    if len(names) < settings.folds:
        raise ConfigError(
            f"cv.group_by is participant and {len(names)} are named, so one of {settings.folds} "
            "folds would be empty; use fewer cv.folds."
        )
    folds = []
    for number, out in enumerate(_divide_names(names, settings), start=1):
        seen = {image_id for name in names if name not in out for image_id in looked[name]}
        test = sorted({image_id for name in out for image_id in looked[name]})
        others = tuple(name for name in names if name not in out)
        fold = _make_fold(number, sorted(seen), test, settings)
        folds.append(replace(fold, train_people=others, test_people=tuple(sorted(out))))
    return tuple(folds)


def _read_folds(ids: Sequence[str], settings: FoldSettings) -> list[list[str]]:
    """Read one list per fold; together they must name every image once."""
    first: dict[str, Path] = {}
    parts = []
    for path in settings.files:
        part = sorted(_read_listed(path, ids, "cv.fold_files"))
        for image_id in part:
            if image_id in first:
                raise ConfigError(
                    f"cv.fold_files: '{image_id}' stands in {first[image_id]} and in {path}; an "
                    "image is held out once."
                )
            first[image_id] = path
        parts.append(part)
    lost = [image_id for image_id in ids if image_id not in first]
    if lost:
        raise ConfigError(
            f"cv.fold_files: {len(lost)} images are in no fold, such as '{lost[0]}'; add them, or "
            "leave them out with `ids`."
        )
    return parts


def _read_listed(path: Path | None, ids: Sequence[str], what: str) -> set[str]:
    """Read the ids of a list; each must be in the data set."""
    if path is None:
        return set()
    found = read_ids(path)
    known = set(ids)
    for image_id in found:
        if image_id not in known:
            raise ConfigError(
                f"{what}: {path} lists '{image_id}', which is not in the data set (or held out "
                "already)."
            )
    return set(found)


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
    for number, test in enumerate(_deal(names, participants, outer_kfolds, seed, "outer"), 1):
        rest = _exclude(names, test)
        inner = tuple(
            InnerFold(at, _exclude(rest, chosen), chosen)
            for at, chosen in enumerate(_deal(rest, participants, inner_kfolds, seed, "inner"), 1)
        )
        for fold in inner:
            _require_classes(fold, participants, f"Fold {number}, inner fold {fold.number}")
        folds.append(OuterFold(number, test, inner))
    return tuple(folds)


def _deal(
    names: Sequence[str], classes: Classes, folds: int, seed: int, purpose: str
) -> list[tuple[str, ...]]:
    """Shuffle participants, grouped by their classes, and deal them out to folds in turn."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault(tuple(sorted(classes[name])), []).append(name)
    row = []
    for words, group in sorted(alike.items()):
        order = generator(seed, "nested", purpose, *words, "of", *names).permutation(len(group))
        row += [group[at] for at in order]
    return [tuple(sorted(row[at::folds])) for at in range(folds)]


def _exclude(names: Sequence[str], some: Collection[str]) -> tuple[str, ...]:
    out = set(some)
    return tuple(name for name in names if name not in out)


def _require_classes(fold: InnerFold, classes: Classes, where: str) -> None:
    """Raise DataError unless every class has a participant who trains."""
    everybody = {label for labels in classes.values() for label in labels}
    learnt = {label for name in fold.train for label in classes[name]}
    lost = sorted(everybody - learnt)
    if lost:
        raise DataError(
            f"{where}: nobody with images of class {join_few(lost)} is left to learn from; use "
            "fewer folds, or more participants."
        )


NO_FOLD = -1


def quality_folds(
    users: NDArray[np.str_], labels: NDArray[np.int8], folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign each listed participant to exactly one fold, in which they are held out.

    Good and bad participants are each distributed as evenly as possible, and sizes of folds differ
    by at most one. The folds depend only on the names and the seed.

    Args:
        users: (users) names.
        labels: (users) `GOOD`, `BAD` or unlisted.
        folds: number of folds, at least 2.
        seed: seed of the order.

    Returns:
        (users) fold from 0, or `NO_FOLD` for people who are not listed.

    Raises:
        ConfigError: there are fewer good or bad participants than folds, or fewer than 2 folds.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds hold nobody out; use at least 2.")
    from sklearn.model_selection import StratifiedKFold

    for kind, word in ((GOOD, "good_users"), (BAD, "bad_users")):
        n_people = np.count_nonzero(labels == kind)
        if n_people < folds:
            raise ConfigError(
                f"{word} lists {n_people} participants with trials, so one of {folds} folds "
                "would hold out nobody of them; list more, or use fewer folds."
            )
    listed = np.flatnonzero((labels == GOOD) | (labels == BAD))
    listed = listed[np.argsort(users[listed])]
    state = int(generator(seed, "quality folds", *users[listed].tolist()).integers(2**32))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=state)
    found = np.full(len(users), NO_FOLD)
    for number, (_, held) in enumerate(splitter.split(listed, labels[listed])):
        found[listed[held]] = number
    return found
