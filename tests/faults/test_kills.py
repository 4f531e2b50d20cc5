"""The short cut of `python -m tests.faults.kills`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.kill_targets import TARGETS
from tests.faults.kills import kill_runs


@pytest.mark.parametrize("name", TARGETS)
def test_two_kills_lose_nothing(tmp_path, name) -> None:
    target = TARGETS[name]
    tally = kill_runs(replace(target, lines=target.lines[:1]), tmp_path, kills=2, seed=1)
    assert tally.kills == 2
    assert not tally.lost, tally.losses


def test_what_a_run_does_otherwise_or_elsewhere_is_seen(tmp_path) -> None:
    target = TARGETS["prepare"]
    spoiling = (
        "; import os, pathlib; own = str(os.getpid())"
        "; pathlib.Path('out/mine').write_text(own)"
        "; pathlib.Path('neighbour/maps.h5').write_text(own)"
        "; pathlib.Path('out/theirs/maps.h5').write_text(own)"
    )
    line = replace(target.lines[0], pieces=target.lines[0].pieces + spoiling)
    tally = kill_runs(replace(target, lines=(line,)), tmp_path, kills=1)
    assert (tally.kills, tally.damaged, tally.touched, tally.failed) == (1, 1, 1, 0)
    assert tally.losses == [
        "mine: not as in a run never killed", "theirs/maps.h5, work/neighbour/maps.h5: touched",
    ]  # fmt: skip
