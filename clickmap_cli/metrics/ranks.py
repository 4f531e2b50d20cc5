"""Average ranks, fast and exact."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def best_and_worst(n: int, wanted: int) -> tuple[int, int]:
    """Return how many of `n` ranked items are listed as best and as worst, none as both.

    Args:
        n: items that have a score.
        wanted: length of each list; with too few items they are split, and the best list gets the
            odd one.

    >>> best_and_worst(12, 5), best_and_worst(5, 5)
    ((5, 5), (3, 2))
    """
    best = min(wanted, (n + 1) // 2)
    return best, min(wanted, n - best)


def average_ranks(values: NDArray[Any]) -> Vector:
    """Return ranks from 1; ties share the mean of their ranks, as in `scipy.stats.rankdata`.

    Each value and its place are packed into one 64-bit number, so that a single plain sort gives
    order and ties. Zeros, which make up most of a trial's map, are counted and not sorted.

    Args:
        values: (N) floats without NaN, compared as float32 (a map is float32).

    Returns:
        (N) float64.

    Raises:
        ValueError: `values` is not one-dimensional, too long, or holds NaN.

    >>> average_ranks(np.array([0.5, 0, 0, 2]))
    array([3. , 1.5, 1.5, 4. ])
    """
    single = np.ascontiguousarray(values, dtype=np.float32)
    if single.ndim != 1 or len(single) >= 2**32:
        raise ValueError(f"ranks of an array of shape {single.shape}")
    least = single.min() if len(single) else np.float32(0)
    if np.isnan(least):
        raise ValueError("ranks of NaN")
    zeros = 0
    if least < 0:
        packed = _pack(_ordered_bits(single + np.float32(0)), _all_places(len(single)))
    elif least > 0:
        packed = _pack(single.view(np.uint32), _all_places(len(single)))
    else:
        places = np.flatnonzero(single > 0)
        zeros = len(single) - len(places)
        packed = _pack(single[places].view(np.uint32), places.astype(np.uint32))
    packed.sort()
    halves = packed.view(np.uint32).reshape(-1, 2)
    low, high = (0, 1) if np.little_endian else (1, 0)
    bounds = _run_bounds(np.ascontiguousarray(halves[:, high]))
    shared = zeros + (bounds[:-1] + bounds[1:] + 1) / 2
    ranks = np.full(len(single), (zeros + 1) / 2)
    ranks[halves[:, low].astype(np.intp)] = np.repeat(shared, np.diff(bounds))
    return ranks


def _run_bounds(ordered: NDArray[Any]) -> NDArray[np.intp]:
    """Return the start of each run of equal values in a sorted array, then the array's length."""
    if not len(ordered):
        return np.zeros(1, dtype=np.intp)
    return np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(ordered)]))


def _ordered_bits(single: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return bits that sort as the floats do: sign bit flipped; all bits flipped if negative."""
    bits = single.view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def _pack(bits: NDArray[np.uint32], places: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Pack bits into the upper halves and places into the lower halves of 64-bit numbers."""
    packed = np.empty((len(bits), 2), dtype=np.uint32)
    low, high = (0, 1) if np.little_endian else (1, 0)
    packed[:, low] = places
    packed[:, high] = bits
    return packed.view(np.uint64).ravel()


@lru_cache(maxsize=8)
def _all_places(size: int) -> NDArray[np.uint32]:
    return np.arange(size, dtype=np.uint32)
