"""The setting `split` of data sets: a list of image ids, or a label that selects all images."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.datasets.files import printable
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.text_files import delimiter_of, line_blocks, read_ids, split_fields

LIST = ".txt"
"""The ending of a list of ids; a list that a `split` with this ending names must exist."""

_PARTS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "holdout"}
)
_NEAR = 0.75


@dataclass(frozen=True)
class Split:
    """The images that a `split` selects.

    Attributes:
        ids: ids of the selected images, or None for all.
        label: the split's name if no list has that name; else empty.
        place: path that a list of that name would have.
    """

    ids: frozenset[str] | None = None
    label: str = ""
    place: Path = Path()

    def notice(self, which: str) -> list[str]:
        """Return a sentence that explains a label, or nothing for a list.

        Args:
            which: words for the images that are used, such as `all 12 images are`.
        """
        if not self.label:
            return []
        text = (
            f"split: '{printable(self.label)}' is taken as a label, as there is no list at "
            f"{self.place}; {which} used."
        )
        return [text]


def read_split(folder: Path, split: object) -> Split:
    """Find the list that a `split` names.

    A name refers to `<folder>/<name>.txt`. Without that file, the name is a label that selects
    every image, unless the folder holds other lists. A value that ends with `.txt` is a file in the
    folder, or a path from the working folder, and must exist.

    Args:
        folder: folder that holds the lists of the data set.
        split: the setting; None for all images.

    Raises:
        ConfigError: the split is neither a name nor a list.
        DataError: a list is missing, unreadable or empty; or the folder holds similar lists, but
            none of this name.
    """
    if split is None:
        return Split()
    if isinstance(split, str) and is_list(split):
        return Split(frozenset(read_ids(_list_file(folder, split))))
    is_name = isinstance(split, str) and split == Path(split).name and split.isprintable()
    if not isinstance(split, str) or not is_name or not split or split[0] == ".":
        raise ConfigError(
            f"split: expected the name of a list of ids, or the list itself ({LIST}), found "
            f"{split!r}."
        )
    place = folder / f"{split}{LIST}"
    if place.is_file():
        return Split(frozenset(read_ids(place)))
    others = _other_lists(folder, split)
    if others:
        raise DataError(
            f"split: no list of ids at {place}, but there is {' and '.join(others)}; correct the "
            "name, write the list (`clickmap data split` does), or leave split out to use all "
            "images."
        )
    return Split(None, split, place)


def find_split(name: str, settings: Mapping[str, Any]) -> Split:
    """Find the list that the `split` of a data set names, without reading the data set.

    Args:
        name: registered name of the data set; a data set whose `split` is not a list gives an empty
            split.
        settings: settings of the data set.

    Raises:
        ConfigError: the split is neither a name nor a list.
        DataError: a list is missing, unreadable or empty.
    """
    split = settings.get("split")
    table = {"csv_indexed": "index_csv", "fixations_csv": "csv"}.get(name)
    path = None if table is None else Path(str(settings.get(table))).expanduser()
    root = settings.get("root")
    if name == "csv_indexed" and path is not None:
        if not is_list(split) and path.is_file() and "split" in table_columns(path):
            return Split()
    elif name not in ("folder", "fixations_csv"):
        return Split()
    folder = Path(str(root)).expanduser() if root is not None or path is None else path.parent
    return read_split(folder, split) if folder.is_dir() or is_list(split) else Split()


def first_line(table: Path) -> bytes:
    """Return the first line of a table, without its byte order mark.

    Raises:
        DataError: the table is missing or damaged.
    """
    first = next(line_blocks(table), b"").split(b"\n", 1)[0]
    return first.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")


def table_columns(table: Path) -> list[str]:
    """Return the names in the first line of a table whose columns are separated by tabs or commas.

    Raises:
        DataError: the table is missing or damaged.
    """
    first = first_line(table)
    fields = split_fields(first, delimiter_of(first)) or []
    return [field.decode("utf-8", "replace").strip() for field in fields]


def is_list(split: object) -> bool:
    """Return True if a split is the file name of a list."""
    return isinstance(split, str) and split.lower().endswith(LIST) and "\0" not in split


def _list_file(folder: Path, split: str) -> Path:
    path = Path(split).expanduser()
    inside = folder / path
    found = next((place for place in (inside, path) if place.is_file()), None)
    if found is None:
        where = f"{inside}" if path.is_absolute() else f"{inside} or {Path.cwd() / path}"
        raise DataError(
            f"split: no list of ids at {where}; write one id a line (`clickmap data split` does), "
            "or leave split out."
        )
    return found


def _other_lists(folder: Path, split: str) -> list[str]:
    """Return names of lists in the folder that make a missing list look like a mistake."""
    stems = {path.stem: path.name for path in sorted(folder.glob(f"*{LIST}"))}
    near = difflib.get_close_matches(split, stems, n=3, cutoff=_NEAR)
    return [name for stem, name in stems.items() if stem.lower() in _PARTS or stem in near]
