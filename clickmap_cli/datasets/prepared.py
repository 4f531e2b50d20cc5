"""A folder written by `prepare` as a data set: models are held against clickmaps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.clickmaps.keys import ALL, flat_name
from clickmap_cli.clickmaps.maps import ImageClicks, Maps, image_clicks, mean_map
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import finished_prepare, prepared_trials
from clickmap_cli.clickmaps.trial_stack import ClickStack
from clickmap_cli.datasets.base import DataSet, Points, Stimulus
from clickmap_cli.datasets.files import file_digest
from clickmap_cli.datasets.gathering import as_path
from clickmap_cli.datasets.images import image_file
from clickmap_cli.datasets.people import ClickPeople
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.storage.safe_images import read_image


@dataclass(frozen=True)
class ClickmapStimulus(Stimulus):
    """One image of a prepared experiment, on its map's pixels.

    Attributes:
        image_key: the image key.
        file: where the image is, or None.
        clicks: the image's trials.
        users: (trials) codes of who made them.
        names: (trials) their names.
        settings: how maps are made.
    """

    image_key: str
    image_id: str
    file: Path | None
    clicks: ImageClicks
    users: NDArray[np.int32]
    names: tuple[str, ...]
    settings: MapSettings
    category: str = ALL

    @property
    def key(self) -> str:
        """The image key, so that draws are those of the ceilings."""
        return self.image_key

    @property
    def geometry(self) -> Geometry:
        """How the image is brought onto its map's pixels."""
        return self.settings.geometry(self.clicks.native)

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Height and width of the map."""
        return self.geometry.final

    @property
    def points(self) -> Points:  # type: ignore[override]
        """All clicks, on the map's pixels; those that were cropped away are gone."""
        x, y = self.geometry.move(self.clicks.x, self.clicks.y)
        return Points(x.astype(np.float64), y.astype(np.float64))

    def image(self) -> NDArray[np.float32]:
        """The image through the same geometry as its map."""
        return np.clip(self.geometry.fit(read_image(self._file()) / np.float32(255)), 0, 1)

    def truth(self) -> Maps:
        """The mean clickmap."""
        return mean_map(self.clicks, self.settings)

    def people(self) -> ClickPeople | None:
        """Everybody's clickmap, where there are two people or more."""
        if len(np.unique(self.users)) < 2:
            return None
        return ClickPeople(ClickStack(self.clicks, self.settings, self.users), self.names)

    def image_digest(self) -> str:
        """SHA-256 of the image's file, with the geometry it goes through."""
        text = f"{file_digest(self._file())} {self.geometry}"
        return hashlib.sha256(text.encode()).hexdigest()

    def truth_digest(self) -> str:
        """SHA-256 of the clicks, who made them, and how maps are made."""
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
        image_dir: folder of the images; None takes the one `prepare` was given.

    Raises:
        ConfigError: a setting is no path.
        DataError: the folder holds no finished run of `prepare`.
    """
    folder = as_path(root, "root")
    _, config = finished_prepare(folder)
    trials = prepared_trials(folder, config, Silent())
    given = image_dir if image_dir is not None else config.image_dir or "."
    images = as_path(given, "image_dir")
    slices = trials.image_slices()
    settings = MapSettings.of(config)
    stimuli = []
    for code, key in enumerate(trials.images.tolist()):
        users = trials.user[slices[code] : slices[code + 1]]
        stimuli.append(
            ClickmapStimulus(
                image_key=key,
                image_id=flat_name(key),
                category=str(trials.categories[trials.category[code]]),
                file=image_file(images, key),
                clicks=_owned(image_clicks(trials, slices, code)),
                users=users.copy(),
                names=tuple(trials.users[users].tolist()),
                settings=settings,
            )
        )
    notices = []
    lost = sum(stimulus.file is None for stimulus in stimuli)
    if lost:
        notices.append(
            f"{lost} of {len(stimuli)} images are not in {images}; set image_dir. Only models that "
            "do without pixels can predict them."
        )
    return DataSet(tuple(stimuli), notices=tuple(notices))


def _owned(clicks: ImageClicks) -> ImageClicks:
    """Clicks that do not keep the whole table alive, nor take it along to a worker."""
    return ImageClicks(clicks.x.copy(), clicks.y.copy(), clicks.offsets.copy(), clicks.native)
