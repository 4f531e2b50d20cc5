"""One try of a fault: its own folder, the expected message, and the expected result."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickmap_cli.storage.atomic import PARTIAL
from tests.faults import forked
from tests.faults.changed import RENAMED, At, Die, SmallShards
from tests.faults.forked import Change, Ended
from tests.faults.study import Command, Study, is_hidden, tree

RUN_FAILED, CALL_WRONG = 1, 2


class LostError(Exception):
    """A fault has cost something, or was not said clearly."""


class CannotHappenError(Exception):
    """The fault cannot be brought about on this machine."""


class TooLateError(Exception):
    """The command had ended before the fault came."""


@dataclass(frozen=True)
class Fault:
    """A way of things to go wrong.

    Attributes:
        name: in the table.
        happen: one try; whether the fault came to pass (a disk that was large enough did not
            fill).

    Raises, from `happen`:
        LostError: something was lost or corrupted.
        TooLateError: the command had ended, which counts as not come to pass.
        CannotHappenError: not on this machine.
    """

    name: str
    happen: Callable[[Place, random.Random], bool]


@dataclass
class Tally:
    """Results of the tries of a fault."""

    fault: str
    tries: int = 0
    too_late: int = 0
    lost: list[str] = field(default_factory=list)
    skipped: str = ""


def require(good: bool, text: str) -> None:
    """Raise LostError unless all is well."""
    if not good:
        raise LostError(text)


class Place:
    """A folder for one try: inputs, a folder of outputs, and neighbours in it.

    Args:
        study: the inputs and what they give.
        root: empty.
        own_inputs: whether the try works on a copy of the inputs.
    """

    def __init__(self, study: Study, root: Path) -> None:
        self.study = study
        self.root = root
        self.out = root / "out"
        self.logs = root / "logs"
        self.inputs = study.inputs
        self.logs.mkdir(parents=True)
        self._others: dict[str, bytes] = {}
        self._begun: list[forked.Running] = []

    def leave(self) -> None:
        """Nothing is left at work, and nothing on disk."""
        for running in self._begun:
            if running.alive:
                running.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def copy_inputs(self) -> Path:
        """Work on a copy of the inputs from now on."""
        self.inputs = self.root / "inputs"
        shutil.copytree(self.study.inputs, self.inputs)
        return self.inputs

    def settle_neighbours(self) -> None:
        """Files of others beside the results and inside them, half-written ones too."""
        self._others = {
            name: name.encode()
            for name in (
                "neighbour/manifest.json", f"neighbour/maps.h5.77{PARTIAL}",
                "neighbour/.clickmap/lock", "study/notes.txt", "study/figures/.clickmap/lock",
                f"study/figures/a.png.77{PARTIAL}",
            )
        }  # fmt: skip
        for name, content in self._others.items():
            path = self.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def words(self, command: Command, *more: str) -> list[str]:
        """The words of a command's call."""
        return [*command.words(self.inputs, self.out), *more]

    def start(self, command: Command, *more: str, changes: Sequence[Change] = ()) -> forked.Running:
        """Begin a command."""
        running = forked.start(self.words(command, *more), self.logs, SmallShards(), *changes)
        self._begun.append(running)
        return running

    def run(self, command: Command, *more: str, changes: Sequence[Change] = ()) -> Ended:
        """Run a command to its end."""
        return self.start(command, *more, changes=changes).end()

    def begin(
        self,
        command: Command,
        rng: random.Random,
        *flags: str,
        changes: Sequence[Change] = (),
    ) -> None:
        """Leave an unfinished run, killed at a random moment after it has begun.

        Raises:
            TooLateError: it had fewer moments than the run that they were counted in.
            LostError: it failed by itself.
        """
        last = self.study.moments(command, RENAMED)
        at = At(RENAMED, self.out, rng.randint(3, max(3, last - last // 8)), Die())
        ended = self.run(command, *flags, changes=[at, *changes])
        if ended.code == 0:
            raise TooLateError
        require(ended.code == -9, f"was to be killed, but: {ended}")

    def refused(self, ended: Ended, codes: Sequence[int], *named: object) -> None:
        """One clear sentence, which names something; nothing half-written stays.

        Raises:
            LostError: it is not so.
        """
        require(ended.code in codes, f"exit code {ended.code}, not of {codes}: {ended.said}")
        self.said_clearly(ended, *named)
        self.nothing_partial()

    def said_clearly(self, ended: Ended, *named: object) -> None:
        """One error in a sentence, with no traceback, that names one of these."""
        for word in ("Traceback", "defect of clickmap", "Exception ignored"):
            require(word not in ended.said, f"said '{word}': {ended.said}")
        errors = [line for line in ended.said.splitlines() if line.startswith("error ")]
        require(len(errors) == 1, f"not one error: {ended.said}")
        require(bool(re.search(r"[.)!]$", errors[0].strip())), f"no sentence: {ended.said}")
        found = any(str(name) in errors[0] for name in named)
        require(found, f"names none of {list(map(str, named))}: {ended.said}")

    def went_on_without(self, ended: Ended, lost: Path) -> None:
        """An input is not there, which was said in a warning, and the rest was worked on."""
        require(ended.code == RUN_FAILED, f"exit code {ended.code}: {ended.said}")
        warnings = [line for line in ended.said.splitlines() if line.startswith("warning ")]
        require(any(str(lost) in line for line in warnings), f"no word of {lost}: {ended.said}")

    def nothing_partial(self) -> None:
        """No file is half-written, but for those of others."""
        partial = {
            path.relative_to(self.out).as_posix() for path in self.out.rglob(f"*{PARTIAL}")
        } - set(self._others)
        require(not partial, f"half-written: {sorted(partial)}")

    def completes(self, command: Command, *flags: str, changes: Sequence[Change] = ()) -> None:
        """The command, called again, ends with what an undisturbed run leaves."""
        ended = self.run(command, *(flags or ("--resume",)), changes=changes)
        require(ended.code == 0, f"{flags or '--resume'} failed: {ended}")
        self.is_whole(command)

    def completes_or_is_another(self, command: Command) -> None:
        """The same, or what is there is said to be of other inputs, and made anew on demand."""
        left = self.stamps()
        ended = self.run(command, "--resume")
        if ended.code == 0:
            self.is_whole(command)
            return
        self.refused(ended, [CALL_WRONG], self.out)
        require("other settings or inputs" in ended.said, f"failed: {ended}")
        self.is_as_it_was(left)
        self.completes(command, "--overwrite")

    def is_whole(self, command: Command) -> None:
        """The results are those of an undisturbed run, and nothing else was touched."""
        own = {f"study/{name}": digest for name, digest in self.study.wanted(command).items()}
        others = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self._others.items()
            if not is_hidden(name)
        }
        wanted = {**own, **others}
        found = tree(self.out)
        differ = {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}
        require(not differ, f"differ from an undisturbed run: {sorted(differ)}")
        whole = self.study.whole(command)
        require(_stated(self.out / "study") == _stated(whole), "the manifests differ")
        self.nothing_partial()
        self.others_untouched()

    def stamps(self) -> dict[str, bytes]:
        """Everything in the folder of outputs but who is at work and what was half-written."""
        return {
            path.relative_to(self.out).as_posix(): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and path.name != "owner.json" and path.suffix != PARTIAL
        }

    def is_as_it_was(self, before: dict[str, bytes]) -> None:
        """No output has come, gone or changed since `stamps`."""
        now = self.stamps()
        differ = {name for name in {*now, *before} if now.get(name) != before.get(name)}
        require(not differ, f"changed by a run that was refused: {sorted(differ)}")

    def others_untouched(self) -> None:
        """Inputs and neighbours are as they were."""
        for name, content in self._others.items():
            path = self.out / name
            require(path.is_file() and path.read_bytes() == content, f"{name} was touched")
        require(tree(self.inputs) == self.study.digests, "the inputs were touched")


def _stated(folder: Path) -> dict[str, Any]:
    """Return the content of manifests, without times and places."""
    found = {}
    for path in sorted(folder.rglob("manifest.json")):
        stated = json.loads(path.read_text())
        kept = {key: stated[key] for key in ("command", "outputs", "counts", "seed", "config_hash")}
        found[path.relative_to(folder).as_posix()] = kept
    return found


def tally(fault: Fault, study: Study, root: Path, tries: int, seed: int = 0) -> Tally:
    """Let a fault happen so many times, each time in a new folder.

    Args:
        fault: what happens.
        study: the inputs and what they give.
        root: a folder to work in.
        tries: times that it comes to pass.
        seed: of the moments.
    """
    found = Tally(fault.name)
    at = 0
    while found.tries < tries and at < 4 * tries + 8:
        folder = root / f"{fault.name.replace(' ', '_').replace(',', '')}-{at}"
        rng = random.Random(f"{seed} {fault.name} {at}")
        place = Place(study, folder)
        try:
            came = fault.happen(place, rng)
        except LostError as error:
            found.lost.append(f"try {at}: {error}")
            came = True
        except TooLateError:
            came = False
        except CannotHappenError as error:
            found.skipped = str(error)
            return found
        finally:
            place.leave()
        at += 1
        found.tries += came
        found.too_late += not came
    return found
