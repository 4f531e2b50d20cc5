"""Attention images with a class and a participant: the training data of `train-classifier`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize, same_aspect, shown_size
from clickmap_cli.clickmaps.keys import flat_name, match_keys
from clickmap_cli.clickmaps.maps import trial_maps
from clickmap_cli.clickmaps.trials import TRIALS_FILE
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.files import require_id
from clickmap_cli.datasets.formats.clickmaps import ClickmapStimulus, clickmaps
from clickmap_cli.datasets.gathering import as_folder, files_by_stem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES, grey_values
from clickmap_cli.datasets.tables import TableRow, table_rows
from clickmap_cli.runtime.errors import ConfigError, DataError, join_few, printable
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.storage.safe_images import open_image, read_image

Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One attention image with its participant and its class.

    Attributes:
        image_id: `<class>/<participant>/<name>`, safe as a path; unique in its set.
        participant: the participant whose attention the image shows.
        label: name of the image's class.
        source: returns (H, W) grey or (H, W, 3) colour pixels, float32 in 0..1.
        size: height and width that the image is resized to; None to keep its own.
    """

    image_id: str
    participant: str
    label: str
    source: Callable[[], Pixels]
    size: Size | None = None

    @classmethod
    def from_names(
        cls,
        label: str,
        participant: str,
        name: str,
        source: Callable[[], Pixels],
        size: Size | None,
    ) -> LabelledImage:
        """Return an image whose id is safe as a path.

        Raises:
            DataError: the class, the participant or the name cannot be the name of a file.
        """
        words = (safe_word(label, "class"), safe_word(flat_name(participant), "participant"))
        image_id = "/".join((*words, safe_word(name, "image")))
        return cls(image_id, participant, label, source, size)

    def read(self) -> Pixels:
        """Return (H, W) grey or (H, W, 3) colour pixels, float32 in 0..1.

        Raises:
            DataError: the image is missing or damaged.
        """
        pixels = self.source()
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


def _read_once(
    items: Sequence[LabelledImage],
    classes: Sequence[str],
    *,
    channels: int = 1,
    notices: Sequence[str],
    files: Sequence[Path],
    n_jobs: int,
) -> LabelledImages:
    """Return a set of these images after reading each once; unreadable ones become problems.

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
    told = [*notices]
    if stretched:
        one, size = stretched[0]
        told.append(
            f"{len(stretched)} of {len(good)} maps are stretched to the size they are resized to, "
            f"from {shown_size(one)} to {shown_size(size)} (height x width) for one."
        )
    return LabelledImages(
        tuple(good),
        tuple(classes),
        dict(sorted(sizes.items())),
        channels,
        tuple(problems),
        tuple(told),
        tuple(files),
    )


def _size_or_reason(item: LabelledImage) -> Size | str:
    """Return the size of an image before resizing, or the reason why it cannot be read."""
    try:
        height, width = item.source().shape[:2]
    except DataError as error:
        return str(error)
    return height, width


def _require_classes(classes: Sequence[str], found: Sequence[str], where: Path) -> list[str]:
    """Return the classes of a config; raise ConfigError unless each exists and is named once."""
    names = [str(name) for name in classes]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"classes: '{name}' is there twice.")
        if name not in found:
            raise ConfigError(
                f"classes: nothing in {where} is of class '{printable(name)}' (found: "
                f"{join_few(found) or 'nothing'})."
            )
    return names


def safe_word(word: str, what: str) -> str:
    """Return a name unchanged, after checking that a folder or a file can have it.

    Raises:
        DataError: the name is empty, begins with a dot, holds a slash or unprintable characters, or
            is longer than 200 bytes.
    """
    require_id(word, what)
    if word.startswith("."):
        raise DataError(f"The {what} {printable(word)!r} begins with a dot; rename it.")
    return word


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
    found = [path.name for path in _list_folders(base)]
    names = found if classes is None else _require_classes(classes, found, base)
    items, files, stray = [], [], _list_pictures(base)
    for label in names:
        stray += _list_pictures(base / label)
        for person in _list_folders(base / label):
            for stem, path in sorted(files_by_stem(person, IMAGE_SUFFIXES).items()):
                source = partial(read_pixels, path, colour)
                items.append(LabelledImage.from_names(label, person.name, stem, source, size))
                files.append(path)
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
        notices.append(f"{base}: folders that are no class here: {join_few(left)}.")
    channels = 3 if colour else 1
    return _read_once(items, names, channels=channels, notices=notices, files=files, n_jobs=n_jobs)


def _list_folders(folder: Path) -> list[Path]:
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if path.is_dir() and not path.name.startswith(".")]


def _list_pictures(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]


def read_pixels(path: Path, colour: bool) -> Pixels:
    """Read (H, W) grey or (H, W, 3) RGB in 0..1; 16-bit grey keeps its precision.

    Raises:
        DataError: the picture is missing, damaged, too large, or of floats, which have no largest
            value.
    """
    with open_image(path) as image:
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


# --- clickmaps of single trials -----------------------------------------------------------------


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
    known, lost = _read_labels(rows, [stimulus.key for stimulus in stimuli])
    names = sorted(set(known.values()))
    chosen = names if classes is None else _require_classes(classes, names, table)
    items, unlabelled = [], 0
    for stimulus in stimuli:
        times: Counter[str] = Counter()
        for trial, user in enumerate(stimulus.names):
            label = known.get((stimulus.key, user), known.get(("", user)))
            if label is None or label not in chosen:
                unlabelled += 1
                continue
            times[user] += 1
            again = f"_{times[user]}" if times[user] > 1 else ""
            name = f"{flat_name(stimulus.key)}{again}"
            source = partial(_trial_pixels, stimulus, trial)
            items.append(LabelledImage.from_names(label, user, name, source, size))
    if not items:
        raise DataError(f"{table}: none of its people and images has a trial in {folder}.")
    people = {user for stimulus in stimuli for user in stimulus.names}
    absent = sorted({user for _, user in known} - people)
    notices = [
        f"{table}: {len(missing)} {what} have no trial here: {join_few(missing)}."
        for what, missing in (("people", absent), ("images", lost))
        if missing
    ]
    if unlabelled:
        notices.append(
            f"{unlabelled} trials of {folder} have no label of a class and are left out."
        )
    files = (folder / "manifest.json", folder / TRIALS_FILE, table)
    return _read_once(items, chosen, notices=notices, files=files, n_jobs=n_jobs)


def _trial_pixels(stimulus: ClickmapStimulus, trial: int) -> Pixels:
    """Return a trial's (h, w) map divided by its largest value; zeros if no click lies on it."""
    values: Pixels = trial_maps(stimulus.clicks, stimulus.settings, [trial])[0]
    top = values.max()
    if top > 0:
        values /= top
    return values


def _read_labels(
    rows: Sequence[TableRow], keys: Sequence[str]
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Return labels by (image key or "" for all, person), and images that match no key.

    Raises:
        DataError: rows contradict each other, or a cell is empty.
    """
    named = [row.fields["image_path"] for row in rows if row.fields.get("image_path")]
    by_name = match_keys(named, keys)
    found: dict[tuple[str, str], str] = {}
    lines: dict[tuple[str, str], int] = {}
    lost = set()
    for row in rows:
        image, user, label = (
            row.fields.get(name, "") for name in ("image_path", "user_id", "label")
        )
        if image and image not in by_name:
            lost.add(image)
            continue
        if not label or not user:
            raise DataError(f"{row.where}: user_id or label is empty.")
        place = (by_name[image] if image else "", user)
        first = lines.setdefault(place, row.line)
        if found.setdefault(place, label) != label:
            raise DataError(
                f"{row.where}: '{printable(user)}' is of class '{printable(label)}' here and of "
                f"'{printable(found[place])}' in line {first}."
            )
    return found, sorted(lost)


# --- checks before training ---------------------------------------------------------------------


def training_faults(images: LabelledImages, outer_kfolds: int, inner_kfolds: int) -> list[str]:
    """Return every reason why a nested cross-validation of a set is impossible, as sentences.

    Args:
        images: the set.
        outer_kfolds: number of test folds of participants.
        inner_kfolds: number of validation folds of the remaining participants.
    """
    faults = []
    if len(images.sizes) > 1:
        counted = [
            f"{height} x {width} ({n} images)" for (height, width), n in images.sizes.items()
        ]
        faults.append(
            f"The images have {len(images.sizes)} sizes, {join_few(counted)}; set size: [height, "
            "width] to resize them all."
        )
    present = {item.label for item in images.items}
    if len(present) < 2:
        which = f"all are of class '{next(iter(present))}'" if present else "there are none"
        faults.append(f"A classifier needs images of two classes or more; {which}.")
    fault = folds_fault(len(images.participants), outer_kfolds, inner_kfolds)
    faults += [fault] if fault else []
    absent = [label for label in images.classes if label not in present]
    if absent and len(present) >= 2:
        faults.append(f"No image that can be read is of class {join_few(absent)}; leave it out.")
    return faults


def one_class_notices(images: LabelledImages) -> list[str]:
    """Return a sentence about each participant whose images are all of one class."""
    return [
        f"Participant '{name}' has images of class '{labels[0]}' only; permutations within "
        "participants leave them as they are."
        for name, labels in images.participants.items()
        if len(labels) == 1
    ]


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
