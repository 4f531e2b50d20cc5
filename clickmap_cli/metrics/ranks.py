"""Average ranks, fast and exact."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def average_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing the mean of the ranks they span, as `scipy.stats.rankdata`.

    Each value and its place are packed into one 64-bit number, so that a single plain sort gives
    order and ties; zeros, which fill most of a trial's map, are counted and not sorted.

    Args:
        values: (N) floats without NaN, compared as float32 (a map is float32).

    Returns:
        (N) float64.

    Raises:
        ValueError: `values` is not one-dimensional, too long, or holds NaN.

    >>> average_ranks(np.array([0.5, 0, 0, 2]))
    array([3. , 1.5, 1.5, 4. ])
    """
    single = np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)  # -0 becomes 0
    if single.ndim != 1 or len(single) >= 2**32:
        raise ValueError(f"ranks of an array of shape {single.shape}")
    filled = int(np.count_nonzero(single))
    if filled > 0.9 * len(single) or (filled and single.min() < 0):
        return _ranked(single, _all_places(len(single)), 0, len(single))
    places = np.flatnonzero(single)
    return _ranked(single[places], places.astype(np.uint64), len(single) - filled, len(single))


@lru_cache(maxsize=8)
def _all_places(size: int) -> NDArray[np.uint64]:
    return np.arange(size, dtype=np.uint64)


def _ranked(
    values: NDArray[np.float32], places: NDArray[np.uint64], below: int, size: int
) -> NDArray[np.float64]:
    """Ranks of `values` standing at `places`; `below` zeros at the other places rank first."""
    if np.isnan(values).any():
        raise ValueError("ranks of NaN")
    ranks = np.full(size, (below + 1) / 2)
    bits = values.view(np.uint32)
    if len(values) and values.min() < 0:
        # floats order like their bits once the sign is flipped, and all bits of negative ones
        negative = bits >> np.uint32(31) == 1
        bits = np.where(negative, ~bits, bits | np.uint32(1 << 31))
    packed = bits.astype(np.uint64) << np.uint64(32)
    packed |= places
    packed.sort()
    halves = packed.view(np.uint32).reshape(-1, 2)
    low, high = (0, 1) if np.little_endian else (1, 0)
    order = halves[:, low].astype(np.intp)
    sorted_bits = np.ascontiguousarray(halves[:, high])
    run = np.arange(below + 1, below + len(values) + 1, dtype=np.float64)
    tied = np.flatnonzero(sorted_bits[1:] == sorted_bits[:-1])
    if len(tied):
        # runs of equal neighbours; each gets the mean of its first and last rank
        apart = np.diff(tied) > 1
        first = tied[np.concatenate(([True], apart))]
        last = tied[np.concatenate((apart, [True]))] + 1
        lengths = last - first + 1
        inside = np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
        inside += np.arange(len(inside))
        run[inside] = np.repeat((run[first] + run[last]) / 2, lengths)
    ranks[order] = run
    return ranks
