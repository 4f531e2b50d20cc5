"""Agreement among the people who clicked one image: split halves and held-out participants."""

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
