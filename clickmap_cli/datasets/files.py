"""Images whose pixels, maps and fixations are stored in files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, shown_size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, People, Points, Stimulus
from clickmap_cli.datasets.fixations import kernel_density
from clickmap_cli.datasets.maps import read_map
from clickmap_cli.datasets.people import FixationPeople, MapPeople, NamedMap
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_images import read_image

_MAX_ID_BYTES = 200
"""File systems allow 255 bytes; endings such as `_overlay.png` and `.partial` are added."""


@dataclass(frozen=True, eq=False)
class FileStimulus(Stimulus):
    """An image whose pixels and map are read from files on demand.

    Attributes:
        image_id: name of the image in tables and files.
        size: height and width.
        image_path: file of the picture, or None.
        category: category of the image.
        points: the points people looked at, with their names if known; None if there are no
            fixations.
        nonfixations: negatives for sAUC that the data set provides.
        map_path: the ground-truth map (`.npy`, `.mat` or a picture). Without one the truth is the
            mean of the participants' maps, without these the kernel density of the points, and
            without points it is uniform.
        sigma_px: standard deviation of that kernel, in pixels.
        people_maps: participants and the files of their own maps, sorted by participant.
    """

    image_id: str
    size: Size
    image_path: Path | None = None
    category: str = ALL
    points: Points | None = None
    nonfixations: Points | None = None
    map_path: Path | None = None
    sigma_px: float = SIGMA_PX
    people_maps: tuple[NamedMap, ...] = ()

    @property
    def has_image(self) -> bool:
        """Return True if the data set has a file of the image."""
        return self.image_path is not None

    @property
    def has_truth(self) -> bool:
        """Return True if the image has fixations or a map; otherwise `truth` is uniform."""
        return bool(self.points) or self.map_path is not None or bool(self.people_maps)

    def image(self) -> NDArray[np.float32]:
        """Return the pixels, (h, w, 3) RGB in 0..1.

        Raises:
            DataError: the image is missing, damaged or of another size.
        """
        path = self._require_file()
        pixels = read_image(path)
        if pixels.shape[:2] != self.size:
            raise DataError(
                f"{path}: the image is {shown_size(pixels.shape[:2])} pixels, its fixations and "
                f"maps are for {shown_size(self.size)}."
            )
        return pixels.astype(np.float32) / np.float32(255)

    def truth(self) -> NDArray[np.float64]:
        """Return the (h, w) map, mean of the participants' maps, or density of the points, or ones.

        The participants' maps and the density are scaled to sum 1.

        Raises:
            DataError: a map is missing, damaged, of another shape, negative or not finite, or a
                participant's map is all zeros.
        """
        if self.map_path is not None:
            return read_map(self.map_path, self.size)
        if self.people_maps:
            return MapPeople(self.people_maps, self.size, self.points).mean
        if self.points is None:
            return np.ones(self.size)
        density = kernel_density(self.points.columns, self.points.rows, self.size, self.sigma_px)
        return density / density.sum() if len(self.points) else density

    def people(self) -> People | None:
        """Return the people by their maps, else by fixations; None if fewer than two are named."""
        points = self.points
        if len(self.people_maps) >= 2:
            return MapPeople(self.people_maps, self.size, points)
        if points is None or points.subject is None or len(np.unique(points.subject)) < 2:
            return None
        return FixationPeople(points, self.size, self.sigma_px)

    def image_digest(self) -> str:
        """Return the SHA-256 of the image's file.

        Raises:
            DataError: the image has no file, or it cannot be read.
        """
        return file_digest(self._require_file())

    def truth_digest(self) -> str:
        """Return the SHA-256 of the maps' files, points, subjects, negatives and sigma.

        Raises:
            DataError: a map cannot be read.
        """
        parts = [
            list(self.size),
            float(self.sigma_px),
            None if self.map_path is None else file_digest(self.map_path),
            None if self.points is None else self.points.digest(),
            None if self.nonfixations is None else self.nonfixations.digest(),
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        if not self.people_maps:
            return digest
        maps = [[name, file_digest(path)] for name, path in self.people_maps]
        return hashlib.sha256(json.dumps([digest, maps]).encode()).hexdigest()

    def _require_file(self) -> Path:
        if self.image_path is None:
            raise DataError(f"{self.image_id}: the data set has no image of this name.")
        return self.image_path


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        DataError: the file is missing or not readable.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def require_id(image_id: str, what: str = "image id") -> str:
    """Return the id unchanged, or raise DataError unless it can be the name of a file.

    Args:
        image_id: the id.
        what: the kind of name, for the message.

    Raises:
        DataError: the id is empty, `.` or `..`, holds a slash or unprintable characters, or is
            longer than 200 bytes.
    """
    if not image_id.strip() or image_id in (".", ".."):
        problem = "is not a name"
    elif not image_id.isprintable():
        problem = "holds control characters, or is not UTF-8"
    elif "/" in image_id or "\\" in image_id:
        problem = "holds a slash"
    elif len(image_id.encode()) > _MAX_ID_BYTES:
        problem = f"is longer than {_MAX_ID_BYTES} bytes"
    else:
        return image_id
    fix = "rename the image" if what == "image id" else "rename it"
    raise DataError(f"The {what} {printable(image_id)!r} {problem}; {fix}.")
