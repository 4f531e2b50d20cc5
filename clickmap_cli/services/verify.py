"""Compare outputs with their manifests: find missing, changed and unlisted files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from clickmap_cli.runtime.errors import DataError, short_reason
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.storage.atomic import PARTIAL, sha256_of
from clickmap_cli.storage.folder import IDENTITY
from clickmap_cli.storage.manifest import MANIFEST

Kind = Literal["missing", "changed", "unreadable", "refused", "manifest"]

PAGE_MANIFEST = "gallery.manifest.json"
"""Manifest of `gallery.html`, which is in the folder of another command's outputs."""

_STATE = ".clickmap"
_MAX_MANIFEST_BYTES = 1 << 30
_MAX_IDENTITY_BYTES = 1 << 16
_GROWING = "f1_history.csv"
"""Like `log_*.txt`, this file grows across runs, so no manifest lists it."""
_GONE = "is not there"
_BY_A_LINK = "leads out of its folder by a link"


@dataclass(frozen=True)
class Damage:
    """A difference between a file and its manifest.

    Attributes:
        file: its path inside the folder, or the name that was refused.
        kind: `missing`, `changed`, `unreadable`, `refused` (never opened, such as a name that leads
            out of the folder) or `manifest` (the manifest itself is damaged).
        reason: a clause that explains it.
    """

    file: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class CheckedManifest:
    """One manifest and the result of checking its outputs.

    Attributes:
        folder: its path inside the verified folder; `.` is that folder itself.
        file: the manifest's path inside the verified folder.
        command: the command that wrote it; empty if the manifest is damaged.
        n_files: number of outputs that it lists.
        n_bytes: their total size as it states it.
        damage: the outputs that differ from it.
    """

    folder: str
    file: str
    command: str
    n_files: int
    n_bytes: int
    damage: tuple[Damage, ...]


@dataclass(frozen=True)
class Unfinished:
    """A run that has started and not finished: it was killed, or is still running."""

    folder: str
    command: str


@dataclass(frozen=True)
class Verification:
    """The result of comparing a folder with every manifest in it and its subfolders.

    Attributes:
        path: the folder.
        manifests: the checked manifests, in the order of their folders.
        unfinished: runs that do not have a manifest yet.
        extra: files that no manifest lists, by their path inside the folder.
        partial: files that a killed run left partly written.
        unread: folders that cannot be read.
    """

    path: Path
    manifests: tuple[CheckedManifest, ...]
    unfinished: tuple[Unfinished, ...]
    extra: tuple[str, ...]
    partial: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def damage(self) -> tuple[Damage, ...]:
        """The damage of all manifests."""
        return tuple(row for checked in self.manifests for row in checked.damage)

    @property
    def damaged(self) -> bool:
        """True if something is damaged, unfinished or cannot be read."""
        return bool(self.damage or self.unfinished or self.unread)


def run(folders: Sequence[Path], progress: Progress) -> tuple[Verification, ...]:
    """Compare every output with its manifest, in the folders and all subfolders; write nothing.

    Args:
        folders: the folders to verify.
        progress: advances with each file.

    Raises:
        DataError: one of the paths is not a folder.
    """
    for folder in folders:
        if not folder.is_dir():
            what = "is a file; name its folder" if folder.exists() else "is not there"
            alone = "" if len(folders) == 1 else " Nothing was checked."
            raise DataError(f"{folder} {what} (looked from {Path.cwd()}).{alone}")
    return tuple(_Check(folder, progress).go() for folder in folders)


class _Check:
    """The check of one folder.

    Names in a manifest are not trusted: a file is opened only if it is inside the folder.
    """

    def __init__(self, root: Path, progress: Progress) -> None:
        self._root = root
        self._progress = progress
        self._digests: dict[Path, str] = {}  # a file with several names is hashed once
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
        """Yield every folder by its path inside the root, and its files; links are not followed."""

        def unread(error: OSError) -> None:
            self._unread.append(_inside(self._root, Path(str(error.filename))))

        for place, below, files in os.walk(self._root, onerror=unread):
            below[:] = sorted(name for name in below if name != _STATE)
            yield _inside(self._root, Path(place)), sorted(files)

    def _state(self, folder: str, names: Sequence[str]) -> _Stated | Damage | Unfinished | None:
        """Return the manifest or unfinished run of a folder, or None if it has neither."""
        if MANIFEST in names:
            return _stated(self._root / folder, MANIFEST)
        identity = self._root / folder / IDENTITY
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
        """Return the kind and reason of a difference between a file and its manifest, or None."""
        if not path.is_file():
            return ("changed", "is not a file any more") if path.exists() else ("missing", _GONE)
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
    """The size and SHA-256 that a manifest states for an output."""

    size: int
    sha256: str


@dataclass(frozen=True)
class _Stated:
    """The command and outputs that a manifest states; None for one without size and hash."""

    command: str
    outputs: Mapping[str, _About | None]


def _stated(folder: Path, name: str) -> _Stated | Damage:
    """Read the command and outputs of a manifest, or return the damage that prevents it."""
    path = folder / name
    try:
        refused = _unfit(folder, path)
        if refused:
            return Damage(name, "refused", refused)
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return Damage(name, "unreadable", f"cannot be read ({error.strerror})")
    except (ValueError, RecursionError) as error:
        return Damage(name, "manifest", f"is damaged: no JSON ({short_reason(error)})")
    if not isinstance(held, dict) or not isinstance(held.get("outputs"), dict):
        return Damage(name, "manifest", "is damaged: it states no outputs")
    outputs = {output: _about(value) for output, value in held["outputs"].items()}
    return _Stated(str(held.get("command", ""))[:100], outputs)


def _unfit(folder: Path, path: Path) -> str:
    """Return why a manifest must not be opened; empty if it may be."""
    if not path.is_file():
        return "is not a file"
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
    """Return the command of an unfinished run; empty if its journal does not name one."""
    try:
        if identity.stat().st_size > _MAX_IDENTITY_BYTES:
            return ""
        held = json.loads(identity.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""  # cut off by a kill; the journal's existence already shows an unfinished run
    return str(held.get("command", ""))[:100] if isinstance(held, dict) else ""


def _refusal(base: Path, name: str) -> str:
    """Return why a name in a manifest must not be opened; empty if it may be."""
    given = PurePath(name)
    if not name.strip("./") or "\0" in name:
        return "names no file"
    if given.anchor:
        return "is absolute; outputs lie inside their folder"
    if ".." in given.parts:
        return "climbs out of its folder ('..')"
    try:
        return "" if _stays_inside(base, base / name) else _BY_A_LINK
    except (OSError, RuntimeError, ValueError):  # such as a loop of links, or an invalid name
        return "is not a name of a file here"


def _stays_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _inside(root: Path, path: Path) -> str:
    """Return a path relative to the root, with slashes; the root itself is `.`."""
    return path.relative_to(root).as_posix()


def _nearest(folder: str, states: Mapping[str, Any]) -> Any:
    """Return the state of the nearest folder, at or above this one, that has a state."""
    for place in (folder, *(parent.as_posix() for parent in PurePath(folder).parents)):
        if states.get(place) is not None:
            return states[place]
    return None


def _grows(name: str) -> bool:
    return name == _GROWING or (name.startswith("log_") and name.endswith(".txt"))
