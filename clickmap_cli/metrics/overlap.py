"""Overlap of regions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def intersection_over_union(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the intersection over union (Jaccard index) of two regions.

    Args:
        first: (H, W) bool.
        second: (H, W) bool.

    Returns:
        0 (disjoint) to 1 (equal); NaN when both are empty.

    Raises:
        ValueError: the shapes differ.

    >>> intersection_over_union(np.array([[1, 1, 0]]) > 0, np.array([[0, 1, 1]]) > 0)
    0.3333333333333333
    """
    if first.shape != second.shape:
        raise ValueError(f"regions of unequal shapes {first.shape} and {second.shape}")
    union = int(np.count_nonzero(first | second))
    return math.nan if union == 0 else float(np.count_nonzero(first & second) / union)
