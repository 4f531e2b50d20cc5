"""Show a map in a terminal, in coloured half blocks or letters, beside its statistics."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.metrics.map_statistics import map_statistics
from clickmap_cli.reports.overlays import coloured, shown
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.services.visualize.pictures import Picture

SHADES = " .:-=+*#%@"
"""Letters from cold to hot, used without colours."""

UPPER_HALF = "▀"

STATISTICS_WIDTH = 34
"""Columns for the statistics beside a map; in a narrower terminal they are below the map."""

_LEAST_COLUMNS = 20
_OTHER_LINES = 3  # the name above, and space for the prompt


def print_map(picture: Picture, look: Look, console: Console | None = None) -> None:
    """Show a map and its statistics on stdout, as large as the terminal allows.

    The look gives the colours; there are none if stdout is piped or NO_COLOR is set.

    Args:
        picture: the image and its map.
        look: `colormap` and `normalize`.
        console: console to print to; None is stdout.
    """
    out = Console(file=sys.stdout, highlight=False) if console is None else console
    out.print(map_view(picture, look, out.width, out.height, has_colours(out)))


def has_colours(console: Console) -> bool:
    """Return True if the console can show colours."""
    return console.color_system is not None and not console.no_color


def map_view(
    picture: Picture, look: Look, columns: int, lines: int, colours: bool
) -> RenderableType:
    """Return a map with its statistics, beside it if the terminal is wide enough.

    Args:
        picture: the image and its map.
        look: `colormap` and `normalize`.
        columns: columns of the terminal.
        lines: lines of the terminal.
        colours: True for half blocks in colours, False for letters.

    Raises:
        ConfigError: the colour map is unknown.
    """
    beside = columns >= STATISTICS_WIDTH + 2 + _LEAST_COLUMNS
    room = columns - STATISTICS_WIDTH - 2 if beside else columns
    size = fitted(picture.heat.shape, picture.image.pixel_aspect, room, lines - _OTHER_LINES)
    small = shown(resize(picture.heat, size), look.normalize)
    cells = blocks(small, look.colormap) if colours else shades(small)
    letters = (letter if letter.isprintable() else "?" for letter in picture.key)
    name = Text("".join(letters), style="bold" if colours else "", overflow="fold")
    table = _statistics_table(picture, look)
    if not beside:
        return Group(name, cells, table)
    both = Table.grid(padding=(0, 2))
    both.add_column(min_width=size[1], no_wrap=True)
    both.add_row(cells, table)
    return Group(name, both)


def fitted(
    shape: tuple[int, ...], pixel_aspect: float, columns: int, lines: int
) -> tuple[int, int]:
    """Return height and width, in half lines and columns, of a map in its image's proportions.

    Half a line is as tall as a column is wide. The height is even, so that lines are whole.

    Args:
        shape: (h, w) of the map.
        pixel_aspect: height of a map's pixel on the image, as a multiple of its width.
        columns: available columns.
        lines: available lines.
    """
    height, width = shape[0] * pixel_aspect, float(shape[1])
    scale = min(max(columns, 1) / width, 2 * max(lines, 1) / height)
    half_lines = max(round(height * scale / 2), 1) * 2
    return half_lines, max(round(width * scale), 1)


def blocks(values: NDArray[Any], colormap: str) -> Text:
    """Draw a map in half blocks: each letter is two pixels, the upper in the foreground colour.

    Args:
        values: (h, w) in 0..1, h even.
        colormap: any colour map of matplotlib.
    """
    pixels = coloured(values, colormap)
    text = Text(no_wrap=True)
    for row in range(0, len(pixels), 2):
        if row:
            text.append("\n")
        for upper, lower in zip(pixels[row], pixels[row + 1], strict=True):
            text.append(UPPER_HALF, Style(color=_rgb(upper), bgcolor=_rgb(lower)))
    return text


def _rgb(colour: NDArray[np.uint8]) -> str:
    red, green, blue = (int(part) for part in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def shades(values: NDArray[Any]) -> Text:
    """Draw a map in letters: each is the mean of two pixels, one above the other.

    Args:
        values: (h, w) in 0..1, h even.
    """
    means = values.reshape(len(values) // 2, 2, -1).mean(axis=1)
    places = np.minimum((means * len(SHADES)).astype(int), len(SHADES) - 1)
    lines = ("".join(SHADES[place] for place in row) for row in places)
    return Text("\n".join(lines), no_wrap=True)


def statistics(picture: Picture) -> list[tuple[str, str]]:
    """Return names and values of a map's statistics, as text.

    Entropy is that of the map scaled to sum 1, in nats; the centroid is in the map's pixels.
    """
    heat = picture.heat.astype(np.float64)
    known = heat[np.isfinite(heat)]
    height, width = heat.shape
    rows = [
        ("participants", f"{picture.n_participants:,}"),
        ("clicks", f"{picture.n_clicks:,}"),
    ]
    if math.isfinite(picture.agreement):
        rows.append(("agreement", f"{picture.agreement:.3f} {picture.metric}"))
    rows.append(("size", f"{width} x {height}"))
    if len(known) < heat.size:
        rows.append(("not finite", f"{heat.size - len(known):,} pixels"))
    if not len(known):
        return rows
    numbers = (
        ("min", known.min()), ("max", known.max()), ("mean", known.mean()), ("sum", known.sum()),
    )  # fmt: skip
    rows += [(name, f"{value:.4g}") for name, value in numbers]
    if len(known) == heat.size:
        found = map_statistics(heat)
        rows.append(("entropy", f"{found.entropy:.2f} of {math.log(heat.size):.2f} nats"))
        rows.append(("centroid", f"x {found.centroid_x:.1f}, y {found.centroid_y:.1f}"))
    return rows


def _statistics_table(picture: Picture, look: Look) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in statistics(picture):
        table.add_row(Text(name), Text(value))
    table.add_row(Text("scale"), Text(look.normalize))
    if picture.image.state != "shown":
        table.add_row(Text("image"), Text(picture.image.state))
    return table
