"""Output of a verification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.runtime.errors import escape_controls
from clickmap_cli.services.verify import CheckedManifest, Damage, Verification
from clickmap_cli.storage.manifest import MANIFEST

_LISTED = 5  # files listed per folder; more files are only counted


def table(found: Verification) -> Table:
    """Return a table of manifests, with the number of outputs and of damaged ones."""
    made = Table(
        title=escape_controls(str(found.path)), title_justify="left", box=None, pad_edge=False
    )
    made.add_column("folder")
    made.add_column("written by")
    for name in ("files", "bytes", "damaged"):
        made.add_column(name, justify="right")
    for checked in found.manifests:
        style = "bold red" if checked.damage else ""
        numbers = (f"{checked.n_files:,}", f"{checked.n_bytes:,}", f"{len(checked.damage):,}")
        names = (Text(escape_controls(checked.folder)), Text(escape_controls(checked.command)))
        made.add_row(*names, *numbers, style=style)
    return made


def damage_lines(found: Verification) -> list[str]:
    """Return one sentence per file that differs from its manifest or folder that is unreadable."""
    lines = [
        _damage_line(found, checked, row) for checked in found.manifests for row in checked.damage
    ]
    lines += [f"{_place(found, name)} cannot be looked into." for name in found.unread]
    return lines


def unfinished_lines(found: Verification) -> list[str]:
    """Return one sentence per run that has begun but not ended."""
    return [
        f"{_place(found, run.folder)} holds an unfinished run"
        f"{f' of {escape_controls(run.command)}' if run.command else ''}: it is still at work, or "
        "finish it with --resume."
        for run in found.unfinished
    ]


def note_lines(found: Verification) -> list[str]:
    """Return one sentence per file without a manifest; many files of a folder are only counted."""
    lines = []
    for what, names in (
        ("no manifest knows", found.extra),
        ("a killed run left half-written", found.partial),
    ):
        groups = defaultdict(list)
        for name in names:
            groups[_group(found, name)].append(name)
        for group, some in groups.items():
            if len(some) > _LISTED:
                lines.append(f"{_place(found, group)}: {len(some):,} files that {what}.")
            else:
                lines += [f"{_place(found, name)}: a file that {what}." for name in some]
    return lines


def _group(found: Verification, name: str) -> str:
    """Return the folder right below the nearest manifest's; all predictions form one group."""
    path = PurePosixPath(name)
    runs = {checked.folder for checked in found.manifests}
    depth = next(at for at, parent in enumerate(path.parents) if parent.as_posix() in runs)
    return path.parents[max(depth - 1, 0)].as_posix()


def verdict(found: Verification) -> str:
    """Return a sentence about the whole folder."""
    path = escape_controls(str(found.path))
    if not found.manifests and not found.damaged:
        return f"{path}: no {MANIFEST} here or below, so there is nothing to hold files against."
    if not found.manifests:
        return f"{path}: nothing here is finished, so there is no {MANIFEST} to hold files against."
    files = sum(checked.n_files for checked in found.manifests)
    if not found.damage:
        but = ", but not everything is finished" if found.damaged else ""
        return f"{path}: {files:,} files, all as their manifests state{but}."
    by = dict.fromkeys(one.command for one in found.manifests if one.damage and one.command)
    named = " and ".join(f"`clickmap {command}`" for command in by) or "their commands"
    return (
        f"{path}: {len(found.damage):,} of {files:,} files are not as their manifests state; run "
        f"{named} again with --resume, which redoes those."
    )


def as_json(verified: Sequence[Verification], exit_code: int) -> dict[str, Any]:
    """Return all folders as one JSON value."""
    return {
        "whole": exit_code == 0,
        "folders": [
            {
                "folder": str(found.path),
                "whole": bool(found.manifests) and not found.damaged,
                "manifests": [
                    {
                        "folder": checked.folder,
                        "command": checked.command,
                        "n_files": checked.n_files,
                        "n_bytes": checked.n_bytes,
                        "damage": [vars(row) for row in checked.damage],
                    }
                    for checked in found.manifests
                ],
                "unfinished": [vars(run) for run in found.unfinished],
                "extra": list(found.extra),
                "partial": list(found.partial),
                "unreadable_folders": list(found.unread),
            }
            for found in verified
        ],
    }


def _damage_line(found: Verification, checked: CheckedManifest, row: Damage) -> str:
    if row.kind == "refused" and row.file != checked.file:
        where = _place(found, checked.file)
        return (
            f"{where} names '{escape_controls(row.file)}', which {row.reason}; it was not opened."
        )
    return f"{_place(found, row.file)} {escape_controls(row.reason)}."


def _place(found: Verification, name: str) -> str:
    """Return a path as a person would type it."""
    return escape_controls(str(found.path / name))
