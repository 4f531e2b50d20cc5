"""Conversion from the pixels people clicked in to the pixels of a finished map.

Only `Geometry` changes sizes: maps, images, masks and clicks all go through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.keys import match_keys
from clickmap_cli.runtime.errors import DataError

Size = tuple[int, int]
"""Height and width, in pixels."""

AS_IT_IS = "as it is"
"""Words for a map whose pixels are neither scaled nor cropped."""


@dataclass(frozen=True)
class ImageShapes:
    """Height and width in which the clicks of each image are measured.

    Attributes:
        default: the experiment's image_shape.
        known: sizes of images that were shown at their own size, by key or by an ending of the key.
    """

    default: Size
    known: Mapping[str, Size] | None = None

    @property
    def longest_side(self) -> int:
        """Longest side of any image."""
        sizes = [self.default, *(self.known or {}).values()]
        return max(max(size) for size in sizes)

    def look_up(self, keys: Sequence[str]) -> NDArray[np.int32]:
        """Return (len(keys), 2) heights and widths.

        Raises:
            DataError: two names in `known` match one image with different sizes, and neither is its
                whole key.
        """
        shapes = np.tile(np.array(self.default, dtype=np.int32), (len(keys), 1))
        names = self._names(keys)
        for at, key in enumerate(keys):
            if key in names:
                shapes[at] = (self.known or {})[names[key]]
        return shapes

    def unknown(self, keys: Sequence[str]) -> list[str]:
        """Return the images that `known` does not name; none if `known` is empty."""
        names = self._names(keys)
        return [key for key in keys if key not in names] if self.known else []

    def _names(self, keys: Sequence[str]) -> dict[str, str]:
        """Map image keys to their names in `known`; a whole key takes precedence over an ending."""
        known = self.known or {}
        names: dict[str, str] = {}
        for name, key in match_keys(list(known), keys).items():
            other = names.get(key)
            if other is None or name == key:
                names[key] = name
            elif other != key and known[other] != known[name]:
                raise DataError(
                    f"metadata_file has '{other}' and '{name}' for the image '{key}', with other "
                    "sizes; keep one."
                )
        return names


@dataclass(frozen=True)
class Geometry:
    """Rules that turn maps of one native size into finished maps.

    Attributes:
        native: size in which the clicks are measured.
        resized: size after resizing; equal to `native` if nothing is resized.
        crop: size cut from the centre, or None.
        own: True if `native` is the size of the image itself, so that a file of the image must have
            its aspect ratio. Otherwise images are stretched to `native`, as they were when clicked.
    """

    native: Size
    resized: Size
    crop: Size | None
    own: bool = field(default=False, repr=False)

    @classmethod
    def from_sizes(cls, native: Size, image_shape: Size, crop: Size | None) -> Geometry:
        """Return the geometry of an image.

        An image whose clicks are measured in `image_shape` keeps that size. Any other image is
        scaled so that its short side equals that of `image_shape`; its long side is rounded.

        Raises:
            DataError: the crop is larger than the resized map.
        """
        resized = native
        if native != image_shape:
            short = min(image_shape)
            scale = short / min(native)
            resized = (
                (short, int(native[1] * scale + 0.5))
                if native[0] <= native[1]
                else (int(native[0] * scale + 0.5), short)
            )
        if crop is not None and (crop[0] > resized[0] or crop[1] > resized[1]):
            raise DataError(f"center_crop {list(crop)} is larger than a map of {list(resized)}.")
        return cls(native, resized, crop, native != image_shape)

    @property
    def final(self) -> Size:
        """Size of a finished map."""
        return self.crop or self.resized

    @property
    def corner(self) -> Size:
        """Row and column of the crop's first pixel in the resized map."""
        if self.crop is None:
            return 0, 0
        # Python rounds half to even, as torchvision's center_crop does
        top, left = ((s - c) / 2 for s, c in zip(self.resized, self.crop, strict=True))
        return round(top), round(left)

    def finish(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """Resize and crop maps of the native size.

        Args:
            maps: (..., H, W) of the native size.

        Returns:
            (..., h, w) float32 of the final size.
        """
        return self.crop_maps(resize(maps, self.resized))

    @property
    def action(self) -> str:
        """Words for reports on what `finish` does: `as it is`, `scaled`, `cropped` or both."""
        done = ["scaled"] if self.resized != self.native else []
        done += ["cropped"] if self.final != self.resized else []
        return " and ".join(done) or AS_IT_IS

    def place_map(self, shape: Size, image: Size | None = None) -> Geometry:
        """Return the geometry that brings a map from elsewhere onto the finished map's pixels.

        A map of the image's own size, or of its aspect ratio to within a pixel, is scaled and
        cropped like the clicks. A map that already has the final shape is not changed.

        Args:
            shape: (height, width) of the map, the prediction or the mask.
            image: (height, width) of the image's file; None if it is not known.

        Raises:
            DataError: the map has any other aspect ratio.
        """
        if shape == self.final and shape != image:
            return Geometry(shape, shape, None)
        if any(same_aspect(shape, whole) for whole in (image, self.native) if whole is not None):
            return Geometry(shape, self.resized, self.crop)
        sizes = [f"the image's file has {shown_size(image)}"] if image not in (None, shape) else []
        sizes += [f"its clicks are measured in {shown_size(self.native)}"]
        sizes += [f"its finished map has {shown_size(self.final)}"]
        raise DataError(
            f"a map of {shown_size(shape)} fits neither the image nor its finished map (height x "
            f"width: {', '.join(sizes)}); give a map of the whole image, in its aspect ratio, or "
            "one of the finished map's shape"
        )

    def place_image(self, shape: Size) -> Geometry:
        """Return the geometry that brings the image's file onto the finished map's pixels.

        Args:
            shape: (height, width) of the image's file.

        Raises:
            DataError: the clicks are measured in the image's own size, and the file has another
                aspect ratio.
        """
        if not self.own or same_aspect(shape, self.native):
            return Geometry(shape, self.resized, self.crop)
        if shape == self.final:
            return Geometry(shape, shape, None)
        raise DataError(
            f"the image's file has {shown_size(shape)} pixels (height x width), its clicks are "
            f"measured in {shown_size(self.native)}; correct its size in metadata_file or the file"
        )

    def fit(self, pixels: NDArray[Any], file: object) -> NDArray[np.float32]:
        """Bring the pixels of the image's file onto the finished map's pixels.

        Args:
            pixels: (H, W) or (H, W, channels).
            file: source of the pixels, for messages.

        Returns:
            float32 pixels of the final size, with the same channels.

        Raises:
            DataError: as for `place_image`.
        """
        try:
            geometry = self.place_image((pixels.shape[0], pixels.shape[1]))
        except DataError as error:
            raise DataError(f"{file}: {error}.") from error
        planes = pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        fitted = geometry.finish(planes)
        return fitted if pixels.ndim == 2 else np.moveaxis(fitted, 0, -1)

    def move(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Move clicks to the nearest pixels of the finished map; drop those cropped away."""
        rows = _nearest(y, self.native[0], self.resized[0]) - self.corner[0]
        columns = _nearest(x, self.native[1], self.resized[1]) - self.corner[1]
        height, width = self.final
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return columns[inside], rows[inside]

    def crop_maps(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Crop maps of the resized size; without a crop, return all of their pixels."""
        top, left = self.corner
        height, width = self.final
        return np.ascontiguousarray(maps[..., top : top + height, left : left + width])


def same_aspect(shape: Size, whole: Size) -> bool:
    """Return True if two sizes have the same aspect ratio, to within a pixel of either."""
    return abs(shape[1] * whole[0] - shape[0] * whole[1]) <= max(*shape, *whole)


def shown_size(size: Sequence[int]) -> str:
    """Format a size for messages: `height x width`."""
    return " x ".join(str(side) for side in size)


def resize(maps: NDArray[Any], size: Size) -> NDArray[np.float32]:
    """Resize bilinearly with antialiasing, like `torch.nn.functional.interpolate(antialias=True)`.

    Args:
        maps: (..., H, W).
        size: height and width of the result.

    Returns:
        (..., h, w) float32; computed in double precision.
    """
    if maps.shape[-2:] == size:
        return maps.astype(np.float32, copy=False)
    rows = _weights(maps.shape[-2], size[0])
    columns = _weights(maps.shape[-1], size[1])
    return (rows @ maps.astype(np.float64) @ columns.T).astype(np.float32)


@lru_cache(maxsize=64)
def _weights(size_in: int, size_out: int) -> NDArray[np.float64]:
    """Return (out, in) weights of a triangle filter, widened when shrinking; rows sum to 1."""
    scale = size_in / size_out
    reach = max(scale, 1.0)
    weights = np.zeros((size_out, size_in))
    for out in range(size_out):
        centre = scale * (out + 0.5)
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), size_in)
        at = np.arange(first, last)
        triangle = np.maximum(1 - np.abs((at + 0.5 - centre) / reach), 0)
        weights[out, first:last] = triangle / triangle.sum()
    weights.flags.writeable = False
    return weights


def _nearest(at: NDArray[Any], size_in: int, size_out: int) -> NDArray[np.int64]:
    """Return the pixel of the resized axis that holds the centre of a pixel of the native axis."""
    return (2 * at.astype(np.int64) + 1) * size_out // (2 * size_in)
