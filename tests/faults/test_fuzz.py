"""A short cut of the fuzzing: every example, and some hundred changes of them, unguided.

`python -m tests.faults.fuzz` goes on, guided by the branches that are reached.
"""

from __future__ import annotations

import pytest

from tests.faults.fuzz.__main__ import fuzz
from tests.faults.fuzz.child import targets
from tests.faults.fuzz.misbehaving import DEEDS, NAME

RUNS = 200
NEVER_WHOLE = {"records"}
"""Some record or other that is made of one text is always refused."""


@pytest.mark.parametrize("target", [name for name in targets() if name != NAME])
def test_readers_refuse_or_read(tmp_path, target) -> None:
    tally = fuzz(target, RUNS, 0, tmp_path, plainly=True)
    kept = [path.read_text(errors="replace")[-3000:] for path in tmp_path.glob("*.txt")]
    assert (tally.findings, tally.done) == (0, True), "\n".join(kept)
    assert tally.runs >= RUNS
    # what is changed must be neither noise alone nor valid still
    assert target in NEVER_WHOLE or tally.whole
    assert target in ("pages", "side") or tally.whole < tally.runs * 0.9


def test_whatever_no_reader_may_do_is_found(tmp_path) -> None:
    tally = fuzz(NAME, 0, 0, tmp_path, plainly=True)
    assert (tally.findings, tally.crashes) == (2 * len(DEEDS) - 1, 1)
    kept = {path.read_bytes() for path in tmp_path.iterdir() if not path.suffix}
    assert kept == set(DEEDS)
