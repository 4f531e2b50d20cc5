"""Agreement among the people who clicked one image: split halves, held-out participants, nulls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.maps import ClickStack
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


def score_pairs(
    pairs: Iterable[tuple[MapView, MapView]], scores: Sequence[MapScore]
) -> dict[str, Scores]:
    """Score pairs of a prediction and a target, one pair after the other.

    Returns:
        score name -> (pairs) values.
    """
    found: dict[str, list[float]] = {score.name: [] for score in scores}
    for prediction, target in pairs:
        for score in scores:
            found[score.name].append(score(prediction, target))
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


def score_halves(
    stack: ClickStack,
    halves: Sequence[tuple[Half, Half]],
    scores: Sequence[MapScore],
    keep: int = 0,
) -> tuple[dict[str, Scores], list[MapView]]:
    """Score half A of each split as a prediction of half B.

    Returns:
        score name -> (splits) values; and the first `keep` halves B, so that other images' halves
        can be scored against them too.
    """
    targets: list[MapView] = []

    def pairs() -> Iterator[tuple[MapView, MapView]]:
        for first, second in halves:
            prediction, target = stack.halves(first, second)
            if len(targets) < keep:
                targets.append(target)
            yield prediction, target

    return score_pairs(pairs(), scores), targets


def score_held_out(
    stack: ClickStack, scores: Sequence[MapScore], keep: int = 1024
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
    kept: dict[int, MapView] = {}
    if not any(score.pool for score in scores):
        keep = 0

    def singles() -> Iterator[MapView]:
        for trial in range(len(stack)):
            view = kept.get(trial) or stack.one(trial)
            if trial < keep:
                kept[trial] = view
            yield view

    pairs = ((stack.others(trial), single) for trial, single in enumerate(singles()))
    held = score_pairs(pairs, scores)
    upper: dict[str, Scores] = {}
    for score in scores:
        if score.pool is not None:
            # the pool is rounded to float32, as every other map is
            pooled = MapView(score.pool(singles()).reshape(stack.shape))
            upper[score.name] = np.array([score(pooled, single) for single in singles()])
    return held, upper


class OtherImages:
    """Images that may replace another one: of another category if there are several.

    Args:
        keys: the images, in the order of their codes.
        category: (images) category codes.
        usable: (images) True if an image has what the null needs.
        seed: seed of the experiment.
    """

    def __init__(
        self, keys: Sequence[str], category: NDArray[np.int32], usable: NDArray[np.bool_], seed: int
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
