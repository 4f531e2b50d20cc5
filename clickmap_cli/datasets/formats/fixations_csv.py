"""A table of fixations, one per row, and a folder of images."""

from __future__ import annotations

import io
import math
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
    SigmaPx,
    as_folder,
    as_path,
    find_map,
    named_points,
    read_split,
)
from clickmap_cli.datasets.maps import MAP_SUFFIXES
from clickmap_cli.datasets.tables import require_columns, require_once
from clickmap_cli.runtime.errors import ConfigError, DataError, printable, short_reason
from clickmap_cli.storage.safe_images import image_size
from clickmap_cli.storage.text_files import delimiter_of, line_blocks


def fixations_csv(
    csv: str | Path,
    images: str | Path,
    maps: str | Path | None = None,
    sigma_px: SigmaPx = SIGMA_PX,
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
    table, sigma = as_path(csv, "csv"), float(sigma_px)
    image_dir = as_folder(images, "images")
    map_dir = None if maps is None else as_folder(maps, "maps")
    gathering = Gathering(str(table), read_split(table.parent, split))
    for key, points in _read_points(table, subject_column, gathering).items():
        name = str(PurePosixPath(key).with_suffix(""))
        image_id = flat_name(name)
        if gathering.is_selected(image_id):
            with gathering.image(image_id, key):
                image, heat = image_file(image_dir, key), None
                if image is None:
                    raise DataError(f"{image_dir / key}: no such image.")
                if map_dir is not None:
                    heat = find_map(map_dir, (image_id, name), MAP_SUFFIXES)
                gathering.add(
                    FileStimulus(
                        image_id,
                        image_size(image),
                        image,
                        category_of(key),
                        points,
                        map_path=heat,
                        sigma_px=sigma,
                    )
                )
    return gathering.finished()


def _read_points(path: Path, subject_column: str | None, gathering: Gathering) -> dict[str, Points]:
    """Return image path -> its points, sorted by person and order; all may have been dropped.

    Args:
        path: the table.
        subject_column: column that names people, or None.
        gathering: receives the losses of rows, the problems of image names and notices of ids.
    """
    frame = _read_frame(path, subject_column)
    x, y, order = (_to_numbers(frame[name]) for name in ("x", "y", "order"))
    image, names = _code(frame["image"])
    places = np.full(len(names) + 1, -1, dtype=np.int64)  # the last is for missing cells
    keys: dict[str, int] = {}
    for at, name in enumerate(names):
        try:
            key = str(PurePosixPath(image_key(name)))
        except ValueError as error:
            reason = str(error).replace("image_path", "the column image")
            gathering.problem(name, f"{path}: {reason}, found '{printable(name)}'.")
        else:
            places[at] = keys.setdefault(key, len(keys))
    codes = places[image]
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(order) | (image < 0))
    subject, people = np.zeros(len(x), dtype=np.int64), [""]
    if subject_column is not None:
        subject, people, notices = _code_people(frame[subject_column], f"{path}: {subject_column}")
        gathering.notices += notices
        keep &= subject >= 0
    what = "rows have an image, x, y, order or subject that cannot be read, and are dropped"
    gathering.losses.append(Loss(int(len(x) - keep.sum()), len(x), what))
    sequence = np.lexsort((order, subject, codes))
    sequence = sequence[(keep & (codes >= 0))[sequence]]
    ends = np.searchsorted(codes[sequence], np.arange(len(keys) + 1))
    found = {}
    for code, key in enumerate(keys):
        rows = sequence[ends[code] : ends[code + 1]]
        found[key] = Points(x[rows], y[rows])
        if subject_column is not None:
            found[key] = named_points(x[rows], y[rows], subject[rows], people)
    return found


def _code(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    """Return codes of a text column (-1 for a missing cell) and the sorted names of the codes."""
    import pandas as pd

    # a categorical column would turn names that all look like numbers into numbers
    codes, found = pd.factorize(column)
    names = [str(name) for name in found]
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.full(len(names) + 1, -1, dtype=np.int64)  # the last is pandas' own -1
    places[order] = np.arange(len(names))
    return places[codes], [names[at] for at in order]


def _code_people(column: Any, where: str) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Return codes of people (-1 for a missing name), their sorted names, and notices.

    Names are sorted by their numbers if all are finite numbers, else alphabetically.
    """
    codes, texts = _code(column)
    spelling = IdSpelling()
    names = [spelling.strip(text) for text in texts]
    people = sorted(set(names) - {""})
    try:
        numbers = {name: float(name) for name in people}
        if all(map(math.isfinite, numbers.values())):
            people.sort(key=lambda name: (numbers[name], name))
    except ValueError:
        pass
    code = {name: at for at, name in enumerate(people)}
    places = np.array([*(code.get(name, -1) for name in names), -1], dtype=np.int64)
    return places[codes], people, list(spelling.notices(where, people))


def _read_frame(path: Path, subject_column: str | None) -> Any:
    """Read the columns that are used; names stay text, so that `007` is not changed."""
    import pandas as pd

    if not path.is_file():
        raise DataError(f"csv: no file at {path} (looked from {Path.cwd()}).")
    if subject_column in ("image", "order", "x", "y"):
        raise ConfigError(f"subject_column: '{subject_column}' is another column of the table.")
    texts = ["image"] if subject_column is None else ["image", subject_column]
    content = b"".join(line_blocks(path))
    header = content.partition(b"\n")[0]
    columns = [*texts, "order", "x", "y"]
    fix = "; the columns are image, subject_column, order, x and y"
    names = require_columns(path, header, columns, fix)
    require_once(path, names, columns)
    # without the blanks around them; a number stands for each column that is not used
    numbered = [name if name in columns else at for at, name in enumerate(names)]
    try:
        return pd.read_csv(
            io.BytesIO(content),
            encoding="utf-8-sig",
            sep=delimiter_of(header).decode(),
            index_col=False,
            header=0,
            names=numbered,
            usecols=columns,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            low_memory=False,
        )
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise DataError(f"{path}: not a readable table ({short_reason(error)}).") from error


def _to_numbers(column: Any) -> NDArray[np.float64]:
    """Convert a column to numbers; anything that is not a number becomes NaN."""
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
