"""Notices about a blur that differs from the one the configuration seems to ask for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Ints

_LEAST_SIGMAS = 3


def blur_notices(settings: MapSettings, shapes: Ints) -> Iterator[str]:
    """Compare the blur of the configuration with the blur that images get.

    Args:
        settings: settings of the maps.
        shapes: (images, 2) height and width in which the clicks of each image are measured.

    Yields:
        One sentence for each difference.
    """
    if settings.blur_sigma is not None and settings.kernel_type != "gaussian":
        yield (
            f"blur_sigma: {settings.blur_sigma:g} has no effect with kernel_type: "
            f"{settings.kernel_type}; set kernel_type: gaussian, or leave blur_sigma out."
        )
    if settings.kernel_type == "none":
        return
    yield from _narrow_window(settings)
    yield from _cut_kernels(settings, shapes)


def _narrow_window(settings: MapSettings) -> Iterator[str]:
    """Yield a notice if the window cuts a Gaussian nearer to its centre than 3 sigma."""
    kernel = settings.kernel(settings.image_shape)
    if kernel.kind != "gaussian" or kernel.radius >= _LEAST_SIGMAS * kernel.sigma:
        return
    window = "1 pixel" if kernel.size == 1 else f"{kernel.size} pixels"
    if settings.blur_sigma is None:
        source = f", sqrt({kernel.size}) as blur_sigma is not set,"
        advice = f"Set blur_sigma={kernel.sigma:.3g} and leave blur_size out for a whole gaussian."
    else:
        source = ""
        advice = (
            f"Leave blur_size out for a window of 4 sigma to each side, or set at least "
            f"{2 * math.ceil(_LEAST_SIGMAS * kernel.sigma) + 1}."
        )
    at = kernel.radius / kernel.sigma
    yield (
        f"blur_size: a window of {window} cuts a gaussian of sigma {kernel.sigma:.3g}{source} at "
        f"{at:.2g} sigma to each side; the effective sigma of the blur is "
        f"{kernel.effective_sigma():.2g} pixels. {advice}"
    )


def _cut_kernels(settings: MapSettings, shapes: Ints) -> Iterator[str]:
    """Yield a notice if `max_kernel_size` makes kernels of images of their own size smaller."""
    if not len(shapes):
        return
    uncut = replace(settings, max_kernel_size=sys.maxsize)
    sizes, times = np.unique(shapes, axis=0, return_counts=True)
    natives: list[Size] = [(int(height), int(width)) for height, width in sizes]
    cut = {
        native: int(n)
        for native, n in zip(natives, times, strict=True)
        if settings.kernel(native).size < uncut.kernel(native).size
    }
    if not cut:
        return
    largest = max(cut, key=lambda native: (uncut.kernel(native).size, native))
    wanted, kernel = uncut.kernel(largest), settings.kernel(largest)
    yield (
        f"max_kernel_size: {settings.max_kernel_size} cuts the blur of {sum(cut.values())} of "
        f"{len(shapes)} images: a kernel of {settings.blur_size} pixels at image_shape "
        f"{list(settings.image_shape)} would be one of {wanted.size} at {list(largest)}, and is "
        f"one of {kernel.size}; the effective sigma there is {kernel.effective_sigma():.3g} pixels "
        f"instead of {wanted.effective_sigma():.3g}. Set max_kernel_size={wanted.size} to blur all "
        "images in proportion to their size."
    )
