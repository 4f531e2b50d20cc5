"""Folds of participants with good and bad ones in each, for the participant-quality model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.participants import BAD, GOOD
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.seeding import generator

NO_FOLD = -1


def quality_folds(
    users: NDArray[np.str_], labels: NDArray[np.int8], folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign each listed participant to exactly one fold, in which they are held out.

    Good and bad participants are each distributed in a seeded order, as evenly as possible. If a
    group does not divide evenly, the folds that get one more differ between the two groups where
    possible, so that folds have about the same size. The folds depend only on the names and the
    seed.

    Args:
        users: (users) names.
        labels: (users) `GOOD`, `BAD` or unlisted.
        folds: number of folds, at least 2.
        seed: seed of the order.

    Returns:
        (users) fold from 0, or `NO_FOLD` for people who are not listed.

    Raises:
        ConfigError: there are fewer good or bad participants than folds, or fewer than 2 folds.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds hold nobody out; use at least 2.")
    found = np.full(len(users), NO_FOLD)
    dealt = 0
    for kind, word in ((GOOD, "good_users"), (BAD, "bad_users")):
        people = sorted(np.flatnonzero(labels == kind).tolist(), key=lambda code: str(users[code]))
        if len(people) < folds:
            raise ConfigError(
                f"{word} lists {len(people)} participants with trials, so one of {folds} folds "
                "would hold out nobody of them; list more, or use fewer folds."
            )
        names = [str(users[code]) for code in people]
        order = generator(seed, "quality folds", word, *names).permutation(len(people))
        for place, at in enumerate(order.tolist(), start=dealt):
            found[people[at]] = place % folds
        dealt += len(people)
    return found
