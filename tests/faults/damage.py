"""Files that a disk has cut or changed: maps, results, checkpoints, caches, journals."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults import forked
from tests.faults.lab import CALL_WRONG, RUN_FAILED, Fault, Place, require
from tests.faults.study import BENCHMARK, CEILING, COMMANDS, FINETUNE, PREPARE, Command

Damage = Callable[[Path, random.Random], None]
_NPY_HEADER = 128


def cut(path: Path, rng: random.Random) -> None:
    """End a file early: anywhere, in its first bytes, or at once."""
    data = path.read_bytes()
    # a line's end is no loss
    most = len(data) - 2
    ends = [rng.randint(0, most), min(rng.randrange(1, _NPY_HEADER), most), 0]
    path.write_bytes(data[: rng.choice(ends)])


def flip(path: Path, rng: random.Random) -> None:
    """Change a few bits."""
    data = bytearray(path.read_bytes())
    for at in {rng.randrange(len(data)) for _ in range(rng.choice([1, 1, 8]))}:
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _worsen(path: Path, rng: random.Random) -> None:
    rng.choice([cut, flip])(path, rng)


def _outputs(place: Place, *patterns: str) -> list[Path]:
    """Results, by the patterns of their names; caches and journals are none."""
    found = {path for pattern in patterns for path in (place.out / "study").rglob(pattern)}
    hidden = {".clickmap", "predictions", "figures"}
    return sorted(
        path
        for path in found
        if path.is_file()
        and path.stat().st_size > 1
        and not hidden & set(path.parts)
        and path.name not in ("manifest.json", "notes.txt")
        and path.suffix != ".partial"
    )


def _finished(place: Place, command: Command) -> None:
    """The folder of a finished run."""
    shutil.copytree(place.study.whole(command).parent, place.out)
    place.settle_neighbours()


def _unfinished_output(
    place: Place, rng: random.Random, command: Command, patterns: tuple[str, ...], worsen: Damage
) -> bool:
    """A run is stopped, and some of what it has written is damaged."""
    place.settle_neighbours()
    place.begin(command, rng)
    there = _outputs(place, *patterns)
    if not there:
        return False
    worsen(rng.choice(there), rng)
    place.completes(command)
    return True


def _finished_output(
    place: Place, rng: random.Random, command: Command, patterns: tuple[str, ...], worsen: Damage
) -> bool:
    """A result is damaged: `verify` names it, `--resume` makes it again."""
    _finished(place, command)
    hurt = rng.choice(_outputs(place, *patterns))
    worsen(hurt, rng)
    seen = forked.run(["verify", str(place.out / "study")], place.logs)
    require(seen.code == RUN_FAILED and "Traceback" not in seen.said, f"verify: {seen}")
    name = hurt.relative_to(place.out / "study").as_posix()
    require(name in seen.said, f"verify does not name {name}: {seen.said}")
    place.refused(place.run(command), [CALL_WRONG], place.out)
    place.completes(command)
    return True


def _manifest(place: Place, rng: random.Random, command: Command) -> bool:
    """A manifest is cut: it is named, and `--overwrite` makes everything again."""
    _finished(place, command)
    hurt = rng.choice(sorted((place.out / "study").rglob("manifest.json")))
    cut(hurt, rng)
    left = place.stamps()
    for flags in ((), ("--resume",)):
        # of several results, a whole one may be met first
        whole = not flags and command is CEILING
        codes, named = ([CALL_WRONG, RUN_FAILED], place.out) if whole else ([RUN_FAILED], hurt)
        place.refused(place.run(command, *flags), codes, named)
    place.is_as_it_was(left)
    if rng.random() < 0.5:
        hurt.unlink()
        place.completes(command)
    else:
        place.completes(command, "--overwrite")
    return True


def _journal(place: Place, rng: random.Random, command: Command) -> bool:
    """The records of an unfinished run are cut."""
    place.settle_neighbours()
    if rng.random() < 0.3:  # a run that was to replace a finished one
        shutil.rmtree(place.out)
        _finished(place, command)
        place.begin(command, rng, "--overwrite")
    else:
        place.begin(command, rng)
    there = [
        path
        for state in (place.out / "study").rglob(".clickmap")
        for path in sorted(state.rglob("*.json*"))
        if path.name not in ("owner.json", "lock") and path.stat().st_size > 1
        and path.suffix != ".partial"
    ]  # fmt: skip
    if not there:
        return False
    hurt = rng.choice(there)
    cut(hurt, rng)
    if hurt.name != "identity.json" or (hurt.parents[2] / "manifest.json").exists():
        place.completes(command)
        return True
    ended = place.run(command, "--resume")
    require(ended.code == RUN_FAILED, f"exit code {ended.code}: {ended.said}")
    place.said_clearly(ended, hurt)
    place.completes(command, "--overwrite")
    return True


def _cache(place: Place, rng: random.Random) -> bool:
    """Predictions that are kept, or what proves them, are cut or changed."""
    if rng.random() < 0.5:
        _finished(place, BENCHMARK)
        flags = "--overwrite"
    else:
        place.settle_neighbours()
        place.begin(BENCHMARK, rng)
        flags = "--resume"
    kept = sorted((place.out / "study" / "predictions").rglob("*.*[yn]"))
    if not kept:
        return False
    for hurt in rng.sample(kept, min(len(kept), 3)):
        _worsen(hurt, rng)
    place.completes(BENCHMARK, flags)
    return True


_MAPS, _CHECKPOINTS, _ALL = ("*.h5",), ("*.pth",), ("*",)

FAULTS = [
    *(
        Fault(f"{what} {state}, {command.name}", partial(
            happen, command=command, patterns=patterns, worsen=worsen
        ))
        for what, patterns, worsen, commands in (
            ("maps cut or changed,", _MAPS, _worsen, [PREPARE]),
            ("checkpoint cut,", _CHECKPOINTS, cut, [FINETUNE]),
            ("result cut or changed,", _ALL, _worsen, COMMANDS.values()),
        )
        for command in commands
        for state, happen in (("unfinished", _unfinished_output), ("finished", _finished_output))
    ),
    *(
        Fault(f"{what}, {command.name}", partial(happen, command=command))
        for what, happen in (("manifest cut", _manifest), ("journal cut", _journal))
        for command in COMMANDS.values()
    ),
    Fault("cached predictions cut or changed, benchmark", _cache),
]  # fmt: skip
