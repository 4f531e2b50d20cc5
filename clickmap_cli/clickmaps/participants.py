"""Participants: the spelling of their ids, and lists of careful and of careless ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import some_names
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.storage.text_files import read_ids

_MISSING_WORDS = frozenset({"nan", "na", "n/a", "<na>", "null", "none"})


class IdSpelling:
    """Removes the blanks around ids and records which ids that changed."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._stripped: set[str] = set()
        self._joined: set[str] = set()

    def strip(self, text: str) -> str:
        """Return the id without the blanks around it."""
        name = text.strip()
        if name and name != text:
            self._stripped.add(text)
        if self._first.setdefault(name, text) != text:
            self._joined.add(name)
        return name

    def notices(self, column: str, ids: Iterable[str]) -> Iterator[str]:
        """Yield notices about ids that were changed, and ids that look like missing values.

        Args:
            column: name of the column that holds the ids, for messages.
            ids: all ids that count, each once.
        """
        if self._stripped:
            joined = sorted(self._joined - {""})
            same = (
                f"; {some_names(joined)} {'is' if len(joined) == 1 else 'are'} spelled with and "
                "without them, and each counts as one participant"
                if joined
                else ""
            )
            yield (
                f"{column}: {len(self._stripped)} of the ids have blanks around them, which were "
                f"removed: {some_names(sorted(self._stripped))}{same}."
            )
        words = sorted(name for name in ids if name.lower() in _MISSING_WORDS)
        if words:
            what = (
                "is taken as the name of a participant"
                if len(words) == 1
                else "are taken as names of participants"
            )
            yield (
                f"{column}: {some_names(words)} {what}; leave the cell empty where the participant "
                "is unknown."
            )


UNLISTED, GOOD, BAD = -1, 0, 1


def read_users(value: Any, key: str) -> list[str]:
    """Return the ids of a list of participants, each once, in the order of the list.

    Args:
        value: a path to a text file with one id per line, or a list of ids.
        key: the list's key in the config, for messages.

    Raises:
        ConfigError: the value is neither, or holds an item that is not an id, or is empty.
        DataError: the file is missing, is not text, or holds no id.
    """
    if isinstance(value, str) and value:
        return read_ids(Path(value))
    if not isinstance(value, list):
        raise ConfigError(
            f"{key} is {value!r}; it must be a text file with one user id a line, or a list of ids."
        )
    # whole numbers equal ids in the table; other values may be spelled differently there
    words = [str(item) if type(item) is int else item for item in value]
    for word in words:
        if not isinstance(word, str) or not word:
            raise ConfigError(f"{key} holds {word!r}, which is not a user id; put ids in quotes.")
    if not words:
        raise ConfigError(f"{key} is an empty list; name at least one participant.")
    return list(dict.fromkeys(words))


def label_users(
    trials: Trials, good: Sequence[str], bad: Sequence[str]
) -> tuple[NDArray[np.int8], list[str]]:
    """Label the participants of a table.

    Args:
        trials: the table; its vocabulary names all participants that were read.
        good: ids of careful participants.
        bad: ids of careless or cheating participants.

    Returns:
        (users) `GOOD`, `BAD` or `UNLISTED`; and the listed participants who have no trial left,
        whose label is `UNLISTED`.

    Raises:
        ConfigError: a participant is in both lists, or is not in the data.
    """
    twice = [name for name in good if name in set(bad)]
    if twice:
        raise ConfigError(
            f"good_users and bad_users both list {some_names(twice)}; keep a participant in one."
        )
    codes = {name: code for code, name in enumerate(trials.users.tolist())}
    has_trials = np.bincount(trials.user, minlength=len(trials.users)) > 0
    labels = np.full(len(trials.users), UNLISTED, dtype=np.int8)
    idle: list[str] = []
    for key, names, label in (("good_users", good, GOOD), ("bad_users", bad, BAD)):
        lost = [name for name in names if name not in codes]
        if lost:
            raise ConfigError(
                f"{key} lists {some_names(lost)}, who {'is' if len(lost) == 1 else 'are'} not in "
                f"the data (it has {len(codes)} users, such as "
                f"{some_names(list(codes)[:1]) or 'none'})."
            )
        idle += [name for name in names if not has_trials[codes[name]]]
        labels[[codes[name] for name in names if has_trials[codes[name]]]] = label
    return labels, idle
