"""What a folder holds, in a form that two folders can be compared by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that a finished run leaves for its reader, but for the manifest."""
    return {
        path.relative_to(folder).as_posix(): _sha256(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".clickmap" not in path.parts and path.name != "manifest.json"
    }


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder, the state of its runs too; of manifests all but their times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[name] = "folder"
        else:
            data = path.read_bytes()
            found[name] = _sha256(_timeless(data) if path.name == "manifest.json" else data)
    return found


def stamps(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of change of every file; if equal, it was not written again."""
    return {
        path.relative_to(folder).as_posix(): (
            _sha256(path.read_bytes()),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _timeless(manifest: bytes) -> bytes:
    try:
        return json.dumps(json.loads(manifest) | {"times": None}).encode()
    except (ValueError, TypeError):
        return manifest  # damaged: like no other


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
