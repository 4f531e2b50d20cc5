"""Images with their maps: side by side, per participant, cumulative, and many on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.maps import Maps
from clickmap_cli.reports.figures.panels import (
    bar_label,
    colour_bar,
    count_columns,
    describe_picture,
    describe_shown,
    draw_colours,
    grid,
    headline,
    image_field,
    lay_over,
    panel_shape,
    scale_picture,
    show,
    write_missing,
)
from clickmap_cli.reports.overlays import Bytes, blend, colour_map, scale_map
from clickmap_cli.reports.style import COLOURS, PRESETS, save, styled
from clickmap_cli.services.visualize.experiment import (
    Picture,
    Track,
    densest,
)
from clickmap_cli.services.visualize.options import Look

Paths = Mapping[str, Path]

_SHEET_COLUMNS = {"screen": 5, "paper": 3, "paper-wide": 5}
_BIN_COLUMNS = {"screen": 4, "paper": 2, "paper-wide": 4}


def draw_overlay(picture: Picture, look: Look, paths: Paths) -> None:
    """Draw image, heat, and the heat over the image, with a colour bar."""
    values = scale_picture(picture, look)
    with styled(look.preset) as plt:
        panels = grid(plt, 1, 3, panel_shape(picture), look, bar_label(look))
        content = {
            "image": image_field(picture),
            "heat": colour_map(values, look.colormap),
            "overlay": lay_over(picture, look, values),
        }
        for axis, (name, pixels) in zip(panels.axes, content.items(), strict=True):
            show(axis, pixels, picture, look, name)
        write_missing(panels.axes[0], picture, look)
        colour_bar(panels, look, picture.densest)
        headline(panels, picture.key, look, describe_picture(picture))
        save(panels.figure, paths)


def draw_participants(
    picture: Picture, names: Sequence[str], maps: Sequence[Maps], look: Look, paths: Paths
) -> None:
    """Draw the mean, then each participant's map over the image, with the participant's name."""
    count = len(names) + 1
    columns = count_columns(count, look, panel_shape(picture))
    rows = -(-count // columns)
    top = None
    if look.normalize == "sum":
        top = float(np.median([densest(heat) for heat in maps]))
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, panel_shape(picture), look)
        mean = lay_over(picture, look, scale_picture(picture, look), grey=True)
        show(panels.axes[0], mean, picture, look, "mean")
        for axis, name, heat in zip(panels.axes[1:count], names, maps, strict=True):
            values = scale_map(heat, look.normalize, top)
            pixels = lay_over(picture, look, values, grey=True)
            show(axis, pixels, picture, look, name)
        headline(panels, picture.key, look, describe_shown(picture, len(names)))
        save(panels.figure, paths)


def draw_bins(
    picture: Picture, maps: Sequence[Maps], labels: Sequence[str], look: Look, paths: Paths
) -> None:
    """Draw cumulative maps over the image, from the first clicks to all, on one scale."""
    columns = min(_BIN_COLUMNS[look.preset], len(maps))
    rows = -(-len(maps) // columns)
    most_dense = max(densest(heat) for heat in maps)
    greatest = float(np.nan_to_num(maps, posinf=0, neginf=0).max())
    top = most_dense if look.normalize == "sum" else greatest
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, panel_shape(picture), look, bar_label(look))
        for axis, heat, label in zip(panels.axes, maps, labels, strict=False):
            values = scale_picture(picture, look, heat, top)
            pixels = lay_over(picture, look, values, grey=True)
            show(axis, pixels, picture, look, label)
        colour_bar(panels, look, most_dense)
        headline(panels, picture.key, look, describe_picture(picture))
        save(panels.figure, paths)


def draw_sheet(pictures: Sequence[Picture], look: Look, paths: Paths) -> None:
    """Draw many overlays on one page, each with its key and its number of participants."""
    # a sheet of one image draws it at the size of a sheet's panel, not as large as the sheet
    columns = _SHEET_COLUMNS[look.preset]
    shape = float(np.median([panel_shape(picture) for picture in pictures]))
    with styled(look.preset) as plt:
        panels = grid(plt, -(-len(pictures) // columns), columns, shape, look)
        for axis, picture in zip(panels.axes, pictures, strict=False):
            pixels = lay_over(picture, look, scale_picture(picture, look))
            show(axis, pixels, picture, look, picture.key, f" ({picture.n_participants:,})")
            write_missing(axis, picture, look)
        count = f"{len(pictures)} image{'s' if len(pictures) > 1 else ''} (participants)"
        headline(panels, count, look)
        save(panels.figure, paths)


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


def draw_clicks(picture: Picture, tracks: Sequence[Track], look: Look, paths: Paths) -> None:
    """Draw one panel per participant: every click, darker if earlier, and some of their numbers."""
    columns = min(2 if look.preset == "paper" else 3, len(tracks))
    rows = -(-len(tracks) // columns)
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, panel_shape(picture), look, "order of clicks")
        for axis, track in zip(panels.axes, tracks, strict=False):
            pixels = _pale(image_field(picture))
            show(axis, pixels, picture, look, track.name, f", {track.n_clicks:,} clicks")
            write_missing(axis, picture, look)
            _draw_track(axis, track, look, picture.heat.shape[1])
        bar = draw_colours(panels, look, 1)
        if bar is not None:
            bar.set_ticks([0, 1], labels=["first", "last"])
        people = len({track.name for track in tracks})
        headline(panels, picture.key, look, describe_shown(picture, people))
        save(panels.figure, paths)


def rank_clicks(track: Track) -> NDArray[np.float64]:
    """Return (clicks) the position of each click in its trial: 0 the first, 1 the last."""
    return np.asarray((track.number - 1) / max(track.n_clicks - 1, 1))


def choose_numbered(track: Track, width: float) -> list[int]:
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
    return blend(image, np.full_like(image, 255), _PALE)


def _draw_track(axis: Any, track: Track, look: Look, width: int) -> None:
    if not len(track.x):
        return
    preset = PRESETS[look.preset]
    shares = rank_clicks(track)
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
    for at in choose_numbered(track, width):
        left = track.x[at] > (1 - _ROOM[0]) * width
        axis.annotate(
            str(track.number[at]), (track.x[at], track.y[at]), xytext=(-2 if left else 2, 2),
            textcoords="offset points", fontsize=preset.font - 2, color=COLOURS["text"],
            path_effects=halo, ha="right" if left else "left",
        )  # fmt: skip


def _draw_path(axis: Any, track: Track, shares: NDArray[np.float64], look: Look) -> None:
    from matplotlib.collections import LineCollection

    preset = PRESETS[look.preset]
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
