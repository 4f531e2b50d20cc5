"""Labelled key points, and the images that they belong to.

Key points are x (column) and y (row) in pixels of their image with the centre of the top left
pixel at (0, 0), as DeepLabCut's labelling tools and matplotlib count them: an image of width W
covers -0.5 to W - 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import image_key, match_keys
from clickmap_cli.datasets.frames import image_names
from clickmap_cli.datasets.keypoint_tables import DLC_HEADER, LabelTable, read_label_table
from clickmap_cli.runtime.errors import ConfigError, DataError, did_you_mean, printable
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.atomic import write_csv
from clickmap_cli.storage.safe_images import image_size

SCORER = "clickmap"
"""Scorer of a network's key points in DeepLabCut's files."""

_DLC_FOLDER = "labeled-data"


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
                f"{', '.join(map(printable, odd))[:200]} stands in one of them only."
            )
        at = [self.names.index(name) for name in names]
        return KeypointLabels(tuple(names), self.images, self.points[:, at], self.source)


def read_labels(path: Path) -> KeypointLabels:
    """Read the labelled key points of a file, with the names of key points and images.

    The file may be one of
    - DeepLabCut's CSV: three header rows `scorer`, `bodyparts` and `coords`; before the numbers
      the image's path, or the three columns `labeled-data`, folder, image;
    - DeepLabCut's HDF5 (`.h5`), `fixed` or `table`;
    - a flat CSV with the header `<image>,<part> x,<part> y,...` (or `<part>_x`). Other columns may
      come before the first key point; the image is in the first column whose cells all end like
      image files, else in the first column.

    Empty cells and NaN are missing labels; a column `likelihood` is ignored.

    Raises:
        DataError: the file is missing, damaged, empty or in another format; an image is listed
            twice or its name leads out of its folder; a key point lacks x or y; a cell is not a
            number.
    """
    table = read_label_table(path)
    names, x, y = _pairs(table)
    images = _images(table)
    points = np.stack([table.values[:, x], table.values[:, y]], axis=2)
    half = np.argwhere(np.isnan(points[..., 0]) != np.isnan(points[..., 1]))
    if len(half):
        row, part = half[0]
        raise DataError(
            f"{table.source}, {table.rows[row]}: the key point '{printable(names[part])}' has only "
            "one of x and y; write both, or neither."
        )
    return KeypointLabels(names, images, points, table.source)


def _pairs(table: LabelTable) -> tuple[tuple[str, ...], list[int], list[int]]:
    """Return the key points in order of first appearance, and the columns of their x and y."""
    places: dict[str, dict[str, int]] = {}
    for at, (name, coordinate) in enumerate(table.columns):
        if not name or not name.isprintable():
            raise DataError(f"{table.source}: a key point's name is {printable(name)!r}.")
        if coordinate in places.setdefault(name, {}):
            raise DataError(
                f"{table.source}: the key point '{printable(name)}' has two columns {coordinate}."
            )
        places[name][coordinate] = at
    for name, found in places.items():
        for coordinate in ("x", "y"):
            if coordinate not in found:
                raise DataError(
                    f"{table.source}: the key point '{printable(name)}' has no column {coordinate}."
                )
    if not places:
        raise DataError(f"{table.source}: the table has no key points.")
    columns = list(places.values())
    return tuple(places), [found["x"] for found in columns], [found["y"] for found in columns]


def _images(table: LabelTable) -> tuple[str, ...]:
    """Return the image names as keys, after checking that no two are equal."""
    first: dict[str, str] = {}
    for name, row in zip(table.images, table.rows, strict=True):
        try:
            key = str(PurePosixPath(image_key(name)))
        except ValueError as error:
            reason = str(error).replace("image_path", "the image's name")
            reason = reason.replace("inside image_dir (see remove_string)", "inside its folder")
            raise DataError(
                f"{table.source}, {row}: {reason}, found '{printable(name)}'."
            ) from error
        if key in first:
            raise DataError(
                f"{table.source}: the image '{printable(key)}' stands in {first[key]} and {row}; "
                "keep one of them."
            )
        first[key] = row
    if not first:
        raise DataError(f"{table.source}: the table names no image.")
    return tuple(first)


# --- writing ----------------------------------------------------------------------------------


def write_flat_csv(path: Path, labels: KeypointLabels) -> None:
    """Write `image,<part> x,<part> y,...`, which `read_labels` reads back exactly."""
    header = ["image", *(f"{name} {axis}" for name in labels.names for axis in "xy")]
    rows = zip(labels.images, labels.points, strict=True)
    write_csv(path, header, ([image, *_cells(points)] for image, points in rows))


def write_dlc_csv(path: Path, labels: KeypointLabels, scorer: str = SCORER) -> None:
    """Write DeepLabCut's CSV of labelled images; DeepLabCut and `read_labels` read it exactly.

    If every image lies in a folder of `labeled-data`, the path is split into three columns, as
    DeepLabCut has done since version 2.2; else the image's path is one column.
    """
    parts = [tuple(image.split("/")) for image in labels.images]
    folders = all(len(part) == 3 and part[0] == _DLC_FOLDER for part in parts)
    keys = parts if folders else [(image,) for image in labels.images]
    blank = [""] * (2 if folders else 0)
    per_column = [(name, axis) for name in labels.names for axis in "xy"]
    header = [DLC_HEADER[0], *blank, *(scorer for _ in per_column)]
    rows: list[list[Any]] = [
        [DLC_HEADER[1], *blank, *(name for name, _ in per_column)],
        [DLC_HEADER[2], *blank, *(axis for _, axis in per_column)],
    ]
    rows += [[*key, *_cells(points)] for key, points in zip(keys, labels.points, strict=True)]
    write_csv(path, header, rows)


def _cells(points: NDArray[np.float64]) -> list[Any]:
    return ["" if np.isnan(value) else float(value) for value in points.ravel()]


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
                f"their own in {self.folder}: {_some(self.without_file)}."
            )
        if self.without_label:
            told.append(
                f"{self.folder}: {len(self.without_label)} images have no label in {self.source}: "
                f"{_some(self.without_label)}."
            )
        sizes = sorted({image.size for image in self.images})
        if len(sizes) > 1:
            (h, w), (height, width) = sizes[0], sizes[-1]
            told.append(
                f"{self.source}: its images have {len(sizes)} sizes, from {h} x {w} to {height} x "
                f"{width} pixels; each is scored in its own pixels."
            )
        return told


def matched(labels: KeypointLabels, folder: Path) -> MatchedImages:
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
            images.append(_checked_image(labels, name, folder / found[name], points))
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


def _checked_image(
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


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


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
        ConfigError: the share is out of range, or there are fewer than two images.
    """
    if not 0 < share < 1:
        raise ConfigError(f"The share of images to test on is {share}; it must be between 0 and 1.")
    n = len(names)
    if n < 2:
        raise ConfigError(f"There are {n} labelled images; a split needs two at least.")
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


def reference_points(names: Sequence[str], given: Sequence[str | int] | None) -> tuple[int, int]:
    """Return the two key points whose distance scales PCK, counted from 0.

    Args:
        names: names of the key points.
        given: two names or numbers from 0; None for eye top and eye bottom, if both exist.

    Raises:
        ConfigError: `given` is not two different key points, or is None without a default.
    """
    if given is None:
        wanted: list[str | int] = [*_DEFAULT_REFERENCE]
        tidy = [_tidy(name) for name in names]
        if not set(_DEFAULT_REFERENCE) <= set(tidy):
            raise ConfigError(
                "reference_points must be set: two key points whose distance PCK is measured by "
                f"(there is no eye top and eye bottom). Known: {', '.join(map(printable, names))}."
            )
        return tidy.index(_DEFAULT_REFERENCE[0]), tidy.index(_DEFAULT_REFERENCE[1])
    wanted = list(given) if not isinstance(given, str) else [given]
    if len(wanted) != 2:
        raise ConfigError(f"reference_points: expected two key points, found {wanted!r:.80}.")
    first, second = (keypoint_number(names, one, "reference_points") for one in wanted)
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
        ConfigError: an item is not a pair, or a key point is unknown or used twice.
    """
    found: list[tuple[int, int]] = []
    for pair in given:
        if isinstance(pair, str) or len(pair) != 2:
            raise ConfigError(f"{_PAIRS_KEY}: expected pairs of key points, found {pair!r:.80}.")
        first, second = (keypoint_number(names, one, _PAIRS_KEY) for one in pair)
        used = {number for both in found for number in both}
        if first == second or used & {first, second}:
            again = first if first == second or first in used else second
            raise ConfigError(f"{_PAIRS_KEY}: '{printable(names[again])}' is there twice.")
        found.append((first, second))
    return tuple(found)


def keypoint_number(names: Sequence[str], given: str | int, key: str) -> int:
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


def _tidy(name: str) -> str:
    """Normalise a name for defaults: `Eye_Top`, `eye-top` and `eye top` are the same."""
    return re.sub(r"[\s_-]+", " ", name.strip().lower())
