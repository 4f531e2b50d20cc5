"""Random changes of training images, applied to their key points too.

Pixel centres are whole numbers, the top left one (0, 0), as everywhere for key points: an image of
width W covers -0.5 to W - 0.5, its mirror maps x to W - 1 - x, and its centre is (W - 1) / 2. The
image is resampled with the exact inverse of the transform of the points, so that both stay aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.keypoints import AugmentSettings

Points = NDArray[np.float64]
Pixels = NDArray[np.float32]

KINDS = ("flip", "rotate", "scale", "translate", "brightness", "contrast", "blur", "noise")
"""Kinds of changes, by the names of their settings; a setting of 0 turns a kind off."""


@dataclass(frozen=True)
class Change:
    """The change of one image; the defaults change nothing.

    Attributes:
        flip: True to mirror left to right, before the other moves.
        rotate: rotation in degrees, clockwise as seen, about the image's centre.
        scale: factor of sizes, about the centre.
        translate: shift to the right and down, in shares of width and height, applied last.
        brightness: factor of all values.
        contrast: factor of differences from the image's mean.
        blur: sigma of a Gaussian, in pixels.
        noise: standard deviation of normal noise, drawn for each pixel and colour; values are 0..1.
    """

    flip: bool = False
    rotate: float = 0.0
    scale: float = 1.0
    translate: tuple[float, float] = (0.0, 0.0)
    brightness: float = 1.0
    contrast: float = 1.0
    blur: float = 0.0
    noise: float = 0.0


def is_on(settings: AugmentSettings) -> bool:
    """Return True if any kind of change is on."""
    return any(getattr(settings, kind) for kind in KINDS)


def draw_change(settings: AugmentSettings, rng: np.random.Generator) -> Change:
    """Draw one change; each kind has its own random numbers, so kinds do not affect each other."""
    mirrored, blur, noise = rng.random(3)
    rotate, scale, right, down, brightness, contrast = rng.uniform(-1, 1, 6)
    return Change(
        flip=bool(mirrored < settings.flip),
        rotate=float(settings.rotate * rotate),
        scale=float(1 + settings.scale * scale),
        translate=(float(settings.translate * right), float(settings.translate * down)),
        brightness=float(1 + settings.brightness * brightness),
        contrast=float(1 + settings.contrast * contrast),
        blur=float(settings.blur * blur),
        noise=float(settings.noise * noise),
    )


def apply_change(
    pixels: NDArray[np.uint8],
    points: Points,
    change: Change,
    rng: np.random.Generator,
    swaps: Sequence[tuple[int, int]] = (),
    pixel: tuple[float, float] = (1.0, 1.0),
) -> tuple[Pixels, Points]:
    """Apply a change to an image and its key points.

    The order is brightness, contrast, mirror, rotation with scale and shift (bilinear, black
    outside the image), blur, noise; then values are clipped to 0..1.

    Args:
        pixels: (h, w, 3).
        points: (k, 2) x and y; NaN where a label is missing.
        change: the change.
        rng: generator of the noise.
        swaps: left and right key points that change places in a mirror.
        pixel: width and height of one of these pixels in the undistorted picture, so that a
            rotation is a rotation there.

    Returns:
        (h, w, 3) float32 in 0..1, and (k, 2) x and y in its pixels; NaN where a label is missing or
        has left the image.
    """
    values = pixels.astype(np.float32) / np.float32(255)
    if change.brightness != 1:
        values = values * np.float32(change.brightness)
    if change.contrast != 1:
        mean = values.mean(dtype=np.float64).astype(np.float32)
        values = mean + (values - mean) * np.float32(change.contrast)
    if change.flip:
        values = values[:, ::-1]
    values = _resample(values, change, pixel)
    if change.blur > 0:
        values = ndimage.gaussian_filter(values, (change.blur, change.blur, 0), mode="nearest")
    if change.noise > 0:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values = values + noise * np.float32(change.noise)
    height, width = pixels.shape[:2]
    clipped = np.ascontiguousarray(np.clip(values, 0, 1), dtype=np.float32)
    return clipped, move_points(points, change, (height, width), swaps, pixel)


def move_points(
    points: Points,
    change: Change,
    size: Size,
    swaps: Sequence[tuple[int, int]] = (),
    pixel: tuple[float, float] = (1.0, 1.0),
) -> Points:
    """Return the positions of key points after a change; NaN for those that leave the image.

    Args:
        points: (k, 2) x and y; NaN where a label is missing.
        change: the change.
        size: height and width of the image.
        swaps: left and right key points that change places in a mirror.
        pixel: as in `apply_change`.
    """
    found = np.array(points, dtype=np.float64)
    if change.flip:
        found[:, 0] = (size[1] - 1) - found[:, 0]
        for left, right in swaps:
            found[[left, right]] = found[[right, left]]
    if _moves(change):
        matrix, offset = _affine(change, size, pixel)
        found = found @ matrix.T + offset
        with np.errstate(invalid="ignore"):
            outside = (found < -0.5) | (found > np.array([size[1], size[0]]) - 0.5)
        found[outside.any(axis=1)] = np.nan
    return found


def _moves(change: Change) -> bool:
    return change.rotate != 0 or change.scale != 1 or change.translate != (0.0, 0.0)


def _affine(
    change: Change, size: Size, pixel: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (2, 2) matrix and (2) offset from (x, y) in the image to the changed image."""
    angle = np.deg2rad(change.rotate)
    # y grows downwards, so this rotation looks clockwise
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sides = np.asarray(pixel, dtype=np.float64)
    matrix = change.scale * turn * sides[None, :] / sides[:, None]
    extent = np.array([size[1], size[0]], dtype=np.float64)
    centre = (extent - 1) / 2
    return matrix, centre - matrix @ centre + extent * np.asarray(change.translate)


def _resample(values: Pixels, change: Change, pixel: tuple[float, float]) -> Pixels:
    """Return the image after rotation, scale and shift."""
    if not _moves(change):
        return values
    height, width = values.shape[:2]
    matrix, offset = _affine(change, (height, width), pixel)
    # the inverse, from new pixels to old ones, with rows before columns
    back = np.linalg.inv(matrix)
    start = -back @ offset
    planes = [
        ndimage.affine_transform(
            values[..., colour], back[::-1, ::-1], start[::-1], order=1, mode="grid-constant"
        )
        for colour in range(3)
    ]
    return np.stack(planes, axis=-1)


def example_changes(settings: AugmentSettings) -> dict[str, Change]:
    """Return no change, and each kind of change that is on at its strongest, by their titles."""
    on = [kind for kind in KINDS if getattr(settings, kind)]
    return {"as it is": Change(), **dict(strongest_change(kind, settings) for kind in on)}


def strongest_change(kind: str, settings: AugmentSettings) -> tuple[str, Change]:
    """Return the title and the change of one kind at its strongest, in the positive direction."""
    most = float(getattr(settings, kind))
    values: dict[str, tuple[str, Any]] = {
        "flip": ("flip", True),
        "rotate": (f"rotate {most:g} degrees", most),
        "scale": (f"scale x {1 + most:g}", 1 + most),
        "translate": (f"translate {most:.0%}", (most, most)),
        "brightness": (f"brightness x {1 + most:g}", 1 + most),
        "contrast": (f"contrast x {1 + most:g}", 1 + most),
        "blur": (f"blur {most:g} px", most),
        "noise": (f"noise {most:g}", most),
    }
    title, value = values[kind]
    return title, Change(**{kind: value})
