"""Readable numbers of bytes."""

from __future__ import annotations

import math


def readable_size(n: float, *, up: bool = False) -> str:
    """Return a number of bytes in a readable unit.

    Args:
        n: number of bytes.
        up: round up, for required space: a requirement must not look smaller than it is.

    Example:
        >>> readable_size(1_234_567), readable_size(1_234_567, up=True), readable_size(2.31e9)
        ('1 MB', '2 MB', '2.3 GB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{math.ceil(n) if up else n:,.0f} {unit}"
        n /= 1000
    unit = "GB" if n < 1000 else "TB"
    n = n if n < 1000 else n / 1000
    return f"{math.ceil(10 * n) / 10 if up else n:,.1f} {unit}"
