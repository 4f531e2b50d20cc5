"""Pure functions that find evidence that an array is not the map that a config declares.

Each returns words for a message, or numbers for a notice. They describe the values and never change
them: the user must say what is meant (`output:`, `channel:`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size

FEW_LEVELS = 16
"""A map with fewer distinct values has large areas of equal heat."""

_MANY_PIXELS = 256
_SAMPLE = 4096
_SUM_TOLERANCE = 0.05
_DENSITY_TOLERANCE = 0.01
_FLAT = 1e-6
_BASES = {
    "": (1.0, ""),
    " to base 2": (math.log(2), "multiply it by ln 2 = 0.6931 and "),
    " to base 10": (math.log(10), "multiply it by ln 10 = 2.3026 and "),
}
"""Base of the logarithm, in words -> natural logarithm of the base, and the conversion needed
first."""


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
    """Return why a map looks transposed relative to its image, or None if it does not.

    For a square image the result is always None.

    Args:
        shape: height and width of the map.
        size: height and width of the image.

    >>> transposed_words((9, 6), (6, 9))
    'it is 9 x 6 (height x width) and its image 6 x 9: it looks transposed; write it row by row'
    """
    if size[0] == size[1] or shape != (size[1], size[0]):
        return None
    return (
        f"it is {shape[0]} x {shape[1]} (height x width) and its image {size[0]} x {size[1]}: it "
        "looks transposed; write it row by row"
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
        levels = _few_levels(values)
        found |= {} if levels is None else {"levels": levels}
    if output != "map" and values.shape == size:
        exact = values.astype(np.float64)
        total = float((np.exp(exact - high) if output == "log_density" else exact).sum())
        if output == "log_density":
            # the sum is bounded, because JSON cannot hold an infinite number
            total = math.exp(min(math.log(total) + high, 700.0))
        if abs(total - 1) > _DENSITY_TOLERANCE:
            found["sum"] = total
    return found


def _few_levels(values: NDArray[Any]) -> int | None:
    """Return the number of distinct values, or None if there are 16 or more."""
    flat = values.reshape(-1)
    if np.unique(flat[:: max(1, flat.size // _SAMPLE)]).size >= FEW_LEVELS:
        return None  # a sample is enough, so not all values are sorted
    levels = int(np.unique(flat).size)
    return levels if levels < FEW_LEVELS else None
