"""User-defined data sets: a table that names the files of each image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, DataSet
from clickmap_cli.datasets.formats.participant_files import Assembler, ImageFiles, Pattern
from clickmap_cli.datasets.gathering import (
    NEAR,
    Gathering,
    SigmaPx,
    Split,
    as_folder,
    as_path,
    is_list,
    read_split,
)
from clickmap_cli.datasets.tables import TableRow, table_columns, tolerant_rows
from clickmap_cli.runtime.errors import DataError, printable

_REQUIRED = ("image_id", "image_path")
_OPTIONAL = ("fix_path", "map_path", "category", "split", "participant")


def csv_indexed(
    index_csv: str | Path,
    root: str | Path | None = None,
    sigma_px: SigmaPx = SIGMA_PX,
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
    table, sigma = as_path(index_csv, "index_csv"), float(sigma_px)
    base = table.parent if root is None else as_folder(root, "root")
    pattern = None if participants is None else Pattern.from_setting(participants)
    table_rows = tolerant_rows(table, _REQUIRED, _OPTIONAL)
    columns = table_columns(table)
    _refuse_misspelt(table, columns)
    by_column = split is not None and "split" in columns and not is_list(split)
    chosen = Split() if by_column else read_split(base, split)
    gathering = Gathering(str(table), chosen, f"the columns fix_path and map_path of {table}")
    several = pattern is not None or "participant" in columns
    by_image: dict[str | int, list[TableRow]] = {}  # a row that cannot be read is by its line
    other_splits: set[str] = set()
    for row in table_rows:
        image_id = row.fields.get("image_id", "")
        if row.problem:
            by_image[row.line] = [row]
        elif by_column and row.fields["split"] != str(split):
            other_splits.add(row.fields["split"])
        elif gathering.is_selected(image_id):
            rows = by_image.setdefault(image_id, [])
            if rows and not several:
                raise DataError(
                    f"{table}: 'line {rows[0].line}' and 'line {row.line}' would both be called "
                    f"'{printable(image_id)}'; rename or remove one, or, where they are files of "
                    "participants, set participants: or name each in a column participant."
                )
            rows.append(row)
    if by_column and all(rows[0].problem for rows in by_image.values()):
        found = ", ".join(sorted(printable(word) or "an empty one" for word in other_splits))
        raise DataError(
            f"{table}: found no images of split: {split!r} (the column split has: "
            f"{found or 'nothing'}); correct the word."
        )
    places, assembler = _Places(base), Assembler(sigma)
    for rows in by_image.values():
        first = rows[0]
        image_id = first.fields.get("image_id", "")
        if first.problem:
            gathering.problem(image_id or f"line {first.line}", f"{first.where}: {first.problem}.")
            continue
        with gathering.image(image_id, f"line {first.line}"):
            files = _collect_files(rows, places, pattern)
            try:
                gathering.add(assembler.stimulus(image_id, files, _category(rows)))
            except DataError as error:
                raise DataError(f"{first.where}: {error}") from error
    gathering.notices += [*places.notices(), *assembler.notices()]
    return gathering.finished()


class _Places:
    """Finds the files that a table names.

    Args:
        base: the folder that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._n_paths = 0
        self._elsewhere: list[str] = []

    def find(self, row: TableRow, column: str) -> Path | None:
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


def _collect_files(
    rows: Sequence[TableRow], places: _Places, pattern: Pattern | None
) -> ImageFiles:
    """Collect the files of one image from its rows."""
    image: Path | None = None
    heat: dict[str, Path] = {}
    fixations: dict[str, Path] = {}
    for row in rows:
        own, *others = (places.find(row, name) for name in ("image_path", "fix_path", "map_path"))
        if own is None and others == [None, None]:
            raise DataError(f"{row.where}: names no file.")
        if image is not None and own is not None and own != image:
            raise DataError(
                f"{row.where}: image_path is {own}, but an earlier row of this image has {image}; "
                "correct one, or give the rows their own image_id."
            )
        image = own if image is None else image
        for found, path, column in zip(
            (fixations, heat), others, ("fix_path", "map_path"), strict=True
        ):
            if path is None:
                continue
            name = row.fields.get("participant", "") or _read_participant(row, path, pattern)
            if name in found:
                who = f"participant '{printable(name)}'" if name else "the image itself"
                raise DataError(
                    f"{row.where}: a second {column} for {who}; name the participant of each row "
                    "in a column participant, or remove one."
                )
            found[name] = path
    return ImageFiles(
        image,
        heat.pop("", None),
        fixations.pop("", None),
        people_maps=sorted(heat.items()),
        people_fixations=sorted(fixations.items()),
    )


def _read_participant(row: TableRow, path: Path, pattern: Pattern | None) -> str:
    """Return the participant in a file's name, or an empty text if the file is the image's own."""
    image_path = row.fields["image_path"].replace("\\", "/")
    images = {row.fields["image_id"], PurePosixPath(image_path).stem}
    if pattern is None or path.stem in images:
        return ""
    for participant, _ in pattern.readings(path.stem, images):
        return participant
    raise DataError(
        f"{row.where}: '{printable(path.name)}' is not named like participants: "
        f"'{pattern.text}' for the image '{printable(row.fields['image_id'])}'; rename it, or "
        "name the participant in a column participant."
    )


def _category(rows: Sequence[TableRow]) -> str:
    """Return an image's category: the column's value, else the image's folder unless `images`."""
    given = next((row.fields["category"] for row in rows if row.fields.get("category")), "")
    path = next((row.fields["image_path"] for row in rows if row.fields["image_path"]), "")
    name = PurePosixPath(path.replace("\\", "/")).parent.name
    return given or (ALL if name in ("", "..", "images") else name)


def _refuse_misspelt(table: Path, columns: Sequence[str]) -> None:
    """Raise DataError if a column looks like a misspelt optional one."""
    unknown = [name for name in columns if name not in (*_REQUIRED, *_OPTIONAL)]
    for name in _OPTIONAL:
        near = difflib.get_close_matches(name, unknown, n=1, cutoff=NEAR)
        if near and name not in columns:
            raise DataError(
                f"{table}: the column '{printable(near[0])}' is not known; rename it to {name} if "
                "it is that, or to something less like it."
            )
