"""Features of every click for a network: where, when, and how many others clicked nearby."""

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
"""Number of clicks processed at once, unless one image has more."""

_LEAST_INTERVAL = 1e-3

_POSITION = ("x", "y", "order", "dx", "dy")
_INTERVALS = ("log_interval", "interval_known")
_CONTEXT = ("log_density", "density_known")


@dataclass(frozen=True)
class FeatureSettings:
    """Choice of click features.

    Attributes:
        context: True to add how many other participants clicked nearby.
        intervals: True to add the time since the previous click.
        max_clicks: number of clicks used per trial, from the first; None = all.
    """

    context: bool = True
    intervals: bool = False
    max_clicks: int | None = 200

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of `ClickFeatures.values`."""
        intervals = _INTERVALS if self.intervals else ()
        return (*_POSITION, *intervals, *(_CONTEXT if self.context else ()))


@dataclass(frozen=True)
class ClickFeatures:
    """Features of the clicks of many trials.

    Attributes:
        values: (clicks, features) float32.
        starts: (trials) int64 row at which each trial's clicks begin.
        lengths: (trials) int64 number of clicks of each trial; 0 if none lies in the image.
        cut: number of trials that had more than `max_clicks`.
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    cut: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def trial(self, number: int) -> NDArray[np.float32]:
        """Return the (clicks, features) of one trial."""
        start = self.starts[number]
        return self.values[start : start + self.lengths[number]]


def features_of(
    trials: Trials,
    index: NDArray[Any],
    settings: FeatureSettings,
    among: Bools | None = None,
    times: NDArray[np.float64] | None = None,
) -> ClickFeatures:
    """Compute the features of some trials of a table of any size; see `click_features`.

    Args:
        trials: the table; context comes from all of it.
        index: (n) trials to compute features for, without repeats.
        settings: choice of features.
        among: (users) people whose clicks are context for others; None = everybody.
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
    """Compute the features of every click that lies in its image.

    `x` and `y` are the middle of the clicked pixel in units of the image's width and height, in
    0..1. `order` is k / n for click k (from 0) of n. `dx` and `dy` are the differences from the
    previous click, 0 at the first. `log_interval` is the natural logarithm of the seconds since the
    previous click, at least 1 ms, and 0 where `interval_known` is 0 (the first click, unknown or
    decreasing times). `log_density` is the logarithm of `density_of_others`, 0 where
    `density_known` is 0.

    Args:
        trials: the table; context comes from all of it.
        settings: choice of features.
        among: (users) people whose clicks are context for others; None = everybody.
        times: (clicks) seconds at which each click of `trials` was made, or None.
        wanted: (trials) mask of trials to compute features for; None = all.

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
    """Yield the trials of a table, grouped by image, in blocks of bounded size or of one image.

    Args:
        trials: the table.
        images: codes of the images to include; None = all.
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
    """Return some trials as a separate table, with the times of their clicks."""
    if times is None:
        return trials.select(index), None
    return trials.select(index), times[ranges(trials.offsets[:-1][index], trials.n_clicks[index])]


def _steps(values: NDArray[np.float32], first: Bools) -> NDArray[np.float32]:
    """Return each click's difference from the previous one, 0 at the first of a trial."""
    steps = np.diff(values, prepend=values[:1])
    steps[first] = 0
    return steps


def _log_intervals(seconds: NDArray[np.float64], first: Bools) -> NDArray[np.float64]:
    """Return logarithms of the times between clicks; NaN where they are unknown."""
    steps = np.diff(seconds, prepend=seconds[:1])
    steps[first | ~(steps >= 0) | ~np.isfinite(steps)] = np.nan
    return np.asarray(np.log(np.maximum(steps, _LEAST_INTERVAL)))


def _set_known(
    columns: dict[str, NDArray[np.float32]], names: tuple[str, str], found: NDArray[np.float64]
) -> None:
    """Fill a column and its flag; both are 0 where the value is NaN."""
    known = ~np.isnan(found)
    columns[names[0]][:] = np.where(known, found, 0)
    columns[names[1]][:] = known
