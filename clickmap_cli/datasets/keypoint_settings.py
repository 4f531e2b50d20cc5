"""Key points that a config names: the pair that scales PCK, and pairs that a mirror swaps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clickmap_cli.runtime.errors import ConfigError, did_you_mean, printable

_DEFAULT_REFERENCE = ("eye top", "eye bottom")
_PAIRS_KEY = "augment.pairs"


def reference_points(names: Sequence[str], given: Sequence[str | int] | None) -> tuple[int, int]:
    """Return the two key points whose distance scales PCK, counted from 0.

    Args:
        names: names of the key points.
        given: two names or numbers from 0; None for eye top and eye bottom, if both exist.

    Raises:
        ConfigError: `given` is not two different key points, or is None without a default.
    """
    if given is None:
        wanted: list[str | int] = [*_DEFAULT_REFERENCE]
        tidy = [_tidy(name) for name in names]
        if not set(_DEFAULT_REFERENCE) <= set(tidy):
            raise ConfigError(
                "reference_points must be set: two key points whose distance PCK is measured by "
                f"(there is no eye top and eye bottom). Known: {', '.join(map(printable, names))}."
            )
        return tidy.index(_DEFAULT_REFERENCE[0]), tidy.index(_DEFAULT_REFERENCE[1])
    wanted = list(given) if not isinstance(given, str) else [given]
    if len(wanted) != 2:
        raise ConfigError(f"reference_points: expected two key points, found {wanted!r:.80}.")
    first, second = (keypoint_number(names, one, "reference_points") for one in wanted)
    if first == second:
        raise ConfigError(f"reference_points: both are '{printable(names[first])}'.")
    return first, second


def swapped_pairs(
    names: Sequence[str], given: Sequence[Sequence[str | int]]
) -> tuple[tuple[int, int], ...]:
    """Return the pairs of left and right key points that a mirror swaps, counted from 0.

    Args:
        names: names of the key points.
        given: pairs of names or numbers from 0.

    Raises:
        ConfigError: an item is not a pair, or a key point is unknown or used twice.
    """
    found: list[tuple[int, int]] = []
    for pair in given:
        if isinstance(pair, str) or len(pair) != 2:
            raise ConfigError(f"{_PAIRS_KEY}: expected pairs of key points, found {pair!r:.80}.")
        first, second = (keypoint_number(names, one, _PAIRS_KEY) for one in pair)
        used = {number for both in found for number in both}
        if first == second or used & {first, second}:
            again = first if first == second or first in used else second
            raise ConfigError(f"{_PAIRS_KEY}: '{printable(names[again])}' stands twice.")
        found.append((first, second))
    return tuple(found)


def keypoint_number(names: Sequence[str], given: str | int, key: str) -> int:
    """Return the number of a key point, from 0, given its name or its number.

    Raises:
        ConfigError: the key point does not exist.
    """
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, int) and not isinstance(given, bool):
        if 0 <= given < len(names):
            return given
        raise ConfigError(
            f"{key}: {given} is out of range; the {len(names)} key points are counted from 0 to "
            f"{len(names) - 1}."
        )
    raise ConfigError(
        f"{key}: there is no key point '{printable(str(given))}'. {did_you_mean(str(given), names)}"
    )


def _tidy(name: str) -> str:
    """Normalise a name for defaults: `Eye_Top`, `eye-top` and `eye top` are the same."""
    return re.sub(r"[\s_-]+", " ", name.strip().lower())
