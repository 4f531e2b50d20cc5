"""Thumbnails inside a page: the images of a benchmark to show, and their bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import best_and_worst
from clickmap_cli.reports.overlays import as_bytes, coloured, shown
from clickmap_cli.reports.style import HEAT

PHOTO_SIDE = 200
"""Longest side of an image's thumbnail, in pixels."""

MAP_SIDE = 160
"""Longest side of a map's thumbnail, in pixels; a browser may enlarge maps, which are smooth."""

_QUALITY = 70


def extremes(
    scores: Sequence[float | None], higher_is_better: bool, n: int
) -> tuple[list[int], list[int]]:
    """Return positions of the `n` best and the `n` worst scores, the most extreme first.

    No position is in both.

    Args:
        scores: one score per image; None is left out.
        higher_is_better: True if the largest score is the best.
        n: largest length of each list.

    Returns:
        The best and the worst; of equal scores the earlier position comes first in both.
    """
    known = [(score, at) for at, score in enumerate(scores) if score is not None]
    up = sorted(known)
    down = sorted(known, key=lambda pair: (-pair[0], pair[1]))
    best, worst = (down, up) if higher_is_better else (up, down)
    n_best, n_worst = best_and_worst(len(known), n)
    first = [at for _, at in best[:n_best]]
    return first, [at for _, at in worst if at not in first][:n_worst]


def nearest_zero(scores: Sequence[float | None], n: int) -> list[int]:
    """Return positions of the `n` scores nearest to zero; the earlier one first if equally near."""
    known = sorted((abs(score), at) for at, score in enumerate(scores) if score is not None)
    return [at for _, at in known[:n]]


def by_rank(lists: Sequence[tuple[Any, Sequence[int]]]) -> Iterator[tuple[Any, int]]:
    """Yield (owner, position) of all first positions, then of all second ones, and so on."""
    for rank in range(max((len(positions) for _, positions in lists), default=0)):
        for owner, positions in lists:
            if rank < len(positions):
                yield owner, positions[rank]


def photo(image: NDArray[Any] | None) -> str | None:
    """Return an image as base64 of a small JPEG; None stays None.

    Args:
        image: (h, w, 3) RGB in 0..1.
    """
    from PIL import Image

    if image is None or not image.size:
        return None
    picture = Image.fromarray(as_bytes(image))
    return _jpeg(picture.resize(_fitted(picture.size, PHOTO_SIDE), Image.Resampling.BOX))


def heat(values: NDArray[Any] | None) -> str | None:
    """Return a map as base64 of a small JPEG, coloured from least to greatest; None stays None.

    Args:
        values: (h, w), any scale; values that are not finite count as 0.
    """
    from PIL import Image

    if values is None or not values.size:
        return None
    known = np.nan_to_num(values.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
    if np.ptp(known) == 0:  # area means of a constant map might differ by rounding
        known = np.zeros_like(known)
    picture = Image.fromarray(known)
    small = np.asarray(picture.resize(_fitted(picture.size, MAP_SIDE), Image.Resampling.BOX))
    return _jpeg(Image.fromarray(coloured(shown(small, "minmax"), HEAT)))


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (width, height) that fits a square of this side, without enlarging."""
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _jpeg(picture: Any) -> str:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")
