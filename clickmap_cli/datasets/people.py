"""The people who looked at an image: their own maps, and how the others predict them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size, resize
from clickmap_cli.clickmaps.maps import ClickStack
from clickmap_cli.datasets.base import People, Points, Stimulus
from clickmap_cli.datasets.fixations import kernel_density, scaled_to
from clickmap_cli.datasets.maps import read_map
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.errors import DataError

Maps = NDArray[np.float32]

NamedMap = tuple[str, Path]
"""A participant and the file of their map of one image."""


class FixationPeople:
    """People by their fixations; their maps are kernel densities.

    Args:
        points: all fixations, with the codes and names of the people.
        size: height and width of the image.
        sigma: standard deviation of the kernel, in pixels.
    """

    def __init__(self, points: Points, size: Size, sigma: float) -> None:
        self._person = np.asarray(points.subject)
        self._codes = np.unique(self._person)
        self.names: Sequence[str] = [points.subjects[code] for code in self._codes]
        self._points, self._size, self._sigma = points, size, sigma

    def target(self, person: int) -> MapView:
        """Return a person's own kernel density, with their fixations."""
        own = self._points.where(self._person == self._codes[person])
        return MapView(self._density(own).astype(np.float32), own.counts(self._size))

    def others(self, person: int) -> NDArray[np.float64]:
        """Return the kernel density of all other people's fixations."""
        return self._density(self._points.where(self._person != self._codes[person]))

    def everyone(self, size: Size) -> NDArray[np.float64]:
        """Return the kernel density of all fixations, scaled to an image of another size."""
        columns, rows = self._points.columns, self._points.rows
        if size != self._size:
            columns = scaled_to(columns, self._size[1], size[1])
            rows = scaled_to(rows, self._size[0], size[0])
        return kernel_density(columns, rows, size, self._sigma)

    def _density(self, points: Points) -> NDArray[np.float64]:
        return kernel_density(points.columns, points.rows, self._size, self._sigma)


class ClickPeople:
    """People by the trials that `prepare` kept; their maps are clickmaps.

    Args:
        stack: the image's trials.
        names: (trials) name of the participant of each trial.
    """

    def __init__(self, stack: ClickStack, names: Sequence[str]) -> None:
        self.names: Sequence[str] = names
        self._stack = stack

    def target(self, person: int) -> MapView:
        """Return a trial's clickmap, with its clicks."""
        return self._stack.one(person)

    def others(self, person: int) -> Maps:
        """Return the mean of all other participants' clickmaps."""
        view = self._stack.others(person)
        return view.pixels.reshape(view.shape)

    def everyone(self, size: Size) -> Maps:
        """Return the mean clickmap, resized if the size differs."""
        view = self._stack.mean(np.arange(len(self._stack)))
        return resize(view.pixels.reshape(view.shape), size)


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
        self._size, self._points = size, points

    def target(self, person: int) -> MapView:
        """Return a participant's own map, with their fixations if the data set has them."""
        points, name = self._points, self.names[person]
        counts = None
        if points is not None and points.subject is not None and name in points.subjects:
            own = points.where(points.subject == points.subjects.index(name))
            counts = own.counts(self._size)
        return MapView(self._density(person), counts, np.float64)

    def others(self, person: int) -> NDArray[np.float64]:
        """Return the (h, w) mean of all other participants' maps."""
        # rounding may leave a pixel slightly below 0
        rest = np.maximum(self._total - self._density(person), 0)
        return np.asarray(rest / (len(self._paths) - 1))

    def everyone(self, size: Size) -> NDArray[np.float64] | NDArray[np.float32]:
        """Return the mean of all maps, resized if the image has another size."""
        return self.mean if size == self._size else resize(self.mean, size)

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


class SomePeople:
    """A subset of the people who looked at an image.

    Args:
        people: all people.
        chosen: positions of the subset in `people.names`.
    """

    def __init__(self, people: People, chosen: Sequence[int]) -> None:
        self._people = people
        self._chosen = list(chosen)
        self.names: Sequence[str] = [people.names[at] for at in chosen]

    def target(self, person: int) -> MapView:
        """Return a person's own map, with their points."""
        return self._people.target(self._chosen[person])

    def others(self, person: int) -> NDArray[Any]:
        """Return the (h, w) mean map of the other people in the subset; not scaled."""
        return self._mean([at for at in range(len(self.names)) if at != person])

    def everyone(self, size: Size) -> NDArray[Any]:
        """Return the (h, w) mean map of the subset, resized if `size` differs; not scaled."""
        mean = self._mean(range(len(self.names)))
        return mean if mean.shape == size else resize(mean, size)

    def _mean(self, which: Collection[int]) -> NDArray[Any]:
        views = [self.target(person) for person in which]
        return np.asarray(sum(view.pixels.reshape(view.shape) for view in views) / len(views))


class OnlySome(Stimulus):
    """An image of a data set, with only some of the people who looked at it.

    Args:
        stimulus: the image.
        names: names of the people whose fixations count.
    """

    def __init__(self, stimulus: Stimulus, names: Collection[str]) -> None:
        self._stimulus = stimulus
        self._names = frozenset(names)
        self.image_id = stimulus.image_id
        self.category = stimulus.category
        self.size = stimulus.size
        self.nonfixations = stimulus.nonfixations
        self.points = self._own_points()

    @property
    def key(self) -> str:
        """Key from which random draws for the image are seeded."""
        return self._stimulus.key

    @property
    def has_image(self) -> bool:
        """Return True if the image's file was found."""
        return self._stimulus.has_image

    @property
    def cropped(self) -> bool:
        """Return True if models see only a part of the image's file."""
        return self._stimulus.cropped

    def placement(self, shape: Size, of_file: bool = False) -> Geometry:
        """Return the placement of the wrapped image."""
        return self._stimulus.placement(shape, of_file)

    @property
    def layout(self) -> str:
        """Layout of the wrapped image."""
        return self._stimulus.layout

    def image(self) -> NDArray[np.float32]:
        """Return the pixels, (h, w, 3) RGB in 0..1."""
        return self._stimulus.image()

    def truth(self) -> NDArray[Any] | None:
        """Return the (h, w) mean of the chosen people's maps; None if none of them looked."""
        people = self.people()
        return None if people is None else people.everyone(self.size)

    def people(self) -> SomePeople | None:
        """Return the people who count, or None if none of them looked at the image."""
        everybody = self._stimulus.people()
        if everybody is None:
            return None
        chosen = [at for at, name in enumerate(everybody.names) if name in self._names]
        return SomePeople(everybody, chosen) if chosen else None

    def image_digest(self) -> str:
        """Return a hash of the image's pixels."""
        return self._stimulus.image_digest()

    def truth_digest(self) -> str:
        """Return a hash of all people's points and of the names that count."""
        words = "\x1f".join([self._stimulus.truth_digest(), *sorted(self._names)])
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()

    def _own_points(self) -> Points | None:
        people = self.people()
        if people is None:
            return None
        views = [people.target(person) for person in range(len(people.names))]
        if not any(view.has_clicks for view in views):
            return None
        nothing = (np.empty(0, dtype=np.intp), np.empty(0))
        clicked = [view.clicked if view.has_clicks else nothing for view in views]
        flat = np.concatenate([np.repeat(at, n.astype(np.int64)) for at, n in clicked])
        who = np.repeat(np.arange(len(clicked)), [int(n.sum()) for _, n in clicked])
        rows, columns = np.divmod(flat.astype(np.float64), self.size[1])
        return Points(columns, rows, who.astype(np.int32), tuple(people.names))
