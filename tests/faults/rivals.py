"""Two runs in one folder of outputs: the second is told so and exits, the first ends well."""

from __future__ import annotations

import random
from functools import partial

from tests.faults.changed import OPENED, RENAMED, At, Meet, OtherHost, Pause, Wait
from tests.faults.lab import CALL_WRONG, RUN_FAILED, Fault, LostError, Place, require
from tests.faults.study import COMMANDS, Command

_WORDS = "Another run is working in"
_LONG = 1.0


def _held(place: Place, rng: random.Random, command: Command) -> bool:
    """The first is stopped in its middle; others come, from this host and from another."""
    place.settle_neighbours()
    there, go = place.root / "there", place.root / "go"
    last = place.study.moments(command, RENAMED)
    pause = At(RENAMED, place.out, rng.randint(2, last), Pause(there, go))
    # one thread, so that all of it stops
    first = place.start(command, "n_jobs=1", changes=[pause, OtherHost("node-7")])
    if not first.wait_until(there.exists):
        raise LostError(f"ended before its files were written: {first.end()}")
    left = place.stamps()
    for flags in rng.sample([(), ("--resume",), ("--overwrite",)], 2):
        second = place.run(command, *flags)
        require(second.code == RUN_FAILED, f"{flags}: {second}")
        place.said_clearly(second, place.out)
        require(_WORDS in second.said and "node-7" in second.said, f"{flags}: {second}")
    place.is_as_it_was(left)
    go.touch()
    ended = first.end()
    require(ended.code == 0, f"the first run failed: {ended}")
    place.is_whole(command)
    return True


def _raced(place: Place, rng: random.Random, command: Command) -> bool:
    """Two reach for the folder at once; whoever comes second is told, or finds all done."""
    place.settle_neighbours()
    lock = place.out / "study" / ".clickmap" / "lock"
    doors = [place.root / "one", place.root / "other"]
    seconds = place.study.seconds(command)
    late = [0.0, rng.choice([0.0, rng.uniform(0, 0.05), rng.uniform(0, seconds + _LONG)])]
    # these studies may be done within the moment that a second run waits before it gives up
    longer = At(RENAMED, place.out, 2, Wait(_LONG))
    runs = []
    for mine, theirs, wait in zip(doors, reversed(doors), rng.sample(late, 2), strict=True):
        meeting = At(OPENED, lock, 1, Meet(mine, theirs, wait))
        runs.append(place.start(command, "--resume", changes=[meeting, longer]))
    ended = [run.end() for run in runs]
    told = [one for one in ended if one.code != 0]
    require(len(told) < len(ended), f"none ended well: {ended}")
    for one in told:
        require(one.code == RUN_FAILED and _WORDS in one.said, f"not told: {one}")
        place.said_clearly(one, place.out)
    place.is_whole(command)
    place.refused(place.run(command), [CALL_WRONG], place.out)
    return bool(told)


FAULTS = [
    Fault(f"{name}, {command.name}", partial(happen, command=command))
    for name, happen in (("second run, first held", _held), ("two runs at once", _raced))
    for command in COMMANDS.values()
]
