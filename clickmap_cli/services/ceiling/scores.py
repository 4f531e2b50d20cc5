"""Compute the ceiling's raw scores, image by image, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.agreement import (
    Half,
    OtherImages,
    random_groups,
    random_halves,
    score_halves,
    score_held_out,
    score_pairs,
)
from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import ClickStack, image_clicks
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.metrics.map_scores import MapScore
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.long_arrays import ranges

Scores = NDArray[np.float64]
_CACHE_BYTES = 384 << 20  # of other images' maps
_SECONDS = 0.002  # time in which one core scores one trial
_MOST_IN_CHUNK = 64  # images a worker scores before it reports


@dataclass(frozen=True)
class ImageScores:
    """One image's raw scores, by score name.

    Attributes:
        ceiling: (splits) scores of halves, or (trials) scores of held-out participants.
        null: (draws) scores of other images' maps; empty without other images.
        upper: (trials) upper bound of held-out participants; empty for split halves.
        curve: participants per half -> (splits) scores of such halves, by score name.
    """

    ceiling: dict[str, Scores]
    null: dict[str, Scores]
    upper: dict[str, Scores] = field(default_factory=dict)
    curve: dict[int, dict[str, Scores]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The plan of what to score in every image.

    Attributes:
        method: `split-half` or `hold-one-out`.
        scores: the scores, all computed from the same maps.
        splits: number of random splits into halves per image.
        null_draws: other images drawn per image.
        seed: seed of every draw.
        curve_sizes: participants per half for the subject curve; empty for no curve.
        keep: largest number of trial maps of an image in memory at once.
    """

    method: str
    scores: Sequence[MapScore]
    splits: int
    null_draws: int
    seed: int
    curve_sizes: tuple[int, ...] = ()
    keep: int = 1024


@dataclass(frozen=True)
class DrawnImages:
    """Other images that were drawn in advance.

    Attributes:
        drawn: image code -> codes of the images drawn for it.
    """

    drawn: dict[int, list[int]]

    def draw(self, image: int, draws: int) -> list[int]:
        """Return the first `draws` images drawn for an image."""
        return self.drawn[image][:draws]


class ImageScorer:
    """Scores one image at a time; its maps are in memory only while it is scored.

    Args:
        trials: a compact table.
        settings: the blur and the geometry.
        plan: what to score.
        others: the source from which the null draws other images.
    """

    def __init__(
        self, trials: Trials, settings: MapSettings, plan: Plan, others: OtherImages | DrawnImages
    ) -> None:
        self._trials = trials
        self._settings = settings
        self._slices = trials.image_slices()
        self._plan = plan
        self._others = others
        per_view = 12 * max(self._largest_map(), 1)  # float32 pixels and float64 ranks
        self._other_view = lru_cache(max(16, _CACHE_BYTES // per_view))(self._make_other_view)

    def stack(self, image: int) -> ClickStack:
        """Return the trial maps of one image."""
        users = self._trials.user[self._slices[image] : self._slices[image + 1]]
        clicks = image_clicks(self._trials, self._slices, image)
        return ClickStack(clicks, self._settings, users)

    def score(self, image: int) -> ImageScores:
        """Return all planned scores of one image, which needs at least two participants."""
        if self._plan.method == "split-half":
            return self._split_half(image)
        return self._hold_one_out(image)

    def _split_half(self, image: int) -> ImageScores:
        plan, key = self._plan, str(self._trials.images[image])
        stack = self.stack(image)
        ceiling, targets = score_halves(
            stack, self._halves(image, stack), plan.scores, plan.null_draws
        )
        null_pairs = (
            (self._other_view(other, stack.shape), targets[draw % len(targets)])
            for draw, other in enumerate(self._others.draw(image, plan.null_draws))
        )
        null = score_pairs(null_pairs, plan.scores)
        curve = {}
        for size in plan.curve_sizes:
            if 2 * size <= len(np.unique(stack.people)):
                groups = random_groups(stack.people, size, plan.splits, plan.seed, key)
                pairs = ((stack.mean(first), stack.mean(second)) for first, second in groups)
                curve[size] = score_pairs(pairs, plan.scores)
        return ImageScores(ceiling, null, curve=curve)

    def _hold_one_out(self, image: int) -> ImageScores:
        plan, key = self._plan, str(self._trials.images[image])
        stack = self.stack(image)
        ceiling, upper = score_held_out(stack, plan.scores, plan.keep)
        rng = generator(plan.seed, key, "null participants")
        null_pairs = (
            (self._other_view(other, stack.shape), stack.one(int(rng.integers(len(stack)))))
            for other in self._others.draw(image, plan.null_draws)
        )
        return ImageScores(ceiling, score_pairs(null_pairs, plan.scores), upper)

    def _largest_map(self) -> int:
        """Return the number of pixels of the largest map."""
        sizes = np.unique(self._trials.shape, axis=0).tolist()
        finals = [self._settings.geometry((height, width)).final for height, width in sizes]
        return max((height * width for height, width in finals), default=1)

    def _make_other_view(self, image: int, shape: Size) -> MapView:
        """Return the map of another image for the null, resized to `shape` if it differs.

        Split halves use a random half (the first half of the first split); hold-one-out uses the
        mean of all trials. Resizing keeps relative coordinates.
        """
        stack = self.stack(image)
        if self._plan.method == "hold-one-out":
            view = stack.mean(np.arange(len(stack)))
        else:
            view = stack.mean(self._halves(image, stack)[0][0])
        # a new view of the pixels; `view` would keep its image's whole stack in memory
        return MapView(resize(view.pixels.reshape(view.shape), shape))

    def _halves(self, image: int, stack: ClickStack) -> list[tuple[Half, Half]]:
        key = str(self._trials.images[image])
        return random_halves(stack.people, self._plan.splits, self._plan.seed, key)


@dataclass(frozen=True)
class _Chunk:
    """Images that one worker scores one after another."""

    trials: Trials
    settings: MapSettings
    plan: Plan
    others: OtherImages | DrawnImages
    codes: list[int]

    def alone(self) -> _Chunk:
        """Return a copy with only the images it needs, to send to another machine."""
        drawn = {code: self.others.draw(code, self.plan.null_draws) for code in self.codes}
        needed = np.unique([*self.codes, *(other for some in drawn.values() for other in some)])
        new = {code: at for at, code in enumerate(needed.tolist())}
        slices = self.trials.image_slices()
        part = self.trials.select(ranges(slices[needed], slices[needed + 1] - slices[needed]))
        part = replace(
            part,
            image=np.searchsorted(needed, part.image).astype(np.int32),
            images=part.images[needed],
            users=part.users[:0],  # scores need only the users' codes
            category=part.category[needed],
            shape=part.shape[needed],
        )
        others = {new[code]: [new[other] for other in some] for code, some in drawn.items()}
        codes = [new[code] for code in self.codes]
        return _Chunk(part, self.settings, self.plan, DrawnImages(others), codes)


def _score_chunk(chunk: _Chunk) -> list[ImageScores]:
    scorer = ImageScorer(chunk.trials, chunk.settings, chunk.plan, chunk.others)
    return [scorer.score(code) for code in chunk.codes]


def score_images(
    trials: Trials,
    settings: MapSettings,
    plan: Plan,
    pool: Pool,
    progress: Progress,
) -> tuple[dict[int, ImageScores], bool]:
    """Score every image that has at least two participants.

    Returns:
        image code -> its scores; and True if the null comes from images of other categories.
    """
    usable = trials.people_per_image() >= 2
    others = OtherImages(trials.images.tolist(), trials.category, usable, plan.seed)
    codes = np.flatnonzero(usable).tolist()
    if not plan.scores or not codes:
        return {}, others.by_category
    progress.stage(f"Scoring, {plan.method}", len(codes))
    seconds = _SECONDS * len(trials)
    size = min(_MOST_IN_CHUNK, -(-len(codes) // pool.workers(seconds)))
    chunks = [
        _Chunk(trials, settings, plan, others, codes[at : at + size])
        for at in range(0, len(codes), size)
    ]
    found: dict[int, ImageScores] = {}
    travelling = (chunk.alone() if pool.remote else chunk for chunk in chunks)
    scored = pool.map(_score_chunk, travelling, seconds)
    for chunk, scores in zip(chunks, scored, strict=True):
        found.update(zip(chunk.codes, scores, strict=True))
        progress.advance(len(scores))
    return found, others.by_category


def curve_sizes(people: NDArray[np.int64]) -> tuple[int, ...]:
    """Return 1, 2, 4, ... participants per half, up to half the most participants of an image."""
    most = int(people.max(initial=0)) // 2
    return tuple(2**power for power in range(int(math.log2(most)) + 1)) if most else ()
