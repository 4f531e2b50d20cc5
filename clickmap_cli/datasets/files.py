"""Images whose pixels, maps and fixations are stored in files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.keys import ALL
from clickmap_cli.datasets.base import SIGMA_PX, Points, Stimulus, points_of_counts
from clickmap_cli.datasets.kernel_density import kernel_density
from clickmap_cli.datasets.map_pictures import map_values
from clickmap_cli.datasets.nonfixations import PooledPoints
from clickmap_cli.datasets.people import FixationPeople, People
from clickmap_cli.datasets.plausible_maps import log_density_words, transposed_words
from clickmap_cli.runtime.errors import DataError, printable
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.storage.safe_images import image_size, read_image
from clickmap_cli.storage.safe_mat import mat_array

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MAP_SUFFIXES = (".npy", ".mat", ".png", ".jpg", ".jpeg")

_MAX_ID_BYTES = 200
"""File systems allow 255 bytes; endings such as `_overlay.png` and `.partial` are added."""

_MAX_POINTS = 50_000_000


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
        map_path: the ground-truth map (`.npy`, `.mat` or a picture); without one the truth is the
            kernel density of the points, and without points it is uniform.
        sigma_px: standard deviation of that kernel, in pixels.
    """

    image_id: str
    size: Size
    image_path: Path | None = None
    category: str = ALL
    points: Points | None = None
    nonfixations: Points | None = None
    map_path: Path | None = None
    sigma_px: float = SIGMA_PX

    @property
    def has_image(self) -> bool:
        """Return True if the data set has a file of the image."""
        return self.image_path is not None

    @property
    def uniform(self) -> bool:
        """Return True if the image has no map and no fixations."""
        return self.map_path is None and self.points is None

    def image(self) -> NDArray[np.float32]:
        """Return the pixels, (h, w, 3) RGB in 0..1.

        Raises:
            DataError: the image is missing, damaged or of another size.
        """
        path = self._image_file()
        pixels = read_image(path)
        if pixels.shape[:2] != self.size:
            raise DataError(
                f"{path}: the image is {_shown(pixels.shape[:2])} pixels, its fixations and maps "
                f"are for {_shown(self.size)}."
            )
        return pixels.astype(np.float32) / np.float32(255)

    def truth(self) -> NDArray[np.float64]:
        """Return the (h, w) map, or the points' kernel density scaled to sum 1, or ones.

        Raises:
            DataError: the map is missing, damaged, of another shape, negative or not finite.
        """
        if self.map_path is not None:
            return read_map(self.map_path, self.size)
        if self.points is None:
            return np.ones(self.size)
        density = kernel_density(self.points.columns, self.points.rows, self.size, self.sigma_px)
        return density / density.sum() if len(self.points) else density

    @property
    def has_truth(self) -> bool:
        """Return True if the image has fixations or a map; otherwise `truth` is uniform."""
        return bool(self.points) or self.map_path is not None

    def people(self) -> People | None:
        """Return the people by their fixations, or None if fewer than two are named."""
        points = self.points
        if points is None or points.subject is None or len(np.unique(points.subject)) < 2:
            return None
        return FixationPeople(
            points.columns, points.rows, points.subject, points.subjects, self.size, self.sigma_px
        )

    def image_digest(self) -> str:
        """Return the SHA-256 of the image's file.

        Raises:
            DataError: the image has no file, or it cannot be read.
        """
        return file_digest(self._image_file())

    def truth_digest(self) -> str:
        """Return the SHA-256 of the map's file, points, subjects, negatives and sigma.

        Raises:
            DataError: the map cannot be read.
        """
        parts = [
            list(self.size),
            float(self.sigma_px),
            None if self.map_path is None else file_digest(self.map_path),
            _points_digest(self.points),
            _points_digest(self.nonfixations),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _image_file(self) -> Path:
        if self.image_path is None:
            raise DataError(f"{self.image_id}: the data set has no image of this name.")
        return self.image_path


def _points_digest(points: Points | None) -> str | None:
    if points is None:
        return None
    if isinstance(points, PooledPoints):
        return points.digest()
    parts = hashlib.sha256()
    parts.update(np.asarray(points.x, dtype="<f8").tobytes())
    parts.update(np.asarray(points.y, dtype="<f8").tobytes())
    if points.subject is not None:
        parts.update(np.asarray(points.subject, dtype="<i4").tobytes())
        parts.update(json.dumps(points.subjects).encode())
    return parts.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        DataError: the file is missing or not readable.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def checked_id(image_id: str) -> str:
    """Return the id unchanged, after checking that it can be the name of a file.

    Raises:
        DataError: the id is empty, `.` or `..`, holds a slash or unprintable characters, or is
            longer than 200 bytes.
    """
    if not image_id.strip() or image_id in (".", ".."):
        problem = "is no name"
    elif not image_id.isprintable():
        problem = "holds control characters, or is not UTF-8"
    elif "/" in image_id or "\\" in image_id:
        problem = "holds a slash"
    elif len(image_id.encode()) > _MAX_ID_BYTES:
        problem = f"is longer than {_MAX_ID_BYTES} bytes"
    else:
        return image_id
    raise DataError(f"The image id {printable(image_id)!r} {problem}; rename the image.")


def read_map(path: Path, size: Size | None = None) -> NDArray[np.float64]:
    """Read a ground-truth map.

    Args:
        path: `.npy`, `.mat` with one array, or a grey picture, whose grey values are the map.
        size: the shape that the map must have; None for any.

    Returns:
        (h, w) float64, finite and not negative.

    Raises:
        DataError: the map is missing, damaged, of another shape, negative, not finite or a log
            density, or is a picture whose grey values are not the map (in colour, in an alpha
            channel).
    """
    pixels = _plane(path)
    if size is not None and pixels.shape != size:
        turned = transposed_words(pixels.shape, size)
        raise DataError(
            f"{path}: {turned}."
            if turned
            else f"{path}: the map has {_shown(pixels.shape)} pixels, its image {_shown(size)}."
        )
    logarithm = log_density_words(pixels)
    if logarithm:
        looks = logarithm.split("; ")[0]
        raise DataError(f"{path}: {looks}; save the density itself as the ground truth.")
    if not np.all(np.isfinite(pixels)):
        raise DataError(f"{path}: the map holds NaN or infinite values.")
    if pixels.size and pixels.min() < 0:
        raise DataError(f"{path}: the map is negative somewhere ({pixels.min():g}).")
    return pixels.astype(np.float64)


def read_counts(path: Path, size: Size | None = None) -> Points:
    """Read the points of a file of counts per pixel (`.npy`, or `.mat` with one array).

    Args:
        path: the file.
        size: the shape that the counts must have; None for any.

    Raises:
        DataError: the file is missing, damaged, of another shape, or a count is negative, not whole
            or absurdly large.
    """
    counts = _plane(path)
    if size is not None and counts.shape != size:
        raise DataError(
            f"{path}: the fixations are for {_shown(counts.shape)} pixels, the image has "
            f"{_shown(size)}."
        )
    return counted_points(counts, path)


def counted_points(counts: NDArray[Any], path: Path) -> Points:
    """Return the points of counts per pixel; errors name the file.

    Raises:
        DataError: a count is negative or not whole, or there are too many points.
    """
    try:
        if counts.sum(dtype=np.float64) > _MAX_POINTS:
            raise DataError(f"{path}: more than {_MAX_POINTS} fixations; expected counts a pixel.")
        return points_of_counts(counts)
    except ValueError as error:
        raise DataError(f"{path}: expected counts per pixel ({error}).") from error


def plane_size(path: Path) -> Size:
    """Return the height and width of a map."""
    if path.suffix.lower() in (".npy", ".mat"):
        height, width = _plane(path).shape
        return height, width
    return image_size(path)


def _plane(path: Path) -> NDArray[Any]:
    """Read the (h, w) numbers of a file; a leading or trailing axis of length 1 is dropped."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return mat_array(path)
    if suffix != ".npy":
        return map_values(path)
    array = read_npy(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected an array of numbers, found something else.")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[:, :, 0]
    if array.ndim != 2 or not array.size:
        raise DataError(f"{path}: expected height x width, found the shape {array.shape}.")
    plane: NDArray[Any] = array
    return plane


def _shown(size: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in size)
