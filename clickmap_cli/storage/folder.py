"""An experiment's folder: whether a command may write there, and what a killed run left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import ConfigError, RunError
from clickmap_cli.storage.atomic import PARTIAL, write_json
from clickmap_cli.storage.line_journal import LineJournal
from clickmap_cli.storage.lock import busy_shards, only_run, only_shard
from clickmap_cli.storage.manifest import MANIFEST, Manifest, damaged_outputs, load_manifest

_SEEN_SECONDS = 45  # a shared folder may show another machine's files so late
_IDENTITY = Path(".clickmap") / "journal" / "identity.json"


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
        outputs: names of files and folders that only this command writes there.
    """

    def __init__(self, path: Path, command: str, outputs: tuple[str, ...] = ()) -> None:
        self.path = path
        self.command = command
        self._own = outputs
        self._state = path / ".clickmap"
        self._journal = self._state / "journal"
        self._identity = path / _IDENTITY
        self._previous = self._state / "previous_manifest.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out while this one writes."""
        with only_run(self._state, self.command):
            yield

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
        manifest, begun = load_manifest(self.path), self._begun()
        if manifest is None and begun == identity:
            return None
        if manifest is not None:
            self.refuse_if_there(when)
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
        self._begin(identity, keep_journal=begun == identity)
        return None

    def require_shards(self, identity: str) -> None:
        """Whether what is there may be merged by a run of this identity.

        Raises:
            ConfigError: it was made with other settings.
            RunError: nothing is there.
        """
        manifest = load_manifest(self.path)
        there = manifest.config_hash if manifest is not None else self._begun()
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

    def finished(self, identity: str, when: WhenPresent) -> Manifest | None:
        """Whether there is nothing to do: the manifest of an equal, whole, finished run.

        Otherwise the folder is made ready: the journal of an equal run is kept for `--resume`,
        anything else is cleared.

        Raises:
            ConfigError: outputs are there and the call does not say what to do with them, or a
                resumed run has other settings than the one it resumes.
        """
        self.refuse_if_there(when)
        manifest = load_manifest(self.path)
        begun = self._begun()
        if when is WhenPresent.RESUME:
            there = manifest.config_hash if manifest is not None else begun
            if there is not None and there != identity:
                raise ConfigError(
                    f"{self.path} was made with other settings or inputs; --resume would mix two "
                    "results. Use --overwrite, or another output folder."
                )
            if manifest is not None and not damaged_outputs(self.path, manifest.outputs):
                return manifest
        self._begin(identity, keep_journal=when is WhenPresent.RESUME and begun == identity)
        return None

    def refuse_if_there(self, when: WhenPresent) -> None:
        """What `finished` would refuse for being there already, said before any work.

        Raises:
            ConfigError: outputs are there and the call does not say what to do with them.
        """
        manifest, begun = load_manifest(self.path), self._begun()
        if when is WhenPresent.STOP and (manifest is not None or begun is not None):
            state = "a finished" if manifest is not None else "an unfinished"
            raise ConfigError(
                f"{self.path} already holds {state} {self.command} run; add --resume to finish "
                "or keep it, or --overwrite to make it anew."
            )

    def _begun(self) -> str | None:
        return _identity_of(self._identity)

    def _begin(self, identity: str, keep_journal: bool) -> None:
        """Set the old manifest aside (a half-replaced folder must not look finished) and start."""
        if not keep_journal:
            shutil.rmtree(self._journal, ignore_errors=True)
        write_json(self._identity, {"identity": identity, "command": self.command})
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

    def record(self, piece: str, files: dict[str, dict[str, Any]]) -> None:
        """Note that a piece of the run is done: its files with size and SHA-256."""
        write_json(self._journal / f"{piece}.json", {"files": files})

    def recorded(self, piece: str) -> dict[str, dict[str, Any]] | None:
        """The files of a finished piece that still have the bytes they had, or None."""
        path = self._journal / f"{piece}.json"
        try:
            files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return files if not damaged_outputs(self.path, files) else None

    def lines(self, name: str) -> LineJournal:
        """Records of small pieces of the run, such as images; they go with the journal."""
        return LineJournal(self._journal / f"{name}.jsonl")

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, drop outputs of an earlier run that are not part of it, and tidy."""
        old: set[str] = set()
        if self._previous.is_file():
            old |= set(json.loads(self._previous.read_text(encoding="utf-8")).get("outputs", {}))
        for own in self._own:
            place = self.path / own
            files = place.rglob("*") if place.is_dir() else [place]
            old |= {path.relative_to(self.path).as_posix() for path in files if path.is_file()}
        for name in old - set(manifest.outputs):
            stale = (self.path / name).resolve()
            if stale.is_relative_to(self.path.resolve()):
                stale.unlink(missing_ok=True)
        manifest.save(self.path)
        self._previous.unlink(missing_ok=True)
        shutil.rmtree(self._journal, ignore_errors=True)


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
        return "damaged"
