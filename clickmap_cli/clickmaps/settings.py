"""Settings that maps depend on, and notices about a blur that the user may not expect."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clickmap_cli.clickmaps.blur import Kernel
from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.clickmaps.trials import Ints
from clickmap_cli.config.experiment import ExperimentConfig, blur_window


@dataclass(frozen=True)
class MapSettings:
    """All settings that turn an image's clicks into its map.

    Attributes:
        image_shape: size of a map before cropping, unless an image has its own size.
        crop: size cut from the centre, or None.
        kernel_type: `circle`, `gaussian` or `none`.
        blur_size: kernel size at `image_shape`.
        blur_sigma: standard deviation of the Gaussian at `image_shape`, in pixels, or None.
        max_kernel_size: largest kernel size for images of their own size.
        decay_tau: decay constant of the clicks' weights, in clicks, or None for equal weights.
    """

    image_shape: Size
    crop: Size | None
    kernel_type: str
    blur_size: int
    blur_sigma: float | None
    max_kernel_size: int
    decay_tau: float | None

    @classmethod
    def from_config(cls, config: ExperimentConfig) -> MapSettings:
        """Take the settings from a configuration."""
        height, width = config.image_shape
        crop = (
            None if config.center_crop is None else (config.center_crop[0], config.center_crop[1])
        )
        return cls(
            image_shape=(height, width),
            crop=crop,
            kernel_type=config.kernel_type,
            blur_size=blur_window(config),
            blur_sigma=config.blur_sigma,
            max_kernel_size=config.max_kernel_size,
            decay_tau=config.decay_tau if config.exponential_decay else None,
        )

    def kernel(self, native: Size) -> Kernel:
        """Return the blur kernel for images of this size."""
        return Kernel.from_sizes(
            native,
            self.image_shape,
            self.kernel_type,
            self.blur_size,
            self.blur_sigma,
            self.max_kernel_size,
        )

    def geometry(self, native: Size) -> Geometry:
        """Return the geometry that finishes maps of this size."""
        return Geometry.from_sizes(native, self.image_shape, self.crop)


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
