"""Bytes in words."""

from __future__ import annotations

import pytest

from clickmap_cli.runtime.sizes import readable_size


@pytest.mark.parametrize(
    ("n", "near", "up"),
    [
        (0, "0 bytes", "0 bytes"), (999, "999 bytes", "999 bytes"), (1001, "1 kB", "2 kB"),
        (39_000_000, "39 MB", "39 MB"), (1_200_001, "1 MB", "2 MB"),
        (1_010_000_000, "1.0 GB", "1.1 GB"), (2.5e12, "2.5 TB", "2.5 TB"),
    ],
)  # fmt: skip
def test_room_that_is_needed_is_rounded_up(n, near, up) -> None:
    assert (readable_size(n), readable_size(n, up=True)) == (near, up)
