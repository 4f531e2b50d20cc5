"""Maps that are kept as pictures: return the meant number of each pixel, or refuse the picture.

A picture of a map in false colours, an overlay, or a map in an alpha channel has grey values too,
but they are not the map. Such pictures are refused with a message that says what was found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_images import opened_image, read_image

CHANNELS = ("grey", "red", "green", "blue", "alpha")
"""Channels of a picture that may hold the map."""

_COLOURED = 32
"""In a coloured pixel the largest and the smallest of red, green and blue differ by more than this;
compression changes those of a grey picture by a few levels."""

_SHARE = 0.001
_SAMPLE = 1000
_NEAR, _MOST = 24, 0.9
_NAMED = (
    "jet", "turbo", "viridis", "inferno", "magma", "plasma", "hot", "cividis", "rainbow", "hsv",
    "coolwarm", "afmhot", "gnuplot2", "YlOrRd", "Reds", "RdBu",
)  # fmt: skip
"""Colour maps of matplotlib that a refusal calls by name."""


def map_values(path: Path, channel: str | None = None, settable: bool = False) -> NDArray[Any]:
    """Read the (h, w) values of a map in a picture, upright by its EXIF orientation.

    Args:
        path: the picture.
        channel: one of `CHANNELS`; None for the grey values of a picture that holds nothing else.
        settable: True if the user can set `channel`, for the message.

    Raises:
        DataError: the picture is missing or damaged; without `channel`, it has colours or varying
            transparency; with `channel`, it lacks that channel.
    """
    with opened_image(path) as image:
        wide = image.mode.startswith(("I", "F"))
        plain = wide or image.mode in ("1", "L")
        transparent = bool(image.has_transparency_data)
    if channel == "alpha" and not transparent:
        raise DataError(f"{path}: channel: alpha, and the picture has no alpha channel.")
    if wide or channel == "grey" or (plain and not transparent):
        return grey_values(path)
    pixels = read_image(path, "RGBA" if transparent else "RGB")
    if channel is not None:
        return pixels[..., CHANNELS.index(channel) - 1]
    why = _refusal(pixels, settable)
    if why:
        raise DataError(f"{path}: {why}.")
    return grey_values(path)


def grey_values(path: Path) -> NDArray[Any]:
    """Read the grey values of a picture; those of 16 bits and more are not scaled."""
    from PIL import ImageOps

    with opened_image(path) as image:
        if image.mode.startswith(("I", "F")):
            return np.asarray(ImageOps.exif_transpose(image))
    return read_image(path, "L")


def _refusal(pixels: NDArray[np.uint8], settable: bool) -> str | None:
    """Return why the grey values are not the map, or None if they are.

    Args:
        pixels: (h, w, 3) or (h, w, 4).
        settable: True if the user can set `channel`.
    """
    colours = pixels[..., :3]
    coloured = colours.max(axis=-1) - colours.min(axis=-1) > _COLOURED
    alone = [at for at in range(pixels.shape[-1]) if np.ptp(pixels[..., at])]
    if alone == [3]:
        return "all its pixels have one colour and only its alpha channel varies; " + (
            "set channel: alpha" if settable else "save that channel as a picture in grey"
        )
    if coloured.mean() >= _SHARE:
        if len(alone) == 1:
            name = CHANNELS[1 + alone[0]]
            return f"only its {name} channel varies; " + (
                f"set channel: {name}" if settable else "save that channel as a picture in grey"
            )
        known = _colour_map_of(colours[coloured])
        what = f"; its colours are those of {known}, a map in false colours" if known else ""
        return (
            f"a picture in colour ({coloured.mean():.1%} of its pixels){what}: its grey values are "
            "not the map. Save the map itself, as .npy or as a picture in grey"
        ) + (", or set channel to what is meant: grey, red, green, blue or alpha" * settable)
    if 3 in alone:
        return "both its grey values and its transparency vary; " + (
            "set channel: grey or channel: alpha"
            if settable
            else "save the map without transparency"
        )
    return None


def _colour_map_of(colours: NDArray[np.uint8]) -> str | None:
    """Return the name of the colour map that (n, 3) colours lie on, or None."""
    from matplotlib import colormaps

    some = colours[:: max(1, len(colours) // _SAMPLE)].astype(np.int16)
    best: tuple[float, str] | None = None
    for name in _NAMED:
        table = (colormaps[name](np.linspace(0, 1, 128))[:, :3] * 255).astype(np.int16)
        distance = np.abs(some[:, None] - table[None]).max(axis=-1).min(axis=-1)
        if (distance <= _NEAR).mean() >= _MOST:
            found = (float(distance.mean()), name)
            best = found if best is None else min(best, found)
    return None if best is None else best[1]
