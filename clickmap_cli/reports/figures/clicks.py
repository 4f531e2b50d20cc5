"""Clicks in their order, as numbered points or as a path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.figures.panels import (
    draw_colours,
    field_of,
    grid,
    headline,
    preset_of,
    say_missing,
    shape_of,
    show,
    some_of,
)
from clickmap_cli.reports.overlays import Bytes, blended
from clickmap_cli.reports.style import COLOURS, save_all, styled
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.services.visualize.pictures import ClicksPicture, Track

_NUMBERS = 6
"""Approximate count of numbers beside points; more would hide one another."""

_FEW = 30
"""Largest number of clicks for which points have their full size; more have smaller ones."""

_SMALLEST = 0.5
"""Smallest size of points, as a share of their full size."""

_ROOM = (0.13, 0.07)
"""Width and height of a number, as shares of its panel's width."""

_PALE = 0.35
"""Share of white that is mixed into the image, so that points stand out."""


def draw_clicks(clicks: ClicksPicture, look: Look, paths: Mapping[str, Path]) -> None:
    """Draw one panel per participant: every click, darker if earlier, and some of their numbers."""
    picture = clicks.picture
    columns = min(2 if look.preset == "paper" else 3, len(clicks.tracks))
    rows = -(-len(clicks.tracks) // columns)
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, shape_of(picture), look, "order of clicks")
        for axis, track in zip(panels.axes, clicks.tracks, strict=False):
            pixels = _pale(field_of(picture))
            show(axis, pixels, picture, look, track.name, f", {track.n_clicks:,} clicks")
            say_missing(axis, picture, look)
            _draw_track(axis, track, look, picture.heat.shape[1])
        bar = draw_colours(panels, look, 1)
        if bar is not None:
            bar.set_ticks([0, 1], labels=["first", "last"])
        people = len({track.name for track in clicks.tracks})
        headline(panels, picture.key, look, some_of(picture, people))
        save_all(panels.figure, paths)


def shares_of(track: Track) -> NDArray[np.float64]:
    """Return (clicks) the position of each click in its trial: 0 the first, 1 the last."""
    return np.asarray((track.number - 1) / max(track.n_clicks - 1, 1))


def numbered(track: Track, width: float) -> list[int]:
    """Return positions of the clicks that get numbers: the first, the last, and some between.

    Args:
        track: the clicks.
        width: width of the panel, in pixels of the map; a number that would overlap is left out.
    """
    n = len(track.number)
    among = np.unique(np.rint(np.linspace(0, n - 1, min(_NUMBERS, n))).astype(int)).tolist()
    found: list[int] = []
    for at in dict.fromkeys([0, n - 1, *among]):
        near = [
            other
            for other in found
            if abs(track.x[at] - track.x[other]) < _ROOM[0] * width
            and abs(track.y[at] - track.y[other]) < _ROOM[1] * width
        ]
        if not near:
            found.append(at)
    return sorted(found)


def _shrunk(n: int) -> float:
    """Return the factor that makes points smaller if there are many."""
    return float(np.clip(np.sqrt(_FEW / n), _SMALLEST, 1))


def _pale(image: Bytes) -> Bytes:
    return blended(image, np.full_like(image, 255), _PALE)


def _draw_track(axis: Any, track: Track, look: Look, width: int) -> None:
    if not len(track.x):
        return
    preset = preset_of(look)
    shares = shares_of(track)
    if look.order == "path":
        _draw_path(axis, track, shares, look)
    else:
        # all rims are drawn first: a later rim would hide points close to it
        size = 0.45 * preset.font * _shrunk(len(track.x))
        for wide, look_of in (
            (size + preset.line, {"color": "white"}),
            (size, {"c": shares, "cmap": look.colormap, "vmin": 0, "vmax": 1}),
        ):
            axis.scatter(track.x, track.y, s=wide**2, linewidths=0, **look_of)
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.6, foreground="white")]
    for at in numbered(track, width):
        left = track.x[at] > (1 - _ROOM[0]) * width
        axis.annotate(
            str(track.number[at]), (track.x[at], track.y[at]), xytext=(-2 if left else 2, 2),
            textcoords="offset points", fontsize=preset.font - 2, color=COLOURS["text"],
            path_effects=halo, ha="right" if left else "left",
        )  # fmt: skip


def _draw_path(axis: Any, track: Track, shares: NDArray[np.float64], look: Look) -> None:
    from matplotlib.collections import LineCollection

    preset = preset_of(look)
    points = np.stack((track.x, track.y), axis=1).astype(np.float64)
    pieces = np.stack((points[:-1], points[1:]), axis=1)
    for colour, width, order in (("white", 3 * preset.line, 1), (None, 1.5 * preset.line, 2)):
        lines = LineCollection(list(pieces), linewidths=width, zorder=order, capstyle="round")
        if colour is None:
            lines.set(array=shares[1:], cmap=look.colormap, clim=(0, 1))
        else:
            lines.set_color(colour)
        axis.add_collection(lines, autolim=False)
    for at, mark, colour in ((0, "o", COLOURS["second"]), (-1, "s", COLOURS["accent"])):
        axis.plot(
            points[at, 0], points[at, 1], mark, color=colour, markersize=0.6 * preset.font,
            markeredgecolor="white", zorder=3,
        )  # fmt: skip
