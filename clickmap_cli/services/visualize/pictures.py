"""Data for the figures of one image: pixels, mean map, participants' maps, clicks and bins."""

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
"""Maximum participants in one grid; with the mean, the grid is ten by ten."""

MOST_TRACKS = 6
"""Maximum trials of an image whose clicks are drawn in order."""

SHOWN, CONVERTED, MISSING, UNREADABLE = "shown", "converted", "missing", "unreadable"
"""States of an image's file after reading."""


@dataclass(frozen=True)
class ImagePixels:
    """An image on its map's pixels.

    Attributes:
        pixels: (h, w, 3) uint8, or None if the file is missing or unreadable.
        state: `shown`, `converted`, `missing` or `unreadable`.
        note: what was converted, or why the pixels are missing.
        pixel_aspect: height of a map's pixel on the image, divided by its width.
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
        n_participants: number of participants behind the map.
        n_clicks: number of clicks behind the map.
        agreement: agreement of its participants; NaN if it is unknown.
        metric: metric of the agreement.
        image: its pixels, or the reason why it has none.
        heat: (h, w) float32 mean map.
        people_share: its participants, divided by the most of any image that is drawn.
        densest: largest `densest` of any image that is drawn, if heat is normalised by `sum`;
            else 1.
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
        names: (n) participants, in the order of their trials.
        maps: (n, h, w) their maps; the mean map of a participant who has several trials.
        densest: median over participants of each map's maximum divided by its mean.
    """

    picture: Picture
    names: tuple[str, ...]
    maps: Maps
    densest: float


@dataclass(frozen=True)
class Track:
    """Clicks of one trial on the map's pixels, in order.

    Attributes:
        name: the participant.
        x: columns; 0 is the centre of the leftmost pixel.
        y: rows; 0 is the centre of the topmost pixel.
        number: number of each click in its trial, from 1; cropped clicks are left out.
        n_clicks: clicks of the trial, including the cropped ones.
    """

    name: str
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    number: NDArray[np.int64]
    n_clicks: int


@dataclass(frozen=True)
class ClicksPicture:
    """An image with the clicks of its first trials."""

    picture: Picture
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class BinsPicture:
    """An image with its cumulative maps.

    Attributes:
        picture: the image and the mean.
        maps: (T, h, w) cumulative means; the last is the mean.
        limits: (T) number of clicks of each trial that count, or their share if `by_time`.
        by_time: True if bins hold the first share of each trial, not its first clicks.
        greatest: the largest value of any of the maps.
        densest: largest ratio of a map's maximum to its mean.
    """

    picture: Picture
    maps: Maps
    limits: tuple[float, ...]
    by_time: bool
    greatest: float
    densest: float


def read_pixels(experiment: PreparedExperiment, code: int) -> ImagePixels:
    """Read an image in the geometry of its map; the result reports failures, none is raised."""
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
    """Return an image with its map, as `prepare` wrote it.

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
    """Return a map's largest value divided by its mean, over finite values; 0 for an empty map."""
    known = np.clip(heat[np.isfinite(heat)].astype(np.float64), 0, None)
    mean = float(known.mean()) if len(known) else 0.0
    return float(known.max()) / mean if mean > 0 else 0.0


def people_of(experiment: PreparedExperiment, code: int, picture: Picture) -> PeoplePicture:
    """Return the maps of an image's first participants."""
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
    """Return the clicks of an image's first trials, in the order they were made."""
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
    """Return an image's cumulative maps, read if they were written with these bins, else made."""
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
    """Return columns, rows and numbers of the clicks that the map shows."""
    # a geometry without a crop keeps every click, so that their numbers are known
    columns, rows = dataclasses.replace(geometry, crop=None).move(x, y)
    columns, rows = columns - geometry.corner[1], rows - geometry.corner[0]
    height, width = geometry.final
    inside = np.flatnonzero((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
    return columns[inside], rows[inside], inside + 1


def file_of(experiment: PreparedExperiment, code: int) -> Path | None:
    """Return the file of an image, or None if it has none."""
    return (
        None
        if experiment.image_dir is None
        else image_file(experiment.image_dir, experiment.keys[code])
    )
