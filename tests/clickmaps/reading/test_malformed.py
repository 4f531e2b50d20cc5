"""Two thousand malformed tables through the readers, in one process."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from clickmap_cli.runtime.errors import ClickmapError
from tests.helpers.hostile import malformed, tree
from tests.helpers.tables import read


def test_two_thousand_malformed_tables(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside, inside / "work"):
        folder.mkdir()
    monkeypatch.chdir(inside / "work")
    canary = outside / "canary"
    seen: Counter[str] = Counter()
    started = time.process_time()
    for name, content in malformed(2000, 20240517, inside / "work", canary):
        path = Path(name)
        path.write_bytes(content)
        try:
            # `read` checks that rows = trials + rejected, and that each rejection was reported
            got = read(path, remove_string=None)
        except ClickmapError as error:
            message = str(error)
            assert name in message
            assert "\n" not in message
            assert 10 < len(message) < 1500
            seen["refused"] += 1
        else:
            assert all(row > 0 and reason for row, _, _, reason in got.rejected)
            assert all(len(value) <= 80 and value.isprintable() for _, _, value, _ in got.rejected)
            assert all(_harmless(str(key)) for key in got.trials.images)
            seen["rejected rows" if got.rejected else "read whole"] += 1
        path.unlink()
    assert time.process_time() - started < 60
    assert tree(tmp_path) == {"inside": -1, "inside/work": -1, "outside": -1}
    # the generator must keep reaching both ways of saying no, and not be all noise
    assert seen.total() == 2000
    assert min(seen["refused"], seen["rejected rows"]) > 300
    assert seen["read whole"] < 500


def _harmless(key: str) -> bool:
    parts = key.split("/")
    return (
        key.isprintable() and not key.startswith("/") and ".." not in parts and ":" not in key[:2]
    )
