"""What is drawn of one image: its picture, its map, its people, their clicks, and what grew."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.maps import Maps, bin_maps, trial_maps
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.services.visualize.experiment import PreparedExperiment
from clickmap_cli.storage.safe_images import read_described

MOST_PEOPLE = 99
"""Participants in one grid; with the mean that is ten by ten."""

MOST_TRACKS = 6
"""Participants whose clicks are drawn in their order."""

SHOWN, CONVERTED, MISSING, UNREADABLE = "shown", "converted", "missing", "unreadable"
"""What became of an image's file."""


@dataclass(frozen=True)
class ImagePixels:
    """An image on its map's pixels.

    Attributes:
        pixels: (h, w, 3) uint8, or None where there is none.
        state: `shown`, `converted`, `missing` or `unreadable`.
        note: what was converted, or why there is none.
        pixel_aspect: how tall a map's pixel is on the image, in its widths.
    """

    pixels: NDArray[np.uint8] | None
    state: str
    note: str = ""
    pixel_aspect: float = 1.0


@dataclass(frozen=True)
class Picture:
    """An image with its map.

    Attributes:
        key: the image key.
        category: its category.
        n_participants: behind the map.
        n_clicks: behind the map.
        agreement: of its people; NaN where it is not known.
        metric: what agreement is measured in.
        image: its pixels, or why there are none.
        heat: (h, w) float32 mean map.
        people_share: its participants in shares of the most of any image drawn.
        densest: the densest pixel of any image drawn, in multiples of an even spread.
    """

    key: str
    category: str
    n_participants: int
    n_clicks: int
    agreement: float
    metric: str
    image: ImagePixels
    heat: Maps
    people_share: float = 1.0
    densest: float = 1.0


@dataclass(frozen=True)
class PeoplePicture:
    """An image with the map of each participant.

    Attributes:
        picture: the image and the mean.
        names: (n) participants, in the order they came.
        maps: (n, h, w) their maps; the mean of them where one has several trials.
        densest: the densest pixel of the median one, in multiples of an even spread.
    """

    picture: Picture
    names: tuple[str, ...]
    maps: Maps
    densest: float


@dataclass(frozen=True)
class Track:
    """Clicks of one trial on the map's pixels, in their order.

    Attributes:
        name: who made them.
        x: columns, 0 is the centre of the leftmost.
        y: rows.
        number: which click each is, from 1; those that were cropped away are left out.
        n_clicks: clicks of the trial.
    """

    name: str
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    number: NDArray[np.int64]
    n_clicks: int


@dataclass(frozen=True)
class ClicksPicture:
    """An image with the clicks of its first participants."""

    picture: Picture
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class BinsPicture:
    """An image with its map as it grew.

    Attributes:
        picture: the image and the mean.
        maps: (T, h, w) cumulative means; the last is the mean.
        limits: (T) clicks of each trial counted, or the share of them where `by_time`.
        by_time: whether bins hold the first share of each trial, not its first clicks.
        greatest: the largest value of any of the maps.
        densest: their densest pixel, in multiples of an even spread.
    """

    picture: Picture
    maps: Maps
    limits: tuple[float, ...]
    by_time: bool
    greatest: float
    densest: float


def read_pixels(experiment: PreparedExperiment, code: int) -> ImagePixels:
    """An image through the geometry of its map; whatever goes wrong is said, never raised."""
    geometry = experiment.settings.geometry(experiment.clicks(code).native)
    key, folder = experiment.keys[code], experiment.image_dir
    file = None if folder is None else image_file(folder, key)
    if file is None:
        return ImagePixels(None, MISSING, "no such file" if folder else "no image_dir")
    try:
        pixels, changes = read_described(file)
        placed = geometry.fit(pixels, file)
    except DataError as error:
        return ImagePixels(None, UNREADABLE, str(error))
    fitted = np.rint(np.clip(placed, 0, 255)).astype(np.uint8)
    height, width = pixels.shape[:2]
    aspect = (height / geometry.resized[0]) / (width / geometry.resized[1])
    return ImagePixels(fitted, CONVERTED if changes else SHOWN, ", ".join(changes), aspect)


def picture_of(
    experiment: PreparedExperiment, code: int, agreement: float = math.nan, metric: str = ""
) -> Picture:
    """An image with its map, as `prepare` wrote it.

    Raises:
        DataError: the map is missing or damaged.
    """
    return Picture(
        key=experiment.keys[code],
        category=experiment.category(code),
        n_participants=int(experiment.people[code]),
        n_clicks=len(experiment.clicks(code).x),
        agreement=agreement,
        metric=metric,
        image=read_pixels(experiment, code),
        heat=experiment.mean_map(code),
    )


def densest(heat: Maps) -> float:
    """A map's largest value in multiples of what all pixels would have alike; 0 of an empty one."""
    known = np.clip(heat[np.isfinite(heat)].astype(np.float64), 0, None)
    mean = float(known.mean()) if len(known) else 0.0
    return float(known.max()) / mean if mean > 0 else 0.0


def people_of(experiment: PreparedExperiment, code: int, picture: Picture) -> PeoplePicture:
    """The maps of an image's first participants."""
    clicks, users = experiment.clicks(code), experiment.users(code)
    people = list(dict.fromkeys(users.tolist()))[:MOST_PEOPLE]
    maps = [
        trial_maps(clicks, experiment.settings, np.flatnonzero(users == user).tolist()).mean(
            axis=0, dtype=np.float32
        )
        for user in people
    ]
    names = tuple(str(experiment.trials.users[user]) for user in people)
    top = float(np.median([densest(each) for each in maps]))
    return PeoplePicture(picture, names, np.stack(maps), top)


def clicks_of(experiment: PreparedExperiment, code: int, picture: Picture) -> ClicksPicture:
    """The clicks of an image's first trials, in the order they were made."""
    clicks, users = experiment.clicks(code), experiment.users(code)
    geometry = experiment.settings.geometry(clicks.native)
    tracks = []
    for trial in range(min(len(clicks), MOST_TRACKS)):
        x, y = clicks.trial(trial)
        name = str(experiment.trials.users[users[trial]])
        tracks.append(Track(name, *_on_map(geometry, x, y), len(x)))
    return ClicksPicture(picture, tuple(tracks))


def bins_of(
    experiment: PreparedExperiment, code: int, picture: Picture, bins: int, by_time: bool
) -> BinsPicture:
    """An image's cumulative maps: as they were written where there are as many, else made now."""
    clicks = experiment.clicks(code)
    maps = None
    if experiment.config.click_bins == bins and experiment.config.time_based_bins == by_time:
        maps = experiment.stored_bins(code)
    if maps is None or len(maps) != bins:
        maps = bin_maps(clicks, experiment.settings, bins, by_time)
    longest = int(np.diff(clicks.offsets).max())
    steps = range(1, bins + 1)
    limits = [step / bins if by_time else float(-(-longest * step // bins)) for step in steps]
    greatest = float(np.nan_to_num(maps, posinf=0, neginf=0).max())
    top = max(densest(each) for each in maps)
    return BinsPicture(picture, maps, tuple(limits), by_time, greatest, top)


def _on_map(
    geometry: Geometry, x: NDArray[np.integer], y: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Columns, rows and numbers of the clicks that the map shows."""
    # without its crop a geometry keeps every click, so that their numbers are known
    columns, rows = dataclasses.replace(geometry, crop=None).move(x, y)
    columns, rows = columns - geometry.corner[1], rows - geometry.corner[0]
    height, width = geometry.final
    inside = np.flatnonzero((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
    return columns[inside], rows[inside], inside + 1


def file_of(experiment: PreparedExperiment, code: int) -> Path | None:
    """The file of an image, or None where there is none."""
    return (
        None
        if experiment.image_dir is None
        else image_file(experiment.image_dir, experiment.keys[code])
    )
