"""Reads a finished run of `prepare` for display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import flat_name, picture_names
from clickmap_cli.clickmaps.maps import ImageClicks, Maps, image_clicks
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.survivors import READ_AND_FILTER, finished_prepare, prepared_trials
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.manifest import Manifest
from clickmap_cli.storage.map_store import MapStore


@dataclass(frozen=True)
class PreparedExperiment:
    """The outputs of `prepare`, with everything needed to display them.

    Attributes:
        folder: the experiment's folder.
        manifest: manifest of `prepare`.
        config: configuration of `prepare`.
        trials: the trials that passed the filters, `compacted`.
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
        return MapSettings.of(self.config)

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
    manifest, made = finished_prepare(folder)
    _say_what_differs(config, made, folder, progress)
    trials = prepared_trials(folder, made, progress)
    if not len(trials):
        raise DataError(f"{folder} holds no trials; run `clickmap prepare` again.")
    return PreparedExperiment(
        folder, manifest, made, trials, _image_dir(config.image_dir or made.image_dir, progress)
    )


def _say_what_differs(
    config: ExperimentConfig, made: ExperimentConfig, folder: Path, progress: Progress
) -> None:
    shown = [name for name, key in keys_of(ExperimentConfig).items() if key.scope == "maps"]
    other = [
        name
        for name in dict.fromkeys((*shown, *READ_AND_FILTER))
        if _plain(getattr(config, name)) != _plain(getattr(made, name))
    ]
    if other:
        progress.notice(
            f"{folder} was prepared with other values of {', '.join(other)}; what is there is "
            "shown. Run `clickmap prepare --overwrite` for the new ones."
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _image_dir(named: str | None, progress: Progress) -> Path | None:
    if named is not None and Path(named).is_dir():
        return Path(named)
    reason = "image_dir is not set" if named is None else f"image_dir {named} is no folder"
    progress.notice(f"{reason}; images are shown as empty fields.")
    return None
