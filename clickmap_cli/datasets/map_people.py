"""Images whose participants each have a separate map file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.datasets.base import Points
from clickmap_cli.datasets.files import FileStimulus, file_digest, read_map
from clickmap_cli.datasets.people import People
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.errors import DataError

NamedMap = tuple[str, Path]
"""A participant and the file of their map of one image."""


@dataclass(frozen=True, eq=False)
class ManyMapsStimulus(FileStimulus):
    """An image that may have a map file for each of its participants.

    Attributes:
        people_maps: participants and their files, sorted by participant. If there are any, the
            truth is the mean of these maps, each scaled to sum 1, unless the image itself has a map
            (`map_path`).
    """

    people_maps: tuple[NamedMap, ...] = ()

    @property
    def uniform(self) -> bool:
        """Return True if the image has no map and no fixations."""
        return not self.people_maps and super().uniform

    @property
    def has_truth(self) -> bool:
        """Return True if the image or a participant has a map, or if there are fixations."""
        return bool(self.people_maps) or super().has_truth

    def truth(self) -> NDArray[np.float64]:
        """Return the (h, w) map of the image, or the mean of its participants' maps.

        Raises:
            DataError: a map is missing, damaged, of another shape, negative, all zeros or not
                finite.
        """
        if self.map_path is not None or not self.people_maps:
            return super().truth()
        return self._map_people().mean

    def people(self) -> People | None:
        """Return the participants by their maps if two or more have one, else by fixations."""
        return super().people() if len(self.people_maps) < 2 else self._map_people()

    def truth_digest(self) -> str:
        """Return the SHA-256 of what `FileStimulus` hashes, participants' names and maps.

        Raises:
            DataError: a map is missing.
        """
        if not self.people_maps:
            return super().truth_digest()
        maps = [[name, file_digest(path)] for name, path in self.people_maps]
        parts = [super().truth_digest(), maps]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _map_people(self) -> MapPeople:
        return MapPeople(self.people_maps, self.size, self.points)


class MapPeople:
    """People by their map files; each map is scaled to sum 1, so that all people count equally.

    Args:
        maps: participants and their files.
        size: height and width of the image.
        points: the image's fixations, assigned to participants by name; None if there are none.
    """

    def __init__(self, maps: Sequence[NamedMap], size: Size, points: Points | None) -> None:
        self.names: Sequence[str] = [name for name, _ in maps]
        self._paths = [path for _, path in maps]
        self._size = size
        self._points = points

    def target(self, person: int) -> MapView:
        """Return a participant's own map, with their fixations if the data set has them."""
        return MapView(self._density(person), self._counts(self.names[person]), np.float64)

    def others(self, person: int) -> NDArray[np.float64]:
        """Return the (h, w) mean of all other participants' maps."""
        # rounding may leave a pixel slightly below 0
        rest = np.maximum(self._total - self._density(person), 0)
        return np.asarray(rest / (len(self._paths) - 1))

    def everyone(self, size: Size) -> NDArray[np.float64] | NDArray[np.float32]:
        """Return the mean of all maps, resized if the image has another size."""
        mean = self.mean
        return mean if size == self._size else resize(mean, size)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(h, w) mean of all maps."""
        return self._total / len(self._paths)

    @cached_property
    def _total(self) -> NDArray[np.float64]:
        total = np.zeros(self._size)
        for person in range(len(self._paths)):
            total += self._density(person)
        return total

    def _density(self, person: int) -> NDArray[np.float64]:
        path = self._paths[person]
        values = read_map(path, self._size)
        total = values.sum()
        if not 0 < total < np.inf:
            raise DataError(f"{path}: the map sums to {total:g}; it cannot be scaled to sum 1.")
        return np.asarray(values / total)

    def _counts(self, name: str) -> NDArray[np.int64] | None:
        """Return (h, w) fixations per pixel of one participant, or None if none are known."""
        points = self._points
        if points is None or points.subject is None or name not in points.subjects:
            return None
        mine = points.subject == points.subjects.index(name)
        return Points(points.x[mine], points.y[mine]).counts(self._size)


def split_blank(maps: Sequence[NamedMap], size: Size) -> tuple[list[NamedMap], list[Path]]:
    """Read participants' maps once, and separate those whose pixels all have one value.

    Args:
        maps: participants and their files.
        size: height and width of their image.

    Returns:
        The usable maps, and the files of the constant ones.

    Raises:
        DataError: a map is missing, damaged, of another shape, negative or not finite.
    """
    usable, blank = [], []
    for name, path in maps:
        if np.ptp(read_map(path, size)) == 0:
            blank.append(path)
        else:
            usable.append((name, path))
    return usable, blank
