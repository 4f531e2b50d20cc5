"""A table of fixations, one per row, and a folder of images."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.keys import category_of, flat_name, image_key
from clickmap_cli.clickmaps.losses import Loss
from clickmap_cli.clickmaps.participants import IdSpelling
from clickmap_cli.datasets.base import SIGMA_PX, DataSet, Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.gathering import (
    Gathering,
    as_folder,
    as_path,
    checked_sigma,
    named_points,
    read_split,
)
from clickmap_cli.datasets.maps import MAP_SUFFIXES
from clickmap_cli.runtime.errors import ConfigError, DataError, printable, short_reason
from clickmap_cli.storage.safe_images import image_size
from clickmap_cli.storage.text_files import delimiter_hint, delimiter_of, line_blocks


def fixations_csv(
    csv: str | Path,
    images: str | Path,
    maps: str | Path | None = None,
    sigma_px: float = SIGMA_PX,
    split: str | None = None,
    subject_column: str | None = "subject",
) -> DataSet:
    """Read a table `image,subject,order,x,y`, which may have more columns, and its images.

    x and y are pixels of the image, counted from its top left. An id is the image's path without
    its ending, with folders joined by `_`; the folder is the category. Points are sorted by person,
    then by `order`.

    Args:
        csv: the table; may be compressed (`.gz`).
        images: folder that paths in the column `image` start from.
        maps: folder of ground-truth maps, named `<id>` or like the image's path, with the ending of
            a map; None to blur the fixations.
        sigma_px: standard deviation of that blur, in pixels.
        split: name of a list of ids in the table's folder, `<split>.txt`, or the path of a list;
            None, or a name that is only a label, for all images.
        subject_column: column that names people; None if the table does not name them.

    Raises:
        ConfigError: a setting is invalid.
        DataError: the table is missing, damaged, lacks a column or gives no image; a folder is
            missing; two names give the same id.
    """
    table_path, sigma = as_path(csv, "csv"), checked_sigma(sigma_px)
    image_dir = as_folder(images, "images")
    map_dir = None if maps is None else as_folder(maps, "maps")
    gathering = Gathering(str(table_path), read_split(table_path.parent, split))
    table = _read(table_path, subject_column)
    gathering.notices += table.notices
    what = "rows have an image, x, y, order or subject that cannot be read, and are dropped"
    gathering.losses.append(Loss(table.unreadable, table.rows, what))
    for name, reason in table.bad_names.items():
        gathering.problem(name, f"{table_path}: {reason}, found '{printable(name)}'.")
    for key, points in table.by_image():
        image_id = flat_name(str(PurePosixPath(key).with_suffix("")))
        if gathering.wanted(image_id):
            with gathering.image(image_id, key):
                image = _image(image_dir, key)
                heat = None if map_dir is None else _map(map_dir, key, image_id)
                gathering.add(
                    FileStimulus(
                        image_id=image_id,
                        size=image_size(image),
                        image_path=image,
                        category=category_of(key),
                        points=points,
                        map_path=heat,
                        sigma_px=sigma,
                    )
                )
    return gathering.finished()


def _image(folder: Path, key: str) -> Path:
    path = image_file(folder, key)
    if path is None:
        raise DataError(f"{folder / key}: no such image.")
    return path


def _map(folder: Path, key: str, image_id: str) -> Path:
    for stem in (image_id, str(PurePosixPath(key).with_suffix(""))):
        for suffix in MAP_SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    raise DataError(f"{folder}: no map {image_id} ({', '.join(MAP_SUFFIXES)}).")


@dataclass(frozen=True)
class _Table:
    """The readable rows, sorted by image, person and order.

    Attributes:
        image: (n) codes into `keys`.
        subject: (n) codes into `subjects`, or None.
        x: (n) columns.
        y: (n) rows.
        keys: paths of the images.
        subjects: names of all people.
        bad_names: image names that are not paths inside the folder of images -> reason.
        rows: number of rows in the file.
        unreadable: number of rows that were dropped.
        notices: messages for the user about the names of people.
    """

    image: NDArray[Any]
    subject: NDArray[Any] | None
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    keys: list[str]
    subjects: list[str]
    bad_names: dict[str, str]
    rows: int
    unreadable: int
    notices: tuple[str, ...]

    def by_image(self) -> Iterator[tuple[str, Points]]:
        """Yield each image of the table with its points, of which all may have been dropped."""
        ends = np.searchsorted(self.image, np.arange(len(self.keys) + 1))
        for code, key in enumerate(self.keys):
            at = slice(ends[code], ends[code + 1])
            if self.subject is None:
                yield key, Points(self.x[at], self.y[at])
            else:
                yield key, named_points(self.x[at], self.y[at], self.subject[at], self.subjects)


def _read(path: Path, subject_column: str | None) -> _Table:
    frame = _frame(path, subject_column)
    x, y, order = (_numbers(frame[name]) for name in ("x", "y", "order"))
    image, names = _coded(frame["image"])
    keys, places, bad_names = _keys(names)
    codes = places[image]
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(order) | (image < 0))
    subject: NDArray[np.int64] | None = None
    subjects: list[str] = []
    notices: tuple[str, ...] = ()
    if subject_column is not None:
        subject, subjects, notices = _people(frame[subject_column], f"{path}: {subject_column}")
        keep &= subject >= 0
    first = np.zeros(len(x)) if subject is None else subject
    sequence = np.lexsort((order, first, codes))
    sequence = sequence[(keep & (codes >= 0))[sequence]]
    return _Table(
        codes[sequence],
        None if subject is None else subject[sequence],
        x[sequence],
        y[sequence],
        keys,
        subjects,
        bad_names,
        len(x),
        int(len(x) - keep.sum()),
        notices,
    )


def _coded(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    """Return codes of a text column (-1 for a missing cell) and the sorted names of the codes."""
    import pandas as pd

    # a categorical column would turn names that all look like numbers into numbers
    codes, found = pd.factorize(column)
    names = [str(name) for name in found]
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.full(len(names) + 1, -1, dtype=np.int64)  # the last is pandas' own -1
    places[order] = np.arange(len(names))
    return places[codes], [names[at] for at in order]


def _people(column: Any, where: str) -> tuple[NDArray[np.int64], list[str], tuple[str, ...]]:
    """Return codes of people (-1 for a missing name), their sorted names, and notices."""
    codes, texts = _coded(column)
    spelling = IdSpelling()
    names = [spelling.strip(text) for text in texts]
    people = _sorted_ids(set(names) - {""})
    code = {name: at for at, name in enumerate(people)}
    places = np.array([*(code.get(name, -1) for name in names), -1], dtype=np.int64)
    return places[codes], people, tuple(spelling.notices(where, people))


def _sorted_ids(ids: set[str]) -> list[str]:
    """Sort ids by their numbers if all are finite numbers, else alphabetically."""
    try:
        numbers = {name: float(name) for name in ids}
    except ValueError:
        return sorted(ids)
    if not all(map(math.isfinite, numbers.values())):
        return sorted(ids)
    return sorted(ids, key=lambda name: (numbers[name], name))


def _keys(names: list[str]) -> tuple[list[str], NDArray[np.int64], dict[str, str]]:
    """Return image paths, the position of each name among them (-1 if bad), and the bad names."""
    places = np.full(len(names) + 1, -1, dtype=np.int64)  # the last is for missing cells
    known: dict[str, int] = {}
    bad = {}
    for at, name in enumerate(names):
        try:
            key = str(PurePosixPath(image_key(name)))
        except ValueError as error:
            bad[name] = str(error).replace("image_path", "the column image")
        else:
            places[at] = known.setdefault(key, len(known))
    return list(known), places, bad


def _frame(path: Path, subject_column: str | None) -> Any:
    """Read the columns that are used; names stay text, so that `007` is not changed."""
    import pandas as pd

    if not path.is_file():
        raise DataError(f"csv: no file at {path} (looked from {Path.cwd()}).")
    if subject_column in ("image", "order", "x", "y"):
        raise ConfigError(f"subject_column: '{subject_column}' is another column of the table.")
    texts = ["image"] if subject_column is None else ["image", subject_column]
    needed = [*texts, "order", "x", "y"]
    options: dict[str, Any] = {"encoding": "utf-8-sig", "keep_default_na": False}
    try:
        content = b"".join(line_blocks(path))
        first = content.partition(b"\n")[0].removesuffix(b"\r")
        options["sep"] = delimiter_of(first).decode()
        table = io.BytesIO(content)
        found = [str(name) for name in pd.read_csv(table, nrows=0, **options).columns]
        lacking = [name for name in needed if name not in found]
        if lacking:
            raise DataError(
                f"{path}: no column {' and '.join(lacking)} (found: "
                f"{printable(', '.join(found)) or 'nothing'}); the columns are image, "
                f"subject_column, order, x and y.{delimiter_hint(first)}"
            )
        table.seek(0)
        return pd.read_csv(
            table,
            index_col=False,
            usecols=needed,
            dtype=dict.fromkeys(texts, str),
            low_memory=False,
            **options,
        )
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise DataError(f"{path}: not a readable table ({short_reason(error)}).") from error


def _numbers(column: Any) -> NDArray[np.float64]:
    """Convert a column to numbers; anything that is not a number becomes NaN."""
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
