"""Folds: images that train, images that choose the best weights, and images held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.runtime.errors import ConfigError
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
    held = _listed(settings.holdout, ids, "cv.holdout")
    rest = [image_id for image_id in ids if image_id not in held]
    if settings.folds == 1 and not settings.files:
        if not held:
            raise ConfigError("cv.folds is 1 and there is no cv.holdout, so nothing is held out.")
        return Division((_fold(1, rest, sorted(held), settings),), tuple(sorted(held)))
    if settings.group_by == "participant":
        return Division(_by_participant(stimuli, rest, settings), tuple(sorted(held)))
    if settings.files:
        parts = _from_files(rest, settings)
    elif settings.group_by == "category":
        category = {stimulus.image_id: stimulus.category for stimulus in stimuli}
        parts = _by_category(rest, category, settings)
    else:
        order = generator(settings.seed, "folds", *rest).permutation(len(rest))
        parts = [[rest[at] for at in order[k :: settings.folds]] for k in range(settings.folds)]
    folds = []
    for number, part in enumerate(parts, start=1):
        chosen = set(part)
        train = [image_id for image_id in rest if image_id not in chosen]
        folds.append(_fold(number, train, sorted(part), settings))
    return Division(tuple(folds), tuple(sorted(held)))


def _fold(number: int, train: list[str], test: list[str], settings: FoldSettings) -> Fold:
    if not test:
        raise ConfigError(f"Fold {number} is empty; use fewer cv.folds.")
    order = generator(settings.seed, "validation", str(number), *train).permutation(len(train))
    n = round(settings.val_share * len(train))
    n = max(1, n) if settings.val_share > 0 else 0
    if len(train) - n < 1:
        raise ConfigError(f"Fold {number} has no image to train on; use other cv.folds.")
    chosen = {train[at] for at in order[:n]}
    learnt = tuple(image_id for image_id in train if image_id not in chosen)
    return Fold(number, learnt, tuple(sorted(chosen)), tuple(test))


def _by_category(
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


def _by_participant(
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
    order = generator(settings.seed, "folds", *names).permutation(len(names))
    folds = []
    for k in range(settings.folds):
        out = {names[at] for at in order[k :: settings.folds]}
        seen = {image_id for name in names if name not in out for image_id in looked[name]}
        test = sorted({image_id for name in out for image_id in looked[name]})
        made = _fold(k + 1, sorted(seen), test, settings)
        others = tuple(name for name in names if name not in out)
        folds.append(
            Fold(made.number, made.train, made.validation, made.test, others, tuple(sorted(out)))
        )
    return tuple(folds)


def _from_files(ids: Sequence[str], settings: FoldSettings) -> list[list[str]]:
    """Read one list per fold; together they must name every image once."""
    first: dict[str, Path] = {}
    parts = []
    for path in settings.files:
        part = sorted(_listed(path, ids, "cv.fold_files"))
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


def _listed(path: Path | None, ids: Sequence[str], what: str) -> set[str]:
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
