"""Pictures of predictions, pixel for pixel, alone and over their image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import average_ranks
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.services.benchmark_files import Heatmap
from clickmap_cli.storage.atomic import replacing


def draw_heatmap(heatmap: Heatmap) -> None:
    """Write the heat, and the heat over its image, as PNG.

    Raises:
        ConfigError: there is no such colour map.
    """
    from PIL import Image

    settings = heatmap.settings
    heat = scaled_heat(heatmap.heat, settings.normalize)
    colour = coloured(heat, settings.colormap)
    with replacing(heatmap.path) as partial:
        Image.fromarray(_bytes(colour)).save(partial, format="PNG")
    if heatmap.image is None or heatmap.overlay_path is None:
        return
    over = laid_over(heatmap.image, colour, heat, settings.alpha)
    with replacing(heatmap.overlay_path) as partial:
        Image.fromarray(_bytes(over)).save(partial, format="PNG")


def scaled_heat(heat: NDArray[Any], normalize: str) -> NDArray[np.float64]:
    """Heat in 0..1.

    Args:
        heat: (h, w), not negative.
        normalize: `max` (0 to the maximum), `minmax`, `rank` (share of pixels at or below), or
            `none` (clipped to 0..1).
    """
    values = heat.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if normalize == "max":
        values = values / high if high > 0 else values
    elif normalize == "minmax":
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    elif normalize == "rank":
        values = (average_ranks(values.ravel()) / values.size).reshape(values.shape)
    return np.clip(values, 0, 1)


def coloured(heat: NDArray[Any], colormap: str) -> NDArray[np.float64]:
    """(h, w, 3) colours in 0..1 of heat in 0..1.

    Raises:
        ConfigError: there is no such colour map.
    """
    from matplotlib import colormaps

    if colormap not in colormaps:
        raise ConfigError(
            f"heatmaps_png.colormap: there is no colour map '{colormap}'; try inferno, viridis, "
            "magma or jet."
        )
    return np.asarray(colormaps[colormap](heat)[..., :3])


def laid_over(
    image: NDArray[Any], colour: NDArray[Any], heat: NDArray[Any], alpha: float
) -> NDArray[np.float64]:
    """Colours over an image: the hotter a pixel, the more it is covered.

    Args:
        image: (h, w, 3) in 0..1.
        colour: (h, w, 3) in 0..1.
        heat: (h, w) in 0..1.
        alpha: how much of the hottest pixel is covered.
    """
    cover = (alpha * np.sqrt(heat))[..., None]
    return np.asarray(image * (1 - cover) + colour * cover)


def _bytes(colour: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(colour, 0, 1) * 255), dtype=np.uint8)
