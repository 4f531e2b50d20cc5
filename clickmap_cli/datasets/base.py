"""The interface of a data set: images, the points people looked at, and ground-truth maps."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.clickmaps.losses import Loss
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.registry import Registry

SIGMA_PX = 19.0
"""Default blur of fixations, in pixels: one degree of visual angle in SALICON."""


@dataclass(frozen=True)
class Points:
    """The points people looked at in one image; all of them lie inside it.

    A point between two pixels belongs to the pixel that its floored coordinates give.

    Attributes:
        x: (n) float64 columns.
        y: (n) float64 rows.
        subject: (n) int32 codes into `subjects`, or None if no person is named.
        subjects: names of the people who looked.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    subject: NDArray[np.int32] | None = None
    subjects: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def columns(self) -> NDArray[np.int64]:
        """(n) int64 column of each point's pixel."""
        return np.floor(self.x).astype(np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n) int64 row of each point's pixel."""
        return np.floor(self.y).astype(np.int64)

    def counts(self, size: Size) -> NDArray[np.int64]:
        """Return an (h, w) array of the number of points per pixel."""
        height, width = size
        flat = self.rows * width + self.columns
        return np.bincount(flat, minlength=height * width).reshape(height, width)

    def where(self, keep: NDArray[np.bool_]) -> Points:
        """Return the points of a (n) mask, with all names."""
        subject = None if self.subject is None else self.subject[keep]
        return Points(self.x[keep], self.y[keep], subject, self.subjects)

    def inside(self, size: Size) -> Points:
        """Drop the points outside an image of this size, including NaN and negative ones."""
        height, width = size
        with np.errstate(invalid="ignore"):
            keep = (self.x >= 0) & (self.y >= 0) & (self.x < width) & (self.y < height)
        return self.where(keep)

    def digest(self) -> str:
        """Return a hash of the points and of the people they belong to."""
        parts = hashlib.sha256()
        parts.update(np.asarray(self.x, dtype="<f8").tobytes())
        parts.update(np.asarray(self.y, dtype="<f8").tobytes())
        if self.subject is not None:
            parts.update(np.asarray(self.subject, dtype="<i4").tobytes())
            parts.update(json.dumps(self.subjects).encode())
        return parts.hexdigest()


class People(Protocol):
    """The people who looked at one image; each is a target, and the others predict them."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the people; a person who looked twice is listed twice."""

    def target(self, person: int) -> MapView:
        """Return a person's own map, with their points."""

    def others(self, person: int) -> NDArray[Any]:
        """Return the (h, w) prediction by everybody else; not scaled."""

    def everyone(self, size: Size) -> NDArray[Any]:
        """Return the (h, w) prediction by everybody for an image of this size; not scaled.

        If the size differs from their image's, points keep their relative coordinates.
        """


class Stimulus(ABC):
    """One image of a data set, with the points and maps that belong to it.

    The object is small, as pixels and maps are read on demand, and it can be sent to worker
    processes.

    Attributes:
        image_id: name of the image in tables and files; unique in its data set.
        category: category of the image, or "all".
        size: height and width, in pixels, at which models see the image and are scored.
        points: the points people looked at, or None if they are not known.
        nonfixations: points that the data set provides as negatives for sAUC, or None.
    """

    image_id: str
    category: str = ALL
    size: Size
    points: Points | None = None
    nonfixations: Points | None = None

    @property
    def key(self) -> str:
        """Key from which random draws for the image are seeded."""
        return self.image_id

    @abstractmethod
    def image(self) -> NDArray[np.float32]:
        """Return the pixels, (h, w, 3) RGB in 0..1, of `size`.

        Raises:
            DataError: the image is missing or damaged.
        """

    @abstractmethod
    def truth(self) -> NDArray[Any] | None:
        """Return the (h, w) ground-truth map of `size`, never negative; None if there is none.

        Raises:
            DataError: the map is missing, damaged or of another shape.
        """

    @property
    def has_image(self) -> bool:
        """Return True if the image's file was found, so that models can look at it."""
        return True

    @property
    def cropped(self) -> bool:
        """Return True if models see only a part of the image's file."""
        return False

    @property
    def has_truth(self) -> bool:
        """Return True if points or a map show where people looked in the image."""
        return bool(self.points) or self.truth() is not None

    @abstractmethod
    def people(self) -> People | None:
        """Return each person's own map and points, or None if no person is named."""

    def placement(self, shape: Size, of_file: bool = False) -> Geometry:
        """Return the geometry that brings a map of this image onto the pixels of `size`.

        Args:
            shape: (height, width) of the map.
            of_file: True if the map was made from the image's file, False if from `image()`. The
                two differ if images are cropped before models see them.

        Raises:
            DataError: the map's aspect ratio differs from the image's.
        """
        return Geometry(self.size, self.size, None).place_map(shape)

    @property
    def layout(self) -> str:
        """Text that identifies all that `placement` depends on besides the map's shape."""
        return ""

    @abstractmethod
    def image_digest(self) -> str:
        """Return a hash of the pixels that models see: equal digests mean equal pixels.

        Raises:
            DataError: the image is missing.
        """

    @abstractmethod
    def truth_digest(self) -> str:
        """Return a hash of the data predictions are scored against (points, maps, subjects)."""


@dataclass(frozen=True)
class Problem:
    """An image that cannot be used, and the reason in one sentence."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class DataSet:
    """The images of a data set.

    Attributes:
        stimuli: images that can be used, sorted by `image_id`.
        problems: images that cannot be used.
        notices: messages for the user about the set as a whole.
        losses: what was dropped or could not be used; too large a loss stops a run.
        scoring_notices: messages for the user about the ground truth, shown only if it is used.
        sought: places that were searched for fixations and maps, for a set that may have none.
    """

    stimuli: Sequence[Stimulus]
    problems: Sequence[Problem] = ()
    notices: Sequence[str] = ()
    losses: Sequence[Loss] = ()
    scoring_notices: Sequence[str] = ()
    sought: str = ""


DATASETS: Registry[Any] = Registry("data set", "clickmap.datasets")
"""Functions that read a data set; each takes settings as keyword arguments, returns a `DataSet`."""

_OWN = "clickmap's own layout"
_READERS = {
    "folder": ("images/, gt_maps/, fixations/, nonfix/: one file an image", _OWN),
    "csv_indexed": ("a table of image, fixation and map files", _OWN),
    "cat2000": (
        "the CAT2000 train or test tree (.mat fixations, JPG maps)",
        "Borji and Itti (2015)",
    ),
    "salicon": ("SALICON's JSON or .mat fixations, images and maps", "Jiang et al. (2015)"),
    "fixations_csv": ("a table image,subject,order,x,y and images", _OWN),
    "pysaliency": ("pysaliency's HDF5 stimuli and fixations", "pysaliency (Kümmerer et al.)"),
    "clickmaps": (
        "a folder written by `clickmap prepare`, and its images",
        f"{_OWN}; ClickMe, Linsley et al. (2019)",
    ),
}
"""Name of the module and the function in `formats/` -> summary and its source."""

for _module, (_summary, _reference) in _READERS.items():
    _name = "CAT2000" if _module == "cat2000" else _module  # as its authors spell it
    _target = f"clickmap_cli.datasets.formats.{_module}:{_module}"
    DATASETS.add(_name, _target, _summary, reference=_reference)
