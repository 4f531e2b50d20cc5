"""Data sets of one's own: folders with one file an image, or a table that names the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import ALL, image_key
from clickmap_cli.datasets.base import SIGMA_PX, DataSet
from clickmap_cli.datasets.files import (
    IMAGE_SUFFIXES,
    MAP_SUFFIXES,
    FileStimulus,
    image_size,
    plane_size,
    printable,
    read_counts,
)
from clickmap_cli.datasets.gathering import (
    Gathering,
    as_folder,
    as_path,
    checked_sigma,
    files_by_stem,
    listed_ids,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.csv_rows import csv_rows, delimiter_hint, delimiter_of, split_fields
from clickmap_cli.storage.text_streams import line_blocks

_REQUIRED = ("image_id", "image_path", "fix_path", "map_path")


def folder(root: str | Path, sigma_px: float = SIGMA_PX, split: str | None = None) -> DataSet:
    """A folder with `images/`, `gt_maps/`, `fixations/` and `nonfix/`, one file an image.

    Fixations and non-fixations are `.npy` counts per pixel; each of the folders may be missing.
    The stem of a file is the image's id.

    Args:
        root: the folder.
        sigma_px: blur of fixations, in pixels, for images without a map.
        split: name of a list of ids, `<root>/<split>.txt`; None for all images.

    Raises:
        ConfigError: a setting is wrong, or there is nothing in the folder.
        DataError: the folder is missing, or two images have one id.
    """
    base, sigma = as_folder(root, "root"), checked_sigma(sigma_px)
    sought = f"{base / 'gt_maps'}/<id>.npy or image, and {base / 'fixations'}/<id>.npy"
    gathering = Gathering(str(base), listed_ids(base, split), sought)
    images = files_by_stem(base / "images", IMAGE_SUFFIXES)
    maps = files_by_stem(base / "gt_maps", MAP_SUFFIXES)
    fixations = files_by_stem(base / "fixations", (".npy",))
    negatives = files_by_stem(base / "nonfix", (".npy",))
    for stem in sorted({*images, *maps, *fixations}):
        if gathering.wanted(stem):
            with gathering.image(stem, stem):
                parts = (images.get(stem), fixations.get(stem), maps.get(stem))
                gathering.add(_stimulus(stem, parts, negatives.get(stem), ALL, sigma))
    return gathering.finished()


def _stimulus(
    image_id: str,
    parts: tuple[Path | None, Path | None, Path | None],
    nonfix: Path | None,
    category: str,
    sigma: float,
) -> FileStimulus:
    """An image from its picture, fixations and map, of which one at least is there."""
    image, fix, heat = parts
    points = None if fix is None else read_counts(fix, None if image is None else image_size(image))
    size = _size(image, fix, heat)
    return FileStimulus(
        image_id=image_id,
        size=size,
        image_path=image,
        category=category,
        points=points,
        nonfixations=None if nonfix is None else read_counts(nonfix, size),
        map_path=heat,
        sigma_px=sigma,
    )


def _size(image: Path | None, fix: Path | None, heat: Path | None) -> Size:
    if image is not None:
        return image_size(image)
    other = fix if fix is not None else heat
    if other is None:
        raise DataError("an image without a picture, fixations and a map has no size.")
    return plane_size(other)


def csv_indexed(
    index_csv: str | Path,
    root: str | Path | None = None,
    sigma_px: float = SIGMA_PX,
    split: str | None = None,
) -> DataSet:
    """A table `image_id,image_path,fix_path,map_path` of files; fixations and maps may be empty.

    Optional columns are `category` and `split`. Fixations are counts per pixel in `.npy` files.

    Args:
        index_csv: the table; may be compressed (`.gz`).
        root: folder that its paths start from; None for the table's own.
        sigma_px: blur of fixations, in pixels, for images without a map.
        split: rows with this word in the column `split`, or, without that column, the ids listed
            in `<root>/<split>.txt`; None for all.

    Raises:
        ConfigError: a setting is wrong, or no row counts.
        DataError: the table is missing, lacks a column, or names an id twice.
    """
    table, sigma = as_path(index_csv, "index_csv"), checked_sigma(sigma_px)
    base = table.parent if root is None else as_folder(root, "root")
    rows = _rows(table)
    columns = next(rows)[1]
    by_column = split is not None and "split" in columns
    gathering = Gathering(
        str(table),
        None if by_column else listed_ids(base, split),
        f"the columns fix_path and map_path of {table}",
    )
    for line, row, problem in rows:
        image_id = row.get("image_id", "")
        if problem:
            gathering.problem(image_id or f"line {line}", f"{table}, line {line}: {problem}.")
        elif (not by_column or row["split"] == split) and gathering.wanted(image_id):
            with gathering.image(image_id, f"line {line}"):
                gathering.add(_indexed(row, base, sigma, f"{table}, line {line}"))
    return gathering.finished()


def _indexed(row: dict[str, str], base: Path, sigma: float, where: str) -> FileStimulus:
    files = {}
    for column in _REQUIRED[1:]:
        try:
            files[column] = base / image_key(row[column]) if row[column] else None
        except ValueError as error:
            reason = str(error).replace("image_path", column)
            raise DataError(f"{where}: {reason}.") from error
    if not any(files.values()):
        raise DataError(f"{where}: names no file.")
    category = row.get("category") or _folder_of(row["image_path"])
    parts = (files["image_path"], files["fix_path"], files["map_path"])
    try:
        return _stimulus(row["image_id"], parts, None, category, sigma)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _folder_of(image_path: str) -> str:
    """The folder that holds the image is its category, unless that is what sets call it."""
    name = PurePosixPath(image_path.replace("\\", "/")).parent.name
    return ALL if name in ("", "images") else name


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str], str]]:
    """First the columns, then line, fields and problem of every row."""
    lines = b"".join(line_blocks(table)).split(b"\n")
    first = lines[0].removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")
    comma = delimiter_of(first)
    header = split_fields(first, comma) or []
    names = [_text(name).strip() for name in header]
    lacking = [name for name in _REQUIRED if name not in names]
    if lacking:
        raise DataError(
            f"{table}: no column {' and '.join(lacking)} (found: "
            f"{printable(', '.join(names)) or 'nothing'}).{delimiter_hint(first)}"
        )
    yield 1, dict.fromkeys(names, ""), ""
    for row in csv_rows(lines[1:], 2, len(names), lambda fields: len(fields) == len(names), comma):
        fields = {
            name: _text(field).strip() for name, field in zip(names, row.fields, strict=False)
        }
        bad = next((name for name, text in fields.items() if "�" in text), "")
        yield row.line, fields, row.problem or (f"{bad} is not UTF-8" if bad else "")


def _text(field: bytes) -> str:
    return field.decode("utf-8", "replace")
