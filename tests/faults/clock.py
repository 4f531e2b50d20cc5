"""A clock that jumps: nothing may depend on what time it is, or on what came first."""

from __future__ import annotations

import json
import os
import random
import time
from functools import partial
from pathlib import Path

from tests.faults.changed import DAY, JumpingClock
from tests.faults.lab import Fault, Place, require
from tests.faults.study import COMMANDS, Command


def _shuffle_times(folder: Path, rng: random.Random) -> None:
    """Every file was written at some time, many of them in the future."""
    now = time.time()
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (now, now + rng.uniform(-4000, 4000) * DAY))


def _jumps(place: Place, rng: random.Random, command: Command) -> bool:
    """The clock jumps during a run that is killed, the one that resumes it, and one that looks."""
    _shuffle_times(place.copy_inputs(), rng)
    place.settle_neighbours()

    def clock() -> list[JumpingClock]:
        return [JumpingClock(rng.randrange(1 << 30))]

    if rng.random() < 0.7:
        place.begin(command, rng, changes=clock())
        _shuffle_times(place.out, rng)
        _shuffle_times(place.inputs, rng)
    place.completes(command, "--resume", changes=clock())
    for path in (place.out / "study").rglob("manifest.json"):
        seconds = json.loads(path.read_text())["times"]["seconds"]
        require(0 <= seconds < 600, f"took {seconds} seconds")
    _shuffle_times(place.out, rng)
    left = place.stamps()
    place.completes(command, "--resume", changes=clock())
    place.is_as_it_was(left)
    return True


FAULTS = [
    Fault(f"clock that jumps, {command.name}", partial(_jumps, command=command))
    for command in COMMANDS.values()
]
