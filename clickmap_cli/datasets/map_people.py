"""Images whose participants each have a map in a file of their own."""

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
        people_maps: participants and their files, sorted by participant. Where there are any, the
            truth is the mean of these maps, each scaled to sum 1, unless the image has a map of
            its own (`map_path`).
    """

    people_maps: tuple[NamedMap, ...] = ()

    @property
    def uniform(self) -> bool:
        """Return True if nothing is known of where people looked."""
        return not self.people_maps and super().uniform

    def truth(self) -> NDArray[np.float64]:
        """(h, w) the image's own map, or the mean of its participants' maps, or as without them.

        Raises:
            DataError: a map is missing, damaged, of another shape, negative, empty or not finite.
        """
        if self.map_path is not None or not self.people_maps:
            return super().truth()
        return self._map_people().mean

    def people(self) -> People | None:
        """The participants by their maps, where at least two have one; else by their fixations."""
        return super().people() if len(self.people_maps) < 2 else self._map_people()

    def truth_digest(self) -> str:
        """SHA-256 over all that `FileStimulus` hashes, and every participant's name and map.

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
    """People by their map files; each map is scaled to sum 1, so that everybody counts the same.

    Args:
        maps: participants and their files.
        size: height and width of the image.
        points: the image's fixations; those with a participant's name are that participant's.
    """

    def __init__(self, maps: Sequence[NamedMap], size: Size, points: Points | None) -> None:
        self.names: Sequence[str] = [name for name, _ in maps]
        self._paths = [path for _, path in maps]
        self._size = size
        self._points = points

    def target(self, person: int) -> MapView:
        """A participant's own map, with their fixations where the data set has them."""
        return MapView(self._density(person), self._counts(self.names[person]), np.float64)

    def others(self, person: int) -> NDArray[np.float64]:
        """The mean of everybody else's maps."""
        # rounding may leave a pixel a hair below 0
        rest = np.maximum(self._total - self._density(person), 0)
        return np.asarray(rest / (len(self._paths) - 1))

    def everyone(self, size: Size) -> NDArray[np.float64] | NDArray[np.float32]:
        """The mean of all maps, resized to an image of another size."""
        mean = self.mean
        return mean if size == self._size else resize(mean, size)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(h, w) the mean of all maps."""
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
        """(h, w) fixations per pixel of one participant, or None where none are known."""
        points = self._points
        if points is None or points.subject is None or name not in points.subjects:
            return None
        mine = points.subject == points.subjects.index(name)
        return Points(points.x[mine], points.y[mine]).counts(self._size)


def split_blank(maps: Sequence[NamedMap], size: Size) -> tuple[list[NamedMap], list[Path]]:
    """Read participants' maps once, and set aside those that are the same everywhere.

    Args:
        maps: participants and their files.
        size: of their image.

    Returns:
        The maps that can be used, and the files of the others.

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
