"""Maps as pixels: scaled to 0..1, coloured, and drawn over their image.

Figures, galleries and benchmarks all use the pixels of this module.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import average_ranks
from clickmap_cli.reports.style import COLOURS
from clickmap_cli.runtime.errors import ConfigError

Bytes = NDArray[np.uint8]
Shares = NDArray[np.float64]

EVEN_SPREADS = 50.0
"""Heat that `sum` shows in full colour by default, in multiples of an even spread."""

_FULL_COVER = 0.75
"""Up to this alpha, cold pixels are covered by the square root of their heat."""


def scale_map(values: NDArray[Any], normalize: str = "max", top: float | None = None) -> Any:
    """Scale a map to 0..1 for display.

    Values that are not finite (NaN, infinity) are unknown: they are shown as 0 and do not count
    elsewhere. Negative values are shown as 0, except by `rank` and `minmax`, which use their order.

    Args:
        values: (h, w), any range.
        normalize: `max` divides by the maximum; a map without a value above 0 is all 0, and a
            constant map above 0 is all 1. `sum` divides by the map's mean, so that an even spread
            of the same heat is 1 everywhere, and then by `top`; a map without a value above 0 is
            all 0. `none` clips to 0..1. `rank` is the share of known pixels at or below, where
            equal values share the mean of their ranks; a constant map is all (n + 1) / 2n.
            `minmax` goes from the least to the greatest known value; a constant map is all 0.
        top: value that is shown as 1: in place of the map's maximum (`max`), or in multiples of
            an even spread (`sum`; None is 50). Larger values are clipped. Other scales ignore it.

    Returns:
        (h, w) float32 in 0..1.

    Raises:
        ValueError: the scale is unknown.

    >>> scale_map(np.array([[-1, 1, 2]])).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return scale_heat(values, normalize, top).astype(np.float32)


def scale_heat(values: NDArray[Any], normalize: str, top: float | None = None) -> Shares:
    """Do the same as `scale_map`, in double precision."""
    known = np.isfinite(values)
    heat = np.where(known, values, 0).astype(np.float64)
    if normalize == "rank":
        heat[known] = _rank_shares(heat[known])
    elif normalize == "minmax":
        heat = np.where(known, _between(heat, heat[known]), 0)
    elif normalize == "sum":
        heat = _even_spreads(heat, known) / (top or EVEN_SPREADS)
    elif normalize == "max":
        high = float(heat.max(initial=0)) if top is None else top
        heat = heat / high if high > 0 else np.zeros_like(heat)
    elif normalize != "none":
        raise ValueError(f"no scale {normalize!r}")
    return np.clip(heat, 0, 1)


def palette(colormap: str, source: str = "colormap") -> Bytes:
    """Return (256, 3) RGB of a matplotlib colour map, from its value 0 to its value 1.

    Args:
        colormap: name of the colour map.
        source: key or option that named it, for the message.

    Raises:
        ConfigError: the colour map is unknown.
    """
    return to_bytes(map_colours((np.arange(256) + 0.5) / 256, colormap, source))


def map_colours(heat: NDArray[Any], colormap: str, source: str = "colormap") -> Shares:
    """Return (..., 3) colours in 0..1 of heat in 0..1; see `palette`."""
    from matplotlib import colormaps

    if colormap not in colormaps:
        raise ConfigError(
            f"{source}: there is no colour map '{colormap}'; try inferno, viridis, magma or jet."
        )
    return np.asarray(colormaps[colormap](heat)[..., :3], dtype=np.float64)


def colour_map(values: NDArray[Any], colormap: str) -> Bytes:
    """Return a map in colours.

    Args:
        values: (h, w) in 0..1, as `scale_map` returns it.
        colormap: any colour map of matplotlib.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ConfigError: the colour map is unknown.
    """
    return _cached_palette(colormap)[_places(values)]


def cover(values: NDArray[Any], alpha: float) -> Shares:
    """Return the share of each pixel that its heat covers: the hotter, the more.

    Up to an alpha of 0.75 a pixel is covered by alpha times the square root of its heat, so that
    the image stays visible where nobody clicked. Above, cold pixels are covered more and more. An
    alpha of 1 shows exactly the heat alone, an alpha of 0 exactly the image.

    Args:
        values: (h, w) in 0..1.
        alpha: share of the hottest pixel that is covered, 0..1.

    Returns:
        (h, w) in 0..alpha.
    """
    root = min(0.5, 0.5 * (1 - alpha) / (1 - _FULL_COVER))
    return np.asarray(alpha * np.clip(values, 0, 1).astype(np.float64) ** root)


def mix(image: NDArray[Any], colours: NDArray[Any], alpha: float | NDArray[Any]) -> Shares:
    """Return colours over an image, with any scale that both share.

    Args:
        image: (h, w, 3).
        colours: (h, w, 3).
        alpha: share that is covered, 0..1: one number, or (h, w) as `cover` returns it.

    Returns:
        (h, w, 3).
    """
    share = np.asarray(alpha, dtype=np.float64)
    share = share[..., None] if share.ndim else share
    return np.asarray(image * (1 - share) + colours * share)


def blend(image: Bytes, colours: Bytes, alpha: float | NDArray[Any]) -> Bytes:
    """Blend colours over an image; an alpha of 0 gives exactly the image, of 1 the colours.

    Args:
        image: (h, w, 3) uint8.
        colours: (h, w, 3) uint8.
        alpha: see `mix`.

    Returns:
        (h, w, 3) uint8.
    """
    return np.rint(mix(image, colours, alpha)).astype(np.uint8)


def overlay_map(image: Bytes, values: NDArray[Any], colormap: str, alpha: float) -> Bytes:
    """Return a map in colours over its image, covering it as `cover` states.

    Args:
        image: (h, w, 3) uint8.
        values: (h, w) in 0..1, as `scale_map` returns it.
        colormap: any colour map of matplotlib.
        alpha: 0 gives exactly the image, 1 exactly the coloured map.

    Returns:
        (h, w, 3) uint8.

    Raises:
        ConfigError: the colour map is unknown.
    """
    return blend(image, colour_map(values, colormap), cover(values, alpha))


def make_grey(image: Bytes) -> Bytes:
    """Return an image without its colours.

    Args:
        image: (h, w, 3) uint8.

    Returns:
        (h, w, 3) uint8 with three equal channels; a grey image is unchanged.
    """
    luma = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(np.rint(luma).astype(np.uint8)[..., None], 3, axis=2)


def placeholder(height: int, width: int) -> Bytes:
    """Return (height, width, 3) of one light colour, in place of an image that is missing."""
    red, green, blue = (int(COLOURS["empty"][at : at + 2], 16) for at in (1, 3, 5))
    return np.full((height, width, 3), (red, green, blue), dtype=np.uint8)


def to_bytes(shares: NDArray[Any]) -> Bytes:
    """Convert numbers in 0..1 to bytes: clipped and rounded, with NaN as 0."""
    found: Bytes = np.rint(np.clip(np.nan_to_num(shares), 0, 1) * 255).astype(np.uint8)
    return found


@lru_cache(maxsize=32)
def _cached_palette(colormap: str) -> Bytes:
    found = palette(colormap)
    found.flags.writeable = False
    return found


def _places(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return the palette index of each value."""
    known = np.clip(np.nan_to_num(values), 0, 1)
    return np.asarray(np.minimum(known.astype(np.float64) * 256, 255), dtype=np.intp)


def _rank_shares(values: Shares) -> Shares:
    """Return the mean ranks of values, from 1, divided by the number of values."""
    largest = float(np.abs(values).max(initial=0))
    if largest > float(np.finfo(np.float32).max):  # `average_ranks` compares float32
        values = values / largest
    return average_ranks(values) / max(len(values), 1)


def _between(heat: Shares, known: Shares) -> Shares:
    """Scale heat from the least known value, 0, to the greatest, 1."""
    if not len(known) or known.min() == known.max():
        return np.zeros_like(heat)
    # halving first prevents overflow, whatever the range
    low, high = float(known.min()) / 2, float(known.max()) / 2
    return (heat / 2 - low) / (high - low)


def _even_spreads(heat: Shares, known: NDArray[np.bool_]) -> Shares:
    """Return heat above 0 in multiples of an even spread over all known pixels."""
    high = float(heat.max(initial=0))
    if high <= 0:
        return np.zeros_like(heat)
    above = np.clip(heat, 0, None) / high
    return np.asarray(above / above[known].mean())
