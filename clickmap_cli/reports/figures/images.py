"""Images with their maps: side by side, per participant, cumulative, and many on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clickmap_cli.reports.figures.panels import (
    bar_label,
    colour_bar,
    columns_for,
    facts_of,
    field_of,
    grid,
    headline,
    overlay_of,
    say_missing,
    shape_of,
    show,
    some_of,
    values_of,
)
from clickmap_cli.reports.overlays import coloured, shown
from clickmap_cli.reports.style import save_all, styled
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.services.visualize.pictures import BinsPicture, PeoplePicture, Picture

Paths = Mapping[str, Path]

_SHEET_COLUMNS = {"screen": 5, "paper": 3, "paper-wide": 5}
_BIN_COLUMNS = {"screen": 4, "paper": 2, "paper-wide": 4}


def draw_overlay(picture: Picture, look: Look, paths: Paths) -> None:
    """Draw image, heat, and the heat over the image, with a colour bar."""
    values = values_of(picture, look)
    with styled(look.preset) as plt:
        panels = grid(plt, 1, 3, shape_of(picture), look, bar_label(look))
        content = {
            "image": field_of(picture),
            "heat": coloured(values, look.colormap),
            "overlay": overlay_of(picture, look, values),
        }
        for axis, (name, pixels) in zip(panels.axes, content.items(), strict=True):
            show(axis, pixels, picture, look, name)
        say_missing(panels.axes[0], picture, look)
        colour_bar(panels, look, picture.densest)
        headline(panels, picture.key, look, facts_of(picture))
        save_all(panels.figure, paths)


def draw_participants(people: PeoplePicture, look: Look, paths: Paths) -> None:
    """Draw the mean, then each participant's map over the image, with the participant's name."""
    picture = people.picture
    count = len(people.names) + 1
    columns = columns_for(count, look, shape_of(picture))
    rows = -(-count // columns)
    top = people.densest if look.normalize == "sum" else None
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, shape_of(picture), look)
        mean = overlay_of(picture, look, values_of(picture, look), grey=True)
        show(panels.axes[0], mean, picture, look, "mean")
        for axis, name, heat in zip(panels.axes[1:count], people.names, people.maps, strict=True):
            values = shown(heat, look.normalize, top)
            pixels = overlay_of(picture, look, values, grey=True)
            show(axis, pixels, picture, look, name)
        headline(panels, picture.key, look, some_of(picture, len(people.names)))
        save_all(panels.figure, paths)


def draw_bins(bins: BinsPicture, look: Look, paths: Paths) -> None:
    """Draw cumulative maps over the image, from the first clicks to all."""
    picture = bins.picture
    columns = min(_BIN_COLUMNS[look.preset], len(bins.maps))
    rows = -(-len(bins.maps) // columns)
    with styled(look.preset) as plt:
        panels = grid(plt, rows, columns, shape_of(picture), look, bar_label(look))
        for axis, heat, limit in zip(panels.axes, bins.maps, bins.limits, strict=False):
            values = values_of(picture, look, heat, bins_top(bins, look))
            pixels = overlay_of(picture, look, values, grey=True)
            show(axis, pixels, picture, look, limit_text(bins, limit))
        colour_bar(panels, look, bins.densest)
        headline(panels, picture.key, look, facts_of(picture))
        save_all(panels.figure, paths)


def bins_top(bins: BinsPicture, look: Look) -> float:
    """Return the value of full colour, which all maps of one image share."""
    return bins.densest if look.normalize == "sum" else bins.greatest


def limit_text(bins: BinsPicture, limit: float) -> str:
    """Name the clicks that a cumulative map contains."""
    if bins.by_time:
        return f"first {100 * limit:.0f}%"
    return "first click" if limit == 1 else f"first {limit:.0f} clicks"


def draw_sheet(pictures: Sequence[Picture], look: Look, paths: Paths) -> None:
    """Draw many overlays on one page, each with its key and its number of participants."""
    # a sheet of one image draws it at the size of a sheet's panel, not as large as the sheet
    columns = _SHEET_COLUMNS[look.preset]
    shape = float(np.median([shape_of(picture) for picture in pictures]))
    with styled(look.preset) as plt:
        panels = grid(plt, -(-len(pictures) // columns), columns, shape, look)
        for axis, picture in zip(panels.axes, pictures, strict=False):
            pixels = overlay_of(picture, look, values_of(picture, look))
            show(axis, pixels, picture, look, picture.key, f" ({picture.n_participants:,})")
            say_missing(axis, picture, look)
        count = f"{len(pictures)} image{'s' if len(pictures) > 1 else ''} (participants)"
        headline(panels, count, look)
        save_all(panels.figure, paths)
