"""Stimuli assembled from the files of an image: picture, maps, fixations, non-fixations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import plane_size, read_counts
from clickmap_cli.datasets.map_people import ManyMapsStimulus, NamedMap, split_blank
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.safe_images import image_size


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image.

    Attributes:
        image: the picture, or None.
        heat: the map of the image itself, or None.
        fixations: counts of all people's fixations per pixel, or None.
        nonfix: counts of non-fixations per pixel, or None.
        people_maps: participants and their map files, sorted by participant.
        people_fixations: participants and the files of their fixation counts, sorted by
            participant.
    """

    image: Path | None = None
    heat: Path | None = None
    fixations: Path | None = None
    nonfix: Path | None = None
    people_maps: Sequence[NamedMap] = ()
    people_fixations: Sequence[NamedMap] = ()


class Assembler:
    """Makes stimuli from files, and counts the files it leaves out.

    Args:
        sigma: blur of fixations, in pixels, for images without a map.
    """

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._n_maps = 0
        self._blank: list[Path] = []
        self._without_map: list[str] = []

    def stimulus(self, image_id: str, files: ImageFiles, category: str = ALL) -> ManyMapsStimulus:
        """Make the stimulus of one image.

        Raises:
            DataError: a file is missing or damaged, sizes differ, the image has no file, or every
                participant's map is constant.
        """
        size = None if files.image is None else image_size(files.image)
        points = None if files.fixations is None else read_counts(files.fixations, size)
        size = _size(files) if size is None else size
        if files.people_fixations:
            if files.fixations is not None:
                raise DataError(
                    f"{files.fixations} and {files.people_fixations[0][1]} are both fixations of "
                    "this image; keep the file of everybody's or those of the participants."
                )
            points = _named_points(files.people_fixations, size)
        maps = self._usable(files, size) if files.people_maps else []
        self._note_without_map(image_id, maps, points)
        return ManyMapsStimulus(
            image_id=image_id,
            size=size,
            image_path=files.image,
            category=category,
            points=points,
            nonfixations=None if files.nonfix is None else read_counts(files.nonfix, size),
            map_path=files.heat,
            sigma_px=self._sigma,
            people_maps=tuple(maps),
        )

    def notices(self) -> list[str]:
        """Return messages for the user about the participants' files of the whole set."""
        found = []
        if self._blank:
            found.append(
                f"{len(self._blank)} of {self._n_maps} participants' maps are the same everywhere, "
                f"{self._blank[0].name} for one; they were left out."
            )
        if self._without_map:
            found.append(
                f"{len(self._without_map)} participants have fixations but no map of an image, "
                f"{self._without_map[0]} for one; their fixations count, but they are not among "
                "the people of that image."
            )
        return found

    def _usable(self, files: ImageFiles, size: Size) -> list[NamedMap]:
        maps, blank = split_blank(files.people_maps, size)
        self._n_maps += len(files.people_maps)
        self._blank += blank
        if not maps and files.heat is None:
            raise DataError(
                f"{blank[0]}: the map is the same everywhere, as is that of every participant of "
                "this image; leave the image out."
            )
        return maps

    def _note_without_map(
        self, image_id: str, maps: Sequence[NamedMap], points: Points | None
    ) -> None:
        if points is None or len(maps) < 2:
            return
        mapped = {name for name, _ in maps}
        self._without_map += [
            f"{printable(name)} of {printable(image_id)}"
            for name in points.subjects
            if name not in mapped
        ]


def _named_points(files: Sequence[NamedMap], size: Size) -> Points:
    """Join all participants' fixations, with their names."""
    parts = [read_counts(path, size) for _, path in files]
    return Points(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int32),
        tuple(name for name, _ in files),
    )


def _size(files: ImageFiles) -> Size:
    """Return height and width of an image without a picture, from its maps or fixations."""
    people = [*files.people_fixations, *files.people_maps]
    planes = [files.fixations, files.heat, *(path for _, path in people)]
    for path in planes:
        if path is not None:
            return plane_size(path)
    raise DataError("an image without a picture, fixations and a map has no size.")
