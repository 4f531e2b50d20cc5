"""A folder written by `prepare` as a data set, so that models can be compared with clickmaps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size, same_aspect, shown_size
from clickmap_cli.clickmaps.image_files import image_file, size_of
from clickmap_cli.clickmaps.keys import ALL, flat_name
from clickmap_cli.clickmaps.maps import ClickStack, ImageClicks, Maps, image_clicks, mean_map
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import load_prepare, read_prepared
from clickmap_cli.datasets.base import DataSet, Points, Stimulus
from clickmap_cli.datasets.files import file_digest
from clickmap_cli.datasets.gathering import as_path
from clickmap_cli.datasets.people import ClickPeople
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.storage.safe_images import read_image


@dataclass(frozen=True)
class ClickmapStimulus(Stimulus):
    """One image of a prepared experiment, on its map's pixels.

    Attributes:
        image_key: the image key.
        file: path of the image, or None.
        clicks: the image's trials.
        users: (trials) code of the participant of each trial.
        names: (trials) name of the participant of each trial.
        settings: settings that maps are made with.
        file_size: (height, width) of the image's file; None if it is missing or damaged.
    """

    image_key: str
    image_id: str
    file: Path | None
    clicks: ImageClicks
    users: NDArray[np.int32]
    names: tuple[str, ...]
    settings: MapSettings
    category: str = ALL
    file_size: Size | None = None

    @property
    def key(self) -> str:
        """The image key, so that random draws equal those of the ceilings."""
        return self.image_key

    @property
    def geometry(self) -> Geometry:
        """Geometry that brings the image onto its map's pixels."""
        return self.settings.geometry(self.clicks.native)

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Height and width of the map."""
        return self.geometry.final

    @property
    def has_image(self) -> bool:
        """Return True if the image's file was found."""
        return self.file is not None

    @property
    def cropped(self) -> bool:
        """Return True if the map shows only a part of the image."""
        return self.geometry.final != self.geometry.resized

    @property
    def points(self) -> Points:  # type: ignore[override]
        """All clicks, on the map's pixels; clicks that were cropped away are left out."""
        x, y = self.geometry.move(self.clicks.x, self.clicks.y)
        return Points(x.astype(np.float64), y.astype(np.float64))

    def placement(self, shape: Size, of_file: bool = False) -> Geometry:
        """Return the experiment's geometry for maps of the file, else that of `image()`."""
        if of_file:
            return self.geometry.place_map(shape, self.file_size)
        return super().placement(shape)

    @property
    def layout(self) -> str:
        """The geometry and the size of the image's file."""
        return f"{self.geometry} {self.file_size}"

    def image(self) -> NDArray[np.float32]:
        """Return the image after the same geometry as its map."""
        file = self._file()
        return np.clip(self.geometry.fit(read_image(file) / np.float32(255), file), 0, 1)

    def truth(self) -> Maps:
        """Return the mean clickmap."""
        return mean_map(self.clicks, self.settings)

    def people(self) -> ClickPeople | None:
        """Return each person's clickmap, or None if fewer than two people clicked."""
        if len(np.unique(self.users)) < 2:
            return None
        return ClickPeople(ClickStack(self.clicks, self.settings, self.users), self.names)

    def image_digest(self) -> str:
        """Return the SHA-256 of the image's file and the geometry that is applied to it."""
        text = f"{file_digest(self._file())} {self.geometry}"
        return hashlib.sha256(text.encode()).hexdigest()

    def truth_digest(self) -> str:
        """Return the SHA-256 of the clicks, the participants' names and the map settings."""
        found = hashlib.sha256(repr((self.settings, self.clicks.native, self.names)).encode())
        for array in (self.clicks.x, self.clicks.y, self.clicks.offsets):
            found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        return found.hexdigest()

    def _file(self) -> Path:
        if self.file is None:
            raise DataError(f"{self.key}: no such image in image_dir.")
        return self.file


def clickmaps(root: str, image_dir: str | None = None) -> DataSet:
    """Read a folder written by `prepare`.

    Args:
        root: the experiment's folder.
        image_dir: folder of the images; None for the one that `prepare` used.

    Raises:
        ConfigError: a setting is not a path.
        DataError: the folder does not hold a finished run of `prepare`.
    """
    folder = as_path(root, "root")
    _, config = load_prepare(folder)
    trials = read_prepared(folder, config, Silent())
    given = image_dir if image_dir is not None else config.image_dir or "."
    images = as_path(given, "image_dir")
    slices = trials.image_slices()
    settings = MapSettings.from_config(config)
    stimuli = []
    for code, key in enumerate(trials.images.tolist()):
        users = trials.user[slices[code] : slices[code + 1]]
        file = image_file(images, key)
        stimuli.append(
            ClickmapStimulus(
                image_key=key,
                image_id=flat_name(key),
                category=str(trials.categories[trials.category[code]]),
                file=file,
                clicks=_owned(image_clicks(trials, slices, code)),
                users=users.copy(),
                names=tuple(trials.users[users].tolist()),
                settings=settings,
                file_size=size_of(file),
            )
        )
    notices = _stretched(stimuli)
    lost = sum(stimulus.file is None for stimulus in stimuli)
    if lost:
        notices.append(
            f"{lost} of {len(stimuli)} images are not in {images}; set image_dir. Only models that "
            "do without pixels can predict them."
        )
    return DataSet(tuple(stimuli), notices=tuple(notices))


def _stretched(stimuli: Sequence[ClickmapStimulus]) -> list[str]:
    """Return a notice if images have another aspect ratio than their clicks are measured in."""
    odd = [
        stimulus
        for stimulus in stimuli
        if stimulus.file_size is not None
        and not stimulus.geometry.own
        and not same_aspect(stimulus.file_size, stimulus.geometry.native)
    ]
    if not odd:
        return []
    first = odd[0]
    text = (
        f"{len(odd)} of {len(stimuli)} images are stretched to the shape their clicks are "
        f"measured in: {first.key} for one, from {shown_size(first.file_size or ())} to "
        f"{shown_size(first.geometry.native)} (height x width). If people saw them unstretched, "
        "give their sizes in metadata_file."
    )
    return [text]


def _owned(clicks: ImageClicks) -> ImageClicks:
    """Copy clicks, so that the whole table is neither kept in memory nor sent to a worker."""
    return ImageClicks(clicks.x.copy(), clicks.y.copy(), clicks.offsets.copy(), clicks.native)
