"""Outputs against the manifests that prove them: what is missing, changed, or not known."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.atomic import PARTIAL, sha256_of
from clickmap_cli.storage.manifest import MANIFEST

Kind = Literal["missing", "changed", "unreadable", "refused", "manifest"]

PAGE_MANIFEST = "gallery.manifest.json"
"""Of `gallery.html`, which stands among the outputs of another command."""

_STATE = ".clickmap"
_IDENTITY = Path(_STATE, "journal", "identity.json")  # of an unfinished run; see RunFolder
_MAX_MANIFEST_BYTES = 1 << 30
_MAX_IDENTITY_BYTES = 1 << 16
_GROWING = "f1_history.csv"
"""With `log_*.txt`, what grows across runs and so stands in no manifest."""
_GONE = "is not there"
_BY_A_LINK = "leads out of its folder by a link"


@dataclass(frozen=True)
class Damage:
    """Something that is not as a manifest states it.

    Attributes:
        file: its path inside the folder, or the name that was refused.
        kind: `missing`, `changed`, `unreadable`, `refused` (a name that leads out of the folder;
            never opened) or `manifest` (which is damaged itself).
        reason: a clause that says so.
    """

    file: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class CheckedManifest:
    """One manifest and what became of its outputs.

    Attributes:
        folder: its place inside the folder that was asked for; `.` is that folder itself.
        file: the manifest's own path inside that folder.
        command: what wrote it; empty where the manifest is damaged.
        n_files: outputs it states.
        n_bytes: their size, as it states it.
        damage: those that are not so.
    """

    folder: str
    file: str
    command: str
    n_files: int
    n_bytes: int
    damage: tuple[Damage, ...]


@dataclass(frozen=True)
class Unfinished:
    """A run that has begun and not ended: killed, or still at work."""

    folder: str
    command: str


@dataclass(frozen=True)
class Verification:
    """A folder, held against every manifest in it and below.

    Attributes:
        path: the folder.
        manifests: in the order of their folders.
        unfinished: runs without a manifest as yet.
        extra: files that no manifest knows, by their path inside the folder.
        partial: files that a killed run left half-written.
        unread: folders that cannot be looked into.
    """

    path: Path
    manifests: tuple[CheckedManifest, ...]
    unfinished: tuple[Unfinished, ...]
    extra: tuple[str, ...]
    partial: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Of all manifests."""
        return tuple(row for checked in self.manifests for row in checked.damage)

    @property
    def damaged(self) -> bool:
        """Whether something that was begun here is not whole."""
        return bool(self.damage or self.unfinished or self.unread)


def run(folders: Sequence[Path], progress: Progress) -> tuple[Verification, ...]:
    """Hold every output against its manifest, in the folders and all below; nothing is written.

    Args:
        folders: where to look.
        progress: told of each file.

    Raises:
        DataError: something is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            what = "is a file; name its folder" if folder.exists() else "is not there"
            alone = "" if len(folders) == 1 else " Nothing was checked."
            raise DataError(f"{folder} {what} (looked from {Path.cwd()}).{alone}")
    return tuple(_Check(folder, progress).go() for folder in folders)


class _Check:
    """One folder. Names in a manifest are a stranger's until they are seen to stay inside."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self._root = root
        self._progress = progress
        self._digests: dict[Path, str] = {}  # one file under many names is read once
        self._known: set[str] = set()
        self._unread: list[str] = []

    def go(self) -> Verification:
        folders = list(self._folders())
        states = {folder: self._state(folder, names) for folder, names in folders}
        manifests = []
        for folder, names in folders:
            state = states[folder]
            if isinstance(state, _Stated | Damage):
                manifests.append(self._checked(folder, MANIFEST, state))
            if PAGE_MANIFEST in names:
                page = _stated(self._root / folder, PAGE_MANIFEST)
                manifests.append(self._checked(folder, PAGE_MANIFEST, page))
        extra = [
            f"{folder}/{name}".removeprefix("./")
            for folder, names in folders
            if isinstance(_nearest(folder, states), _Stated)
            for name in names
            if name not in (MANIFEST, PAGE_MANIFEST) and not _grows(name)
        ]
        extra = [name for name in extra if name not in self._known]
        return Verification(
            self._root,
            tuple(manifests),
            tuple(state for state in states.values() if isinstance(state, Unfinished)),
            tuple(name for name in extra if not name.endswith(PARTIAL)),
            tuple(name for name in extra if name.endswith(PARTIAL)),
            tuple(self._unread),
        )

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder by its path inside the root, and its files; links are not followed."""

        def unread(error: OSError) -> None:
            self._unread.append(_inside(self._root, Path(str(error.filename))))

        for place, below, files in os.walk(self._root, onerror=unread):
            below[:] = sorted(name for name in below if name != _STATE)
            yield _inside(self._root, Path(place)), sorted(files)

    def _state(self, folder: str, names: Sequence[str]) -> _Stated | Damage | Unfinished | None:
        """What a folder says of itself; None where no command wrote into it."""
        if MANIFEST in names:
            return _stated(self._root / folder, MANIFEST)
        identity = self._root / folder / _IDENTITY
        if not identity.is_file():
            return None
        return Unfinished(folder, _command_of(identity))

    def _checked(self, folder: str, name: str, state: _Stated | Damage) -> CheckedManifest:
        file = f"{folder}/{name}".removeprefix("./")
        if isinstance(state, Damage):
            damaged = Damage(file, state.kind, state.reason)
            return CheckedManifest(folder, file, "", 0, 0, (damaged,))
        self._progress.stage(f"Verifying {folder}", len(state.outputs))
        damage = []
        for output, about in state.outputs.items():
            found = self._compare(folder, output, about)
            if found is not None:
                damage.append(found)
            self._progress.advance()
        n_bytes = sum(about.size for about in state.outputs.values() if about is not None)
        n_files = len(state.outputs)
        return CheckedManifest(folder, file, state.command, n_files, n_bytes, tuple(damage))

    def _compare(self, folder: str, name: str, about: _About | None) -> Damage | None:
        base = self._root / folder
        refused = _refusal(base, name)
        if refused:
            return Damage(name, "refused", refused)
        path = base / name
        shown = _inside(self._root, path)
        self._known.add(shown)
        if about is None:
            return Damage(shown, "manifest", "has no size and SHA-256 in the manifest")
        try:
            found = self._difference(path, about)
        except OSError as error:
            found = ("unreadable", f"cannot be read ({error.strerror})")
        return None if found is None else Damage(shown, *found)

    def _difference(self, path: Path, about: _About) -> tuple[Kind, str] | None:
        """How a file differs from what is stated of it."""
        if not path.is_file():
            return ("changed", "is no file any more") if path.exists() else ("missing", _GONE)
        size = path.stat().st_size
        if size != about.size:
            return "changed", f"has {size:,} bytes where the manifest states {about.size:,}"
        if self._digest(path) != about.sha256:
            return "changed", "has other bytes than the manifest states"
        return None

    def _digest(self, path: Path) -> str:
        real = path.resolve()
        if real not in self._digests:
            self._digests[real] = sha256_of(path)
        return self._digests[real]


@dataclass(frozen=True)
class _About:
    """What a manifest states of an output."""

    size: int
    sha256: str


@dataclass(frozen=True)
class _Stated:
    """What a manifest states; an output without size and hash is None."""

    command: str
    outputs: Mapping[str, _About | None]


def _stated(folder: Path, name: str) -> _Stated | Damage:
    """The part of a manifest that counts here."""
    path = folder / name
    try:
        refused = _unfit(folder, path)
        if refused:
            return Damage(name, "refused", refused)
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return Damage(name, "unreadable", f"cannot be read ({error.strerror})")
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        return Damage(name, "manifest", f"is damaged: no JSON ({reason})")
    if not isinstance(held, dict) or not isinstance(held.get("outputs"), dict):
        return Damage(name, "manifest", "is damaged: it states no outputs")
    outputs = {output: _about(value) for output, value in held["outputs"].items()}
    return _Stated(str(held.get("command", ""))[:100], outputs)


def _unfit(folder: Path, path: Path) -> str:
    """Why a manifest is not opened; empty where it may be."""
    if not path.is_file():
        return "is no file"
    if not _stays_inside(folder, path):
        return _BY_A_LINK
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        return "is larger than 1 GiB: no manifest"
    return ""


def _about(value: Any) -> _About | None:
    if not isinstance(value, dict):
        return None
    size, digest = value.get("size"), value.get("sha256")
    if type(size) is not int or size < 0 or not isinstance(digest, str):
        return None
    return _About(size, digest.lower())


def _command_of(identity: Path) -> str:
    """Which command an unfinished run is of, as far as its journal says."""
    try:
        if identity.stat().st_size > _MAX_IDENTITY_BYTES:
            return ""
        held = json.loads(identity.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""  # torn by a kill; that there is a journal says enough
    return str(held.get("command", ""))[:100] if isinstance(held, dict) else ""


def _refusal(base: Path, name: str) -> str:
    """Why a name of a manifest is not to be opened; empty where it may be."""
    given = PurePath(name)
    if not name.strip("./") or "\0" in name:
        return "names no file"
    if given.anchor:
        return "is absolute; outputs lie inside their folder"
    if ".." in given.parts:
        return "climbs out of its folder ('..')"
    try:
        return "" if _stays_inside(base, base / name) else _BY_A_LINK
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name no file system takes
        return "is no name of a file here"


def _stays_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _inside(root: Path, path: Path) -> str:
    """A path inside the root, with slashes; the root itself is `.`."""
    return path.relative_to(root).as_posix()


def _nearest(folder: str, states: Mapping[str, Any]) -> Any:
    """What the nearest folder at or above says of itself, of those that say anything."""
    for place in (folder, *(parent.as_posix() for parent in PurePath(folder).parents)):
        if states.get(place) is not None:
            return states[place]
    return None


def _grows(name: str) -> bool:
    return name == _GROWING or (name.startswith("log_") and name.endswith(".txt"))
