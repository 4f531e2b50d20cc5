"""The simulation at any size: the same images, people and clicks, drawn block by block.

Clicks, trials and people are those of `Simulation`. Three things are simpler here, so that millions
of trials take minutes and a few hundred megabytes:

- There are at most `SCENES` different images, those of `Simulation`; further images repeat them
  under other names.
- The users who click an image are chosen by a walk through all users in steps of a fixed length for
  this image. This gives distinct users spread over all of them, but is not a draw without
  replacement.
- Trials are ordered in rounds. Each round has one trial of every image, in a new random order, so
  that an image's trials lie far apart in the file, as they do in a study that ran for months.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import category_of
from clickmap_cli.clickmaps.simulation.people import (
    CARELESS_UNIFORM,
    Scribble,
    SimulatedImage,
    Simulation,
)
from clickmap_cli.runtime.seeding import generator

SCENES = 200
"""Number of different images that are drawn; each takes half a megabyte while trials are drawn."""

BLOCK = 1 << 15
"""Number of trials that share a generator. Another number would give another study."""


@dataclass(frozen=True)
class TrialBlock:
    """Some trials in the order of the file.

    Attributes:
        image: (n) codes of images.
        user: (n) codes of users.
        offsets: (n + 1) index of each trial's first click; the last is the number of clicks.
        pixel: (clicks) row * side + column of each click.
    """

    image: NDArray[np.int64]
    user: NDArray[np.int64]
    offsets: NDArray[np.int64]
    pixel: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def first(self, n: int) -> TrialBlock:
        """Return the first `n` trials."""
        clicks = self.offsets[min(n, len(self))]
        return TrialBlock(self.image[:n], self.user[:n], self.offsets[: n + 1], self.pixel[:clicks])


@dataclass(frozen=True)
class LargeStudy:
    """A study of any number of trials.

    A block of trials depends only on the seed, the images, the users and its number. It does not
    depend on the number of trials, or on which blocks are drawn in which order.

    Attributes:
        seed: seed of every draw.
        n_images: number of images.
        n_users: number of people; at least the number of trials of an image, so that nobody has
            two.
        side: height and width of an image, in pixels.
    """

    seed: int
    n_images: int
    n_users: int
    side: int = 256

    @cached_property
    def simulation(self) -> Simulation:
        """Simulation that provides the images and the people."""
        scenes = min(self.n_images, SCENES)
        return Simulation(self.seed, n_images=scenes, n_users=self.n_users, side=self.side)

    def scenes(self) -> Iterator[SimulatedImage]:
        """Return the different images; image `i` (from 0) shows number `i` modulo their number."""
        return self.simulation.images()

    @cached_property
    def image_keys(self) -> list[str]:
        """(images) keys, `<category>/<number>.png`."""
        width = max(3, len(str(self.n_images)))
        categories = [category_of(key) for key in self._scene_keys]
        return [
            f"{categories[at % len(categories)]}/{at + 1:0{width}d}.png"
            for at in range(self.n_images)
        ]

    @cached_property
    def user_names(self) -> list[str]:
        """(users) names."""
        return self.simulation.user_names()

    @cached_property
    def roles(self) -> NDArray[np.str_]:
        """(users) `careful`, `careless` or `cheating`."""
        return np.array(self.simulation.roles())

    def blocks(self, n_trials: int) -> Iterator[TrialBlock]:
        """Yield the first `n_trials` trials, `BLOCK` at a time."""
        for number in range(-(-n_trials // BLOCK)):
            yield self.block(number).first(n_trials - number * BLOCK)

    def block(self, number: int) -> TrialBlock:
        """Draw the `BLOCK` trials from `number * BLOCK` on."""
        rng = generator(self.seed, "simulation", "block", str(number))
        rounds, place = np.divmod(np.arange(number * BLOCK, (number + 1) * BLOCK), self.n_images)
        image = self._images(rounds, place)
        user = (self._walks[0][image] + self._walks[1][image] * rounds) % self.n_users
        lengths = 20 + rng.poisson(25, BLOCK)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        pixel = self._careful(rng, image, lengths)
        self._be_careless(rng, pixel, np.repeat(self.roles[user] == "careless", lengths))
        for row in np.flatnonzero(self.roles[user] == "cheating").tolist():
            first, last = offsets[row], offsets[row + 1]
            clicks = self._scribble(int(user[row])).points(int(last - first))
            pixel[first:last] = clicks[:, 1] * self.side + clicks[:, 0]
        return TrialBlock(image, user, offsets, pixel)

    @cached_property
    def _drawn(self) -> tuple[list[str], list[NDArray[np.float64]]]:
        """Keys and cumulated densities of the scenes."""
        keys, cumulated = [], []
        for scene in self.scenes():
            keys.append(scene.key)
            cumulated.append(np.cumsum(scene.density.ravel()))
        return keys, cumulated

    @property
    def _scene_keys(self) -> list[str]:
        return self._drawn[0]

    @cached_property
    def _walks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(images) first user and step of each image's walk: no user repeats in n_users steps."""
        rng = generator(self.seed, "simulation", "walks")
        steps = np.arange(1, self.n_users + 1)
        steps = steps[np.gcd(steps, self.n_users) == 1]
        start = rng.integers(0, self.n_users, self.n_images)
        return start, steps[rng.integers(0, len(steps), self.n_images)]

    def _images(self, rounds: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (n) image at each place of its round."""
        image = np.empty(len(rounds), dtype=np.int64)
        for number in range(int(rounds[0]), int(rounds[-1]) + 1):
            first, last = np.searchsorted(rounds, (number, number + 1))
            rng = generator(self.seed, "simulation", "round", str(number))
            image[first:last] = rng.permutation(self.n_images)[place[first:last]]
        return image

    def _careful(
        self, rng: np.random.Generator, image: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Draw (clicks) pixels from the densities, scene by scene: one table fits in a cache."""
        cumulated = self._drawn[1]
        scene = np.repeat((image % len(cumulated)).astype(np.uint8), lengths)
        order = np.argsort(scene, kind="stable")
        ends = np.cumsum(np.bincount(scene, minlength=len(cumulated))).tolist()
        uniform = rng.random(len(scene))[order]
        pixel = np.empty(len(scene), dtype=np.int64)
        for table, first, last in zip(cumulated, [0, *ends[:-1]], ends, strict=True):
            drawn = uniform[first:last] * table[-1]
            pixel[order[first:last]] = np.searchsorted(table, drawn, side="right")
        return pixel

    def _be_careless(
        self, rng: np.random.Generator, pixel: NDArray[np.int64], careless: NDArray[np.bool_]
    ) -> None:
        """Replace a share of the careless users' clicks by uniform ones, in place."""
        theirs = np.flatnonzero(careless)
        anywhere = theirs[rng.random(len(theirs)) < CARELESS_UNIFORM]
        pixel[anywhere] = rng.integers(0, self.side**2, len(anywhere))

    def _scribble(self, user: int) -> Scribble:
        found = self._scribbles.get(user)
        if found is None:
            found = self._scribbles[user] = self.simulation.scribble(self.user_names[user])
        return found

    @cached_property
    def _scribbles(self) -> dict[int, Scribble]:
        """Scribbles of the cheating users met so far."""
        return {}
