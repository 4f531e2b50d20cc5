"""User-defined data sets: a table that names the files of each image."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, DataSet
from clickmap_cli.datasets.formats.participant_files import Assembler, ImageFiles, Pattern
from clickmap_cli.datasets.gathering import (
    Gathering,
    Split,
    as_folder,
    as_path,
    checked_sigma,
    is_list,
    read_split,
)
from clickmap_cli.datasets.people import NamedMap
from clickmap_cli.datasets.tables import first_line, table_columns
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.text_files import csv_rows, delimiter_hint, delimiter_of, line_blocks

_REQUIRED = ("image_id", "image_path")
_FILES = ("image_path", "fix_path", "map_path")
_OPTIONAL = ("fix_path", "map_path", "category", "split", "participant")
_NEAR = 0.75


def csv_indexed(
    index_csv: str | Path,
    root: str | Path | None = None,
    sigma_px: float = SIGMA_PX,
    split: str | None = None,
    participants: str | None = None,
) -> DataSet:
    """Read a table that names the files of each image.

    The columns are `image_id`, `image_path` and, optionally, `fix_path`, `map_path`, `category`,
    `split` and `participant`; cells of `fix_path` and `map_path` may be empty. Fixations are counts
    per pixel in `.npy` files. A relative path starts from `root`, or, if that file does not exist,
    from the working folder; absolute paths are used unchanged. With a column `participant`, or with
    `participants`, an image may have a row for each participant.

    Args:
        index_csv: the table; may be compressed (`.gz`).
        root: folder that relative paths start from; None for the table's folder.
        sigma_px: blur of fixations, in pixels, for images without a map.
        split: selects the rows with this word in the column `split`, or, without that column, the
            ids listed in `<root>/<split>.txt`; or the path of a list; None, or a name that is only
            a label, for all.
        participants: pattern of the names of participants' map or fixation files, without their
            ending, such as `{participant}_{image}`; `{image}` is the row's id or the stem of its
            image file.

    Raises:
        ConfigError: a setting is invalid.
        DataError: the table is missing, lacks a column, gives no image, or names an id twice.
    """
    table, sigma = as_path(index_csv, "index_csv"), checked_sigma(sigma_px)
    base = table.parent if root is None else as_folder(root, "root")
    pattern = None if participants is None else Pattern.from_setting(participants)
    columns = table_columns(table)
    _require_columns(table, columns)
    by_column = split is not None and "split" in columns and not is_list(split)
    chosen = Split() if by_column else read_split(base, split)
    gathering = Gathering(str(table), chosen, f"the columns fix_path and map_path of {table}")
    places = _Places(base)
    several = pattern is not None or "participant" in columns
    by_image: dict[str, list[_Row]] = {}
    entries: list[tuple[str, list[_Row], str]] = []
    other_splits: set[str] = set()
    for row, problem in _rows(table, columns):
        image_id = row.fields.get("image_id", "")
        if problem:
            entries.append((image_id or f"line {row.line}", [], f"{row.where}: {problem}."))
        elif by_column and row.fields["split"] != str(split):
            other_splits.add(row.fields["split"])
        elif gathering.wanted(image_id):
            if image_id not in by_image:
                by_image[image_id] = []
                entries.append((image_id, by_image[image_id], ""))
            elif not several:
                first = by_image[image_id][0]
                raise DataError(
                    f"{table}: 'line {first.line}' and 'line {row.line}' would both be called "
                    f"'{printable(image_id)}'; rename or remove one, or, where they are files of "
                    "participants, set participants: or name each in a column participant."
                )
            by_image[image_id].append(row)
    if by_column and not by_image:
        found = ", ".join(sorted(printable(word) or "an empty one" for word in other_splits))
        raise DataError(
            f"{table}: found no images of split: {split!r} (the column split has: "
            f"{found or 'nothing'}); correct the word."
        )
    assembler = Assembler(sigma)
    for image_id, rows, problem in entries:
        if problem:
            gathering.problem(image_id, problem)
            continue
        with gathering.image(image_id, f"line {rows[0].line}"):
            files = _files(rows, places, pattern)
            try:
                gathering.add(assembler.stimulus(image_id, files, _category(rows)))
            except DataError as error:
                raise DataError(f"{rows[0].where}: {error}") from error
    gathering.notices += [*places.notices(), *assembler.notices()]
    return gathering.finished()


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
        where: the table and the line number, for messages.
        line: line number in the table.
        fields: column -> text of the cell.
    """

    where: str
    line: int
    fields: dict[str, str]


class _Places:
    """Finds the files that a table names.

    Args:
        base: the folder that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._n_paths = 0
        self._elsewhere: list[str] = []

    def find(self, row: _Row, column: str) -> Path | None:
        """Return the file in a column of a row, or None if the field is empty.

        Raises:
            DataError: the file does not exist, or the field cannot be a path.
        """
        text = row.fields.get(column, "").replace("\\", "/")
        if not text:
            return None
        if not text.isprintable():
            raise DataError(
                f"{row.where}: {column} holds control characters, or is not UTF-8: "
                f"'{printable(text)}'."
            )
        self._n_paths += 1
        beside, path = self._base / text, Path(text)
        if _is_file(beside):
            return beside
        if _is_file(path):
            self._elsewhere.append(text)
            return path
        where = f"{path}" if path.is_absolute() else f"{beside} or {Path.cwd() / path}"
        raise DataError(f"{row.where}: {column}: no file at {printable(where)}.")

    def notices(self) -> list[str]:
        """Return a notice about paths that were found from the working folder."""
        if not self._elsewhere:
            return []
        text = (
            f"{len(self._elsewhere)} of {self._n_paths} paths are not below {self._base} and were "
            f"found from the working folder {Path.cwd()}, '{printable(self._elsewhere[0])}' for "
            "one."
        )
        return [text]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file system accepts
        return False


def _files(rows: Sequence[_Row], places: _Places, pattern: Pattern | None) -> ImageFiles:
    """Collect the files of one image from its rows."""
    image: Path | None = None
    heat: dict[str, Path] = {}
    fixations: dict[str, Path] = {}
    for row in rows:
        own, fix, mapped = (places.find(row, column) for column in _FILES)
        if own is None and fix is None and mapped is None:
            raise DataError(f"{row.where}: names no file.")
        if image is not None and own is not None and own != image:
            raise DataError(
                f"{row.where}: image_path is {own}, but an earlier row of this image has {image}; "
                "correct one, or give the rows their own image_id."
            )
        image = own if image is None else image
        for found, path, column in ((fixations, fix, "fix_path"), (heat, mapped, "map_path")):
            if path is None:
                continue
            name = row.fields.get("participant", "") or _named(row, path, pattern)
            if name in found:
                who = f"participant '{printable(name)}'" if name else "the image itself"
                raise DataError(
                    f"{row.where}: a second {column} for {who}; name the participant of each row "
                    "in a column participant, or remove one."
                )
            found[name] = path
    return ImageFiles(
        image, heat.pop("", None), fixations.pop("", None), None,
        _sorted(heat), _sorted(fixations),
    )  # fmt: skip


def _sorted(files: dict[str, Path]) -> list[NamedMap]:
    return sorted(files.items())


def _named(row: _Row, path: Path, pattern: Pattern | None) -> str:
    """Return the participant in a file's name, or an empty text if the file is the image's own."""
    image_path = row.fields.get("image_path", "").replace("\\", "/")
    images = {row.fields["image_id"], PurePosixPath(image_path).stem}
    if pattern is None or path.stem in images:
        return ""
    reading = next(pattern.readings(path.stem, images), None)
    if reading is None:
        raise DataError(
            f"{row.where}: '{printable(path.name)}' is not named like participants: "
            f"'{pattern.text}' for the image '{printable(row.fields['image_id'])}'; rename it, or "
            "name the participant in a column participant."
        )
    return reading.participant


def _category(rows: Sequence[_Row]) -> str:
    """Return an image's category: the column's value, else the image's folder unless `images`."""
    given = next((row.fields["category"] for row in rows if row.fields.get("category")), "")
    if given:
        return given
    path = next((row.fields["image_path"] for row in rows if row.fields["image_path"]), "")
    name = PurePosixPath(path.replace("\\", "/")).parent.name
    return ALL if name in ("", "..", "images") else name


def _require_columns(table: Path, columns: Sequence[str]) -> None:
    """Raise DataError if a required column is missing, or an optional one looks misspelt."""
    lacking = [name for name in _REQUIRED if name not in columns]
    if lacking:
        raise DataError(
            f"{table}: no column {' and '.join(lacking)} (found: "
            f"{printable(', '.join(columns)) or 'nothing'}).{delimiter_hint(first_line(table))}"
        )
    known = (*_REQUIRED, *_OPTIONAL)
    unknown = [name for name in columns if name not in known]
    for name in _OPTIONAL:
        near = difflib.get_close_matches(name, unknown, n=1, cutoff=_NEAR)
        if near and name not in columns:
            raise DataError(
                f"{table}: the column '{printable(near[0])}' is not known; rename it to {name} if "
                "it is that, or to something less like it."
            )


def _rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[_Row, str]]:
    """Yield each row with its problem, or with an empty text."""
    lines = b"".join(line_blocks(table)).split(b"\n")
    n, comma = len(columns), delimiter_of(lines[0])
    for row in csv_rows(lines[1:], 2, n, lambda fields: len(fields) == n, comma):
        texts = [field.decode("utf-8", "replace").strip() for field in row.fields]
        fields = dict(zip(columns, texts, strict=False))
        bad = next((name for name, text in fields.items() if "�" in text), "")
        yield (
            _Row(f"{table}, line {row.line}", row.line, fields),
            row.problem or (f"{bad} is not UTF-8" if bad else ""),
        )
