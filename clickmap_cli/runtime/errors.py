"""Errors that name the file, row or key, the value found, and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


def printed(text: str) -> str:
    """Escape characters that a terminal would obey, such as colour codes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class ClickmapError(Exception):
    """An error whose message is written for the user.

    Messages may contain untrusted names, so control characters are escaped.

    Attributes:
        exit_code: exit code of the command line when this error ends it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printed(super().__str__())


class ConfigError(ClickmapError):
    """The call or the configuration is wrong; nothing was done."""

    exit_code = 2


class DataError(ClickmapError):
    """An input file or its content cannot be used."""


class RunError(ClickmapError):
    """The run could not continue: a folder is busy, a device is missing, a disk is full."""


class DiskFullError(RunError):
    """A disk or a quota is full; repeating the same call continues the run."""


_A_BEGINNING = 3
_MOST_NEAR = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known words, or list all known words if none is near.

    Words are near if they begin with `name`, in any case; if there are none, or too many, the
    word with the most similar spelling is near.

    Args:
        name: the unknown word.
        known: words that would have been accepted.

    Returns:
        A sentence such as ``Did you mean 'blur_size'?``.
    """
    words = sorted(known)
    low = name.lower()
    near = (
        [word for word in words if word.lower().startswith(low)] if len(low) >= _A_BEGINNING else []
    )
    if not 1 <= len(near) <= _MOST_NEAR:
        spelled = {word.lower(): word for word in words}
        near = [spelled[word] for word in difflib.get_close_matches(low, spelled, n=1, cutoff=0.6)]
    if not near:
        return f"Known: {', '.join(words)}."
    *first, last = [f"'{word}'" for word in near]
    return f"Did you mean {', '.join(first)} or {last}?" if first else f"Did you mean {last}?"


class MissingExtraError(ClickmapError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'clickmap[{extra}]'.")
        self._arguments = (extra, what)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        # a worker process sends its error pickled, with the arguments of the constructor
        return type(self), self._arguments


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
