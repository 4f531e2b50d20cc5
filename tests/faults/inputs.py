"""Inputs that go: before a run, while it is at work, or before it is resumed."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from tests.faults.changed import OPENED, At, Move
from tests.faults.lab import CALL_WRONG, RUN_FAILED, Fault, Place, require
from tests.faults.study import BENCHMARK, CEILING, FINETUNE, PREPARE, Command


def _victim(place: Place, rng: random.Random, command: Command) -> Path:
    """A file that a command needs."""
    if command is PREPARE:
        return place.inputs / "trials.csv"
    if command is CEILING:
        return place.inputs / "prepared" / "study" / "trials.npz"
    return rng.choice(sorted((place.inputs / "images").rglob("*.png")))


def _before(place: Place, rng: random.Random, command: Command) -> bool:
    """An input is missing, or disappears between a stopped run and the call that resumes it."""
    place.copy_inputs()
    place.settle_neighbours()
    begun = rng.random() < 0.5
    if begun:
        place.begin(command, rng)
    gone, kept = _victim(place, rng, command), place.root / "kept"
    gone.rename(kept)
    left = place.stamps()
    ended = place.run(command, "--resume")
    images = command in (BENCHMARK, FINETUNE)
    if images and not begun:  # the others are a study too
        place.went_on_without(ended, gone)
    elif begun:
        place.said_clearly(ended, gone, gone.parent)
        require(ended.code == (CALL_WRONG if images else RUN_FAILED), f"code {ended}")
        place.is_as_it_was(left)
    else:
        place.refused(ended, [RUN_FAILED], gone, gone.parent)
    kept.rename(gone)
    place.completes(command, "--overwrite" if images and not begun else "--resume")
    return True


def _during(place: Place, rng: random.Random, command: Command) -> bool:
    """An input goes while a run is at work, and is back for the next."""
    place.copy_inputs()
    place.settle_neighbours()
    gone, kept = _victim(place, rng, command), place.root / "kept"
    at = rng.randint(1, place.study.moments(command, OPENED))
    going = At(OPENED, place.inputs, at, Move(gone, kept))
    ended = place.run(command, "--resume", changes=[going])
    came = kept.exists() and ended.code != 0
    if came and "error " not in ended.said:  # before the set was read: the others are one too
        place.went_on_without(ended, gone)
    elif came:
        place.refused(ended, [RUN_FAILED], gone, gone.parent)
    if kept.exists():
        kept.rename(gone)
    if command in (BENCHMARK, FINETUNE):
        # without an image that went before it was read, what was begun is another study
        place.completes_or_is_another(command)
    else:
        place.completes(command)
    return came


FAULTS = [
    Fault(f"{name}, {command.name}", partial(happen, command=command))
    for name, happen in (("input gone before", _before), ("input gone during", _during))
    for command in (PREPARE, CEILING, BENCHMARK, FINETUNE)
]
