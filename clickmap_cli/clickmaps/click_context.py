"""Density of other participants' clicks at each click: agreement click by click."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import Kernel, blur_counts
from clickmap_cli.clickmaps.trials import Bools, Ints, Trials
from clickmap_cli.storage.long_arrays import ranges

_CELLS = 64
"""Number of cells along each side of an image, whatever its shape."""

_RADIUS = 3
"""Radius, in cells, of the disk that spreads a click."""

_UNIFORM_CLICKS = 5
"""Number of uniform clicks added to those of the others, to limit the effect of few people."""

_UNIFORM_SHARE = 0.05
"""Share of the uniform density that is mixed in, so that its logarithm stays bounded."""

_PAIRED = 1024
"""Clicks of a person on an image up to this number are compared in pairs, not on the grid."""

_BLOCK_PAIRS = 1 << 22
"""Number of pairs that are compared at once."""

_SIDE = _CELLS + 2 * _RADIUS
"""Side of the grid with a margin, which is wide enough that the first pass of a spread is never
cut."""

_KERNEL = Kernel("circle", 2 * _RADIUS + 1, 0.0)


def density_of_others(trials: Trials, among: Bools | None = None) -> NDArray[np.float64]:
    """Compute the density of other participants' clicks at each click; 1 means uniform.

    An image is divided into 64 x 64 cells, and every click spreads over a disk of radius 3 cells in
    two passes, without a cut at the image's edge between them. A participant's own clicks in the
    image, in any trial, are excluded. Let N be the number of the others' clicks, S their spread
    clicks in a cell, and E the same for N uniform clicks. The density is 0.05 + 0.95 (N S / E + 5)
    / (N + 5). Sums are of whole numbers, and so exact.

    Args:
        trials: the table; all clicks lie inside their images.
        among: (users) True for users whose clicks count as others' clicks; None for all users.

    Returns:
        (clicks) density; NaN if nobody else clicked the image.
    """
    lengths = trials.n_clicks
    image = np.repeat(trials.image, lengths)
    user = np.repeat(trials.user, lengths)
    counts = np.ones(len(user), np.bool_) if among is None else among[user]
    cell = _cells(trials)
    total, clicks = _spread(cell, image, counts)
    own, own_clicks = np.zeros_like(total), np.zeros_like(clicks)
    # clicks of users who do not count as others are not in the sums, so they are not subtracted
    mine = np.flatnonzero(counts)
    person = image[mine].astype(np.int64) * max(len(trials.users), 1) + user[mine]
    own[mine], own_clicks[mine] = _own(cell[mine], person)
    others = clicks - own_clicks
    ground = np.zeros((_SIDE, _SIDE), dtype=np.int64)
    ground[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = 1
    uniform = blur_counts(ground, _KERNEL).ravel()[cell] / _CELLS**2
    found = ((total - own) / uniform + _UNIFORM_CLICKS) / (others + _UNIFORM_CLICKS)
    return np.where(others > 0, _UNIFORM_SHARE + (1 - _UNIFORM_SHARE) * found, np.nan)


def _cells(trials: Trials) -> NDArray[np.int64]:
    """Return (clicks) cell of each click in the grid with its margin, counted row by row."""
    sides = np.repeat(trials.shape[trials.image], trials.n_clicks, axis=0).astype(np.int64)
    row = trials.y.astype(np.int64) * _CELLS // sides[:, 0]
    column = trials.x.astype(np.int64) * _CELLS // sides[:, 1]
    return (row + _RADIUS) * _SIDE + column + _RADIUS


def _spread(
    cell: NDArray[np.int64], image: Ints, counts: Bools
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum the counting clicks spread to each click's cell, and count those in its image."""
    order = np.argsort(image, kind="stable")
    bounds = np.flatnonzero(np.diff(image[order], prepend=-1, append=-1))
    total, clicks = np.zeros_like(cell), np.zeros_like(cell)
    for start, end in pairwise(bounds.tolist()):
        part = order[start:end]
        total[part] = _on_grid(cell[part], cell[part[counts[part]]])
        clicks[part] = np.count_nonzero(counts[part])
    return total, clicks


def _on_grid(wanted: NDArray[np.int64], clicked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum the spread of clicked cells at the wanted cells."""
    counts = np.bincount(clicked, minlength=_SIDE**2).reshape(_SIDE, _SIDE)
    spread: NDArray[np.int64] = blur_counts(counts, _KERNEL).ravel()[wanted]
    return spread


def _own(
    cell: NDArray[np.int64], person: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum the spread of each person's clicks on an image at their own cells, and count them.

    Args:
        cell: (clicks) cells.
        person: (clicks) codes, one for each person and image.
    """
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    own, clicks = np.zeros_like(cell), np.zeros_like(cell)
    clicks[order] = np.repeat(lengths, lengths)
    by_length = np.argsort(lengths, kind="stable")
    small = by_length[lengths[by_length] <= _PAIRED]
    for group in by_length[len(small) :]:
        part = order[starts[group] : starts[group] + lengths[group]]
        own[part] = _on_grid(cell[part], cell[part])
    table = _pair_table()
    first = 0
    while first < len(small):
        # groups of similar length are compared together, as many as fit into a block
        longest = lengths[small[first:]]
        fits = np.arange(1, len(longest) + 1) * longest**2 <= _BLOCK_PAIRS
        groups = small[first : first + max(1, int(np.count_nonzero(fits)))]
        part = order[ranges(starts[groups], lengths[groups])]
        own[part] = _in_pairs(cell[part], lengths[groups], table)
        first += len(groups)
    return own, clicks


def _pair_table() -> NDArray[np.int64]:
    """Tabulate the spread of a click by cell offset d, at index d + side squared; 0 at both ends.

    The margin makes rows so wide that any two cells within a spread have different offsets.
    """
    one = np.zeros((_SIDE, _SIDE), dtype=np.int64)
    middle = _SIDE // 2
    one[middle, middle] = 1
    spread = blur_counts(one, _KERNEL)
    table = np.zeros(2 * _SIDE**2 + 1, dtype=np.int64)
    rows, columns = np.nonzero(spread)
    table[_SIDE**2 + (rows - middle) * _SIDE + columns - middle] = spread[rows, columns]
    return table


def _in_pairs(
    cell: NDArray[np.int64], lengths: NDArray[np.int64], table: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sum (clicks) the spread of all clicks of each group at each click's own cell."""
    there = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(there.shape, 4 * _SIDE**2)  # far from everything
    padded[there] = cell
    away = padded[:, :, None] - padded[:, None, :] + _SIDE**2
    brought: NDArray[np.int64] = np.take(table, away, mode="clip").sum(axis=2)[there]
    return brought
