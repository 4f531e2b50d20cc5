from __future__ import annotations

import time

from clickmap_cli.runtime.progress import Stopwatch


def test_a_clock_that_jumps_changes_no_duration(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    watch = Stopwatch()
    monkeypatch.setattr(time, "time", lambda: 5.0)
    seconds = watch.seconds
    assert 0 <= seconds <= watch.seconds
    assert seconds < 600
    assert watch.began == 1e9
