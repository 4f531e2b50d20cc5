"""Losses of a data set while it is read: the check that they are not too large, likely causes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.config.fields import MAX_LOST
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress


@dataclass(frozen=True)
class Loss:
    """Items of one kind that were dropped or could not be used.

    Attributes:
        lost: number of lost items.
        total: number of all items.
        what: the items and their fault, such as `clicks lie outside their image`.
        cause: the likeliest cause with its evidence, in sentences; empty if no cause is known.
    """

    lost: int
    total: int
    what: str
    cause: str = ""

    @property
    def share(self) -> float:
        """Share of lost items, 0 to 1; 0 without any items."""
        return self.lost / self.total if self.total else 0.0

    def __str__(self) -> str:
        percent = f"{100 * self.share:.0f}%" if self.share >= 0.01 else "under 1%"
        return f"{self.lost:,} of {self.total:,} {self.what} ({percent})."


class TooMuchLostError(DataError):
    """More of a data set is lost than `max_lost` allows."""


def check_losses(
    losses: Iterable[Loss], max_lost: float, progress: Progress, where: str = "", least: float = 0.0
) -> None:
    """Raise DataError if a loss is too large, and give notices about the smaller losses.

    Args:
        losses: losses of one data set.
        max_lost: largest share that may be lost, 0 to 1.
        progress: receives notices of smaller losses; those above 0.25 are repeated at the end.
        where: the data set, for messages.
        least: share up to which losses are not noticed, because the caller shows them elsewhere (in
            the funnel).

    Raises:
        DataError: the share of a loss is above `max_lost`.
    """
    said = f"{where}: " if where else ""
    known = [loss for loss in losses if loss.lost]
    fatal = [loss for loss in known if loss.share > max_lost]
    if fatal:
        worst = max(fatal, key=lambda loss: loss.share)
        cause = f" {worst.cause}" if worst.cause else ""
        raise TooMuchLostError(
            f"{said}{worst}{cause} Results of what is left would mislead, so none are computed; "
            f"correct the input, or raise max_lost (now {max_lost:g}) to go on with the rest."
        )
    for loss in known:
        if loss.share <= least:
            continue
        cause = f" {loss.cause}" if loss.cause else ""
        progress.notice(f"{said}{loss}{cause}", again=loss.share > MAX_LOST)


Floats = NDArray[np.float64]

_ENOUGH = 20  # points; fewer do not show what is wrong
_SMALL_SIDE = 16  # pixels; in smaller images, points between 0 and 1 are not suspicious
_EXPLAINS = 0.9  # share of points that a cause must bring inside
_MOST_POINTS = 200_000

_SCREENS = (
    (1280, 720), (1366, 768), (1440, 900), (1536, 864), (1600, 900), (1680, 1050), (1920, 1080),
    (1920, 1200), (2560, 1440), (3840, 2160), (1024, 768), (1280, 800), (1280, 1024), (1600, 1200),
)  # fmt: skip
"""Width and height of common screens."""

_IMAGES = (
    (224, 224), (256, 256), (299, 299), (320, 240), (384, 384), (448, 448), (512, 384), (512, 512),
    (640, 480), (800, 600), (1024, 768), (1024, 1024), (1280, 720), (1280, 1024), (1680, 1050),
    (1920, 1080),
)  # fmt: skip
"""Width and height of images that are common in experiments."""


@dataclass(frozen=True)
class Coordinates:
    """Points as they were given, with the size of each point's image.

    Attributes:
        x: (n) columns, as they are in the file.
        y: (n) rows.
        width: (n) width of the point's image, in pixels.
        height: (n) height of the point's image, in pixels.
    """

    x: Floats
    y: Floats
    width: Floats
    height: Floats

    def inside(self, x: Floats | None = None, y: Floats | None = None) -> float:
        """Return the share of points inside their image, or of other coordinates if given."""
        x, y = self.x if x is None else x, self.y if y is None else y
        inside = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
        return float(np.mean(inside)) if len(x) else 1.0


def sample_coordinates(trials: Trials) -> Coordinates:
    """Return the clicks of a table, at most 200,000 of them, evenly spread over it."""
    every = max(1, -(-len(trials.x) // _MOST_POINTS))
    at = np.arange(0, len(trials.x), every)
    trial = np.searchsorted(trials.offsets, at, side="right") - 1
    sides = trials.shape[trials.image[trial]].astype(np.float64)
    x, y = trials.x[at].astype(np.float64), trials.y[at].astype(np.float64)
    return Coordinates(x, y, sides[:, 1], sides[:, 0])


def are_fractions(points: Coordinates) -> bool:
    """Return True if all points lie between 0 and 1 in images that are much larger than that.

    Clicks are floored when they are read, so that 1.0 is in the second pixel.
    """
    if len(points.x) < _ENOUGH or min(points.width.min(), points.height.min()) < _SMALL_SIDE:
        return False
    least = min(points.x.min(), points.y.min())
    return bool(least >= 0 and max(points.x.max(), points.y.max()) <= 1)


FRACTIONS = (
    "All lie between 0 and 1: they look like fractions of the image. Multiply x by its width and y "
    "by its height."
)


def suspicions(points: Coordinates) -> list[str]:
    """Return sentences about points that nearly all lie inside, but seem to mean other places.

    Args:
        points: the points as they were given.
    """
    if len(points.x) < 5 * _ENOUGH:
        return []
    return [said for said in (_corner(points), _from_1(points), _few_swapped(points)) if said]


def _corner(points: Coordinates) -> str:
    """Return a sentence if all points lie in the upper left part of images, else an empty text."""
    low = min(points.x.min(), points.y.min())
    wide, high = (points.x / points.width).max(), (points.y / points.height).max()
    x, y = float(points.x.max()), float(points.y.max())
    may_be_percent = max(x, y) <= 100
    most = 0.6 if may_be_percent else 0.5  # share of the images' area
    if low < 0 or max(wide, high) > 0.9 or wide * high > most or points.width.min() < _SMALL_SIDE:
        return ""
    percent = " percent of the image, or" if may_be_percent else ""
    return (
        f"No x is above {x:g} and no y above {y:g}, in images of up to {points.width.max():g} x "
        f"{points.height.max():g} (width x height): nothing lies in the rest of them. Are they"
        f"{percent} coordinates of a smaller image?"
    )


def _from_1(points: Coordinates) -> str:
    """Return a sentence if coordinates run from 1 to the image's sides, else an empty text."""
    last = (points.x - points.width).max(), (points.y - points.height).max()
    if min(points.x.min(), points.y.min()) < 1 or last != (0, 0):
        return ""
    return (
        "x runs from 1 to the image's width and y from 1 to its height: are they counted from 1? "
        "Then subtract 1; here the first pixel is 0."
    )


def _few_swapped(points: Coordinates) -> str:
    """Return a sentence if swapping x and y would bring the few points outside inside."""
    outside = 1 - points.inside()
    swapped = 1 - points.inside(points.y, points.x)
    if outside * len(points.x) < _ENOUGH / 4 or swapped > outside / 20:
        return ""
    return (
        f"{_percent(outside)} of the points lie outside their image, and {_percent(swapped)} would "
        "with x and y swapped; are they? x is the column, counted from the left, y the row, from "
        "the top."
    )


def likeliest_cause(points: Coordinates) -> str:
    """Return the likeliest cause of points outside their images, as a sentence with its evidence.

    Causes are tried in turn; the first one that would bring 90% of the points inside is named. If
    none would, the sentence gives the range of the coordinates.
    """
    if not len(points.x):
        return ""
    for cause in (_centred_origin, _swapped, _screen, _other_size):
        said = cause(points)
        if said:
            return said
    return (
        f"x runs from {points.x.min():g} to {points.x.max():g} and y from {points.y.min():g} to "
        f"{points.y.max():g}; the first image has {points.height[0]:g} x {points.width[0]:g} "
        "pixels (height x width)."
    )


def _swapped(points: Coordinates) -> str:
    share = _share_explained(points, points.y, points.x)
    return share and (
        f"With x and y swapped, {share} would lie inside: x is the column, counted from the left, "
        "y the row, counted from the top."
    )


def _centred_origin(points: Coordinates) -> str:
    """Explain points by an origin in the image's centre, with y upwards or downwards."""
    if np.mean(points.x < 0) < 0.2 or np.mean(points.y < 0) < 0.2:
        return ""
    x, y = points.x + points.width / 2, points.y + points.height / 2
    share = _share_explained(points, x, y)
    return share and (
        "Many are negative: they look as if counted from the image's centre. With half the width "
        f"and height added, {share} would lie inside (where y points up, it must be turned round)."
    )


def _screen(points: Coordinates) -> str:
    """Explain points as coordinates of a screen with the image in its centre."""
    return _best(
        points,
        _SCREENS,
        lambda w, h: (points.x - (w - points.width) / 2, points.y - (h - points.height) / 2),
        "they look like coordinates of a screen of {w} x {h} (width x height) with the image in "
        "its middle: with its corner subtracted, {share} would lie inside.",
    )


def _other_size(points: Coordinates) -> str:
    """Explain points as coordinates of the image at another size."""
    return _best(
        points,
        _IMAGES,
        lambda w, h: (points.x * points.width / w, points.y * points.height / h),
        "they look like coordinates of a larger image: scaled from {w} x {h} (width x height), "
        "{share} would lie inside. Give the size they are measured in.",
    )


def _best(
    points: Coordinates,
    sizes: tuple[tuple[int, int], ...],
    move: Callable[[int, int], tuple[Floats, Floats]],
    words: str,
) -> str:
    """Explain points by the size that brings most of them inside, the smallest of equals."""
    found = []
    for w, h in sizes:
        x, y = move(w, h)
        fits = np.quantile(points.x, 0.99) < w and np.quantile(points.y, 0.99) < h
        # points that fill only a corner would fit into any larger size
        spread = min(np.ptp(x) / points.width.max(), np.ptp(y) / points.height.max())
        if fits and spread > 0.6 and _share_explained(points, x, y):
            found.append((round(points.inside(x, y), 2), -w * h, w, h))
    if not found:
        return ""
    share, _, w, h = max(found)
    reach = f"x reaches {points.x.max():g} and y {points.y.max():g}; "
    return reach + words.format(w=w, h=h, share=_percent(share))


def _share_explained(points: Coordinates, x: Floats, y: Floats) -> str:
    """Return the share of points that other coordinates bring inside; empty if it is low."""
    share = points.inside(x, y)
    return _percent(share) if share >= _EXPLAINS and share > points.inside() + 0.1 else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
