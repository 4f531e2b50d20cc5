"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ClickmapError
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


def message_is_fit(error: ClickmapError) -> None:
    """An error's text is one line of bearable length."""
    text = str(error)
    assert len(text.splitlines()) == 1, f"a message of more than one line: {text!r}"
    assert 10 < len(text) < 2000, f"a message of {len(text)} characters: {text[:300]!r}"
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), "asked for more memory than there is"
        cause = cause.__cause__ or cause.__context__


def any_reads(path: Path, *readers: Callable[[Path], Any]) -> bool:
    """All readers on one file: each reads it or refuses it; the last refusal where all do."""
    refused: ClickmapError | None = None
    n_read = 0
    for reader in readers:
        try:
            reader(path)
            n_read += 1
        except ClickmapError as error:
            refused = error
            message_is_fit(error)
    if refused is not None and not n_read:
        raise refused
    return True
