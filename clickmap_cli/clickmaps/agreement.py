"""Agreement among the people who clicked one image: split halves, held-out participants, nulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.maps import TrialStack
from clickmap_cli.metrics.map_scores import MapScore
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.seeding import generator

Half = NDArray[np.intp]
Scores = NDArray[np.float64]


def random_halves(
    people: NDArray[np.int32], splits: int, seed: int, key: str
) -> list[tuple[Half, Half]]:
    """Split an image's participants into random halves; an extra one goes to the second half.

    Args:
        people: (trials) participant of each trial; all trials of a person go to the same half.
        splits: number of splits.
        seed: seed of the experiment.
        key: key of the image, so that its halves do not depend on other images.

    Returns:
        Trial numbers of the first and of the second half, for each split.
    """
    n = len(np.unique(people))
    return _random_parts(people, n // 2, n, splits, generator(seed, key, "halves"))


def random_groups(
    people: NDArray[np.int32], size: int, splits: int, seed: int, key: str
) -> list[tuple[Half, Half]]:
    """Draw random pairs of disjoint groups of `size` participants, for the subject curve."""
    rng = generator(seed, key, "curve", str(size))
    return _random_parts(people, size, 2 * size, splits, rng)


def _random_parts(
    people: NDArray[np.int32], first: int, last: int, splits: int, rng: np.random.Generator
) -> list[tuple[Half, Half]]:
    """Return trials of `first` random participants, and of those after them up to `last`."""
    # people are ordered by first appearance, so that names do not influence the draw
    _, at, which = np.unique(people, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(at))[which]
    parts = []
    for _ in range(splits):
        rank = np.empty(len(at), dtype=np.intp)
        rank[rng.permutation(len(at))] = np.arange(len(at))
        mine = rank[place]
        parts.append(
            (np.flatnonzero(mine < first), np.flatnonzero((mine >= first) & (mine < last)))
        )
    return parts


def score_halves(
    stack: TrialStack,
    halves: Sequence[tuple[Half, Half]],
    scores: Sequence[MapScore],
    keep: int = 0,
) -> tuple[dict[str, Scores], list[MapView]]:
    """Score half A of each split as a prediction of half B.

    Returns:
        score name -> (splits) values; and the first `keep` halves B, so that other images' halves
        can be scored against them too.
    """
    found: dict[str, list[float]] = {score.name: [] for score in scores}
    targets: list[MapView] = []
    for first, second in halves:
        prediction, target = stack.halves(first, second)
        if len(targets) < keep:
            targets.append(target)
        for score in scores:
            found[score.name].append(score(prediction, target))
    return _arrays(found), targets


def score_groups(
    stack: TrialStack, groups: Sequence[tuple[Half, Half]], scores: Sequence[MapScore]
) -> dict[str, Scores]:
    """Score the first group of each pair as a prediction of the second; trials may be left over.

    Returns:
        score name -> (pairs) values.
    """
    found: dict[str, list[float]] = {score.name: [] for score in scores}
    for first, second in groups:
        prediction, target = stack.mean(first), stack.mean(second)
        for score in scores:
            found[score.name].append(score(prediction, target))
    return _arrays(found)


def score_held_out(
    stack: TrialStack, scores: Sequence[MapScore], keep: int = 1024
) -> tuple[dict[str, Scores], dict[str, Scores]]:
    """Score the mean of the others as a prediction of each participant, with its upper bound.

    Args:
        stack: the image's trials.
        scores: the scores to compute; they share maps.
        keep: number of trials whose maps are kept for the upper bound; maps of further trials are
            recomputed.

    Returns:
        score name -> (n) values; score name -> (n) values of the pool of all participants, as the
        score defines it, against each participant (only for scores with such a bound).
    """
    held: dict[str, list[float]] = {score.name: [] for score in scores}
    singles = _Singles(stack, keep if any(score.pool for score in scores) else 0)
    for trial, single in enumerate(singles):
        others = stack.others(trial)
        for score in scores:
            held[score.name].append(score(others, single))
    upper: dict[str, Scores] = {}
    for score in scores:
        if score.pool is not None:
            # the pool is rounded to float32, as every other map is
            pooled = MapView(score.pool(singles).reshape(singles.shape))
            upper[score.name] = np.array([score(pooled, single) for single in singles])
    return _arrays(held), upper


class _Singles:
    """The map of each trial in turn; it can be iterated several times."""

    def __init__(self, stack: TrialStack, keep: int) -> None:
        self._stack = stack
        self._keep = keep
        self._kept: dict[int, MapView] = {}
        self.shape: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[MapView]:
        for trial in range(len(self._stack)):
            view = self._kept.get(trial) or self._stack.one(trial)
            if trial < self._keep:
                self._kept[trial] = view
            self.shape = view.shape
            yield view


def _arrays(lists: dict[str, list[float]]) -> dict[str, Scores]:
    return {name: np.array(values, dtype=np.float64) for name, values in lists.items()}


CACHE_BYTES = 384 << 20


class OtherImages:
    """Images that may replace another one: of another category if there are several.

    Args:
        keys: the images, in the order of their codes.
        category: (images) category codes.
        usable: (images) True if an image has what the null needs.
        seed: seed of the experiment.
    """

    def __init__(
        self,
        keys: Sequence[str],
        category: NDArray[np.int32],
        usable: NDArray[np.bool_],
        seed: int,
    ) -> None:
        self._keys = keys
        self._seed = seed
        codes = np.flatnonzero(usable)
        self.by_category = len(np.unique(category[codes])) > 1
        group = category if self.by_category else np.arange(len(keys))
        self._order = codes[np.argsort(group[codes], kind="stable")]
        sorted_group = group[self._order]
        self._first = np.searchsorted(sorted_group, group, side="left")
        self._last = np.searchsorted(sorted_group, group, side="right")

    def draw(self, image: int, draws: int) -> list[int]:
        """Draw codes of other images with replacement; without other images, return an empty list.

        The draws of an image depend only on the seed, its key and the set of images.
        """
        first, last = int(self._first[image]), int(self._last[image])
        allowed = len(self._order) - (last - first)
        if allowed <= 0:
            return []
        rng = generator(self._seed, self._keys[image], "null images")
        places = rng.integers(0, allowed, draws)
        # the image's own category is one range of the order, which the draws skip
        return [int(self._order[p if p < first else p + last - first]) for p in places]


def remembered(make: Callable[[int, Size], MapView], pixels: int) -> Callable[[int, Size], MapView]:
    """Wrap `make(image, shape)` so that its latest views are kept, in a bounded amount of memory.

    Args:
        make: function that returns the map of an image, brought to a shape.
        pixels: number of pixels of the largest map.
    """
    per_view = 12 * max(pixels, 1)  # float32 pixels and float64 ranks
    return lru_cache(maxsize=max(16, CACHE_BYTES // per_view))(make)
