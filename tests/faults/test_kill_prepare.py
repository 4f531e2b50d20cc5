from __future__ import annotations

from tests.faults.kill_prepare import kill_runs


def test_five_kills_lose_nothing(tmp_path) -> None:
    tally = kill_runs(tmp_path, kills=5, seed=1)
    assert tally.kills >= 5
    assert (tally.damaged, tally.unfinished) == (0, 0)
