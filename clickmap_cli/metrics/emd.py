"""Earth mover's distance between two maps, solved exactly."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import MissingExtraError

MAX_SIDE = 32
"""Maps are area-averaged to at most this many rows and columns: the solver takes cubic time."""


def need_solver() -> None:
    """Raise unless the exact solver is installed.

    Raises:
        MissingExtraError: POT is not installed (extra `emd`).
    """
    if importlib.util.find_spec("ot") is None:
        raise MissingExtraError("emd", "the metric 'emd'")


def earth_movers_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the least work that turns one density into the other (Rubner et al. 2000).

    Both maps are area-averaged to at most 32 x 32 and scaled to sum 1. Distances between pixels
    are Euclidean, in units of the image diagonal.

    Args:
        first: (H, W), at least 0.
        second: (H, W), at least 0.

    Returns:
        0 (equal) to 1.

    Raises:
        MissingExtraError: POT is not installed (extra `emd`).
        ValueError: the shapes differ, or a map has no mass or a negative value.
    """
    try:
        import ot
    except ImportError as error:
        raise MissingExtraError("emd", "the metric 'emd'") from error
    if first.shape != second.shape:
        raise ValueError(f"maps of unequal shapes {first.shape} and {second.shape}")
    p, q = _small(first), _small(second)
    rows, columns = p.shape
    y, x = np.mgrid[0:rows, 0:columns]
    # centres of the blocks, in units of the image diagonal
    height, width = first.shape
    place = np.stack(((y.ravel() + 0.5) * height / rows, (x.ravel() + 0.5) * width / columns), 1)
    place = place / np.hypot(height, width)
    distance = np.sqrt(((place[:, None] - place) ** 2).sum(axis=-1))
    a, b = p.ravel(), q.ravel()
    used_a, used_b = np.flatnonzero(a), np.flatnonzero(b)
    work = ot.emd2(a[used_a], b[used_b], distance[np.ix_(used_a, used_b)].copy())
    return float(work)


def _small(density: NDArray[Any]) -> NDArray[np.float64]:
    """Area-average a map and scale it to sum 1."""
    values = density.astype(np.float64)
    if values.min() < 0 or values.sum() <= 0:
        raise ValueError("a map without mass, or with negative mass")
    rows, columns = (_area(side) for side in values.shape)
    small = rows @ values @ columns.T
    return np.asarray(small / small.sum())


def _area(size: int) -> NDArray[np.float64]:
    """Return (out, size) the share of each pixel in each block; all blocks are equally wide."""
    out = min(size, MAX_SIDE)
    edges = np.linspace(0, size, out + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return np.asarray(np.maximum(overlap, 0))
