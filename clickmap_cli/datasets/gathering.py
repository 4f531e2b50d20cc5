"""What readers of data sets share: settings, splits, finding files, damage to single images."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import look_alike_notices
from clickmap_cli.clickmaps.losses import (
    FRACTIONS,
    Coordinates,
    Loss,
    are_fractions,
    likeliest_cause,
    suspicions,
)
from clickmap_cli.config.fields import Key
from clickmap_cli.datasets.base import DataSet, Points, Problem
from clickmap_cli.datasets.files import FileStimulus, require_id
from clickmap_cli.datasets.tables import table_columns
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.storage.text_files import read_ids

LIST = ".txt"
"""The ending of a list of ids; a list that a `split` with this ending names must exist."""

NEAR = 0.75
"""Similarity from which a word looks like a misspelt other one."""

_PARTS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "holdout"}
)
_MANY_OUTSIDE = 0.1
"""Share of points outside their image above which a likely cause is given."""

_MOST_SEEN = 200_000
"""Number of points after which further images are not examined for a likely cause."""


# --- settings -----------------------------------------------------------------------------------


def as_path(value: object, key: str) -> Path:
    """Return a path from a config.

    Raises:
        ConfigError: the value is not a path.
    """
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ConfigError(f"{key}: expected a path, found {value!r}.")
    return Path(value).expanduser()


def as_folder(value: object, key: str) -> Path:
    """Return an existing folder from a config.

    Raises:
        ConfigError: the value is not a path.
        DataError: the folder does not exist.
    """
    path = as_path(value, key)
    if not path.is_dir():
        what = "it is a file" if path.is_file() else f"looked from {Path.cwd()}"
        raise DataError(f"{key}: no folder at {path} ({what}); correct the path.")
    return path


SigmaPx = Annotated[float, Key(above=0, below=1e6)]
"""Width of a blur, in pixels."""


# --- splits -------------------------------------------------------------------------------------


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

    def notices(self, which: str) -> list[str]:
        """Return a sentence that explains a label, or nothing for a list.

        Args:
            which: words for the images that are used, such as `all 12 images are`.
        """
        text = (
            f"split: '{printable(self.label)}' is taken as a label, as there is no list at "
            f"{self.place}; {which} used."
        )
        return [text] if self.label else []


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
        path = Path(split).expanduser()
        found = next((place for place in (folder / path, path) if place.is_file()), None)
        if found is None:
            beside = "" if path.is_absolute() else f" or {Path.cwd() / path}"
            raise DataError(
                f"split: no list of ids at {folder / path}{beside}; write one id a line (`clickmap "
                "data split` does), or leave split out."
            )
        return Split(frozenset(read_ids(found)))
    is_name = isinstance(split, str) and split == Path(split).name and split.isprintable()
    if not isinstance(split, str) or not is_name or not split or split[0] == ".":
        raise ConfigError(
            f"split: expected the name of a list of ids, or the list itself ({LIST}), found "
            f"{split!r}."
        )
    place = folder / f"{split}{LIST}"
    if place.is_file():
        return Split(frozenset(read_ids(place)))
    stems = {path.stem: path.name for path in sorted(folder.glob(f"*{LIST}"))}
    near = difflib.get_close_matches(split, stems, n=3, cutoff=NEAR)
    others = [name for stem, name in stems.items() if stem.lower() in _PARTS or stem in near]
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


def is_list(split: object) -> bool:
    """Return True if a split is the file name of a list."""
    return isinstance(split, str) and split.lower().endswith(LIST) and "\0" not in split


# --- files and points ---------------------------------------------------------------------------


def files_by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Map stems to the files of a folder with one of these endings; empty without a folder.

    Raises:
        DataError: two files have the same stem; the message names both.
    """
    found: dict[str, Path] = {}
    known = tuple(suffixes)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in known or path.name.startswith(".") or not path.is_file():
            continue
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"{folder}: '{printable(other.name)}' and '{printable(path.name)}' would both be "
                f"called '{printable(path.stem)}'; rename or remove one."
            )
    return found


def find_map(folder: Path, stems: Iterable[str], suffixes: Sequence[str]) -> Path:
    """Return the first file of a folder with one of these stems and endings.

    Raises:
        DataError: there is no such file; the message names the first stem.
    """
    names = list(stems)
    for stem in names:
        for suffix in suffixes:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    raise DataError(f"{folder}: no map {names[0]} ({', '.join(suffixes)}).")


def named_points(
    x: NDArray[Any], y: NDArray[Any], codes: NDArray[Any], names: Sequence[str]
) -> Points:
    """Return points with the names of only those people who appear among them.

    Args:
        x: (n) columns.
        y: (n) rows.
        codes: (n) indices of the people in `names`.
        names: names of all people of the data set.
    """
    present, subject = np.unique(codes, return_inverse=True)
    return Points(
        np.asarray(x, dtype=np.float64),
        np.asarray(y, dtype=np.float64),
        subject.reshape(-1).astype(np.int32),
        tuple(names[code] for code in present),
    )


# --- images -------------------------------------------------------------------------------------


class Gathering:
    """The images a reader has found so far; damage to one image does not stop the others.

    Args:
        where: the data set, for messages.
        split: the images that are selected; None for all.
        sought: places that are searched for fixations and maps.
    """

    def __init__(self, where: str, split: Split | None = None, sought: str = "") -> None:
        self.notices: list[str] = []
        self.losses: list[Loss] = []
        self.stimuli: list[FileStimulus] = []
        self._where, self._sought = where, sought
        self._split = split or Split()
        self._problems: list[Problem] = []
        self._origins: dict[str, str] = {}
        self._n_points = self._n_outside = 0
        self._seen: list[tuple[Points, Size]] = []

    def is_selected(self, image_id: str) -> bool:
        """Return True if the image belongs to the selected split."""
        return self._split.ids is None or image_id in self._split.ids

    @contextmanager
    def image(self, image_id: str, origin: object) -> Iterator[None]:
        """Open a block that reads one image; a `DataError` in it becomes the image's problem.

        Args:
            image_id: id of the image, not checked yet.
            origin: the file or the name that the id comes from.

        Raises:
            DataError: another image has this id.
        """
        other = self._origins.get(image_id)
        if other is not None:
            raise DataError(
                f"{self._where}: '{printable(other)}' and '{printable(str(origin))}' would both be "
                f"called '{printable(image_id)}'; rename or remove one."
            )
        self._origins[image_id] = str(origin)
        try:
            yield
        except DataError as error:
            self.problem(image_id, str(error))

    def problem(self, image_id: str, reason: str) -> None:
        """Record that an image, or a row of a table, cannot be used."""
        self._problems.append(Problem(printable(image_id), reason))

    def add(self, stimulus: FileStimulus) -> None:
        """Add an image that can be used, without its points that lie outside it.

        Raises:
            DataError: its id cannot name a file.
        """
        require_id(stimulus.image_id)
        points = stimulus.points
        if points is not None:
            if self._n_points < _MOST_SEEN:
                self._seen.append((points, stimulus.size))
            stimulus = replace(stimulus, points=points.inside(stimulus.size))
            self._n_points += len(points)
            self._n_outside += len(points) - len(stimulus.points or ())
        self.stimuli.append(stimulus)

    def finished(self) -> DataSet:
        """Return the data set of all images found.

        Raises:
            DataError: neither images nor problems were found.
        """
        n = len(self.stimuli)
        if not n and not self._problems:
            which = "" if self._split.ids is None else " that the split lists"
            raise DataError(
                f"{self._where}: found no images{which}; check the path and settings "
                "(README, chapter 5, has the layouts)."
            )
        notices = [*self._split.notices(f"all {n} images are"), *self.notices]
        notices += look_alike_notices(stimulus.image_id for stimulus in self.stimuli)
        uniform = sum(
            s.map_path is None and s.points is None and not s.people_maps for s in self.stimuli
        )
        of_truth = f"{uniform} of {n} images have neither a map nor fixations; their ground truth "
        points = self._coordinates()
        return DataSet(
            sorted(self.stimuli, key=lambda stimulus: stimulus.image_id),
            self._problems,
            [*notices, *suspicions(points)],
            [*self.losses, *self._own_losses(points)],
            [f"{of_truth}is uniform."] if uniform else [],
            self._sought,
        )

    def _own_losses(self, points: Coordinates) -> Iterator[Loss]:
        """Yield the losses of images, listed ids and fixations."""
        n, bad = len(self.stimuli) + len(self._problems), len(self._problems)
        first = f"The first: {self._problems[0].reason}" if self._problems else ""
        yield Loss(bad, n, "images cannot be used", first)
        listed = self._split.ids or frozenset()
        lost = sorted(listed - set(self._origins))
        example = f"'{printable(lost[0])}' is one of them." if lost else ""
        what = "ids that the split lists are not in the data set"
        yield Loss(len(lost), len(listed), what, example)
        total, outside = self._n_points, self._n_outside
        if are_fractions(points):
            yield Loss(total, total, "fixations lie in the first pixel of their image", FRACTIONS)
        cause = likeliest_cause(points) if outside > _MANY_OUTSIDE * total else ""
        yield Loss(outside, total, "fixations lie outside their image and are dropped", cause)

    def _coordinates(self) -> Coordinates:
        """Return the points as they were given, without NaN and infinite ones."""
        x = np.concatenate([np.empty(0), *(points.x for points, _ in self._seen)])
        y = np.concatenate([np.empty(0), *(points.y for points, _ in self._seen)])
        counts = [len(points) for points, _ in self._seen]
        sizes = np.array([size for _, size in self._seen], dtype=np.float64).reshape(-1, 2)
        height, width = np.repeat(sizes, counts, axis=0).T
        finite = np.isfinite(x) & np.isfinite(y)
        return Coordinates(x[finite], y[finite], width[finite], height[finite])
