"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fuzz.mutation import Mutator, plain


@dataclass(frozen=True)
class Target:
    """A reader of what strangers write, with valid examples.

    Attributes:
        name: what `--target` calls it.
        seeds: makes valid examples, given an empty folder to make them in.
        run: reads one input, given an empty folder which is the current one, too. Returns whether
            it was read whole; raises a `ClickmapError` where it is refused, and any other error,
            or an `AssertionError`, where the reader is wrong.
        mutate: changes an example and keeps what surrounds its content whole.
        words: pieces that such files are made of.
        packages: whose branches guide the fuzzer, beside clickmap's.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    run: Callable[[bytes, Path], bool]
    mutate: Mutator = plain
    words: tuple[bytes, ...] = ()
    packages: tuple[str, ...] = ()
