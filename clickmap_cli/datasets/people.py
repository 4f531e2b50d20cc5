"""The people who looked at an image: their own maps, and how the others predict them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import ClickStack
from clickmap_cli.datasets.kernel_density import kernel_density
from clickmap_cli.metrics.views import MapView

Maps = NDArray[np.float32]


class People(Protocol):
    """The people who looked at one image; each is a target, and the others predict them."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the people; a person who looked twice is listed twice."""

    def target(self, person: int) -> MapView:
        """Return a person's own map, with their points."""

    def others(self, person: int) -> NDArray[Any]:
        """Return the (h, w) prediction by everybody else; not scaled."""

    def everyone(self, size: Size) -> NDArray[Any]:
        """Return the (h, w) prediction by everybody for an image of this size; not scaled.

        If the size differs from their image's, points keep their relative coordinates.
        """


class FixationPeople:
    """People by their fixations; their maps are kernel densities.

    Args:
        columns: (n) columns of all fixations.
        rows: (n) rows.
        subject: (n) codes into `names`.
        names: names of the people.
        size: height and width of the image.
        sigma: standard deviation of the kernel, in pixels.
    """

    def __init__(
        self,
        columns: NDArray[np.int64],
        rows: NDArray[np.int64],
        subject: NDArray[np.int32],
        names: Sequence[str],
        size: Size,
        sigma: float,
    ) -> None:
        present = np.unique(subject)
        self.names: Sequence[str] = [names[code] for code in present]
        self._code = present
        self._columns, self._rows, self._subject = columns, rows, subject
        self._size, self._sigma = size, sigma

    def target(self, person: int) -> MapView:
        """Return a person's own kernel density, with their fixations."""
        mine = self._subject == self._code[person]
        height, width = self._size
        flat = self._rows[mine] * width + self._columns[mine]
        counts = np.bincount(flat, minlength=height * width).reshape(self._size)
        return MapView(self._density(mine).astype(np.float32), counts)

    def others(self, person: int) -> NDArray[np.float64]:
        """Return the kernel density of all other people's fixations."""
        return self._density(self._subject != self._code[person])

    def everyone(self, size: Size) -> NDArray[np.float64]:
        """Return the kernel density of all fixations, scaled to an image of another size."""
        columns, rows = self._columns, self._rows
        if size != self._size:
            columns = scaled_to(columns, self._size[1], size[1])
            rows = scaled_to(rows, self._size[0], size[0])
        return kernel_density(columns, rows, size, self._sigma)

    def _density(self, which: NDArray[np.bool_]) -> NDArray[np.float64]:
        return kernel_density(self._columns[which], self._rows[which], self._size, self._sigma)


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
        return self._pixels(self._stack.others(person))

    def everyone(self, size: Size) -> Maps:
        """Return the mean clickmap, resized if the size differs."""
        return resize(self._pixels(self._stack.mean(np.arange(len(self._stack)))), size)

    @staticmethod
    def _pixels(view: MapView) -> Maps:
        return view.pixels.reshape(view.shape)


def scaled_to(at: NDArray[Any], side: int, other: int) -> NDArray[np.int64]:
    """Scale places on an axis of `side` pixels to one of `other` pixels, floored and within it."""
    return np.minimum((at * (other / side)).astype(np.int64), other - 1)
