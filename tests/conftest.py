"""What all tests share."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import settings

# a deadline would be a timed assertion, which fails where the machine is busy
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def full_after(monkeypatch):
    """Function that sets how many files the disk still takes."""
    real = os.fsync
    left = [0]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    def leave(files: int) -> None:
        left[0] = files

    leave(1_000_000)
    return leave
