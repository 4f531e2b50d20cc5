"""Reads a finished run of `prepare` for display: maps, images, participants, clicks and bins."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size, resize
from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.keys import flat_name, picture_names
from clickmap_cli.clickmaps.maps import ImageClicks, Maps, bin_maps, image_clicks, trial_maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import READ_AND_FILTER, load_prepare, read_prepared
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.manifest import Manifest
from clickmap_cli.storage.map_store import MapStore
from clickmap_cli.storage.safe_images import read_image_with_changes

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
class PreparedExperiment:
    """The outputs of `prepare`, with everything needed to display them.

    Attributes:
        folder: the experiment's folder.
        manifest: manifest of `prepare`.
        config: configuration of `prepare`.
        trials: the trials that passed the filters, compact.
        image_dir: folder of the images, or None if there is none.
    """

    folder: Path
    manifest: Manifest
    config: ExperimentConfig
    trials: Trials
    image_dir: Path | None

    @cached_property
    def keys(self) -> list[str]:
        """Image keys, in the order of their codes."""
        return [str(key) for key in self.trials.images.tolist()]

    @cached_property
    def _picture_names(self) -> dict[str, str]:
        """Names for all images, so that a name does not depend on which images are drawn."""
        return picture_names(flat_name(key) for key in self.keys)

    @cached_property
    def settings(self) -> MapSettings:
        """The settings with which the maps were made."""
        return MapSettings.from_config(self.config)

    @cached_property
    def slices(self) -> NDArray[np.int64]:
        """First trial of each image."""
        return self.trials.image_slices()

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """(images) number of participants."""
        return self.trials.people_per_image()

    @cached_property
    def store(self) -> MapStore:
        """The stored maps."""
        return MapStore(self.folder)

    def clicks(self, code: int) -> ImageClicks:
        """Return the trials of an image."""
        return image_clicks(self.trials, self.slices, code)

    def users(self, code: int) -> NDArray[np.int32]:
        """Return (trials) codes of an image's participants."""
        return self.trials.user[self.slices[code] : self.slices[code + 1]]

    def image_file(self, code: int) -> Path | None:
        """Return the file of an image, or None if it has none."""
        return None if self.image_dir is None else image_file(self.image_dir, self.keys[code])

    def participants(self, code: int) -> list[int]:
        """Return codes of an image's participants, each once, in the order of their trials."""
        return list(dict.fromkeys(self.users(code).tolist()))

    def participant_map(self, code: int, user: int) -> Maps:
        """Return (h, w) the map of a participant on an image; of several trials, their mean."""
        mine = np.flatnonzero(self.users(code) == user).tolist()
        maps = trial_maps(self.clicks(code), self.settings, mine)
        return np.asarray(maps.mean(axis=0, dtype=np.float32))

    def picture_name(self, code: int) -> str:
        """Return the file name of an image's pictures, without the ending."""
        return self._picture_names[flat_name(self.keys[code])]

    def category(self, code: int) -> str:
        """Return the category of an image."""
        return str(self.trials.categories[self.trials.category[code]])

    def mean_map(self, code: int) -> Maps:
        """Return (h, w) the image's map as it was written.

        Raises:
            DataError: the map is missing, damaged, or does not have the shape of the trials' maps.
        """
        return np.asarray(self._read(code, "clickmap").mean(axis=0, dtype=np.float32))

    def stored_bins(self, code: int) -> Maps | None:
        """Return (T, h, w) cumulative means as they were written; None if none were."""
        return None if self.config.click_bins is None else self._read(code, "bin_clickmaps")

    def _read(self, code: int, kind: str) -> Maps:
        key = self.keys[code]
        maps = self.store.read(flat_name(key), kind)
        wanted = self.settings.geometry(self.clicks(code).native).final
        if maps.ndim != 3 or maps.shape[1:] != wanted or not len(maps) or maps.dtype.kind != "f":
            raise DataError(
                f"{self.store.path}: the {kind} of '{key}' has the shape {list(maps.shape)}, its "
                f"trials ask for {list(wanted)}; run prepare again with --overwrite."
            )
        return maps


def open_experiment(config: ExperimentConfig, progress: Progress) -> PreparedExperiment:
    """Read the outputs of `prepare` in the experiment's folder.

    Args:
        config: configuration that names the experiment, and the present folder of its images.
        progress: receives a notice about keys whose values differ from those of `prepare`.

    Raises:
        DataError: the folder holds no finished run of `prepare`, or a damaged one.
    """
    folder = config.folder
    manifest, made = load_prepare(folder)
    _notify_differences(config, made, progress)
    trials = read_prepared(folder, made, progress)
    if not len(trials):
        raise DataError(f"{folder} holds no trials; run `clickmap prepare` again.")
    return PreparedExperiment(
        folder, manifest, made, trials, _image_dir(config.image_dir or made.image_dir, progress)
    )


def _notify_differences(
    config: ExperimentConfig, made: ExperimentConfig, progress: Progress
) -> None:
    """Give a notice if settings of the maps are not those they were made with."""
    of_maps = [name for name, key in keys_of(ExperimentConfig).items() if key.scope == "maps"]
    names = dict.fromkeys((*of_maps, *READ_AND_FILTER))
    other = [name for name in names if getattr(config, name) != getattr(made, name)]
    if other:
        progress.notice(
            f"{config.folder} was prepared with other values of {', '.join(other)}; what is there "
            "is shown. Run `clickmap prepare --overwrite` for the new ones."
        )


def _image_dir(named: str | None, progress: Progress) -> Path | None:
    if named is not None and Path(named).is_dir():
        return Path(named)
    reason = "image_dir is not set" if named is None else f"image_dir {named} is not a folder"
    progress.notice(f"{reason}; images are shown as empty fields.")
    return None


def read_pixels(experiment: PreparedExperiment, code: int) -> ImagePixels:
    """Read an image in the geometry of its map; the result reports failures, none is raised."""
    geometry = experiment.settings.geometry(experiment.clicks(code).native)
    file = experiment.image_file(code)
    if file is None:
        return ImagePixels(
            None, MISSING, "no such file" if experiment.image_dir else "no image_dir"
        )
    try:
        pixels, changes = read_image_with_changes(file)
        placed = geometry.fit(pixels, file)
    except DataError as error:
        return ImagePixels(None, UNREADABLE, str(error))
    fitted = np.rint(np.clip(placed, 0, 255)).astype(np.uint8)
    height, width = pixels.shape[:2]
    aspect = (height / geometry.resized[0]) / (width / geometry.resized[1])
    return ImagePixels(fitted, CONVERTED if changes else SHOWN, ", ".join(changes), aspect)


def load_picture(
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


def resize_pixels(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize (H, W, 3) pixels bilinearly, with antialiasing."""
    planes = resize(np.moveaxis(pixels, -1, 0), size)
    return np.rint(np.clip(np.moveaxis(planes, 0, -1), 0, 255)).astype(np.uint8)


def densest(heat: Maps) -> float:
    """Return a map's largest value divided by its mean, over finite values; 0 for an empty map."""
    known = np.clip(heat[np.isfinite(heat)].astype(np.float64), 0, None)
    mean = float(known.mean()) if len(known) else 0.0
    return float(known.max()) / mean if mean > 0 else 0.0


def participant_maps(experiment: PreparedExperiment, code: int) -> tuple[list[str], list[Maps]]:
    """Return the names of an image's first participants, and their (h, w) maps."""
    people = experiment.participants(code)[:MOST_PEOPLE]
    names = [str(experiment.trials.users[user]) for user in people]
    return names, [experiment.participant_map(code, user) for user in people]


def click_tracks(experiment: PreparedExperiment, code: int) -> list[Track]:
    """Return the clicks of an image's first trials, in the order they were made."""
    clicks, users = experiment.clicks(code), experiment.users(code)
    geometry = experiment.settings.geometry(clicks.native)
    tracks = []
    for trial in range(min(len(clicks), MOST_TRACKS)):
        x, y = clicks.trial(trial)
        name = str(experiment.trials.users[users[trial]])
        tracks.append(Track(name, *_on_map(geometry, x, y), len(x)))
    return tracks


def cumulative_maps(
    experiment: PreparedExperiment, code: int, bins: int, by_time: bool
) -> tuple[Maps, list[str]]:
    """Return an image's cumulative maps, read if they were written with these bins, else made.

    Args:
        experiment: the prepared folder.
        code: code of the image.
        bins: number of maps; the last one is the mean of all clicks.
        by_time: True if bins hold the first share of each trial, not its first clicks.

    Returns:
        (bins, h, w) maps, and the clicks that each contains, in words.
    """
    clicks = experiment.clicks(code)
    maps = None
    if experiment.config.click_bins == bins and experiment.config.time_based_bins == by_time:
        maps = experiment.stored_bins(code)
    if maps is None or len(maps) != bins:
        maps = bin_maps(clicks, experiment.settings, bins, by_time)
    steps = range(1, bins + 1)
    if by_time:
        return maps, [f"first {100 * (step / bins):.0f}%" for step in steps]
    longest = int(np.diff(clicks.offsets).max())
    limits = [-(-longest * step // bins) for step in steps]
    return maps, ["first click" if limit == 1 else f"first {limit} clicks" for limit in limits]


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
