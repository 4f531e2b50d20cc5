"""Maps and counts in files: read them, or refuse what is not the map that a config declares.

A picture of a map in false colours, an overlay, or a map in an alpha channel has grey values too,
but they are not the map. Functions that find such evidence describe the values and never change
them: the user must say what is meant (`output:`, `channel:`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, shown_size
from clickmap_cli.datasets.base import Points
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.storage.safe_images import image_size, open_image, read_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MAP_SUFFIXES = (".npy", ".mat", ".png", ".jpg", ".jpeg")

CHANNELS = ("grey", "red", "green", "blue", "alpha")
"""Channels of a picture that may hold the map."""

FEW_LEVELS = 16
"""A map with fewer distinct values has large areas of equal heat."""

_MAX_POINTS = 50_000_000

_COLOURED = 32
"""In a coloured pixel the largest and the smallest of red, green and blue differ by more than this;
compression changes those of a grey picture by a few levels."""

_SHARE = 0.001
_NEAR, _MOST = 24, 0.9
_NAMED = (
    "jet", "turbo", "viridis", "inferno", "magma", "plasma", "hot", "cividis", "rainbow", "hsv",
    "coolwarm", "afmhot", "gnuplot2", "YlOrRd", "Reds", "RdBu",
)  # fmt: skip
"""Colour maps of matplotlib that a refusal calls by name."""

_MANY_PIXELS = 256
_SUM_TOLERANCE = 0.05
_DENSITY_TOLERANCE = 0.01
_FLAT = 1e-6
_BASES = {
    "": (1.0, ""),
    " to base 2": (math.log(2), "multiply it by ln 2 = 0.6931 and "),
    " to base 10": (math.log(10), "multiply it by ln 10 = 2.3026 and "),
}
"""Base of a logarithm -> its natural logarithm, and the conversion that is needed first."""


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
    pixels = _read_plane(path)
    if size is not None and pixels.shape != size:
        turned = transposed_words(pixels.shape, size)
        plain = f"the map has {shown_size(pixels.shape)} pixels, its image {shown_size(size)}"
        raise DataError(f"{path}: {turned or plain}.")
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
    counts = _read_plane(path)
    if size is not None and counts.shape != size:
        raise DataError(
            f"{path}: the fixations are for {shown_size(counts.shape)} pixels, the image has "
            f"{shown_size(size)}."
        )
    return points_from_counts(counts, path)


def points_from_counts(counts: NDArray[Any], path: Path) -> Points:
    """Return the points of (h, w) counts per pixel; a count of 2 gives two points.

    Args:
        counts: (h, w) whole numbers that are not negative.
        path: their file, for messages.

    Raises:
        DataError: a count is negative or not whole, or there are too many points.
    """
    if counts.sum(dtype=np.float64) > _MAX_POINTS:
        raise DataError(f"{path}: more than {_MAX_POINTS} fixations; expected counts a pixel.")
    if not np.all(np.isfinite(counts)) or np.any(counts != np.floor(counts)):
        raise DataError(f"{path}: expected counts per pixel (not a map of whole numbers).")
    if counts.size and counts.min() < 0:
        raise DataError(f"{path}: expected counts per pixel (a count is negative).")
    rows, columns = np.nonzero(counts)
    times = counts[rows, columns].astype(np.int64)
    x, y = np.repeat(columns, times), np.repeat(rows, times)
    return Points(x.astype(np.float64), y.astype(np.float64))


def plane_size(path: Path) -> Size:
    """Return the height and width of a map."""
    if path.suffix.lower() in (".npy", ".mat"):
        height, width = _read_plane(path).shape
        return height, width
    return image_size(path)


def _read_plane(path: Path) -> NDArray[Any]:
    """Read the (h, w) numbers of a file; a leading or trailing axis of length 1 is dropped."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        from clickmap_cli.storage.safe_mat import mat_array  # h5py takes long to import

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
    return np.asarray(array)


# --- maps in pictures ---------------------------------------------------------------------------


def map_values(path: Path, channel: str | None = None, settable: bool = False) -> NDArray[Any]:
    """Read the (h, w) values of a map in a picture, upright by its EXIF orientation.

    Args:
        path: the picture.
        channel: one of `CHANNELS`; None for the grey values of a picture that holds nothing else.
        settable: True if the user can set `channel`, for the message.

    Raises:
        DataError: the picture is missing or damaged; without `channel`, it has colours or varying
            transparency; with `channel`, it lacks that channel.
    """
    with open_image(path) as image:
        wide = image.mode.startswith(("I", "F"))
        plain = wide or image.mode in ("1", "L")
        transparent = bool(image.has_transparency_data)
    if channel == "alpha" and not transparent:
        raise DataError(f"{path}: channel: alpha, and the picture has no alpha channel.")
    if wide or channel == "grey" or (plain and not transparent):
        return grey_values(path)
    pixels = read_image(path, "RGBA" if transparent else "RGB")
    if channel is not None:
        return pixels[..., CHANNELS.index(channel) - 1]
    why = _explain_refusal(pixels, settable)
    if why:
        raise DataError(f"{path}: {why}.")
    return grey_values(path)


def grey_values(path: Path) -> NDArray[Any]:
    """Read the grey values of a picture; those of 16 bits and more are not scaled."""
    from PIL import ImageOps

    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):
            return np.asarray(ImageOps.exif_transpose(image))
    return read_image(path, "L")


def _explain_refusal(pixels: NDArray[np.uint8], settable: bool) -> str | None:
    """Return why the grey values of (h, w, 3 or 4) pixels are not the map; None if they are."""
    colours = pixels[..., :3]
    coloured = colours.max(axis=-1) - colours.min(axis=-1) > _COLOURED
    varying = [at for at in range(pixels.shape[-1]) if np.ptp(pixels[..., at])]
    fix = "set channel: {}" if settable else "save that channel as a picture in grey"
    if varying == [3]:
        alone = "all its pixels have one colour and only its alpha channel varies"
        return f"{alone}; {fix.format('alpha')}"
    if coloured.mean() >= _SHARE:
        if len(varying) == 1:
            name = CHANNELS[1 + varying[0]]
            return f"only its {name} channel varies; {fix.format(name)}"
        known = _find_colour_map(colours[coloured])
        what = f"; its colours are those of {known}, a map in false colours" if known else ""
        return (
            f"a picture in colour ({coloured.mean():.1%} of its pixels){what}: its grey values are "
            "not the map. Save the map itself, as .npy or as a picture in grey"
        ) + (", or set channel to what is meant: grey, red, green, blue or alpha" * settable)
    if 3 in varying:
        return "both its grey values and its transparency vary; " + (
            "set channel: grey or channel: alpha"
            if settable
            else "save the map without transparency"
        )
    return None


def _find_colour_map(colours: NDArray[np.uint8]) -> str | None:
    """Return the name of the colour map that (n, 3) colours lie on, or None."""
    from matplotlib import colormaps

    some = colours[:: max(1, len(colours) // 1000)].astype(np.int16)
    near = []
    for name in _NAMED:
        table = (colormaps[name](np.linspace(0, 1, 128))[:, :3] * 255).astype(np.int16)
        distance = np.abs(some[:, None] - table[None]).max(axis=-1).min(axis=-1)
        if (distance <= _NEAR).mean() >= _MOST:
            near.append((float(distance.mean()), name))
    return min(near)[1] if near else None


# --- evidence that an array is not the declared map ----------------------------------------------


def log_density_words(values: NDArray[Any]) -> str | None:
    """Return why a map looks like a log density and what to set, or None if it does not.

    Args:
        values: (h, w); -inf is the logarithm of 0.

    >>> log_density_words(np.log(np.full((2, 2), 0.25)))
    'it looks like a log density (all values are negative, and exp of them sums to 1); set output: log_density'
    """  # noqa: E501
    if values.ndim != 2 or not values.size or not float(values.max()) < 0:
        return None
    exact = values.astype(np.float64)
    for base, (factor, first) in _BASES.items():
        total = float(np.exp(exact * factor).sum())
        if abs(total - 1) <= _SUM_TOLERANCE:
            power = f"{base.split()[-1]} to the power" if base else "exp"
            return (
                f"it looks like a log density{base} (all values are negative, and {power} of them "
                f"sums to {total:.4g}); {first}set output: log_density"
            )
    return None


def nothing_left_words(values: NDArray[Any]) -> str | None:
    """Return why clipping at 0 would leave nothing of a map, or None if something is left.

    A map of zeros gives None, because nothing is clipped.

    Args:
        values: (h, w), finite.
    """
    if not values.size or float(values.max()) > 0 or not values.any():
        return None
    return (
        f"no value is above 0 (they go from {float(values.min()):.4g} to "
        f"{float(values.max()) + 0.0:.4g}), so that clipping at 0 would leave nothing; set output: "
        "log_density if it holds logarithms, else give values above 0"
    )


def transposed_words(shape: Size, size: Size) -> str | None:
    """Return why a map of a shape looks transposed relative to its image, or None if it does not.

    For a square image the result is always None.

    >>> transposed_words((9, 6), (6, 9))
    'it is 9 x 6 (height x width) and its image 6 x 9: it looks transposed; write it row by row'
    """
    if size[0] == size[1] or shape != (size[1], size[0]):
        return None
    return (
        f"it is {shown_size(shape)} (height x width) and its image {shown_size(size)}: it looks "
        "transposed; write it row by row"
    )


def oddities(values: NDArray[Any], output: str, clipped: bool, size: Size) -> Mapping[str, float]:
    """Return what a person should know of a prediction; empty if nothing is odd.

    Args:
        values: (h, w), finite (a log density may hold -inf).
        output: map, density or log_density.
        clipped: True if values below 0 will be clipped.
        size: height and width of the image.

    Returns:
        Any of `below_zero` (share of pixels that are clipped), `constant` (the only value of the
        map), `levels` (number of distinct values, if fewer than 16), and `sum` (sum of a density
        that is not resized and does not sum to 1).

    >>> oddities(np.array([[0.0, 1.0], [-3.0, 2.0]]), "map", True, (2, 2))
    {'below_zero': 0.25}
    """
    found: dict[str, float] = {}
    if clipped and output == "map":
        # tiny negative values are rounding errors of a blur by Fourier transforms
        below = values < -_FLAT * max(float(values.max()), 0.0)
        if below.any():
            found["below_zero"] = float(below.mean())
        values = np.maximum(values, 0)
    low, high = float(values.min()), float(values.max())
    if high == low or (math.isfinite(low) and high - low <= _FLAT * max(abs(low), abs(high))):
        found["constant"] = high
    elif values.size >= _MANY_PIXELS:
        flat = values.reshape(-1)
        # a sample is mostly enough, so that not all values are sorted
        if np.unique(flat[:: max(1, flat.size // 4096)]).size < FEW_LEVELS:
            levels = int(np.unique(flat).size)
            found |= {"levels": levels} if levels < FEW_LEVELS else {}
    if output != "map" and values.shape == size:
        exact = values.astype(np.float64)
        total = float((np.exp(exact - high) if output == "log_density" else exact).sum())
        if output == "log_density":
            # the sum is bounded, because JSON cannot hold an infinite number
            total = math.exp(min(math.log(total) + high, 700.0))
        if abs(total - 1) > _DENSITY_TOLERANCE:
            found["sum"] = total
    return found
