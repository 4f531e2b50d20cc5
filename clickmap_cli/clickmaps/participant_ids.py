"""Participant ids as tables spell them, and notices about their spelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clickmap_cli.clickmaps.keys import some_names

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
                "stands there as text, and is taken as the name of a participant"
                if len(words) == 1
                else "stand there as text, and are taken as names of participants"
            )
            yield (
                f"{column}: {some_names(words)} {what}; leave the cell empty where nobody is known."
            )
