"""What a network is told of every click: where, when, and how many others clicked near there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.click_context import density_of_others
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.storage.long_arrays import ranges

_BLOCK_CLICKS = 1 << 19
"""Clicks that are worked on at once, unless one image has more."""

_LEAST_INTERVAL = 1e-3

_POSITION = ("x", "y", "order", "dx", "dy")
_INTERVALS = ("log_interval", "interval_known")
_CONTEXT = ("log_density", "density_known")


@dataclass(frozen=True)
class FeatureSettings:
    """Which features clicks have.

    Attributes:
        context: also how many other participants clicked near there.
        intervals: also the time since the click before.
        max_clicks: clicks of a trial that are looked at, the first ones; None = all.
    """

    context: bool = True
    intervals: bool = False
    max_clicks: int | None = 200

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of `ClickFeatures.values` are."""
        intervals = _INTERVALS if self.intervals else ()
        return (*_POSITION, *intervals, *(_CONTEXT if self.context else ()))


@dataclass(frozen=True)
class ClickFeatures:
    """Features of the clicks of many trials.

    Attributes:
        values: (clicks, features) float32.
        starts: (trials) int64, where each trial's clicks begin.
        lengths: (trials) int64 clicks of each; 0 where none lies in the image.
        cut: trials that had more than `max_clicks`.
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    cut: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def trial(self, number: int) -> NDArray[np.float32]:
        """(clicks, features) of one trial."""
        start = self.starts[number]
        return self.values[start : start + self.lengths[number]]


def features_of(
    trials: Trials,
    index: NDArray[Any],
    settings: FeatureSettings,
    among: Bools | None = None,
    times: NDArray[np.float64] | None = None,
) -> ClickFeatures:
    """The features of some trials of a table, however large; see `click_features`.

    Args:
        trials: the table; context comes from all of it.
        index: (n) trials whose features are wanted, each once.
        settings: which features.
        among: (users) whose clicks are context for others; None = everybody's.
        times: (clicks) seconds at which each click of `trials` was made, or None.

    Returns:
        Features in the order of `index`.
    """
    place = np.full(len(trials), -1)
    place[index] = np.arange(len(index))
    found = [np.empty((0, len(settings.names)), dtype=np.float32)]
    starts, lengths = (np.zeros(len(index), dtype=np.int64) for _ in range(2))
    done, cut = 0, 0
    for block in blocks_of_images(trials, np.unique(trials.image[index])):
        table, at = part_of(trials, block, times)
        wanted = place[block] >= 0
        part = click_features(table, settings, among, at, wanted)
        starts[place[block[wanted]]] = part.starts + done
        lengths[place[block[wanted]]] = part.lengths
        found.append(part.values)
        done, cut = done + len(part.values), cut + part.cut
    return ClickFeatures(np.concatenate(found), starts, lengths, cut)


def click_features(
    trials: Trials,
    settings: FeatureSettings,
    among: Bools | None = None,
    times: NDArray[np.float64] | None = None,
    wanted: Bools | None = None,
) -> ClickFeatures:
    """The features of every click that lies in its image.

    `x` and `y` are the middle of the clicked pixel in units of the image's width and height, in
    0..1; `order` is k / n of click k (from 0) of n; `dx` and `dy` lead from the click before, 0 at
    the first; `log_interval` is the natural logarithm of the seconds since the click before, at
    least 1 ms, and 0 where `interval_known` is 0 (the first click, unknown or decreasing times);
    `log_density` is that of `density_of_others`, 0 where `density_known` is 0.

    Args:
        trials: the table; context comes from all of it.
        settings: which features.
        among: (users) whose clicks are context for others; None = everybody's.
        times: (clicks) seconds at which each click of `trials` was made, or None.
        wanted: (trials) whose features are wanted; None = all.

    Returns:
        Features of the wanted trials in their order.
    """
    inside = trials.inside(slice(None), slice(None))
    table = trials if inside.all() else trials.where_clicks(lambda _, clicks: inside[clicks])
    trial = np.arange(len(table)) if wanted is None else np.flatnonzero(wanted)
    all_clicks = table.n_clicks[trial]
    most = all_clicks.max(initial=0) if settings.max_clicks is None else settings.max_clicks
    lengths = np.minimum(all_clicks, most)
    at = ranges(table.offsets[:-1][trial], lengths)
    starts = np.cumsum(lengths) - lengths
    first = np.zeros(len(at), dtype=np.bool_)
    first[starts[lengths > 0]] = True
    sides = np.repeat(table.shape[table.image[trial]], lengths, axis=0)
    values = np.empty((len(at), len(settings.names)), dtype=np.float32)
    columns = dict(zip(settings.names, values.T, strict=True))
    for name, places, side in (("x", table.x, sides[:, 1]), ("y", table.y, sides[:, 0])):
        columns[name][:] = (places[at] + 0.5) / side
        columns[f"d{name}"][:] = _steps(columns[name], first)
    order = ranges(np.zeros_like(lengths), lengths)
    columns["order"][:] = order / np.repeat(all_clicks, lengths)
    if settings.intervals:
        seconds = np.full(len(at), np.nan) if times is None else times[inside][at]
        _set_known(columns, _INTERVALS, _log_intervals(seconds, first))
    if settings.context:
        _set_known(columns, _CONTEXT, np.log(density_of_others(table, among)[at]))
    return ClickFeatures(values, starts, lengths, int(np.count_nonzero(all_clicks > most)))


def blocks_of_images(trials: Trials, images: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """Trials of a table, all of an image together, in blocks of bounded size or of one image.

    Args:
        trials: the table.
        images: codes of the images whose trials are wanted; None = all.
    """
    order = np.argsort(trials.image, kind="stable")
    if images is not None:
        order = order[np.isin(trials.image[order], images)]
    if not len(order):
        return
    ends = np.append(np.flatnonzero(np.diff(trials.image[order])) + 1, len(order))
    clicks = np.cumsum(trials.n_clicks[order])[ends - 1]
    first, done = 0, 0
    while first < len(order):
        # the first image is always taken, the others while there is room
        begun = int(np.searchsorted(ends, first, side="right"))
        fits = int(np.searchsorted(clicks, done + _BLOCK_CLICKS, side="right")) - 1
        last = max(begun, fits)
        yield order[first : ends[last]]
        first, done = int(ends[last]), int(clicks[last])


def part_of(
    trials: Trials, index: NDArray[Any], times: NDArray[np.float64] | None
) -> tuple[Trials, NDArray[np.float64] | None]:
    """Some trials as a table of their own, with the times of their clicks."""
    if times is None:
        return trials.select(index), None
    return trials.select(index), times[ranges(trials.offsets[:-1][index], trials.n_clicks[index])]


def _steps(values: NDArray[np.float32], first: Bools) -> NDArray[np.float32]:
    """What leads from the click before to each, 0 at the first of a trial."""
    steps = np.diff(values, prepend=values[:1])
    steps[first] = 0
    return steps


def _log_intervals(seconds: NDArray[np.float64], first: Bools) -> NDArray[np.float64]:
    """Logarithms of the times between clicks; NaN where they are not known."""
    steps = np.diff(seconds, prepend=seconds[:1])
    steps[first | ~(steps >= 0) | ~np.isfinite(steps)] = np.nan
    return np.asarray(np.log(np.maximum(steps, _LEAST_INTERVAL)))


def _set_known(
    columns: dict[str, NDArray[np.float32]], names: tuple[str, str], found: NDArray[np.float64]
) -> None:
    """A column and its flag: 0 and 0 where nothing is known."""
    known = ~np.isnan(found)
    columns[names[0]][:] = np.where(known, found, 0)
    columns[names[1]][:] = known
