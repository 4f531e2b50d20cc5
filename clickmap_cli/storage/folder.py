"""An experiment's folder: whether a command may write there, and what a killed run left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ConfigError, DiskFullError, RunError
from clickmap_cli.storage.atomic import PARTIAL, write_json
from clickmap_cli.storage.line_journal import LineJournal
from clickmap_cli.storage.lock import busy_shards, only_run, only_shard, require_free
from clickmap_cli.storage.manifest import MANIFEST, Manifest, damaged_outputs, load_manifest

_SEEN_SECONDS = 45  # a shared folder may show another machine's files so late
_IDENTITY = Path(".clickmap") / "journal" / "identity.json"
_PROVED = "proved"
_DAMAGED = "damaged"


class WhenPresent(Enum):
    """What a command does with its own outputs that are there already."""

    STOP = "stop"
    RESUME = "resume"
    OVERWRITE = "overwrite"


class RunFolder:
    """The folder of one command's outputs, held by one run.

    `.clickmap/` inside it holds the lock and the journal: the identity of an unfinished run and
    a record of each piece that is done. The journal goes when the manifest stands.

    Args:
        path: the folder.
        command: what writes there.
        outputs: names of files and folders that only this command writes there, or patterns of
            them (`fold_*/best.pth`).
    """

    def __init__(self, path: Path, command: str, outputs: tuple[str, ...] = ()) -> None:
        self.path = path
        self.command = command
        self._own = outputs
        self._state = path / ".clickmap"
        self._journal = self._state / "journal"
        self._identity = path / _IDENTITY
        self._out_of_room = self._journal / "out_of_room.json"
        self._previous = self._state / "previous_manifest.json"
        self._proofs: dict[str, dict[str, Any]] | None = None
        self._has_begun = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out while this one writes; what an error leaves half-written goes."""
        with only_run(self._state, self.command):
            try:
                yield
            except BaseException as error:
                with suppress(OSError):  # what ended the run is reported, not that this fails too
                    self.sweep()
                if isinstance(error, DiskFullError) and self._has_begun:
                    with suppress(OSError):  # a rename needs no room, unlike a note
                        self._identity.replace(self._out_of_room)
                raise

    @contextmanager
    def shard_held(
        self, shard: tuple[int, int], identity: str, when: WhenPresent
    ) -> Iterator[Manifest | None]:
        """Hold one shard of a run that several processes make together; others may do theirs.

        Args:
            shard: its number and how many there are.
            identity: of the run; the same for all its shards.
            when: what to do with a finished run, or one of other settings.

        Returns:
            What `finished` does.

        Raises:
            ConfigError: outputs are there and the call does not say what to do with them, or
                there are shards made with other settings.
            RunError: another process writes this shard, or a run holds the folder.
        """
        own = f"{shard[0]}/{shard[1]}"
        with only_shard(self._state, shard, lambda: self._join(identity, when, own)) as done:
            yield done

    def _join(self, identity: str, when: WhenPresent, own: str) -> Manifest | None:
        manifest, begun = self._found(when)
        if manifest is None and begun == identity:
            return None
        if manifest is not None:
            self._refuse_if_there(when)
        there = manifest.config_hash if manifest is not None else begun
        if there not in (None, identity) and when is not WhenPresent.OVERWRITE:
            raise ConfigError(
                f"{self.path} was made with other settings or inputs, and this shard would not "
                "fit; use --overwrite, or another output folder."
            )
        resumed = manifest if when is WhenPresent.RESUME else None
        if resumed is not None and not damaged_outputs(self.path, resumed.outputs):
            return resumed
        busy = [name for name in busy_shards(self._state) if name != own]
        if busy:
            raise RunError(
                f"{self.path}: shard {', '.join(busy)} of another run is being written; wait for "
                "it to end."
            )
        self._begin(identity, begun == identity, resumed)
        return None

    def require_shards(self, identity: str) -> None:
        """Whether what is there may be merged by a run of this identity.

        Raises:
            ConfigError: it was made with other settings.
            RunError: nothing is there, or what says what it is is damaged.
        """
        manifest, begun = self._found(WhenPresent.RESUME)
        there = manifest.config_hash if manifest is not None else begun
        if there is None:
            raise RunError(
                f"{self.path} holds no shards; make them with 'clickmap {self.command} --shard "
                "i/n' first."
            )
        if there != identity:
            raise ConfigError(
                f"{self.path} holds shards made with other settings or inputs; merge them with the "
                "config and the data they were made with."
            )

    def finished(
        self,
        identity: str,
        when: WhenPresent,
        lacking: Sequence[str] = (),
        needed: Sequence[str] = (),
    ) -> Manifest | None:
        """Whether there is nothing to do: the manifest of an equal, whole, finished run.

        Otherwise the folder is made ready: the journal of an equal run is kept for `--resume`,
        anything else is cleared. Of a run that was damaged since, `proved` knows what is whole.

        Args:
            identity: of the run.
            when: what to do with what is there.
            lacking: inputs that are not there, in a sentence each; they may be what differs from
                the run that is resumed.
            needed: outputs that an equal run may lack, and this one is to have: a resumed run
                without one of them goes on.

        Raises:
            ConfigError: outputs are there and the call does not say what to do with them, or a
                resumed run has other settings than the one it resumes.
            RunError: what says what is there is damaged; `OVERWRITE` does not ask.
        """
        when = self._refuse_if_there(when)
        self.refuse_if_other(identity, when, lacking)
        manifest, begun = self._found(when)
        resumed = None
        if when is WhenPresent.RESUME:
            resumed = manifest
            enough = resumed is not None and all(name in resumed.outputs for name in needed)
            if resumed is not None and enough and not damaged_outputs(self.path, resumed.outputs):
                self._tidy()  # a kill may have come right after the manifest
                return resumed
        keep_journal = when is WhenPresent.RESUME and begun == identity
        self._begin(identity, keep_journal, resumed)
        return None

    def refuse_if_other(
        self, identity: str, when: WhenPresent, lacking: Sequence[str] = ()
    ) -> None:
        """What `finished` would refuse to resume, said while nothing has begun.

        Args:
            identity: of the run.
            when: what to do with what is there.
            lacking: as for `finished`.

        Raises:
            ConfigError: a run that is to be resumed has other settings or inputs.
            RunError: what says what is there is damaged.
        """
        if when is not WhenPresent.RESUME:
            return
        manifest, begun = self._found(when)
        there = manifest.config_hash if manifest is not None else begun
        if there is not None and there != identity:
            said = f" than are here now ({lacking[0].rstrip('.')})" if lacking else ""
            raise ConfigError(
                f"{self.path} was made with other settings or inputs{said}; to go on would mix "
                "two results. Use --overwrite, or another output folder."
            )

    def refuse_if_there(self, when: WhenPresent) -> WhenPresent:
        """What `held` and `finished` would refuse, said before any work.

        Returns:
            `when`, or RESUME for a plain call where a run ended for want of room on the disk: it
            is repeated as it was typed.

        Raises:
            ConfigError: outputs are there and the call does not say what to do with them.
            RunError: another run is at work there.
        """
        require_free(self._state)
        return self._refuse_if_there(when)

    def ran_out_of_room(self) -> bool:
        """Return True if an unfinished run is there that ended because the disk was full."""
        return self._out_of_room.is_file()

    def _refuse_if_there(self, when: WhenPresent) -> WhenPresent:
        manifest, begun = self._found(when)
        if when is WhenPresent.STOP and manifest is None and self.ran_out_of_room():
            return WhenPresent.RESUME
        if when is WhenPresent.STOP and (manifest is not None or begun is not None):
            state = "a finished" if manifest is not None else "an unfinished"
            raise ConfigError(
                f"{self.path} already holds {state} {self.command} run; add --resume to finish "
                "or keep it, or --overwrite to make it anew."
            )
        return when

    def _found(self, when: WhenPresent) -> tuple[Manifest | None, str | None]:
        """The manifest, and the identity of an unfinished run.

        Raises:
            RunError: what counts of them is damaged, and the run is not to make everything anew.
        """
        anew = when is WhenPresent.OVERWRITE
        try:
            manifest = load_manifest(self.path)
        except RunError:
            if not anew:
                raise
            manifest = None
        stands = self._out_of_room if self.ran_out_of_room() else self._identity
        begun = _identity_of(stands)
        if begun == _DAMAGED and manifest is None and not anew:
            raise RunError(f"{stands} is damaged; run the command again with --overwrite.")
        return manifest, begun

    def _begin(self, identity: str, keep_journal: bool, resumed: Manifest | None) -> None:
        """Set the old manifest aside (a half-replaced folder must not look finished) and start."""
        if not keep_journal:
            shutil.rmtree(self._journal, ignore_errors=True)
        self._proofs = None
        if resumed is not None:
            self.record(_PROVED, resumed.outputs)
        write_json(self._identity, {"identity": identity, "command": self.command})
        self._out_of_room.unlink(missing_ok=True)
        self._has_begun = True
        old = self.path / MANIFEST
        if old.is_file():
            old.replace(self._previous)
        self.sweep()

    def sweep(self) -> None:
        """Remove what workers that died left half-written."""
        for leftover in self.path.rglob(f"*.*{PARTIAL}"):
            # folders below that have a state of their own belong to other runs
            others = leftover.relative_to(self.path).parents
            if not any((self.path / part / ".clickmap").is_dir() for part in others if part.name):
                leftover.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Forget a run whose input was of no use, unless it was to replace a finished one."""
        if not self._previous.is_file():
            shutil.rmtree(self._journal, ignore_errors=True)

    def abandon_shard(self) -> None:
        """The same for one shard: what others recorded stays."""
        if not any(path != self._identity for path in self._journal.glob("*.json")):
            self.abandon()

    def record(self, piece: str, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Note that a piece of the run is done: its files with size and SHA-256."""
        write_json(self._journal / f"{piece}.json", {"files": dict(files)})

    def recorded(self, piece: str) -> dict[str, dict[str, Any]] | None:
        """The files of a finished piece that still have the bytes they had, or None."""
        files = self._record(piece)
        return None if files is None or damaged_outputs(self.path, files) else files

    def proved(self, names: Iterable[str]) -> dict[str, dict[str, Any]] | None:
        """The same for files of a run that was finished once, as its manifest states them."""
        if self._proofs is None:
            self._proofs = self._record(_PROVED) or {}
        try:
            files = {name: self._proofs[name] for name in names}
        except KeyError:
            return None
        return None if damaged_outputs(self.path, files) else files

    def _record(self, piece: str) -> dict[str, dict[str, Any]] | None:
        path = self._journal / f"{piece}.json"
        try:
            files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return files if isinstance(files, dict) else None

    def lines(self, name: str) -> LineJournal:
        """Records of small pieces of the run, such as images; they go with the journal."""
        return LineJournal(self._journal / f"{name}.jsonl")

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, drop outputs of an earlier run that are not part of it, and tidy."""
        try:
            old = set(json.loads(self._previous.read_text(encoding="utf-8"))["outputs"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            old = set()  # none, or damaged: then only what is this command's alone is known
        for place in (place for own in self._own for place in self.path.glob(own)):
            files = place.rglob("*") if place.is_dir() else [place]
            old |= {path.relative_to(self.path).as_posix() for path in files if path.is_file()}
        for name in old - set(manifest.outputs):
            stale = (self.path / name).resolve()
            if stale.is_relative_to(self.path.resolve()):
                stale.unlink(missing_ok=True)
        manifest.save(self.path)
        self._tidy()

    def _tidy(self) -> None:
        """What a finished run does not need."""
        self._previous.unlink(missing_ok=True)
        shutil.rmtree(self._journal, ignore_errors=True)
        self.sweep()  # workers that died are not the end of a run


def already_done(folder: Path) -> str:
    """What is said where a finished run was found and kept."""
    return f"Already done: {folder} was finished before; nothing was changed."


def require_begun(folder: Path, identity: str) -> None:
    """Whether a worker's result is still wanted: the run it works for may have been replaced.

    Raises:
        RunError: the folder belongs to another run by now, or to none.
    """
    until = time.monotonic() + _SEEN_SECONDS
    while _identity_of(folder / _IDENTITY) != identity:
        if time.monotonic() > until:
            raise RunError(f"{folder} belongs to another run by now; this piece is not written.")
        time.sleep(0.5)


def require_here(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Whether files that another machine wrote are in this machine's folder, whole.

    Raises:
        RunError: they are not.
    """
    until = time.monotonic() + _SEEN_SECONDS
    while damaged := damaged_outputs(folder, files):
        if time.monotonic() > until:
            raise RunError(
                f"{folder / damaged[0]} was written by a worker and is not here, or with other "
                "bytes; the folder must be shared with all workers, under the same path."
            )
        time.sleep(0.5)


def _identity_of(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return _DAMAGED
