"""Gaussian kernel densities of points on pixels, exact at the borders and without truncation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size

Density = NDArray[np.float64]


def kernel_density(columns: NDArray[Any], rows: NDArray[Any], size: Size, sigma: float) -> Density:
    """Sum isotropic Gaussians centred on points, evaluated at the pixels of an image.

    The kernel is separable, so the sum over points is a product of two matrices; nothing is
    truncated.

    Args:
        columns: (n) columns of the points' pixels, whole numbers.
        rows: (n) rows of the points' pixels, whole numbers.
        size: height and width.
        sigma: standard deviation in pixels.

    Returns:
        (h, w) float64, not scaled: a single Gaussian has the value 1 at its centre. Without points
        all values are zero.
    """
    height, width = size
    if len(columns) * (height + width) <= 2 * height * width or len(columns) < min(size):
        down, across = _gaussian(height, sigma), _gaussian(width, sigma)
        return np.asarray(down[rows].T @ across[columns])
    flat = np.asarray(rows) * width + np.asarray(columns)
    counts = np.bincount(flat, minlength=height * width).reshape(size)
    return blurred(counts, sigma)


def blurred(counts: NDArray[Any], sigma: float) -> Density:
    """Return the kernel density of a map of counts, equal to `kernel_density` of its points.

    Args:
        counts: (h, w) points per pixel.
        sigma: standard deviation in pixels.
    """
    height, width = counts.shape
    halfway = _gaussian(height, sigma) @ counts.astype(np.float64)
    return np.asarray(halfway @ _gaussian(width, sigma))


def gaussian_at(away: NDArray[Any], sigma: float) -> Density:
    """Return exp(-away^2 / 2 sigma^2)."""
    return np.asarray(np.exp(-(np.asarray(away, dtype=np.float64) ** 2) / (2 * sigma**2)))


@lru_cache(maxsize=16)
def _gaussian(side: int, sigma: float) -> Density:
    """Return the (side, side) Gaussian between every two places of an axis."""
    at = np.arange(side)
    table = gaussian_at(at[:, None] - at, sigma)
    table.flags.writeable = False
    return table
