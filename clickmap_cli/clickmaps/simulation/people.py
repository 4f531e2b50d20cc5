"""Trials with a known truth: images, the attention they get, and people of three kinds.

The defaults are the project's fixed simulation. Tests, the demo and the README all draw from it, so
that nobody tunes the truth to a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import blur_counts
from clickmap_cli.clickmaps.keys import category_of
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.seeding import generator

UNIFORM_SHARE = 0.1
CARELESS_UNIFORM = 0.6
_WHOLE = 2.0**40
_CATEGORIES = ("one_object", "two_objects", "three_objects")


@dataclass(frozen=True)
class SimulatedImage:
    """An image and its true density of attention.

    Attributes:
        key: the image key, `<category>/<number>.png`.
        pixels: (H, W, 3) uint8.
        density: (H, W) float64, probability that a careful click falls on a pixel; sums to 1.
    """

    key: str
    pixels: NDArray[np.uint8]
    density: NDArray[np.float64]


@dataclass(frozen=True)
class Simulation:
    """A simulated study: its people, and the images they see.

    Attributes:
        seed: seed of every draw.
        n_images: number of images.
        n_users: number of people.
        users_per_image: number of people who click each image.
        side: height and width of an image, in pixels.
    """

    seed: int = 0
    n_images: int = 60
    n_users: int = 40
    users_per_image: int = 12
    side: int = 256
    shares: tuple[float, float] = field(default=(0.12, 0.08))

    def roles(self) -> list[str]:
        """Return (users) `careful`, `careless` or `cheating`, rounding shares to whole users."""
        careless, cheating = (round(self.n_users * share) for share in self.shares)
        kinds = ["careless"] * careless + ["cheating"] * cheating
        kinds += ["careful"] * (self.n_users - len(kinds))
        generator(self.seed, "simulation", "roles").shuffle(kinds)
        return kinds

    def user_names(self) -> list[str]:
        """Return (users) names, `u01` and so on."""
        width = len(str(self.n_users))
        return [f"u{number:0{width}d}" for number in range(1, self.n_users + 1)]

    def images(self) -> Iterator[SimulatedImage]:
        """Yield every image, drawn on demand."""
        for number in range(1, self.n_images + 1):
            rng = generator(self.seed, "simulation", "image", str(number))
            yield _draw_image(rng, number, self.side)

    def trials_of(self, image: SimulatedImage) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield user and (n, 2) clicks (x, y) of each trial of one image, clicks in order."""
        rng = generator(self.seed, "simulation", "trials", image.key)
        roles, names = self.roles(), self.user_names()
        cumulative = np.cumsum(image.density.ravel())
        for user in rng.choice(self.n_users, self.users_per_image, replace=False):
            n = 20 + int(rng.poisson(25))
            if roles[user] == "cheating":
                clicks = self.scribble(names[user])(n)
            else:
                uniform = CARELESS_UNIFORM if roles[user] == "careless" else 0.0
                clicks = _clicks(rng, cumulative, n, uniform, self.side)
            yield names[user], clicks

    def trials(self) -> Trials:
        """Return the whole study as a table."""
        users = {name: code for code, name in enumerate(self.user_names())}
        keys, xs, ys, lengths, image_codes, user_codes = [], [], [], [], [], []
        for code, image in enumerate(self.images()):
            keys.append(image.key)
            for user, clicks in self.trials_of(image):
                xs.append(clicks[:, 0])
                ys.append(clicks[:, 1])
                lengths.append(len(clicks))
                image_codes.append(code)
                user_codes.append(users[user])
        names = [category_of(key) for key in keys]
        categories, category = np.unique(names, return_inverse=True)
        return Trials(
            x=np.concatenate(xs).astype(np.int16),
            y=np.concatenate(ys).astype(np.int16),
            offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            image=np.array(image_codes, dtype=np.int32),
            user=np.array(user_codes, dtype=np.int32),
            images=np.array(keys),
            users=np.array(list(users)),
            category=category.astype(np.int32),
            categories=categories,
            shape=np.full((len(keys), 2), self.side, dtype=np.int32),
        )

    def scribble(self, user: str) -> Callable[[int], NDArray[np.int64]]:
        """Return the drawing that a user makes on every image if they cheat: a line, or a spiral.

        Returns:
            Function of a number of clicks, which returns (n, 2) clicks (x, y) along the drawing.
        """
        rng = generator(self.seed, "simulation", "scribble", user)
        is_line = rng.random() < 0.5
        if is_line:
            start, end = rng.uniform(0, self.side, (2, 2))
        else:
            start = rng.uniform(0.3, 0.7, 2) * self.side
            turns, reach = rng.uniform(2, 5), rng.uniform(0.1, 0.3)

        def draw(n: int) -> NDArray[np.int64]:
            along = np.linspace(0, 1, n)
            if is_line:
                away = along[:, None] * (end - start)
            else:
                angle, radius = along * turns * 2 * np.pi, along * reach * self.side
                away = radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
            return np.asarray(np.clip(start + away, 0, self.side - 1), dtype=np.int64)

        return draw


def format_clicks(clicks: NDArray[np.int64]) -> str:
    """Write clicks in the notation of the field's files: `{"(x,y),(x,y)"}`."""
    return '{"' + ",".join(f"({x},{y})" for x, y in clicks.tolist()) + '"}'


def expected_map(density: NDArray[np.float64], settings: MapSettings) -> NDArray[np.float32]:
    """Return the map that a study with ever more careful people approaches: the blurred density.

    Args:
        density: (H, W) density of a `SimulatedImage`.
        settings: the blur and the geometry.

    Returns:
        (h, w) finished map, for one click per trial.
    """
    native = (density.shape[0], density.shape[1])
    kernel = settings.kernel(native)
    # whole numbers are blurred by running sums: a thousand times faster, with errors of 1e-12
    whole = np.rint(density * _WHOLE).astype(np.int64)
    blurred = blur_counts(whole, kernel) / (kernel.scale() * _WHOLE)
    return settings.geometry(native).finish(blurred)


def _clicks(
    rng: np.random.Generator, cumulative: NDArray[np.float64], n: int, uniform: float, side: int
) -> NDArray[np.int64]:
    """Draw (n, 2) independent clicks (x, y) from the density, a share of them uniformly instead."""
    pixel = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    anywhere = rng.random(n) < uniform
    pixel[anywhere] = rng.integers(0, side * side, int(anywhere.sum()))
    return np.stack((pixel % side, pixel // side), axis=1)


def _draw_image(rng: np.random.Generator, number: int, side: int) -> SimulatedImage:
    """Draw one to three textured objects on a textured ground, and the density on their parts."""
    n_objects = int(rng.integers(1, 4))
    row, column = np.mgrid[0:side, 0:side]
    pixels = _texture(rng, side, grain=int(rng.integers(8, 24)), contrast=0.12)
    mixture = np.zeros((side, side))
    for _ in range(n_objects):
        centre = rng.uniform(0.2, 0.8, 2) * side
        axes = rng.uniform(0.08, 0.2, 2) * side
        angle = rng.uniform(0, np.pi)
        dy, dx = row - centre[0], column - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / axes[0]
        v = (dy * np.cos(angle) - dx * np.sin(angle)) / axes[1]
        inside = u**2 + v**2 <= 1
        pixels[inside] = _texture(rng, side, grain=int(rng.integers(2, 6)), contrast=0.3)[inside]
        for _ in range(int(rng.integers(2, 4))):
            # a part is a point inside the object with a Gaussian of attention around it
            reach, turn = rng.uniform(0, 0.7), rng.uniform(0, 2 * np.pi)
            pu, pv = reach * np.cos(turn) * axes[0], reach * np.sin(turn) * axes[1]
            py = centre[0] + pu * np.sin(angle) + pv * np.cos(angle)
            px = centre[1] + pu * np.cos(angle) - pv * np.sin(angle)
            sigma = rng.uniform(0.25, 0.45) * axes.min()
            part = np.exp(-((row - py) ** 2 + (column - px) ** 2) / (2 * sigma**2))
            mixture += rng.uniform(0.5, 1.5) * part / part.sum()
    density = (1 - UNIFORM_SHARE) * mixture / mixture.sum() + UNIFORM_SHARE / side**2
    key = f"{_CATEGORIES[n_objects - 1]}/{number:03d}.png"
    return SimulatedImage(key, (np.clip(pixels, 0, 1) * 255).astype(np.uint8), density)


def _texture(
    rng: np.random.Generator, side: int, grain: int, contrast: float
) -> NDArray[np.float64]:
    """Draw (side, side, 3) coloured noise: smooth blobs of `grain` pixels around one colour."""
    coarse = rng.normal(0, 1, (side // grain + 2, side // grain + 2))
    at = np.linspace(0, coarse.shape[0] - 1.001, side)
    low, part = at.astype(int), at % 1
    rows = coarse[low] * (1 - part[:, None]) + coarse[low + 1] * part[:, None]
    smooth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    colour = rng.uniform(0.2, 0.8, 3)
    return np.asarray(colour + contrast * smooth[..., None] * rng.uniform(0.5, 1, 3))


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
        categories = [category_of(key) for key in self._drawn[0]]
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
            clicks = self._scribble(int(user[row]))(int(last - first))
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

    @cached_property
    def _scribble(self) -> Callable[[int], Callable[[int], NDArray[np.int64]]]:
        """Function of a user's code, which returns their scribble and keeps it."""
        return cache(lambda user: self.simulation.scribble(self.user_names[user]))
