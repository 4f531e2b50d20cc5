"""The simulated reading study: attention maps of two classes with a known difference.

Its defaults are fixed, like those of `Simulation`, so that nobody tunes the truth to a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.atomic import replacing

CLASSES = ("C", "P")
"""Control and pseudo-word; P is the positive class, whose maps have a bump."""

NOISE_SIGMA = 3.0
GREY_ZERO = 128.0
GREY_UNIT = 32.0
"""A value v is written as the grey round(128 + 32 v), cut to 0..255: values from -4 to 3.97 s.d."""


@dataclass(frozen=True)
class ReadingMap:
    """One attention map.

    Attributes:
        participant: name of the participant who read.
        label: class that the study gives the map.
        name: name of the map; unique for its participant.
        values: (side, side) float64, in s.d. of the noise.
        centre: row and column of the bump's centre; None if the map has no bump.
    """

    participant: str
    label: str
    name: str
    values: NDArray[np.float64]
    centre: tuple[float, float] | None

    @property
    def path(self) -> str:
        """Path of the map's picture: `<class>/<participant>/<name>.png`."""
        return f"{self.label}/{self.participant}/{self.name}.png"


@dataclass(frozen=True)
class ReadingStudy:
    """A simulated reading study.

    A map is unit Gaussian noise smoothed with a Gaussian of sigma 3 (as on a torus, to make it
    stationary) and scaled to s.d. 1; class P adds a Gaussian bump whose centre is uniform within
    `wander` pixels of the map's centre, in each direction. Half of each participant's maps are of
    each class, in a random order; if their number is odd, class C has one more.

    With the defaults, single maps can be told apart at d' = 1.40 at best if the bump's place is
    known (an accuracy of 0.76), and with an accuracy of 0.72 at best if it is not; no classifier
    can do better.

    Attributes:
        seed: seed of every draw.
        n_participants: number of participants.
        n_maps: number of maps of each participant.
        side: height and width of a map, in pixels.
        peak: height of the bump, in s.d. of the noise; 0 for a study without a difference.
        sigma_px: standard deviation of the bump, in pixels.
        wander: largest distance of the bump's centre from the map's, in each direction, in pixels.
        shuffled: True to permute labels within each participant, without moving the bumps.
        one_class: True to give all maps of a participant one class; half of the participants have
            each class.
        watermark: s.d. of a pattern, smooth as the noise and different for each participant, on all
            of their maps; with `one_class`, it reveals the class to a model that has seen the
            participant.
    """

    seed: int = 0
    n_participants: int = 16
    n_maps: int = 12
    side: int = 128
    peak: float = 0.8
    sigma_px: float = 10.0
    wander: float = 10.0
    shuffled: bool = False
    one_class: bool = False
    watermark: float = 0.0

    def participants(self) -> list[str]:
        """Return the names of the participants, `p01` and so on."""
        return _number_names("p", self.n_participants)

    def maps(self) -> Iterator[ReadingMap]:
        """Yield every map, drawn on demand; one map's noise never depends on another's."""
        for at, participant in enumerate(self.participants()):
            true = self._true_labels(at, participant)
            told = list(true)
            if self.shuffled:
                generator(self.seed, "reading", participant, "shuffled").shuffle(told)
            own = np.zeros((self.side, self.side))
            if self.watermark:
                rng = generator(self.seed, "reading", participant, "watermark")
                own = self.watermark * _smooth_noise(rng, self.side)
            for name, label, shown in zip(_number_names("", self.n_maps), true, told, strict=True):
                rng = generator(self.seed, "reading", participant, name)
                values = _smooth_noise(rng, self.side) + own
                centre = None
                if label == CLASSES[1]:
                    row, column = (self.side - 1) / 2 + rng.uniform(-self.wander, self.wander, 2)
                    centre = (float(row), float(column))
                    values = values + self.peak * _bump(self.side, centre, self.sigma_px)
                yield ReadingMap(participant, shown, name, values, centre)

    def write(self, folder: Path) -> list[Path]:
        """Write every map as a picture, `<folder>/<class>/<participant>/<name>.png`.

        Returns:
            The files, in the order of `maps`.

        Raises:
            RunError: a file cannot be written.
        """
        from PIL import Image

        files = []
        for drawn in self.maps():
            path = folder / drawn.path
            with replacing(path) as partial:
                Image.fromarray(to_grey(drawn.values)).save(partial, format="PNG")
            files.append(path)
        return files

    def _true_labels(self, at: int, participant: str) -> list[str]:
        """Return the (maps) classes that determine the bumps."""
        if self.one_class:
            order = generator(self.seed, "reading", "classes").permutation(self.n_participants)
            return [CLASSES[int(order[at]) % 2]] * self.n_maps
        labels = [CLASSES[number % 2] for number in range(self.n_maps)]
        generator(self.seed, "reading", participant, "labels").shuffle(labels)
        return labels


def to_grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert values to greys, in the same way for all maps: round(128 + 32 v), cut to 0..255."""
    return np.clip(np.rint(GREY_ZERO + GREY_UNIT * values), 0, 255).astype(np.uint8)


def _number_names(letter: str, n: int) -> list[str]:
    width = max(2, len(str(n)))
    return [f"{letter}{number:0{width}d}" for number in range(1, n + 1)]


def _smooth_noise(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Draw (side, side) smoothed noise of s.d. 1."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.standard_normal((side, side)), NOISE_SIGMA, mode="wrap")
    return np.asarray(smooth / smooth.std())


def _bump(side: int, centre: tuple[float, float], sigma: float) -> NDArray[np.float64]:
    """Return a (side, side) Gaussian of height 1."""
    row, column = np.mgrid[0:side, 0:side]
    away = (row - centre[0]) ** 2 + (column - centre[1]) ** 2
    return np.asarray(np.exp(-away / (2 * sigma**2)))
