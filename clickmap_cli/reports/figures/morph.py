"""An animation of a map that grows click by click."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.reports.figures.images import bins_top
from clickmap_cli.reports.figures.panels import overlay_of, values_of
from clickmap_cli.reports.overlays import Bytes
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.services.visualize.pictures import BinsPicture

SHORT_SIDE = 320
"""Shortest side of a frame, in pixels; smaller maps are enlarged."""

BAR = 6
"""Height of the progress strip below a frame, in pixels."""

_STEP_MS, _LAST_MS = 350, 1500


def draw_morph(bins: BinsPicture, look: Look, paths: Mapping[str, Path]) -> None:
    """Write one frame per cumulative map, as `gif` and `apng`; the last frame is shown longer."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames(bins, look)]
    times = [_STEP_MS] * (len(pictures) - 1) + [_LAST_MS]
    for kind, path in paths.items():
        if kind == "gif":
            # the palette of the last frame is used for all, because it has every colour
            palette = pictures[-1].quantize(256)
            shown = [picture.quantize(palette=palette) for picture in pictures]
            _save(shown, path, "GIF", times, optimize=False)
        else:
            _save(pictures, path, "PNG", times)


def frames(bins: BinsPicture, look: Look) -> list[Bytes]:
    """Return (H, W, 3) uint8 overlays of the cumulative maps, each with a progress strip."""
    picture = bins.picture
    found = []
    for at, heat in enumerate(bins.maps, 1):
        values = values_of(picture, look, heat, bins_top(bins, look))
        pixels = _enlarged(overlay_of(picture, look, values, grey=True), picture.image.pixel_aspect)
        strip = np.full((BAR, pixels.shape[1], 3), 225, dtype=np.uint8)
        strip[:, : round(pixels.shape[1] * at / len(bins.maps))] = 60
        found.append(np.concatenate((pixels, strip)))
    return found


def _enlarged(pixels: Bytes, pixel_aspect: float) -> Bytes:
    """Resize pixels to the image's own proportions, with a short side of at least `SHORT_SIDE`."""
    from PIL import Image

    height, width = pixels.shape[0] * pixel_aspect, float(pixels.shape[1])
    scale = max(SHORT_SIDE / min(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


def _save(pictures: list[Any], path: Path, kind: str, times: list[int], **more: Any) -> None:
    pictures[0].save(
        path, format=kind, save_all=True, append_images=pictures[1:], duration=times, loop=0,
        **more,
    )  # fmt: skip
