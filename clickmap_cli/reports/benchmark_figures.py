"""Pictures of a benchmark: predictions pixel for pixel, and deep dives into single images."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.overlays import (
    colour_map,
    cover,
    map_colours,
    mix,
    placeholder,
    scale_heat,
    scale_map,
    to_bytes,
)
from clickmap_cli.reports.style import COLOURS, HEAT, headline, save, styled
from clickmap_cli.services.benchmark.pictures import DivePicture, Heatmap
from clickmap_cli.storage.atomic import replacing

_PANEL = 1.7
"""Width of a panel, in inches."""

_LONGEST = 90
_ROWS = 2


def draw_dive(picture: DivePicture) -> None:
    """Write the image above its ground truth, and beside them the map and score of each setting.

    Settings are arranged in their order in columns of two, so that the two signs of a level are in
    one column. The best setting has a coloured title and frame.
    """
    names = list(picture.maps)
    columns = list(zip_longest(names[::_ROWS], names[1::_ROWS]))
    height, width = next(iter(picture.maps.values())).shape
    ratio = min(max(height / width, 0.3), 2.5)
    with styled() as plt:
        figure, grid = plt.subplots(
            _ROWS, 1 + len(columns), squeeze=False, layout="constrained",
            figsize=(_PANEL * (1 + len(columns)), _ROWS * (_PANEL * ratio + 0.3) + 0.4),
        )  # fmt: skip
        photo = picture.image
        _show(grid[0, 0], placeholder(height, width) if photo is None else photo)
        grid[0, 0].set_title("image" if photo is not None else "image missing")
        truth = picture.truth
        _show(grid[1, 0], placeholder(height, width) if truth is None else _colour(truth))
        grid[1, 0].set_title("ground truth" if truth is not None else "no ground truth")
        for column, pair in enumerate(columns, 1):
            for row, name in enumerate(pair):
                _draw_setting(grid[row, column], picture, name)
        title = f"{picture.model} on {picture.dataset}, {picture.metric} {_format(picture.score)}: "
        headline(figure, _shorten(f"{title}{picture.image_id}"))
        save(figure, picture.path)


def _draw_setting(axes: Any, picture: DivePicture, name: str | None) -> None:
    """Draw the map of a setting; leave the panel empty if there is none."""
    if name is None:
        axes.set_axis_off()
        return
    _show(axes, _colour(picture.maps[name]))
    best = name == picture.best
    axes.set_title(
        f"{name}: {_format(picture.scores[name])}", parse_math=False,
        color=COLOURS["accent" if best else "text"], fontweight="bold" if best else "normal",
    )  # fmt: skip
    if best:
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(visible=True, color=COLOURS["accent"], linewidth=2)


def _show(axes: Any, pixels: NDArray[Any]) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_axis_off()


def _colour(values: NDArray[Any]) -> NDArray[np.uint8]:
    return colour_map(scale_map(values), HEAT)


def _format(score: float) -> str:
    return "undefined" if math.isnan(score) else f"{score:.3f}".replace("-", "\N{MINUS SIGN}")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def draw_heatmap(heatmap: Heatmap) -> None:
    """Write the heat, and the heat over its image, as PNG.

    Raises:
        ConfigError: the colour map is unknown.
    """
    from PIL import Image

    settings = heatmap.settings
    heat = scale_heat(heatmap.heat, settings.normalize)
    colour = map_colours(heat, settings.colormap, "heatmaps_png.colormap")
    with replacing(heatmap.path) as partial:
        Image.fromarray(to_bytes(colour)).save(partial, format="PNG")
    if heatmap.image is None or heatmap.overlay_path is None:
        return
    over = mix(heatmap.image, colour, cover(heat, settings.alpha))
    with replacing(heatmap.overlay_path) as partial:
        Image.fromarray(to_bytes(over)).save(partial, format="PNG")
