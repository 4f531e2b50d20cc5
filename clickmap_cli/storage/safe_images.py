"""Pictures that strangers made: Pillow's size limit holds, cut files are refused."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import short_reason

_DAMAGED_IMAGE = (
    OSError, ValueError, SyntaxError, TypeError, EOFError, KeyError, IndexError, AttributeError,
    OverflowError, ZeroDivisionError, MemoryError, struct.error,
)  # fmt: skip


def read_image(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """An image's pixels, (H, W, 3) for `RGB` or (H, W) for `L`, upright by its EXIF orientation.

    Raises:
        DataError: not an image, truncated, or larger than Pillow's safe size.
    """
    from PIL import ImageOps

    with opened_image(path) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert(mode), dtype=np.uint8)


@contextmanager
def opened_image(path: Path) -> Iterator[Any]:
    """A picture with its header read and its pixels not.

    Raises:
        DataError: the file is missing, no image, damaged, or larger than Pillow's safe size.
    """
    from PIL import Image, ImageFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if isinstance(image, ImageFile.StubImageFile):
                    raise DataError(f"{path}: not a readable image ({image.format}).")
                yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: the image is too large to open safely ({short_reason(error)})."
        ) from error
    except _DAMAGED_IMAGE as error:
        raise DataError(f"{path}: not a readable image ({short_reason(error)}).") from error
