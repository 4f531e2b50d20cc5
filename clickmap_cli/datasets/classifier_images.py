"""Attention images with a class and a participant: the training data of `train-classifier`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize, same_aspect, shown_size
from clickmap_cli.clickmaps.keys import flat_name, match_keys
from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.files import checked_id
from clickmap_cli.datasets.formats.prepared import ClickmapStimulus, clickmaps
from clickmap_cli.datasets.gathering import as_folder, files_by_stem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, grey_values
from clickmap_cli.datasets.tables import TableRow, table_rows
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.storage.safe_images import opened_image, read_image

Pixels = NDArray[np.float32]

_SHOWN = 5


class Picture(ABC):
    """A source of the pixels of an image."""

    @abstractmethod
    def read(self) -> Pixels:
        """Return (H, W) grey or (H, W, 3) colour pixels, float32 in 0..1.

        Raises:
            DataError: the pixels cannot be read.
        """


@dataclass(frozen=True)
class FilePicture(Picture):
    """A picture in a file.

    Attributes:
        path: the file.
        colour: RGB; else grey.
    """

    path: Path
    colour: bool

    def read(self) -> Pixels:
        """Return grey values or colours, divided by the largest value that they can have."""
        return read_pixels(self.path, self.colour)


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One attention image with its participant and its class.

    Attributes:
        image_id: `<class>/<participant>/<name>`, safe as a path; unique in its set.
        participant: the participant whose attention the image shows.
        label: name of the image's class.
        picture: source of the image's pixels.
        size: height and width that the image is resized to; None to keep its own.
    """

    image_id: str
    participant: str
    label: str
    picture: Picture
    size: Size | None = None

    def read(self) -> Pixels:
        """Return (H, W) grey or (H, W, 3) colour pixels, float32 in 0..1.

        Raises:
            DataError: the image is missing or damaged.
        """
        pixels = self.picture.read()
        if self.size is None or pixels.shape[:2] == self.size:
            return pixels
        planes = pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        fitted = np.clip(resize(planes, self.size), 0, 1)
        return fitted if pixels.ndim == 2 else np.moveaxis(fitted, 0, -1)


@dataclass(frozen=True)
class LabelledImages:
    """A set of attention images.

    Attributes:
        items: images that can be used, sorted by id.
        classes: names of the classes, in order; of two classes the second is the positive one.
        sizes: height and width -> number of images of that size, after resizing.
        channels: 1 for grey, 3 for colour.
        problems: images that cannot be used, with reasons.
        notices: messages for the user about the set.
        files: files that the set was read from.
    """

    items: tuple[LabelledImage, ...]
    classes: tuple[str, ...]
    sizes: Mapping[Size, int]
    channels: int = 1
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def participants(self) -> dict[str, tuple[str, ...]]:
        """Sorted participants -> classes of their images, in the set's order."""
        seen: dict[str, set[str]] = {item.participant: set() for item in self.items}
        for item in self.items:
            seen[item.participant].add(item.label)
        return {
            name: tuple(label for label in self.classes if label in seen[name])
            for name in sorted(seen)
        }

    def codes(self, items: Iterable[LabelledImage]) -> NDArray[np.int64]:
        """Return the (n) positions of the items' classes in `classes`."""
        place = {label: at for at, label in enumerate(self.classes)}
        return np.array([place[item.label] for item in items], dtype=np.int64)


# --- folders of pictures ------------------------------------------------------------------------


def image_folder(
    root: str | Path,
    classes: Sequence[str] | None = None,
    colour: bool = False,
    size: Size | None = None,
    n_jobs: int = 1,
) -> LabelledImages:
    """Read pictures in `<root>/<class>/<participant>/`; participants may be in several classes.

    Every picture is read once, so that damage is found before training starts.

    Args:
        root: the folder.
        classes: folders of the classes, in order; None for all folders, sorted.
        colour: RGB; else grey.
        size: height and width that pictures are resized to; None to keep their own.
        n_jobs: number of threads that read.

    Raises:
        ConfigError: a class has no folder, or is named twice.
        DataError: the folder is missing, holds no picture, or two pictures get the same id.
    """
    base = as_folder(root, "root")
    found = [path.name for path in _folders(base)]
    names = found if classes is None else checked_classes(classes, found, base)
    items, stray = [], _pictures(base)
    for label in names:
        stray += _pictures(base / label)
        for person in _folders(base / label):
            for stem, path in sorted(files_by_stem(person, IMAGE_SUFFIXES).items()):
                picture = FilePicture(path, colour)
                items.append(labelled_image(label, person.name, stem, picture, size))
    if not items:
        raise DataError(
            f"{base}: no pictures in <class>/<participant>/ ({', '.join(IMAGE_SUFFIXES)})."
        )
    notices = []
    if stray:
        notices.append(
            f"{len(stray)} pictures lie in no participant's folder and are left out, "
            f"{stray[0]} for one."
        )
    left = [name for name in found if name not in names]
    if left:
        notices.append(f"{base}: folders that are no class here: {few(left)}.")
    files = tuple(item.picture.path for item in items if isinstance(item.picture, FilePicture))
    rest = LabelledImages((), tuple(names), {}, 3 if colour else 1, (), tuple(notices), files)
    return read_once(items, rest, n_jobs)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = sorted(folder.iterdir())
    return [path for path in inside if path.is_dir() and not path.name.startswith(".")]


def _pictures(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]


def checked_classes(classes: Sequence[str], found: Sequence[str], where: Path) -> list[str]:
    """Return the classes of a config, after checking that each of them exists.

    Raises:
        ConfigError: a class does not exist, or is named twice.
    """
    names = [str(name) for name in classes]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"classes: '{name}' stands there twice.")
        if name not in found:
            raise ConfigError(
                f"classes: nothing in {where} is of class '{printable(name)}' (found: "
                f"{few(found) or 'nothing'})."
            )
    return names


def labelled_image(
    label: str, participant: str, name: str, picture: Picture, size: Size | None
) -> LabelledImage:
    """Return an image whose id is safe as a path.

    Raises:
        DataError: the class, the participant or the name cannot be the name of a file.
    """
    words = (safe_word(label, "class"), safe_word(flat_name(participant), "participant"))
    image_id = "/".join((*words, safe_word(name, "image")))
    return LabelledImage(image_id, participant, label, picture, size)


def safe_word(word: str, what: str) -> str:
    """Return a name unchanged, after checking that a folder or a file can have it.

    Raises:
        DataError: the name is empty, begins with a dot, holds a slash or unprintable characters, or
            is longer than 200 bytes.
    """
    try:
        checked_id(word)
    except DataError as error:
        text = str(error).replace("The image id", f"The {what}").replace("the image", "it")
        raise DataError(text) from error
    if word.startswith("."):
        raise DataError(f"The {what} {printable(word)!r} begins with a dot; rename it.")
    return word


def read_once(
    items: Sequence[LabelledImage], rest: LabelledImages, n_jobs: int = 1
) -> LabelledImages:
    """Return a set of these images after reading each once; unreadable ones become problems.

    Args:
        items: the images.
        rest: a set without images that holds all other attributes.
        n_jobs: number of threads that read.

    Raises:
        DataError: two images have the same id.
    """
    by_id: dict[str, LabelledImage] = {}
    for item in sorted(items, key=lambda item: item.image_id):
        if by_id.setdefault(item.image_id, item) is not item:
            raise DataError(f"Two images would both be called '{item.image_id}'; rename one.")
    good, problems, sizes = [], [], Counter[Size]()
    stretched = []
    read = ordered_map(_size_or_reason, by_id.values(), n_jobs, "threading")
    for item, found in zip(by_id.values(), read, strict=True):
        if isinstance(found, str):
            problems.append(Problem(item.image_id, found))
            continue
        good.append(item)
        sizes[item.size or found] += 1
        if item.size is not None and not same_aspect(found, item.size):
            stretched.append((found, item.size))
    notices = [*rest.notices]
    if stretched:
        one, size = stretched[0]
        notices.append(
            f"{len(stretched)} of {len(good)} maps are stretched to the size they are resized to, "
            f"from {shown_size(one)} to {shown_size(size)} (height x width) for one."
        )
    return replace(
        rest, items=tuple(good), sizes=dict(sorted(sizes.items())), problems=tuple(problems),
        notices=tuple(notices),
    )  # fmt: skip


def _size_or_reason(item: LabelledImage) -> Size | str:
    """Return the size of an image before resizing, or the reason why it cannot be read."""
    try:
        height, width = item.picture.read().shape[:2]
    except DataError as error:
        return str(error)
    return height, width


def read_pixels(path: Path, colour: bool) -> Pixels:
    """Read (H, W) grey or (H, W, 3) RGB in 0..1; 16-bit grey keeps its precision.

    Raises:
        DataError: the picture is missing, damaged, too large, or of floats, which have no largest
            value.
    """
    with opened_image(path) as image:
        mode = str(image.mode)
    if mode == "F":
        raise DataError(f"{path}: a picture of floats; save it with 8 or 16 bits.")
    if not mode.startswith("I"):
        return read_image(path, "RGB" if colour else "L").astype(np.float32) / np.float32(255)
    grey = grey_values(path).astype(np.float64) / 65535
    if grey.size and not 0 <= grey.min() <= grey.max() <= 1:
        raise DataError(f"{path}: grey values need more than 16 bits; save it with 8 or 16.")
    single = grey.astype(np.float32)
    return np.repeat(single[:, :, None], 3, axis=2) if colour else single


# --- checks before training ---------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """Results of the checks of a set before training, one sentence each.

    Attributes:
        faults: reasons why training is impossible.
        notices: remarks that do not prevent training.
    """

    faults: tuple[str, ...]
    notices: tuple[str, ...]


def findings(images: LabelledImages, outer_kfolds: int, inner_kfolds: int) -> Findings:
    """Collect every reason why a nested cross-validation of a set is impossible, and remarks.

    Args:
        images: the set.
        outer_kfolds: number of test folds of participants.
        inner_kfolds: number of validation folds of the remaining participants.
    """
    people = images.participants
    present = {item.label for item in images.items}
    faults = [_sizes_fault(images.sizes)] if len(images.sizes) > 1 else []
    if len(present) < 2:
        which = f"all are of class '{next(iter(present))}'" if present else "there are none"
        faults.append(f"A classifier needs images of two classes or more; {which}.")
    fault = folds_fault(len(people), outer_kfolds, inner_kfolds)
    faults += [fault] if fault else []
    absent = [label for label in images.classes if label not in present]
    if absent and len(present) >= 2:
        faults.append(f"No image that can be read is of class {few(absent)}; leave it out.")
    notices = [
        f"Participant '{name}' has images of class '{labels[0]}' only; permutations within "
        "participants leave them as they are."
        for name, labels in people.items()
        if len(labels) == 1
    ]
    return Findings(tuple(faults), tuple(notices))


def _sizes_fault(sizes: Mapping[Size, int]) -> str:
    counted = [f"{height} x {width} ({n} images)" for (height, width), n in sizes.items()]
    return (
        f"The images have {len(sizes)} sizes, {few(counted)}; set size: [height, width] to resize "
        "them all."
    )


def folds_fault(participants: int, outer_kfolds: int, inner_kfolds: int) -> str | None:
    """Return why participants cannot be divided into these folds, or None if they can.

    Args:
        participants: number of participants.
        outer_kfolds: number of test folds, at least 2.
        inner_kfolds: number of validation folds of the participants outside a test fold, at least
            2.
    """
    for name, folds in (("outer_kfolds", outer_kfolds), ("inner_kfolds", inner_kfolds)):
        if folds < 2:
            return f"{name} is {folds}; it must be 2 or more."
    if participants < outer_kfolds:
        return (
            f"{participants} participants cannot be divided into {outer_kfolds} test folds; use "
            "fewer outer_kfolds."
        )
    left = participants - -(-participants // outer_kfolds)
    if left < inner_kfolds:
        return (
            f"A test fold leaves {left} of {participants} participants, too few for "
            f"{inner_kfolds} validation folds; use fewer inner_kfolds."
        )
    return None


def few(words: Sequence[str]) -> str:
    """Join the first few words of a list, for a message."""
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(printable(word) for word in words[:_SHOWN]) + more


@dataclass(frozen=True)
class TrialPicture(Picture):
    """The clickmap of one trial, as `prepare` made it.

    Attributes:
        stimulus: the image that was clicked, with all its trials.
        trial: index of the trial.
    """

    stimulus: ClickmapStimulus
    trial: int

    def read(self) -> Pixels:
        """Return the (h, w) map divided by its largest value; zeros if no click lies on it."""
        stimulus = self.stimulus
        values: Pixels = trial_maps(stimulus.clicks, stimulus.settings, [self.trial])[0]
        top = values.max()
        if top > 0:
            values /= top
        return values


def labelled_clickmaps(
    root: str | Path,
    labels: str | Path,
    classes: Sequence[str] | None = None,
    size: Size | None = None,
    n_jobs: int = 1,
) -> LabelledImages:
    """Read single trials' clickmaps from a folder written by `prepare`, labelled by a table.

    The maps are those that `save_maps: participants` writes. They are recomputed from the folder's
    trials, so the folder need not hold them. Each map is divided by its largest value.

    Args:
        root: the experiment's folder.
        labels: a CSV with the columns `user_id,label`, or `image_path,user_id,label` if a person's
            images are of several classes. An `image_path` may be an ending of the key.
        classes: names of classes, in order; None for all classes of the table, sorted.
        size: height and width that maps are resized to; None to keep their own.
        n_jobs: number of threads that make the maps.

    Raises:
        ConfigError: a class is in no row, or is named twice.
        DataError: the folder does not hold a finished run of `prepare`; the table is missing,
            damaged or contradicts itself; or no trial has a label.
    """
    folder, table = Path(root).expanduser(), Path(labels).expanduser()
    data = clickmaps(str(folder))
    stimuli = [stimulus for stimulus in data.stimuli if isinstance(stimulus, ClickmapStimulus)]
    rows = table_rows(table, ("user_id", "label"), ("image_path",))
    wanted = _labels_of(rows, [stimulus.key for stimulus in stimuli], table)
    names = sorted(set(wanted.labels.values()))
    chosen = names if classes is None else checked_classes(classes, names, table)
    items, unlabelled = [], 0
    for stimulus in stimuli:
        times: Counter[str] = Counter()
        for trial, user in enumerate(stimulus.names):
            label = wanted.of(stimulus.key, user)
            if label is None or label not in chosen:
                unlabelled += 1
                continue
            times[user] += 1
            again = f"_{times[user]}" if times[user] > 1 else ""
            name = f"{flat_name(stimulus.key)}{again}"
            picture = TrialPicture(stimulus, trial)
            items.append(labelled_image(label, user, name, picture, size))
    if not items:
        raise DataError(f"{table}: none of its people and images has a trial in {folder}.")
    notices = list(wanted.notices(stimuli, table))
    if unlabelled:
        notices.append(
            f"{unlabelled} trials of {folder} have no label of a class and are left out."
        )
    files = (folder / "manifest.json", folder / TRIALS_FILE, table)
    rest = LabelledImages((), tuple(chosen), {}, 1, (), tuple(notices), files)
    return read_once(items, rest, n_jobs)


@dataclass(frozen=True)
class _Labels:
    """Labels by (image key or "" for all, person), and names of images that match no key."""

    labels: Mapping[tuple[str, str], str]
    lost: Sequence[str]

    def of(self, key: str, user: str) -> str | None:
        return self.labels.get((key, user), self.labels.get(("", user)))

    def notices(self, stimuli: Sequence[ClickmapStimulus], table: Path) -> Iterator[str]:
        people = {user for stimulus in stimuli for user in stimulus.names}
        absent = sorted({user for _, user in self.labels} - people)
        for what, names in (("people", absent), ("images", sorted(self.lost))):
            if names:
                yield f"{table}: {len(names)} {what} have no trial here: {few(names)}."


def _labels_of(rows: Sequence[TableRow], keys: Sequence[str], table: Path) -> _Labels:
    """Turn the table into a mapping; rows that contradict each other are an error."""
    by_name = match_keys([row["image_path"] for _, row in rows if row.get("image_path")], keys)
    found: dict[tuple[str, str], tuple[int, str]] = {}
    lost = set()
    for line, row in rows:
        image = row.get("image_path", "")
        if image and image not in by_name:
            lost.add(image)
            continue
        if not row["label"] or not row["user_id"]:
            raise DataError(f"{table}, line {line}: user_id or label is empty.")
        place = (by_name[image] if image else "", row["user_id"])
        first, label = found.setdefault(place, (line, row["label"]))
        if label != row["label"]:
            raise DataError(
                f"{table}, line {line}: '{printable(row['user_id'])}' is of class "
                f"'{printable(row['label'])}' here and of '{printable(label)}' in line {first}."
            )
    return _Labels({place: label for place, (_, label) in found.items()}, tuple(lost))
