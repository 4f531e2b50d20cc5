"""Trials of an image that click the same set of pixels."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials, trial_blocks

_MIX = np.uint64(0x9E3779B97F4A7C15)


def same_pixels(trials: Trials) -> list[NDArray[np.intp]]:
    """Groups of two or more trials of one image whose clicks cover the same set of pixels.

    Trials are first told apart by a fingerprint that does not depend on order or repetition, and
    only those that agree in it are compared pixel by pixel.

    Returns:
        Trial numbers of each group, in the order of the table.
    """
    prints = _fingerprints(trials)
    order = np.lexsort((*prints.T, trials.image))
    keyed = np.column_stack((trials.image.astype(np.uint64), prints))[order]
    new = np.ones(len(trials), dtype=np.bool_)
    new[1:] = np.any(keyed[1:] != keyed[:-1], axis=1)
    bounds = np.append(np.flatnonzero(new), len(trials))
    groups = []
    for first, last in pairwise(bounds):
        if last - first > 1:
            groups.extend(_equal_sets(trials, np.sort(order[first:last])))
    return groups


def _fingerprints(trials: Trials) -> NDArray[np.uint64]:
    """(n, 4) numbers that are equal for equal sets of pixels."""
    prints = np.zeros((len(trials), 4), dtype=np.uint64)
    lengths = trials.n_clicks
    for first, last in trial_blocks(trials.offsets):
        span = slice(trials.offsets[first], trials.offsets[last])
        pixel = trials.y[span].astype(np.uint64) << np.uint64(32) | trials.x[span].astype(np.uint64)
        mixed = pixel * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        some = np.flatnonzero(lengths[first:last]) + first
        if not len(some):
            continue
        starts = trials.offsets[some] - trials.offsets[first]
        bits = np.left_shift(np.uint64(1), mixed >> np.uint64(58))
        prints[some, 0] = np.minimum.reduceat(mixed, starts)
        prints[some, 1] = np.maximum.reduceat(mixed, starts)
        prints[some, 2] = np.bitwise_or.reduceat(mixed, starts)
        prints[some, 3] = np.bitwise_or.reduceat(bits, starts)
    return prints


def _equal_sets(trials: Trials, numbers: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    exact: defaultdict[bytes, list[int]] = defaultdict(list)
    for number in numbers.tolist():
        x, y = trials.clicks(number)
        pixels = np.unique(y.astype(np.int64) << 32 | x.astype(np.int64))
        exact[pixels.tobytes()].append(number)
    return [np.array(group) for group in exact.values() if len(group) > 1]
