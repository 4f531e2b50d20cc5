"""Images of predictions, pixel for pixel, alone and over the predicted image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.overlays import as_bytes, colours_of, cover, mixed, scaled_heat
from clickmap_cli.services.benchmark.pictures import Heatmap
from clickmap_cli.storage.atomic import replacing


def draw_heatmap(heatmap: Heatmap) -> None:
    """Write the heat, and the heat over its image, as PNG.

    Raises:
        ConfigError: the colour map is unknown.
    """
    from PIL import Image

    settings = heatmap.settings
    heat = scaled_heat(heatmap.heat, settings.normalize)
    colour = coloured(heat, settings.colormap)
    with replacing(heatmap.path) as partial:
        Image.fromarray(as_bytes(colour)).save(partial, format="PNG")
    if heatmap.image is None or heatmap.overlay_path is None:
        return
    over = laid_over(heatmap.image, colour, heat, settings.alpha)
    with replacing(heatmap.overlay_path) as partial:
        Image.fromarray(as_bytes(over)).save(partial, format="PNG")


def coloured(heat: NDArray[Any], colormap: str) -> NDArray[np.float64]:
    """Return (h, w, 3) colours in 0..1 of heat in 0..1.

    Raises:
        ConfigError: the colour map is unknown.
    """
    return colours_of(heat, colormap, "heatmaps_png.colormap")


def laid_over(
    image: NDArray[Any], colour: NDArray[Any], heat: NDArray[Any], alpha: float
) -> NDArray[np.float64]:
    """Return colours over an image: the hotter a pixel, the more it is covered.

    Args:
        image: (h, w, 3) in 0..1.
        colour: (h, w, 3) in 0..1.
        heat: (h, w) in 0..1.
        alpha: share of the hottest pixel that is covered; see `overlays.cover`.
    """
    return mixed(image, colour, cover(heat, alpha))
