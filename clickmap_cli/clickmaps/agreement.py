"""How far the people who clicked one image agree: split halves and held-out participants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trial_stack import TrialStack
from clickmap_cli.metrics.map_scores import MapScore
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.seeding import generator

Half = NDArray[np.intp]
Scores = NDArray[np.float64]


def random_halves(
    people: NDArray[np.int32], splits: int, seed: int, key: str
) -> list[tuple[Half, Half]]:
    """Random halves of an image's participants; of an odd number the extra one is in the second.

    Args:
        people: (trials) who made each trial; all trials of a person go to one half.
        splits: how many.
        seed: the experiment's.
        key: the image; its halves depend on nothing else.

    Returns:
        Trials of the first and of the second half, for each split.
    """
    n = len(np.unique(people))
    return _random_parts(people, n // 2, n, splits, generator(seed, key, "halves"))


def random_groups(
    people: NDArray[np.int32], size: int, splits: int, seed: int, key: str
) -> list[tuple[Half, Half]]:
    """Random pairs of groups of `size` participants, none in both, for the subject curve."""
    rng = generator(seed, key, "curve", str(size))
    return _random_parts(people, size, 2 * size, splits, rng)


def _random_parts(
    people: NDArray[np.int32], first: int, last: int, splits: int, rng: np.random.Generator
) -> list[tuple[Half, Half]]:
    """Trials of `first` participants, and of those after them up to `last`, in random order."""
    # people in the order they came, so that nobody's name decides where they go
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
    """Half A predicts half B.

    Returns:
        score name -> (splits) values; and the first `keep` halves B, which other images' halves
        may be held against too.
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
    """The first group of each pair predicts the second; they need not be all trials together.

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
    """The mean of the others predicts the held-out participant, and the upper bound of that.

    Args:
        stack: the image's trials.
        scores: what is computed, sharing maps.
        keep: trials whose maps are kept for the upper bound; those of more are made again.

    Returns:
        score name -> (n) values; score name -> (n) values of everybody pooled, as the score asks,
        against each participant (only for scores that have such a bound).
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
            # the pool is a map like any other, so it is rounded to float32 like any other
            pooled = MapView(score.pool(singles).reshape(singles.shape))
            upper[score.name] = np.array([score(pooled, single) for single in singles])
    return _arrays(held), upper


class _Singles:
    """Every trial's map, one after the other, as often as they are asked for."""

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
