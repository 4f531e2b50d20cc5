"""A table of boxes that says which parts of a recording are sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.datasets.classifier_images import few
from clickmap_cli.datasets.files import printable
from clickmap_cli.datasets.small_tables import table_rows
from clickmap_cli.runtime.errors import DataError

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the whole picture; right and bottom are exclusive."""

MAX_SIDE = 65_536
"""The largest side, in pixels, of a picture that a box may refer to."""

_SIDES = ("left", "top", "right", "bottom")


def box_problem(box: Box) -> str:
    """Return the reason why a box is invalid, or an empty text if it is valid."""
    left, top, right, bottom = box
    if min(box) < 0 or max(box) > MAX_SIDE:
        return f"its sides must lie between 0 and {MAX_SIDE}"
    if left >= right or top >= bottom:
        return "it is empty: left must be less than right, and top less than bottom"
    return ""


@dataclass(frozen=True)
class Sentence:
    """A part of a recording.

    Attributes:
        name: name of the sentence; empty if the recording is not split.
        box: position of the sentence; None for the whole recording.
        label: class of the sentence; empty for the recording's class.
    """

    name: str
    box: Box | None
    label: str


@dataclass
class _Rows:
    """The sentences of a page or an image, for everybody and for single participants."""

    everybody: list[Sentence] = field(default_factory=list)
    own: dict[str, list[Sentence]] = field(default_factory=dict)
    used: bool = False


class Sentences:
    """The table of sentences.

    Args:
        path: path of the table.
        keys: paths of all recordings, for the column `image`.

    Raises:
        DataError: the table is missing or damaged, lacks a column, or holds an invalid box.
    """

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self._path = path
        rows = table_rows(path, ("sentence", *_SIDES), ("page", "image", "participant", "class"))
        self._column = "page" if "page" in rows[0][1] else "image"
        if ("page" in rows[0][1]) == ("image" in rows[0][1]):
            raise DataError(f"{path}: expected one of the columns page and image.")
        names = [row[self._column] for _, row in rows]
        self._keys = match_keys(names, keys) if self._column == "image" else {}
        self._rows: dict[str, _Rows] = {}
        for line, row in rows:
            self._add(line, row)

    def of(self, key: str, name: str, participant: str) -> list[Sentence]:
        """Return the sentences of a recording, and mark its rows as used.

        Raises:
            DataError: the table has no row for the recording.
        """
        rows = self._rows.get(key if self._column == "image" else name)
        found = rows.own.get(participant, rows.everybody) if rows else []
        if rows is None or not found:
            raise DataError(f"{self._path}: no row is for {printable(key)}.")
        rows.used = True
        return found

    def notices(self) -> list[str]:
        """Return a notice about rows that match no recording."""
        lost = [name for name, rows in self._rows.items() if not rows.used]
        if not lost:
            return []
        return [f"{self._path}: {len(lost)} of its {self._column}s are not there: {few(lost)}."]

    def _add(self, line: int, row: dict[str, str]) -> None:
        where = f"{self._path}, line {line}"
        name, sentence = row[self._column], row["sentence"]
        if not name or not sentence:
            raise DataError(f"{where}: {self._column} or sentence is empty.")
        try:
            left, top, right, bottom = (int(row[side]) for side in _SIDES)
        except ValueError as error:
            raise DataError(f"{where}: {', '.join(_SIDES)} must be whole numbers.") from error
        box = (left, top, right, bottom)
        problem = box_problem(box)
        if problem:
            raise DataError(f"{where}: the box is {list(box)}; {problem}.")
        rows = self._rows.setdefault(self._keys.get(name, name), _Rows())
        person = row.get("participant", "")
        listed = rows.own.setdefault(person, []) if person else rows.everybody
        if any(other.name == sentence for other in listed):
            raise DataError(f"{where}: the sentence '{printable(sentence)}' is there already.")
        listed.append(Sentence(sentence, box, row.get("class", "")))
