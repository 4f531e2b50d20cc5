"""Parts shared by figures of images: fields of pixels, grids of panels, titles, colour bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports import overlays
from clickmap_cli.reports.overlays import Bytes, overlay_map, placeholder, scale_map
from clickmap_cli.reports.style import COLOURS, PRESETS
from clickmap_cli.services.visualize.experiment import Picture
from clickmap_cli.services.visualize.options import Look

_POINTS = 72

_PAD = 0.05
_GAP = 0.05
"""Space around and between panels, in inches."""

_FLATTEST, _TALLEST = 0.2, 2.5
"""Least and greatest height of a panel, as multiples of its width."""

_BAR = 0.11
_LONGEST_BAR = 2.6
"""Width and greatest length of a colour bar, in inches."""


def scale_picture(
    picture: Picture, look: Look, heat: NDArray[Any] | None = None, top: float | None = None
) -> NDArray[np.float32]:
    """Return a map scaled for display, in 0..1.

    Args:
        picture: the image; its mean map is used unless `heat` is given.
        look: scale, and whether to multiply by the share of participants.
        heat: (h, w) another map of the image.
        top: value that is shown as 1; None = the map's own maximum, or the densest of all images.
    """
    if top is None and look.normalize == "sum":
        top = picture.densest
    values = scale_map(picture.heat if heat is None else heat, look.normalize, top)
    scaled = values * np.float32(picture.people_share) if look.by_participants else values
    return np.asarray(scaled, dtype=np.float32)


def image_field(picture: Picture) -> Bytes:
    """Return the image, or an empty field of its size."""
    height, width = picture.heat.shape
    pixels = picture.image.pixels
    return placeholder(height, width) if pixels is None else pixels


def lay_over(picture: Picture, look: Look, values: NDArray[Any], grey: bool = False) -> Bytes:
    """Return a map over its image, or over an empty field.

    Args:
        picture: the image.
        look: colours and alpha.
        values: (h, w) in 0..1.
        grey: True to draw the image without its colours, so that weak heat is visible; ignored
            if alpha is 0, which shows the image alone.
    """
    field = image_field(picture)
    if grey and look.alpha > 0:
        field = overlays.make_grey(field)
    return overlay_map(field, values, look.colormap, look.alpha)


def panel_shape(picture: Picture) -> float:
    """Return a panel's height as a multiple of its width; very long images do not fill it."""
    height, width = picture.heat.shape
    shape = float(height * picture.image.pixel_aspect / width)
    return min(max(shape, _FLATTEST), _TALLEST)


def show(
    axis: Any, pixels: Bytes, picture: Picture, look: Look, title: str = "", facts: str = ""
) -> None:
    """Show pixels in a panel without axes, in the image's proportions, with a title that fits."""
    # enlarged pixels keep their edges, reduced ones are averaged
    axis.imshow(pixels, aspect=picture.image.pixel_aspect, interpolation="auto")
    axis.set_axis_off()
    if title:
        small = PRESETS[look.preset].font - 1
        wide = axis.get_position().width * axis.figure.get_figwidth()
        text = fit_text(axis.figure, title, wide, small, facts)
        axis.set_title(text, fontsize=small, pad=2, parse_math=False)


def write_missing(axis: Any, picture: Picture, look: Look) -> None:
    """Write into an empty field why the image is missing."""
    if picture.image.pixels is None:
        axis.text(
            0.5, 0.5, f"image {picture.image.state}", transform=axis.transAxes, ha="center",
            va="center", color=COLOURS["quiet"], fontsize=PRESETS[look.preset].font - 1,
        )  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """A figure of equal panels.

    Attributes:
        figure: figure of matplotlib.
        axes: (rows x columns) panels, row by row.
        bar: axes of the colour bar, or None.
        label: label of the colour bar.
        upright: True for a bar at the right, False for one below the panels.
    """

    figure: Any
    axes: tuple[Any, ...]
    bar: Any
    label: str
    upright: bool


def grid(plt: Any, rows: int, columns: int, shape: float, look: Look, bar: str = "") -> Grid:
    """Create a figure of the preset's width, and of the height that its panels require.

    The colour bar is at the right of the panels, or below them if the panels are lower than its
    label is long.

    Args:
        plt: pyplot, styled.
        rows: rows of panels.
        columns: columns of panels.
        shape: height of a panel as a multiple of its width.
        look: gives the preset, and whether a colour bar is drawn.
        bar: label of the colour bar; empty for none.
    """
    preset = PRESETS[look.preset]
    em = preset.font / _POINTS
    title, head = 1.4 * em, 1.8 * em
    figure = plt.figure(figsize=(preset.width, preset.width))

    def sizes(taken: float) -> tuple[float, float, float]:
        """Return width and height of a panel, and the height of all."""
        wide = (preset.width - 2 * _PAD - (columns - 1) * _GAP - taken) / columns
        tall = wide * shape
        return wide, tall, head + rows * (title + tall + _GAP) - _GAP + _PAD

    has_bar = bool(bar) and look.colour_bar
    beside = _BAR + 5.2 * em
    room = sizes(beside)[2] - head - title - _PAD
    upright = not has_bar or _width_of(figure, bar, preset.font) <= min(room, _LONGEST_BAR) + _PAD
    wide, tall, height = sizes(beside if has_bar and upright else 0.0)
    below = 0.0 if upright else 0.5 * em + _BAR + 3.2 * em
    figure.set_size_inches(preset.width, height + below)

    def axes_at(left: float, top: float, width: float, tall: float) -> Any:
        whole = height + below
        bottom = 1 - (top + tall) / whole
        return figure.add_axes((left / preset.width, bottom, width / preset.width, tall / whole))

    panels = []
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        top = head + row * (title + tall + _GAP) + title
        panels.append(axes_at(_PAD + column * (wide + _GAP), top, wide, tall))
        panels[-1].set_axis_off()
    axis = None
    if has_bar and upright:
        left = preset.width - beside + 0.4 * em
        axis = axes_at(left, head + title, _BAR, min(room, _LONGEST_BAR))
    elif has_bar:
        # tick labels at both ends of the bar extend beyond it by half their width
        length = min(_LONGEST_BAR, preset.width - 2 * _PAD - 3 * em)
        axis = axes_at(_PAD + 1.5 * em, height - _PAD + 0.5 * em, length, _BAR)
    return Grid(figure, tuple(panels), axis, bar, upright)


def count_columns(panels: int, look: Look, shape: float) -> int:
    """Return the columns of a grid that is about square, or higher than wide in a narrow preset."""
    height = 1.0 if look.preset != "paper" else 1.4
    return max(1, min(panels, math.ceil(math.sqrt(panels * shape / height))))


def headline(panels: Grid, text: str, look: Look, facts: str = "") -> None:
    """Draw the title of a figure at its left; dollar signs in a key are plain text."""
    font = PRESETS[look.preset].font
    width, height = panels.figure.get_size_inches()
    panels.figure.text(
        _PAD / width, 1 - 0.4 * font / _POINTS / height,
        fit_text(panels.figure, text, width - 2 * _PAD, font, facts), va="top", fontsize=font,
        parse_math=False,
    )  # fmt: skip


def describe_picture(picture: Picture) -> str:
    """Return the facts after an image's key in a title: participants, clicks and agreement."""
    facts = f", n = {picture.n_participants:,}, {picture.n_clicks:,} clicks"
    if math.isfinite(picture.agreement) and picture.metric:
        facts += f", {picture.metric} {picture.agreement:.2f}"
    return facts


def describe_shown(picture: Picture, n_shown: int) -> str:
    """Return the facts for a figure that shows single participants, perhaps not all of them."""
    n = picture.n_participants
    return f", {n_shown:,} of {n:,} participants" if n_shown < n else f", {n:,} participants"


def fit_text(figure: Any, text: str, wide: float, size: float, facts: str = "") -> str:
    """Shorten a text in its middle until it fits a width.

    Args:
        figure: figure of matplotlib, in which letters are measured.
        text: text to shorten, such as an image's key.
        wide: available width, in inches.
        size: size of the letters, in points.
        facts: text that follows and is never shortened.
    """

    def fits(words: str) -> bool:
        return _width_of(figure, words, size) <= wide

    if fits(text + facts):
        return text + facts
    least, most = 1, max(len(text) - 1, 1)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (
            (middle, most) if fits(shorten(text, middle) + facts) else (least, middle - 1)
        )  # fmt: skip
    return shorten(text, least) + facts


def _width_of(figure: Any, words: str, size: float) -> float:
    """Measure words in inches; letters have `size` points."""
    from matplotlib.font_manager import FontProperties

    renderer, letters = figure.canvas.get_renderer(), FontProperties(size=size)
    pixels, _, _ = renderer.get_text_width_height_descent(words, letters, ismath=False)
    return float(pixels / figure.dpi)


def shorten(text: str, length: int) -> str:
    """Keep start and end of a text that is too long: folders and numbers distinguish images."""
    if len(text) <= length:
        return text
    end = length // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def bar_label(look: Look) -> str:
    """Return the label of the colours of heat."""
    label = {
        "max": "heat / maximum",
        "sum": "heat / even spread",
        "none": "heat",
        "rank": "share at or below",
    }[look.normalize]
    return f"{label} × people" if look.by_participants else label


def colour_bar(panels: Grid, look: Look, top: float | None = None) -> None:
    """Draw the colour bar of heat.

    Args:
        panels: the figure; nothing happens if it was made without a bar.
        look: colours and scale.
        top: value of full colour in the unit of `sum`; ignored by other scales.
    """
    most = top if look.normalize == "sum" and top else 1.0
    bar = draw_colours(panels, look, most)
    if bar is not None:
        bar.locator.set_params(nbins=5)


def draw_colours(panels: Grid, look: Look, most: float) -> Any:
    """Draw a bar of the colours from 0 to `most`; None if the figure was made without one."""
    if panels.bar is None:
        return None
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(0, most), look.colormap)
    way = "vertical" if panels.upright else "horizontal"
    bar = panels.figure.colorbar(colours, cax=panels.bar, orientation=way)
    bar.outline.set_visible(False)
    bar.set_label(panels.label)
    return bar
