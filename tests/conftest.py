"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# a deadline would be a timed assertion, which fails where the machine is busy
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
