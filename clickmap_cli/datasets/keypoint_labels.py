"""Labelled key points, the images they belong to, and key points that a config names.

Key points are x (column) and y (row) in pixels of their image with the centre of the top left
pixel at (0, 0), as DeepLabCut's labelling tools and matplotlib count them: an image of width W
covers -0.5 to W - 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.datasets.frames import image_names
from clickmap_cli.runtime.errors import ConfigError, DataError, did_you_mean, join_few, printable
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_images import image_size

_DEFAULT_REFERENCE = ("eye top", "eye bottom")


@dataclass(frozen=True, eq=False)
class KeypointLabels:
    """Key points of images.

    Attributes:
        names: (k) names of the key points.
        images: (n) names of images, as paths inside a folder; no two are the same.
        points: (n, k, 2) float64 x and y in pixels; NaN for a missing label.
        source: the file the labels come from, for messages.
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    points: NDArray[np.float64]
    source: str = "the labels"

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: Sequence[int]) -> KeypointLabels:
        """Return the labels of some images."""
        at = np.asarray(positions, dtype=np.int64)
        chosen = tuple(self.images[place] for place in at)
        return KeypointLabels(self.names, chosen, self.points[at], self.source)

    def in_order(self, names: Sequence[str]) -> KeypointLabels:
        """Return the same labels with the key points in the order of `names`.

        Raises:
            DataError: the key points differ from `names`.
        """
        if set(names) != set(self.names):
            odd = sorted(set(names) ^ set(self.names))
            raise DataError(
                f"{self.source}: its key points are not those of the other table; "
                f"{', '.join(map(printable, odd))[:200]} is in one of them only."
            )
        at = [self.names.index(name) for name in names]
        return KeypointLabels(tuple(names), self.images, self.points[:, at], self.source)


# --- images -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class KeypointImage:
    """An image with its key points.

    Attributes:
        name: name of the image in the labels.
        path: file of the image.
        points: (k, 2) x and y in pixels of the image; NaN for a missing label.
        size: height and width.
    """

    name: str
    path: Path
    points: NDArray[np.float64]
    size: Size


@dataclass(frozen=True)
class MatchedImages:
    """Labels and files that belong together, and those without a counterpart.

    Attributes:
        images: images with a file and at least one label, in the order of the labels.
        without_file: labelled images that match no file, or more than one.
        without_label: files, as paths in the folder, without any label.
        source: the labels' file.
        folder: the images' folder.
    """

    images: tuple[KeypointImage, ...]
    without_file: tuple[str, ...]
    without_label: tuple[str, ...]
    source: str
    folder: Path

    def notices(self) -> list[str]:
        """Return messages for the user, one sentence each."""
        told = []
        if self.without_file:
            told.append(
                f"{self.source}: {len(self.without_file)} of "
                f"{len(self.images) + len(self.without_file)} labelled images have no file of "
                f"their own in {self.folder}: {join_few(self.without_file)}."
            )
        if self.without_label:
            told.append(
                f"{self.folder}: {len(self.without_label)} images have no label in {self.source}: "
                f"{join_few(self.without_label)}."
            )
        sizes = sorted({image.size for image in self.images})
        if len(sizes) > 1:
            (h, w), (height, width) = sizes[0], sizes[-1]
            told.append(
                f"{self.source}: its images have {len(sizes)} sizes, from {h} x {w} to {height} x "
                f"{width} pixels; each is scored in its own pixels."
            )
        return told


def match_images(labels: KeypointLabels, folder: Path) -> MatchedImages:
    """Find the files of labelled images.

    A name matches a file if they are equal, or if one is a unique ending of the other in whole path
    parts: `labeled-data/a/1.png` is found if the folder is `labeled-data`, `labeled-data/a` or the
    parent of `labeled-data`. Images may differ in size.

    Raises:
        DataError: the folder does not exist, one file matches two labelled images, no image with a
            label is found, a file is not an image, or a label lies outside its image.
    """
    files = image_names(folder)
    found = match_keys(labels.images, files)
    by_file: dict[str, str] = {}
    for name, file in found.items():
        if file in by_file:
            raise DataError(
                f"{labels.source}: '{printable(by_file[file])}' and '{printable(name)}' would both "
                f"be {folder / file}; give the folder that holds both."
            )
        by_file[file] = name
    images, lost, blank = [], [], set()
    for name, points in zip(labels.images, labels.points, strict=True):
        if np.isnan(points).all():
            blank.add(found.get(name))
        elif name in found:
            images.append(_require_inside(labels, name, folder / found[name], points))
        else:
            lost.append(name)
    if not images:
        raise DataError(
            f"{folder}: none of the {len(labels)} images of {labels.source} with a label is there, "
            f"'{printable(labels.images[0])}' for one; correct the folder or the names."
        )
    return MatchedImages(
        tuple(images),
        tuple(lost),
        tuple(file for file in files if file not in by_file or file in blank),
        labels.source,
        folder,
    )


def _require_inside(
    labels: KeypointLabels, name: str, path: Path, points: NDArray[np.float64]
) -> KeypointImage:
    """Return an image after checking that its labels lie inside it, by either pixel convention."""
    height, width = image_size(path)
    with np.errstate(invalid="ignore"):
        outside = np.any((points < -0.5) | (points > (width, height)), axis=1)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        x, y = points[at]
        raise DataError(
            f"{labels.source}: the key point '{printable(labels.names[at])}' of "
            f"'{printable(name)}' is at x {x:g}, y {y:g}, outside the image of {width} x {height} "
            "pixels (width x height); correct it, or leave its cells empty."
        )
    return KeypointImage(name, path, points, (height, width))


def shared_files(first: MatchedImages, second: MatchedImages) -> list[str]:
    """Return names of the images of `second` whose file is also in `first`."""
    known = {image.path.resolve() for image in first.images}
    return [image.name for image in second.images if image.path.resolve() in known]


# --- split ------------------------------------------------------------------------------------


def seeded_split(names: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw a share of images to test on; return positions to train and to test on, in order.

    The split depends on the names and the seed, not on the names' order.

    Args:
        names: names of the images, all different.
        share: share of images to test on, above 0 and below 1; rounded to at least one image on
            each side.
        seed: seed of the draw.

    Raises:
        ConfigError: there are fewer than two images.
    """
    n = len(names)
    if n < 2:
        raise ConfigError(f"There are {n} labelled images; a split needs at least two.")
    wanted = min(max(round(share * n), 1), n - 1)
    order = sorted(names)
    drawn = generator(seed, "keypoint split", *order).permutation(n)[:wanted]
    test = {order[at] for at in drawn}
    return (
        [at for at, name in enumerate(names) if name not in test],
        [at for at, name in enumerate(names) if name in test],
    )


_DEFAULT_REFERENCE = ("eye top", "eye bottom")
_PAIRS_KEY = "augment.pairs"


# --- key points that a config names ---------------------------------------------------------------


def reference_points(names: Sequence[str], given: Sequence[str | int] | None) -> tuple[int, int]:
    """Return the two key points whose distance scales PCK, counted from 0.

    Args:
        names: names of the key points.
        given: two names or numbers from 0; None for eye top and eye bottom, if both exist.

    Raises:
        ConfigError: a key point is unknown, both are the same, or there is no default for None.
    """
    if given is None:
        # `Eye_Top`, `eye-top` and `eye top` are the same
        tidy = [re.sub(r"[\s_-]+", " ", name.strip().lower()) for name in names]
        if not set(_DEFAULT_REFERENCE) <= set(tidy):
            raise ConfigError(
                "reference_points must be set: two key points whose distance PCK is measured by "
                f"(there is no eye top and eye bottom). Known: {', '.join(map(printable, names))}."
            )
        return tidy.index(_DEFAULT_REFERENCE[0]), tidy.index(_DEFAULT_REFERENCE[1])
    first, second = (_find_keypoint(names, one, "reference_points") for one in given)
    if first == second:
        raise ConfigError(f"reference_points: both are '{printable(names[first])}'.")
    return first, second


def swapped_pairs(
    names: Sequence[str], given: Sequence[Sequence[str | int]]
) -> tuple[tuple[int, int], ...]:
    """Return the pairs of left and right key points that a mirror swaps, counted from 0.

    Args:
        names: names of the key points.
        given: pairs of names or numbers from 0.

    Raises:
        ConfigError: a key point is unknown or used twice.
    """
    found: list[tuple[int, int]] = []
    for pair in given:
        first, second = (_find_keypoint(names, one, "augment.pairs") for one in pair)
        used = {number for both in found for number in both}
        if first == second or used & {first, second}:
            again = first if first == second or first in used else second
            raise ConfigError(f"augment.pairs: '{printable(names[again])}' is there twice.")
        found.append((first, second))
    return tuple(found)


def _find_keypoint(names: Sequence[str], given: str | int, key: str) -> int:
    """Return the number of a key point, from 0, given its name or its number.

    Raises:
        ConfigError: the key point does not exist.
    """
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, int) and not isinstance(given, bool):
        if 0 <= given < len(names):
            return given
        raise ConfigError(
            f"{key}: {given} is out of range; the {len(names)} key points are counted from 0 to "
            f"{len(names) - 1}."
        )
    raise ConfigError(
        f"{key}: there is no key point '{printable(str(given))}'. {did_you_mean(str(given), names)}"
    )
