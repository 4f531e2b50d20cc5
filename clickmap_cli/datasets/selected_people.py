"""Images of which only some people's fixations count."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size, resize
from clickmap_cli.datasets.base import Points, Stimulus
from clickmap_cli.datasets.people import People
from clickmap_cli.metrics.views import MapView


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
        width = self.size[1]
        views = [people.target(person) for person in range(len(people.names))]
        if not any(view.has_clicks for view in views):
            return None
        nothing = (np.empty(0, dtype=np.intp), np.empty(0))
        clicked = [view.clicked if view.has_clicks else nothing for view in views]
        flat = np.concatenate([np.repeat(at, n.astype(np.int64)) for at, n in clicked])
        who = np.repeat(np.arange(len(clicked)), [int(n.sum()) for _, n in clicked])
        return Points(
            (flat % width).astype(np.float64), (flat // width).astype(np.float64),
            who.astype(np.int32), tuple(people.names),
        )  # fmt: skip
