"""Read untrusted images: Pillow's size limit applies, truncated files are refused."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError, short_reason

_KINDS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats that are read. Pillow knows more, but some are programs, such as PostScript, which it
passes to an interpreter; others are rare, and their readers are less tested."""

_DAMAGED_IMAGE = (
    OSError, ValueError, SyntaxError, TypeError, EOFError, KeyError, IndexError, AttributeError,
    OverflowError, ZeroDivisionError, MemoryError, struct.error,
)  # fmt: skip
_ORIENTATION = 0x0112
"""EXIF tag that states how an image must be rotated or mirrored."""

_FORMS = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette",
    "RGBA": "transparency", "I": "32-bit grey", "F": "grey floats",
}  # fmt: skip
"""Plain names of Pillow's modes; modes not listed keep Pillow's name."""

_BAND_VALUES = 1 << 22
_LARGEST = (255.0, 65_535.0, 4_294_967_295.0)
"""Largest values of 8, 16 and 32 bits."""


def read_image(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """Read an image's pixels, upright according to its EXIF orientation.

    They are (H, W, 3) for the mode `RGB`, (H, W, 4) for `RGBA` and (H, W) for `L`.

    Grey values of 16 bits are scaled to 8 bits. Grey values of 32 bits and floats are scaled from
    the smallest range that holds their maximum (1 for floats, 8, 16 or 32 bits). Values above 0
    stay above 0. Transparency is dropped, except for `RGBA`.

    Raises:
        DataError: the file is not an image, is truncated, or exceeds Pillow's safe size.
    """
    return read_image_with_changes(path, mode)[0]


def read_image_with_changes(
    path: Path, mode: str = "RGB"
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read an image's pixels as `read_image` does, and list the conversions that were needed.

    Returns:
        The pixels; words such as `CMYK`, `16-bit grey` or `turned as its EXIF says`, none for
        an upright image of 8-bit RGB.

    Raises:
        DataError: as for `read_image`.
    """
    from PIL import ImageOps

    with open_image(path) as image:
        form = (
            "16-bit grey" if image.mode.startswith("I;16") else _FORMS.get(image.mode, image.mode)
        )
        found = [] if form == "RGB" else [form]
        if image.getexif().get(_ORIENTATION, 1) != 1:
            found.append("turned as its EXIF says")
        # older versions of Pillow read a 16-bit PNG as 32-bit numbers
        wide = image.mode.startswith("I;16") or image.format == "PNG"
        ImageOps.exif_transpose(image, in_place=True)  # a copy of a large image fills the memory
        upright = _of_8_bits(image, wide)
        pixels = upright if upright.mode == mode else upright.convert(mode)
        return np.asarray(pixels, dtype=np.uint8), tuple(found)


def _of_8_bits(image: Any, wide: bool) -> Any:
    """Convert wider grey values to 8 bits by scaling, because Pillow would clip them at 255.

    Args:
        image: image of any mode.
        wide: True if its values have 16 bits, however small they are.
    """
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    ranges = _LARGEST[1:] if wide else (1.0, *_LARGEST) if image.mode == "F" else _LARGEST
    largest = max(float(values.max(initial=0)) for _, values in _bands(image))
    top = next((top for top in ranges if largest <= top), largest)
    pixels = np.empty((image.height, image.width), dtype=np.uint8)
    for first, values in _bands(image):
        scaled = np.maximum(np.rint(np.clip(values, 0, None) / top * 255), values > 0)
        pixels[first : first + len(values)] = scaled
    return Image.fromarray(pixels)


def _bands(image: Any) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield first row and values of bands of rows; a large image as a whole takes gigabytes."""
    step = max(1, _BAND_VALUES // image.width)
    for first in range(0, image.height, step):
        band = image.crop((0, first, image.width, min(first + step, image.height)))
        yield first, np.nan_to_num(np.asarray(band).astype(np.float64), posinf=0, neginf=0)


@contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """Open an image and read only its header.

    Raises:
        DataError: the file is missing, not an image, damaged, or exceeds Pillow's safe size.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_KINDS) as image:
                yield image
    except UnidentifiedImageError as error:
        problem = f"it is damaged, or none of {', '.join(_KINDS)}"
        raise DataError(f"{path}: not a readable image ({problem}).") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: the image is too large to open safely ({short_reason(error)})."
        ) from error
    except _DAMAGED_IMAGE as error:
        raise DataError(f"{path}: not a readable image ({short_reason(error)}).") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image as `read_image` gives it, from the header alone.

    Raises:
        DataError: the file is missing, not an image, or exceeds Pillow's safe size.
    """
    from PIL import ImageOps

    with open_image(path) as image:
        width, height = image.size
        if image_orientation(image) not in (5, 6, 7, 8):  # not turned by 90 degrees
            return height, width
        if image.format == "TIFF":
            # versions of Pillow differ in whether a TIFF's size is given before or after turning
            upright = ImageOps.exif_transpose(image)
            return upright.height, upright.width
        return width, height


def image_orientation(image: Any) -> int:
    """Return the EXIF orientation of an opened image, or 1 if there is none.

    A PNG may state the orientation after its pixels. That is ignored, because every image would
    have to be decoded.
    """
    from PIL import Image

    value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1
