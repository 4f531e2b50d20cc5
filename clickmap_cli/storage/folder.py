"""Folder of an experiment: exclusive access, and resuming or replacing an earlier run."""

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
from clickmap_cli.storage.appending import LineJournal
from clickmap_cli.storage.atomic import PARTIAL, write_json
from clickmap_cli.storage.lock import busy_shards, only_run, only_shard, require_free
from clickmap_cli.storage.manifest import MANIFEST, Manifest, damaged_outputs, load_manifest

_SEEN_SECONDS = 45  # a shared folder may show another machine's files with this delay
IDENTITY = Path(".clickmap") / "journal" / "identity.json"
"""Record of an unfinished run, inside its folder."""
_PROVED = "proved"
_DAMAGED = "damaged"


class WhenPresent(Enum):
    """Treatment of existing outputs of the same command."""

    STOP = "stop"
    RESUME = "resume"
    OVERWRITE = "overwrite"


class RunFolder:
    """The output folder of one command, locked by one run.

    `.clickmap/` inside it holds the lock and the journal. The journal consists of the identity of
    an unfinished run and a record of each finished piece; it is deleted once the manifest is
    written.

    Args:
        path: the folder.
        command: name of the command that writes there.
        outputs: names of files and folders that only this command writes there, or patterns of
            them (`fold_*/best.pth`).
    """

    def __init__(self, path: Path, command: str, outputs: tuple[str, ...] = ()) -> None:
        self.path = path
        self.command = command
        self._own = outputs
        self._state = path / ".clickmap"
        self._journal = self._state / "journal"
        self._identity = path / IDENTITY
        self._out_of_room = self._journal / "out_of_room.json"
        self._previous = self._state / "previous_manifest.json"
        self._proofs: dict[str, dict[str, Any]] | None = None
        self._has_begun = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder while this run writes; after an error, remove incomplete files."""
        with only_run(self._state, self.command):
            try:
                yield
            except BaseException as error:
                with suppress(OSError):  # the original error is reported, not a failure to tidy up
                    self.sweep()
                if isinstance(error, DiskFullError) and self._has_begun:
                    with suppress(OSError):  # a rename needs no disk space, a new file does
                        self._identity.replace(self._out_of_room)
                raise

    @contextmanager
    def shard_held(
        self, shard: tuple[int, int], identity: str, when: WhenPresent
    ) -> Iterator[Manifest | None]:
        """Lock one shard of a run that several processes share; others may write other shards.

        Args:
            shard: number of the shard, and number of all shards.
            identity: identity of this run, equal for all its shards.
            when: treatment of an existing run that is finished or has other settings.

        Returns:
            The same as `reuse_or_begin`.

        Raises:
            ConfigError: outputs exist and the call does not say how to treat them, or shards exist
                that were made with other settings.
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
        """Raise unless the shards in the folder can be merged by a run of this identity.

        Raises:
            ConfigError: the shards were made with other settings.
            RunError: shards are missing, or the record of their identity is damaged.
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

    def reuse_or_begin(
        self,
        identity: str,
        when: WhenPresent,
        missing: Sequence[str] = (),
        needed: Sequence[str] = (),
    ) -> Manifest | None:
        """Return the manifest of an equal, complete, finished run; else begin a run, return None.

        Beginning keeps the journal of an equal unfinished run with `--resume`, and clears
        everything else. If a finished run was damaged later, `proved` gives its intact files.

        Args:
            identity: identity of this run.
            when: treatment of existing outputs.
            missing: one sentence per missing input; a missing input may explain a difference from
                the run that is resumed.
            needed: outputs that this run must have, although an equal run may lack them: a resumed
                run without one of them continues.

        Raises:
            ConfigError: outputs exist and the call does not say how to treat them, or the settings
                differ from those of the resumed run.
            RunError: the record of the existing run is damaged; `OVERWRITE` does not read it.
        """
        when = self._refuse_if_there(when)
        self.require_same(identity, when, missing)
        manifest, begun = self._found(when)
        resumed = None
        if when is WhenPresent.RESUME:
            resumed = manifest
            enough = resumed is not None and all(name in resumed.outputs for name in needed)
            if resumed is not None and enough and not damaged_outputs(self.path, resumed.outputs):
                self._tidy()  # the run may have been killed right after it wrote the manifest
                return resumed
        keep_journal = when is WhenPresent.RESUME and begun == identity
        self._begin(identity, keep_journal, resumed)
        return None

    def require_same(self, identity: str, when: WhenPresent, missing: Sequence[str] = ()) -> None:
        """Raise unless the run to resume, if there is one, has the same settings and inputs.

        Args:
            identity: identity of this run.
            when: treatment of existing outputs.
            missing: as for `reuse_or_begin`.

        Raises:
            ConfigError: the run to resume has other settings or inputs.
            RunError: the record of the existing run is damaged.
        """
        if when is not WhenPresent.RESUME:
            return
        manifest, begun = self._found(when)
        there = manifest.config_hash if manifest is not None else begun
        if there is not None and there != identity:
            said = f" than are here now ({missing[0].rstrip('.')})" if missing else ""
            raise ConfigError(
                f"{self.path} was made with other settings or inputs{said}; to go on would mix "
                "two results. Use --overwrite, or another output folder."
            )

    def require_startable(self, when: WhenPresent) -> WhenPresent:
        """Raise if the folder is locked, or has results that the call does not say how to treat.

        Returns:
            `when`; but RESUME instead of STOP if a run ended because the disk was full, so that the
            same command continues it.

        Raises:
            ConfigError: outputs exist and the call does not say how to treat them.
            RunError: another run is working in the folder.
        """
        require_free(self._state)
        return self._refuse_if_there(when)

    def ran_out_of_room(self) -> bool:
        """Return True if the folder has an unfinished run that ended because the disk was full."""
        return self._out_of_room.is_file()

    def _refuse_if_there(self, when: WhenPresent) -> WhenPresent:
        manifest, begun = self._found(when)
        if when is WhenPresent.STOP and manifest is None and self.ran_out_of_room():
            return WhenPresent.RESUME
        if when is WhenPresent.STOP and (manifest is not None or begun is not None):
            state = "a finished" if manifest is not None else "an unfinished"
            raise ConfigError(
                f"{self.path} already holds {state} {self.command} run; add --resume to finish "
                "or keep it, or --overwrite to replace it."
            )
        return when

    def _found(self, when: WhenPresent) -> tuple[Manifest | None, str | None]:
        """Return the manifest, and the identity of an unfinished run; None for what is absent.

        Raises:
            RunError: the one that counts is damaged, and `when` is not OVERWRITE.
        """
        overwrites = when is WhenPresent.OVERWRITE
        try:
            manifest = load_manifest(self.path)
        except RunError:
            if not overwrites:
                raise
            manifest = None
        stands = self._out_of_room if self.ran_out_of_room() else self._identity
        begun = _identity_of(stands)
        if begun == _DAMAGED and manifest is None and not overwrites:
            raise RunError(f"{stands} is damaged; run the command again with --overwrite.")
        return manifest, begun

    def _begin(self, identity: str, keep_journal: bool, resumed: Manifest | None) -> None:
        """Start a run; first move the old manifest away, so that a mixture never looks finished."""
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
        """Remove incomplete files of workers that died."""
        for leftover in self.path.rglob(f"*.*{PARTIAL}"):
            # a subfolder with its own `.clickmap` belongs to another run
            others = leftover.relative_to(self.path).parents
            if not any((self.path / part / ".clickmap").is_dir() for part in others if part.name):
                leftover.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Forget a run whose input was unusable before it finished a piece.

        A run that was to replace a finished one is not forgotten.
        """
        records = [path for path in self._journal.glob("*.json*") if path != self._identity]
        if not records and not self._previous.is_file():
            shutil.rmtree(self._journal, ignore_errors=True)

    def record(self, piece: str, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Record a finished piece of this run: its files with size and SHA-256."""
        write_json(self._journal / f"{piece}.json", {"files": dict(files)})

    def recorded(self, piece: str) -> dict[str, dict[str, Any]] | None:
        """Return the files of a finished piece, or None if any of them has changed since."""
        files = self._record(piece)
        return None if files is None or damaged_outputs(self.path, files) else files

    def proved(self, names: Iterable[str]) -> dict[str, dict[str, Any]] | None:
        """Return files as the resumed run's manifest states them, or None if any has changed."""
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
        """Return a journal for small pieces, such as images; it is deleted with the main one."""
        return LineJournal(self._journal / f"{name}.jsonl")

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, remove outputs of an earlier run that are not in it, and tidy up."""
        try:
            old = set(json.loads(self._previous.read_text(encoding="utf-8"))["outputs"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            old = set()  # none, or damaged: then only the outputs of this command alone are known
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
        """Remove what a finished run does not need."""
        self._previous.unlink(missing_ok=True)
        shutil.rmtree(self._journal, ignore_errors=True)
        self.sweep()  # workers that died do not make a run fail


def already_done(folder: Path) -> str:
    """Return the notice for a finished run that was found and kept."""
    return f"Already done: {folder} was finished before; nothing was changed."


def require_begun(folder: Path, identity: str) -> None:
    """Raise unless the folder still belongs to the run that a worker works for.

    Raises:
        RunError: the folder now belongs to another run, or to none.
    """
    until = time.monotonic() + _SEEN_SECONDS
    while _identity_of(folder / IDENTITY) != identity:
        if time.monotonic() > until:
            raise RunError(f"{folder} belongs to another run by now; this piece is not written.")
        time.sleep(0.5)


def require_here(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Raise unless the files of another machine are complete in this machine's folder.

    Raises:
        RunError: a file is missing or differs, even after waiting.
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
