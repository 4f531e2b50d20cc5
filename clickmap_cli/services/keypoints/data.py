"""Labelled images of a key-point training: read, matched with files, and split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clickmap_cli.clickmaps.losses import Loss, check_losses
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.datasets.keypoint_labels import (
    KeypointImage,
    MatchedImages,
    match_images,
    reference_points,
    seeded_split,
    shared_files,
    swapped_pairs,
)
from clickmap_cli.datasets.keypoint_tables import read_labels
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.storage.atomic import sha256_of


@dataclass(frozen=True)
class KeypointData:
    """Labelled images of a training, divided into training, validation and test images.

    Attributes:
        names: names of the key points.
        train: images to train on.
        validation: images that choose the best checkpoint; the test images if `val_share` is 0.
        test: images that are scored at the end.
        reference: indices of the two points whose distance is the unit of PCK.
        swaps: pairs of points that a mirrored image swaps.
        unmatched: labelled images without a file, and files without a label, as (table, name,
            reason).
        notices: sentences that a person should read.
        inputs: input files and their hashes, for the manifest.
    """

    names: tuple[str, ...]
    train: tuple[KeypointImage, ...]
    validation: tuple[KeypointImage, ...]
    test: tuple[KeypointImage, ...]
    reference: tuple[int, int]
    swaps: tuple[tuple[int, int], ...]
    unmatched: tuple[tuple[str, str, str], ...]
    notices: tuple[str, ...]
    inputs: dict[str, dict[str, str]]

    def digest(self) -> str:
        """Return a hash of all labels and images, and of their division."""
        words = [json.dumps([self.names, self.reference, self.swaps])]
        for part in (self.train, self.validation, self.test):
            for image in part:
                words += [image.name, sha256_of(image.path), image.points.tobytes().hex()]
            words.append("")
        return hashlib.sha256("\n".join(words).encode()).hexdigest()


def load_keypoints(config: KeypointConfig) -> KeypointData:
    """Read, match and divide the images of a configuration.

    Raises:
        ConfigError: no labels are named, or the named key points do not fit the labels.
        DataError: labels or images are missing or damaged, or contradict one another.
    """
    if config.train_csv_file is None:
        raise ConfigError("train_csv_file names no labels; say train_csv_file=labels.csv.")
    own = _read(config, "train")
    names, matched_train = own
    reference = reference_points(names, config.reference_points)
    swaps = swapped_pairs(names, config.augment.pairs)
    found = [matched_train]
    if config.test_csv_file is not None:
        _, held_out = _read(config, "test", names)
        twice = shared_files(matched_train, held_out)
        if twice:
            raise DataError(
                f"{len(twice)} images are in train_csv_file and in test_csv_file, '{twice[0]}' for "
                "one; training must not see a test image."
            )
        found.append(held_out)
        learnt, test = matched_train.images, held_out.images
    else:
        learnt, test = _split(matched_train.images, config.test_share, config.seed)
    found = [_drop_labelled_elsewhere(part, found) for part in found]
    for part in found:
        n_lost = len(part.without_file)
        first = f"'{part.without_file[0]}' for one; is it the right folder?" if n_lost else ""
        what = f"labelled images have no file of their own in {part.folder}"
        loss = Loss(n_lost, n_lost + len(part.images), what, first)
        check_losses([loss], config.max_lost, Silent(), part.source)  # notices report the loss
    unmatched = [
        *((part.source, name, "no file") for part in found for name in part.without_file),
        *((part.source, name, "no label") for part in found for name in part.without_label),
    ]
    notices = [text for part in found for text in part.notices()]
    if config.val_share > 0:
        learnt, validation = _split(learnt, config.val_share, config.seed + 1)
    else:
        validation = test
        notices.append(
            "The test images choose best.pth, as in the field's script, so their score is the "
            "better for it; set val_share to choose by other images."
        )
    return KeypointData(
        names, learnt, validation, test, reference, swaps, tuple(unmatched), tuple(notices),
        {part.source: {"sha256": sha256_of(Path(part.source))} for part in found},
    )  # fmt: skip


def _read(
    config: KeypointConfig, what: str, names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], MatchedImages]:
    """Return key-point names, and labels matched with their files; `what` is `train` or `test`."""
    path = _find_path(config, f"{what}_csv_file", "file", Path.is_file)
    labels = read_labels(path)
    if config.n_KPs is not None and len(labels.names) != config.n_KPs:
        raise ConfigError(
            f"n_KPs is {config.n_KPs}, and {path} labels {len(labels.names)} key points; set it to "
            "null, or to that."
        )
    if names is not None:
        labels = labels.in_order(names)
    images = path.parent
    if getattr(config, f"{what}_data_dir") is not None:
        images = _find_path(config, f"{what}_data_dir", "folder", Path.is_dir)
    return labels.names, match_images(labels, images)


def _drop_labelled_elsewhere(part: MatchedImages, parts: Sequence[MatchedImages]) -> MatchedImages:
    """Return a part whose unlabelled files have no label in the other table either.

    The images of the two tables may be in one folder.
    """
    known = {image.path.resolve() for other in parts for image in other.images}
    blank = tuple(
        name for name in part.without_label if (part.folder / name).resolve() not in known
    )
    return replace(part, without_label=blank)


def _find_path(config: KeypointConfig, key: str, kind: str, fits: Callable[[Path], bool]) -> Path:
    """Return the path of a key: as given if it exists, else under `root_directory`.

    Raises:
        DataError: neither path exists.
    """
    path = Path(getattr(config, key))
    places = [path]
    if config.root_directory is not None and not path.is_absolute():
        places.append(Path(config.root_directory) / path)
    for place in places:
        if fits(place):
            return place
    tried = ", nor at ".join(str(place) for place in places)
    raise DataError(f"{key}: no {kind} at {tried} (looked from {Path.cwd()}).")


def _split(
    images: tuple[KeypointImage, ...], share: float, seed: int
) -> tuple[tuple[KeypointImage, ...], tuple[KeypointImage, ...]]:
    kept, held_out = seeded_split([image.name for image in images], share, seed)
    return tuple(images[at] for at in kept), tuple(images[at] for at in held_out)
