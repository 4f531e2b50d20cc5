"""Errors that name the file, row or key, the value found, and the fix; and texts of messages.

Names and values in messages often come from files of strangers: they are escaped and shortened
here, and nowhere else.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Iterable, Sequence


class ClickmapError(Exception):
    """An error whose message is written for the user.

    Messages may contain untrusted names, so control characters are escaped.

    Attributes:
        exit_code: exit code of the command line when this error ends it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return escape_controls(super().__str__())


class ConfigError(ClickmapError):
    """The call or the configuration is wrong; nothing was done."""

    exit_code = 2


class DataError(ClickmapError):
    """An input file or its content cannot be used."""


class RunError(ClickmapError):
    """The run could not continue: a folder is busy, a device is missing, a disk is full."""


class MissingDeviceError(RunError):
    """This machine does not have the device that the call or the configuration names."""


class IncompleteError(ClickmapError):
    """An earlier check failed, and its error has been collected; see `runtime.progress.Checks`."""


class DiskFullError(RunError):
    """A disk or a quota is full; repeating the same call continues the run."""


class MissingExtraError(ClickmapError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'clickmap[{extra}]'.")
        self._arguments = (extra, what)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        # a worker process sends its error pickled, with the arguments of the constructor
        return type(self), self._arguments


def require_extra(extra: str, what: str) -> None:
    """Raise MissingExtraError unless the package with the name of an extra is installed.

    Args:
        extra: name of the extra and of its package.
        what: the setting that needs it, for the message.
    """
    if importlib.util.find_spec(extra) is None:
        raise MissingExtraError(extra, what)


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would obey, such as colour codes; keep line breaks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def printable(text: str, most: int = 120) -> str:
    """Return untrusted text as a message can hold it: escaped, and cut to `most` characters."""
    shown = escape_controls(text[: most + 1]).replace("\n", r"\n")
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def join_few(words: Sequence[str], most: int = 5) -> str:
    """Join the first few words of a list, made printable, for a message."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(printable(word) for word in words[:most]) + more


def short_reason(error: BaseException, most: int = 200) -> str:
    """Return the message of a library's error in one line, or its type if it has no message."""
    return printable(" ".join(str(error).split()), most) or type(error).__name__


def typed_reason(error: BaseException) -> str:
    """Return the type of an unexpected error and its message, in one line."""
    return f"{type(error).__name__}: {printable(' '.join(str(error).split()), 300)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known words, or list all known words if none is near.

    Words are near if they begin with `name`, in any case, and it has three letters or more; if
    there are none, or more than four, the word with the most similar spelling is near.

    Args:
        name: the unknown word.
        known: words that would have been accepted.

    Returns:
        A sentence such as ``Did you mean 'blur_size'?``.
    """
    words = sorted(known)
    low = name.lower()
    near = [word for word in words if len(low) >= 3 and word.lower().startswith(low)]
    if not 1 <= len(near) <= 4:
        spelled = {word.lower(): word for word in words}
        near = [spelled[word] for word in difflib.get_close_matches(low, spelled, n=1, cutoff=0.6)]
    if not near:
        return f"Known: {', '.join(words)}."
    *first, last = [f"'{word}'" for word in near]
    return f"Did you mean {', '.join(first)} or {last}?" if first else f"Did you mean {last}?"


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
