"""Blurring of clicks: exact at the borders, in integers if the kernel is a flat disk.

Blur is linear and clicks are few, so no dense convolution is needed. A disk is a stack of runs, so
a dense map of counts is blurred by differences of running sums; a single trial is blurred by adding
one precomputed stamp per clicked pixel; a Gaussian separates into two thin matrix products.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size

Counts = NDArray[Any]
"""(H, W) clicks per pixel: whole numbers, or weights in float64 with exponential decay."""


@dataclass(frozen=True)
class Kernel:
    """A blur kernel for one image size.

    Attributes:
        kind: `circle`, `gaussian` or `none`.
        size: side of the kernel in pixels, odd.
        sigma: standard deviation of the Gaussian in pixels; unused for other kinds.
    """

    kind: str
    size: int
    sigma: float

    @classmethod
    def from_sizes(
        cls,
        native: Size,
        image_shape: Size,
        kind: str,
        blur_size: int,
        sigma: float | None,
        largest: int,
    ) -> Kernel:
        """Return the kernel for an image; it grows with the image's short side.

        Args:
            native: size the clicks are measured in.
            image_shape: the experiment's size, to which `blur_size` refers.
            kind: `circle`, `gaussian` or `none`.
            blur_size: kernel size at `image_shape`; made odd.
            sigma: standard deviation of the Gaussian at `image_shape`; None for the sqrt of the odd
                size.
            largest: `max_kernel_size`, which limits kernels of images of another size than
                `image_shape`.
        """
        base = odd(blur_size)
        size = base
        if native != image_shape:
            size = odd(int(blur_size * min(native) / min(image_shape) + 0.5))
            size = min(size, largest if largest % 2 else largest - 1)
        at_base = math.sqrt(base) if sigma is None else sigma
        return cls(kind, max(size, 1), at_base * size / base)

    @property
    def radius(self) -> int:
        """Number of pixels from the centre to the kernel's edge."""
        return (self.size - 1) // 2

    @property
    def reach(self) -> int:
        """Number of pixels from a click to the farthest pixel it can affect."""
        return {"none": 0, "gaussian": self.radius, "circle": 2 * self.radius}[self.kind]

    def scale(self) -> float:
        """Return the divisor of a blurred map that makes a click away from borders sum to 1."""
        return float(disk_runs(self.radius).sum() ** 2) if self.kind == "circle" else 1.0

    def effective_sigma(self) -> float:
        """Return the standard deviation of one blurred click along one axis, in pixels.

        A window that cuts a Gaussian makes it narrower than its sigma; a disk is applied twice.

        >>> round(Kernel("gaussian", 21, 20.0).effective_sigma(), 1)
        5.9
        """
        if self.kind == "none":
            return 0.0
        gaussian = self.kind == "gaussian"
        weights = gauss(self.size, self.sigma) if gaussian else disk_runs(self.radius)
        at = np.arange(self.size) - self.radius
        variance = float((weights * at**2).sum() / weights.sum())
        return math.sqrt(variance if gaussian else 2 * variance)


def odd(size: int) -> int:
    """Return the size itself if it is odd, else the next odd number."""
    return size if size % 2 else size + 1


def blur_counts(counts: Counts, kernel: Kernel) -> NDArray[Any]:
    """Blur a dense map of counts; pixels outside the image count as zero.

    Returns:
        (H, W): integers for whole counts under `circle` and `none`, else float64; divide by
        `kernel.scale()` for a normalised map.
    """
    if kernel.kind == "none":
        return counts
    if kernel.kind == "gaussian" or counts.dtype.kind == "f":
        y, x = np.nonzero(counts)
        return blur_clicks(x, y, counts.shape, kernel, counts[y, x])
    return _disk_pass(_disk_pass(counts, kernel.radius), kernel.radius)


def blur_clicks(
    x: NDArray[Any],
    y: NDArray[Any],
    size: tuple[int, ...],
    kernel: Kernel,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Blur the clicks of one trial, with the same result as `blur_counts` of their counts.

    Args:
        x: columns, inside the image.
        y: rows, inside the image.
        size: height and width.
        kernel: the blur kernel.
        weights: (clicks) float64 weight of each click; None counts each as 1.
    """
    width = size[1]
    flat = np.asarray(y, dtype=np.int64) * width + x
    if weights is None:
        pixels, counts = np.unique(flat, return_counts=True)
    else:
        pixels, inverse = np.unique(flat, return_inverse=True)
        counts = np.bincount(inverse, weights=weights, minlength=len(pixels))
    rows, columns = np.divmod(pixels, width)
    if kernel.kind == "gaussian":
        return _gaussian_clicks(rows, columns, counts, size, kernel)
    out = np.zeros(size, dtype=np.float64 if weights is not None else np.int32)
    if kernel.kind == "none":
        out[rows, columns] = counts
        return out
    _add_stamps(out, rows, columns, counts, kernel.radius)
    return out


def _add_stamps(
    out: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], counts: NDArray[Any], radius: int
) -> None:
    """Add one stamp per clicked pixel, cut at the image's borders."""
    height, width = out.shape
    reach = 2 * radius
    side = 2 * reach + 1
    tops, lefts = rows - reach, columns - reach
    inner = (tops >= 0) & (lefts >= 0) & (rows + reach < height) & (columns + reach < width)
    whole = _stamp(radius, radius, radius, radius, radius)
    # most clicks lie away from borders and share a few counts: a tight loop handles those
    for count in np.unique(counts[inner]).tolist():
        stamp = whole if count == 1 else whole * count
        same = inner & (counts == count)
        for top, left in zip(tops[same].tolist(), lefts[same].tolist(), strict=True):
            out[top : top + side, left : left + side] += stamp
    for at in np.flatnonzero(~inner).tolist():
        row, column, top, left = (int(v[at]) for v in (rows, columns, tops, lefts))
        below, beside = height - 1 - row, width - 1 - column
        stamp = _stamp(radius, *(min(v, radius) for v in (row, below, column, beside)))
        stamp = stamp[
            max(-top, 0) : side - max(top + side - height, 0),
            max(-left, 0) : side - max(left + side - width, 0),
        ]
        part = out[max(top, 0) : top + side, max(left, 0) : left + side]
        part += stamp * counts[at]


@lru_cache(maxsize=128)
def disk_runs(radius: int) -> NDArray[np.int64]:
    """Return (2 r + 1) row lengths of the disk of pixels at most `radius` from its centre."""
    dy = np.arange(-radius, radius + 1)
    runs = np.array([2 * math.isqrt(radius * radius - int(d) * int(d)) + 1 for d in dy])
    runs.flags.writeable = False
    return runs


def disk(radius: int) -> NDArray[np.int64]:
    """Return the disk as a (2 r + 1, 2 r + 1) array of 0 and 1."""
    at = np.arange(-radius, radius + 1)
    return (at[:, None] ** 2 + at**2 <= radius**2).astype(np.int64)


def _disk_pass(counts: NDArray[Any], radius: int) -> NDArray[Any]:
    """Apply the flat disk once to whole numbers, by differences of running sums."""
    height, width = counts.shape
    # no sum exceeds that of all counts, so narrow integers usually suffice, and are faster
    total = int(counts.sum())
    dtype = next(t for t in (np.int16, np.int32, np.int64) if total <= np.iinfo(t).max)
    sums = np.zeros((height, width + 2 * radius + 1), dtype)
    np.cumsum(counts, axis=1, dtype=dtype, out=sums[:, radius + 1 : radius + 1 + width])
    sums[:, radius + 1 + width :] = sums[:, radius + width : radius + width + 1]
    out = np.zeros((height, width), dtype)
    by_half: defaultdict[int, list[int]] = defaultdict(list)
    for dy, run in enumerate(disk_runs(radius), -radius):
        by_half[int(run) // 2].append(dy)
    for half, offsets in by_half.items():
        right = sums[:, radius + 1 + half : radius + 1 + half + width]
        run = right - sums[:, radius - half : radius - half + width]
        for dy in offsets:
            if abs(dy) < height:
                if dy >= 0:
                    out[: height - dy] += run[dy:]
                else:
                    out[-dy:] += run[: height + dy]
    return out


@lru_cache(maxsize=4096)
def _stamp(radius: int, up: int, down: int, left: int, right: int) -> NDArray[np.int32]:
    """Return what one click adds: two disk passes, the first cut `up`, `down`, ... pixels from it.

    The first pass is cut where the image ends. The stamp has (4 r + 1, 4 r + 1) pixels and is not
    yet cut itself.
    """
    first = disk(radius)
    first[: radius - up] = 0
    first[radius + down + 1 :] = 0
    first[:, : radius - left] = 0
    first[:, radius + right + 1 :] = 0
    side = 4 * radius + 1
    spread = np.zeros((side, side), dtype=np.int64)
    spread[radius : 3 * radius + 1, radius : 3 * radius + 1] = first
    stamp = _disk_pass(spread, radius).astype(np.int32)
    stamp.flags.writeable = False
    return stamp


@lru_cache(maxsize=64)
def gauss(size: int, sigma: float) -> NDArray[np.float64]:
    """Return one axis of the Gaussian, sum 1; the square kernel is its product with itself."""
    at = np.arange(size) - (size - 1) / 2
    values = np.exp(-(at**2) / (2 * sigma**2))
    return np.asarray(values / values.sum())


def _band(n: int, at: NDArray[Any], kernel: Kernel) -> NDArray[np.float64]:
    """Return (n, len(at)) weights that a click at each place adds along one axis, zero outside."""
    tap = np.arange(n)[:, None] - at + kernel.radius
    inside = (tap >= 0) & (tap < kernel.size)
    return np.where(inside, gauss(kernel.size, kernel.sigma)[np.where(inside, tap, 0)], 0.0)


def _gaussian_clicks(
    rows: NDArray[Any],
    columns: NDArray[Any],
    counts: NDArray[Any],
    size: tuple[int, ...],
    kernel: Kernel,
) -> NDArray[np.float64]:
    """Blur with a Gaussian, using only the rows and columns that hold a click."""
    used_rows, at_row = np.unique(rows, return_inverse=True)
    used_columns, at_column = np.unique(columns, return_inverse=True)
    small = np.zeros((len(used_rows), len(used_columns)))
    small[at_row, at_column] = counts
    down = _band(size[0], used_rows, kernel)
    across = _band(size[1], used_columns, kernel).T
    return np.asarray(down @ (small @ across))
