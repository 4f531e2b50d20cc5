"""Pictures read one after the other: the images of a folder, or the frames of a video."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.maps import IMAGE_SUFFIXES
from clickmap_cli.runtime.errors import DataError, MissingExtraError, short_reason
from clickmap_cli.storage.safe_images import open_image, read_image

_PILLOW_SUFFIXES = (*IMAGE_SUFFIXES, ".gif", ".apng")
_MAX_IMAGES = 10_000_000

_CONTAINERS = (
    "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpeg,mpegvideo,mpegts,m4v,h264,hevc,mjpeg,asf,flv,"
    "ogg,ivf,yuv4mpegpipe,mxf,nut,dv"
)
"""Containers that hold their own pictures; playlists, which refer to other files, are excluded."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        name: the file's path in its folder, or `<stem of the video>_000123`, with frames counted
            from 0.
        pixels: (h, w, 3) uint8 RGB.
    """

    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """Pictures that are read one at a time; each iteration reads them again.

    Attributes:
        source: the folder or the file.
        n: number of pictures that the source states; None if it states none.
        read: function that iterates over the pictures; an unreadable file of a folder yields a
            `Problem`.
        files: files that the pictures are read from.
    """

    source: Path
    n: int | None
    read: Callable[[], Iterator[Frame | Problem]]
    files: tuple[Path, ...]

    def __iter__(self) -> Iterator[Frame | Problem]:
        return self.read()


def frames(source: Path) -> Frames:
    """Return the pictures of a folder (and its sub-folders), of an image, or of a video.

    Pillow reads GIF, APNG, WebP and TIFF frame by frame; any other file that is not an image is
    treated as a video, which needs PyAV. Images are turned upright by their EXIF orientation; video
    frames keep their stored orientation.

    Raises:
        DataError: the source does not exist, holds no image, or is not a readable video. While
            pictures are read: the rest of a moving image or a video is damaged.
        MissingExtraError: the source is a video, and PyAV is not installed.
    """
    if source.is_dir():
        names = image_names(source)
        if not names:
            raise DataError(f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) in the folder.")
        files = tuple(source / name for name in names)
        return Frames(source, len(names), lambda: _of_folder(source, names), files)
    if not source.is_file():
        raise DataError(f"No file or folder at {source} (looked from {Path.cwd()}).")
    if source.suffix.lower() in _PILLOW_SUFFIXES:
        with open_image(source) as image:
            n = int(getattr(image, "n_frames", 1))
        if n == 1:
            folder, name = source.parent, source.name
            return Frames(source, 1, lambda: _of_folder(folder, [name]), (source,))
        return Frames(source, n, lambda: _of_moving_image(source), (source,))
    av = _pyav(source)
    return Frames(source, _announced(av, source), lambda: _of_video(av, source), (source,))


def image_names(folder: Path) -> list[str]:
    """List images of a folder and its sub-folders, as sorted relative paths; skip hidden ones.

    Raises:
        DataError: the folder does not exist, cannot be read, or holds too many images.
    """
    if not folder.is_dir():
        what = "it is a file" if folder.is_file() else f"looked from {Path.cwd()}"
        raise DataError(f"No folder of images at {folder} ({what}).")
    found: list[str] = []
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = Path(place).relative_to(folder)
        found += [
            (inner / name).as_posix()
            for name in files
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
        if len(found) > _MAX_IMAGES:
            raise DataError(f"{folder}: more than {_MAX_IMAGES} images; give a smaller folder.")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error


def _of_folder(folder: Path, names: list[str]) -> Iterator[Frame | Problem]:
    for name in names:
        try:
            pixels = read_image(folder / name)
        except DataError as error:
            yield Problem(name, str(error))
        else:
            yield Frame(name, pixels)


def _of_moving_image(path: Path) -> Iterator[Frame]:
    with open_image(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield Frame(_frame_name(path, number), np.asarray(image.convert("RGB"), dtype=np.uint8))


def _frame_name(path: Path, number: int) -> str:
    return f"{path.stem}_{number:06d}"


# --- video ------------------------------------------------------------------------------------


def _pyav(path: Path) -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtraError("video", f"{path}: reading a video") from error


def _announced(av: Any, path: Path) -> int | None:
    """Return the number of frames that the container states, or None."""
    with path.open("rb") as file:
        container, stream = _said(av, path, lambda: _stream(av, path, file))
        with container:
            return stream.frames or None


def _of_video(av: Any, path: Path) -> Iterator[Frame]:
    with path.open("rb") as file:
        container, stream = _said(av, path, lambda: _stream(av, path, file))
        with container:
            decoded = container.decode(stream)
            number = 0
            while True:
                pixels = _said(av, path, lambda: _pixels(path, next(decoded, None)))
                if pixels is None:
                    break
                yield Frame(_frame_name(path, number), pixels)
                number += 1
    if not number:
        raise DataError(f"{path}: the video has no frame that can be read.")


def _stream(av: Any, path: Path, file: Any) -> tuple[Any, Any]:
    """Open the container and return it with its first video stream."""
    # PyAV gets an open file, so that it never takes the name for an address
    container = av.open(file, options={"format_whitelist": _CONTAINERS, "protocol_whitelist": ""})
    if not container.streams.video:
        raise DataError(f"{path}: no pictures in the file (it has no video stream).")
    stream = container.streams.video[0]
    _check_size(path, stream.codec_context.width, stream.codec_context.height)
    return container, stream


def _pixels(path: Path, frame: Any) -> NDArray[np.uint8] | None:
    if frame is None:
        return None
    _check_size(path, frame.width, frame.height)
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def _check_size(path: Path, width: int, height: int) -> None:
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > most:
        raise DataError(
            f"{path}: frames of {width} x {height} pixels are too large to open safely."
        )


def _said(av: Any, path: Path, action: Callable[[], Any]) -> Any:
    """Return the result of an action of PyAV, or raise its error as a DataError."""
    try:
        return action()
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise DataError(
            f"{path}: not a readable video ({short_reason(error)}); convert it, for example to MP4."
        ) from error
