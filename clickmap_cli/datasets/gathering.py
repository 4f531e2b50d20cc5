"""What readers of data sets share: settings checked, files found, damage to one image noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import DataSet, Points, Problem, Stimulus
from clickmap_cli.datasets.files import FileStimulus, checked_id, printable
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.id_lists import read_ids

_MANY_OUTSIDE = 0.1
_IN_PIXELS = (
    " Were images resized after they were shown, or are x (the column) and y (the row) swapped? "
    "Fixations are in pixels of the image's file."
)


class Gathering:
    """The images a reader has found so far; damage to one is noted, and the others go on.

    Args:
        where: the data set, for messages.
        listed: ids that count, or None for all.
        sought: where fixations and maps are looked for.
    """

    def __init__(self, where: str, listed: frozenset[str] | None = None, sought: str = "") -> None:
        self._sought = sought
        self.notices: list[str] = []
        self.stimuli: list[FileStimulus] = []
        self._where = where
        self._listed = listed
        self._problems: list[Problem] = []
        self._origins: dict[str, str] = {}
        self._points = 0
        self._outside = 0

    def wanted(self, image_id: str) -> bool:
        """Whether the image belongs to the split that was asked for."""
        return self._listed is None or image_id in self._listed

    @contextmanager
    def image(self, image_id: str, origin: object) -> Iterator[None]:
        """A block that reads one image; a `DataError` in it becomes the image's problem.

        Args:
            image_id: its id, not checked yet.
            origin: the file or the name it comes from.

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
        """An image, or a row of a table, cannot be used."""
        self._problems.append(Problem(printable(image_id), reason))

    def add(self, stimulus: FileStimulus) -> None:
        """An image that can be used, without its points that lie outside.

        Raises:
            DataError: its id cannot name a file.
        """
        checked_id(stimulus.image_id)
        points = stimulus.points
        if points is not None:
            inside = points.inside(stimulus.size)
            self._points += len(points)
            self._outside += len(points) - len(inside)
            stimulus = replace(stimulus, points=inside)
        self.stimuli.append(stimulus)

    def finished(self) -> DataSet:
        """The data set.

        Raises:
            DataError: nothing at all was found.
        """
        if not self.stimuli and not self._problems:
            which = "" if self._listed is None else " that the split lists"
            raise DataError(
                f"{self._where}: found no images{which}; check the path and settings "
                "(README, chapter 5, has the layouts)."
            )
        notices = list(self.notices)
        if self._outside:
            many = self._outside > _MANY_OUTSIDE * self._points
            notices.append(
                f"{self._outside} of {self._points} fixations of the set lie outside their image "
                f"and were dropped.{_IN_PIXELS if many else ''}"
            )
        uniform = sum(s.map_path is None and s.points is None for s in self.stimuli)
        if uniform:
            notices.append(
                f"{uniform} of {len(self.stimuli)} images have neither a map nor fixations; their "
                "ground truth is uniform."
            )
        lost = sorted((self._listed or frozenset()) - set(self._origins))
        if lost:
            notices.append(
                f"{len(lost)} of {len(self._listed or ())} ids that the split lists are not in the "
                f"set, '{printable(lost[0])}' for one."
            )
        stimuli: list[Stimulus] = sorted(self.stimuli, key=lambda stimulus: stimulus.image_id)
        return DataSet(stimuli, self._problems, notices, self._sought)


def as_path(value: object, key: str) -> Path:
    """A path from a config.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ConfigError(f"{key}: expected a path, found {value!r}.")
    return Path(value).expanduser()


def as_folder(value: object, key: str) -> Path:
    """A folder from a config.

    Raises:
        ConfigError: the value is no path.
        DataError: there is no such folder.
    """
    path = as_path(value, key)
    if not path.is_dir():
        what = "it is a file" if path.is_file() else f"looked from {Path.cwd()}"
        raise DataError(f"{key}: no folder at {path} ({what}); correct the path.")
    return path


def checked_sigma(sigma_px: object) -> float:
    """The width of a kernel, in pixels.

    Raises:
        ConfigError: it is no positive number.
    """
    if isinstance(sigma_px, int | float) and not isinstance(sigma_px, bool) and 0 < sigma_px < 1e6:
        return float(sigma_px)
    raise ConfigError(f"sigma_px: expected a positive number of pixels, found {sigma_px!r}.")


def listed_ids(folder: Path, split: object) -> frozenset[str] | None:
    """The ids in `<folder>/<split>.txt`, one a line; None where no split was asked for.

    Raises:
        ConfigError: the split is no name, or there is no such list.
        DataError: the list is not readable, or empty.
    """
    if split is None:
        return None
    if not isinstance(split, str) or not split or split != Path(split).name or split[0] == ".":
        raise ConfigError(f"split: expected the name of a list of ids, found {split!r}.")
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise ConfigError(
            f"split: no list of ids at {path}; write one id a line (`clickmap data split` does), "
            "or leave split out."
        )
    return frozenset(read_ids(path))


def files_by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Stem -> file, for the files of a folder with one of these endings; none without a folder.

    Raises:
        DataError: two files have one stem; both are named.
    """
    found: dict[str, Path] = {}
    known = tuple(suffixes)
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in known or path.name.startswith(".") or not path.is_file():
            continue
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"{folder}: '{printable(other.name)}' and '{printable(path.name)}' would both be "
                f"called '{printable(path.stem)}'; rename or remove one."
            )
    return found


def named_points(
    x: NDArray[Any], y: NDArray[Any], codes: NDArray[Any], names: Sequence[str]
) -> Points:
    """Points with the names of the people among them only.

    Args:
        x: (n) columns.
        y: (n) rows.
        codes: (n) numbers of people.
        names: of all people of the data set.
    """
    present, subject = np.unique(codes, return_inverse=True)
    return Points(
        np.asarray(x, dtype=np.float64),
        np.asarray(y, dtype=np.float64),
        subject.reshape(-1).astype(np.int32),
        tuple(names[code] for code in present),
    )
