"""Settings that maps depend on, taken from a configuration once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from clickmap_cli.clickmaps.blur import Kernel, kernel_for
from clickmap_cli.clickmaps.geometry import Geometry, Size, geometry_of
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
    def of(cls, config: ExperimentConfig) -> MapSettings:
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
        return _kernel(self, native)

    def geometry(self, native: Size) -> Geometry:
        """Return the geometry that finishes maps of this size."""
        return geometry_of(native, self.image_shape, self.crop)


@lru_cache(maxsize=1024)
def _kernel(settings: MapSettings, native: Size) -> Kernel:
    return kernel_for(
        native,
        settings.image_shape,
        settings.kernel_type,
        settings.blur_size,
        settings.blur_sigma,
        settings.max_kernel_size,
    )
