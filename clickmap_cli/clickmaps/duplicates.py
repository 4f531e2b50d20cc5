"""Trials of an image that click the same set of pixels."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials

_MIX = np.uint64(0x9E3779B97F4A7C15)


def same_pixels(trials: Trials) -> list[NDArray[np.intp]]:
    """Group the trials of each image whose clicks cover the same set of pixels.

    Trials are first compared by a fingerprint that does not depend on order or repetition; only
    trials with equal fingerprints are compared pixel by pixel.

    Returns:
        Trial numbers of each group of two or more trials, in the order of the table.
    """
    prints = _fingerprints(trials)
    order = np.lexsort((prints, trials.image))
    keyed, images = prints[order], trials.image[order]
    new = np.ones(len(trials), dtype=np.bool_)
    new[1:] = (keyed[1:] != keyed[:-1]) | (images[1:] != images[:-1])
    bounds = np.append(np.flatnonzero(new), len(trials))
    groups = []
    for first, last in pairwise(bounds):
        if last - first > 1:
            groups.extend(_equal_sets(trials, np.sort(order[first:last])))
    return groups


def _fingerprints(trials: Trials) -> NDArray[np.uint64]:
    """Compute (n) numbers that are equal for equal sets of pixels."""
    prints = np.zeros(len(trials), dtype=np.uint64)
    for block, clicks in trials.blocks():
        pixel = trials.y[clicks].astype(np.uint64) << np.uint64(32)
        pixel |= trials.x[clicks].astype(np.uint64)
        mixed = pixel * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        some = np.flatnonzero(trials.n_clicks[block]) + block.start
        if not len(some):
            continue
        starts = trials.offsets[some] - clicks.start
        bits = np.left_shift(np.uint64(1), mixed >> np.uint64(58))
        for summary, values in (
            (np.minimum, mixed), (np.maximum, mixed), (np.bitwise_or, mixed), (np.bitwise_or, bits),
        ):  # fmt: skip
            one = summary.reduceat(values, starts)
            prints[some] = (prints[some] ^ one ^ (one >> np.uint64(31))) * _MIX
    return prints


def _equal_sets(trials: Trials, numbers: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    exact: defaultdict[bytes, list[int]] = defaultdict(list)
    for number in numbers.tolist():
        x, y = trials.clicks(number)
        pixels = np.unique(y.astype(np.int64) << 32 | x.astype(np.int64))
        exact[pixels.tobytes()].append(number)
    return [np.array(group) for group in exact.values() if len(group) > 1]
