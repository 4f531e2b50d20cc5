"""The manifest beside every result: its inputs, settings and outputs."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import clickmap_cli
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.runtime.progress import Stopwatch
from clickmap_cli.storage.atomic import is_whole, sha256_of, write_json

MANIFEST = "manifest.json"
_PACKAGES = ("numpy", "scipy", "torch", "h5py", "pillow")


@dataclass(frozen=True)
class Manifest:
    """Content of `manifest.json`.

    Attributes:
        command: the command that wrote the folder.
        config: the resolved configuration.
        config_hash: hash over the keys and inputs that change numbers.
        inputs: path as given -> {`size`, `sha256`}.
        outputs: path inside the folder -> {`size`, `sha256`}.
        counts: numbers of items read, kept and left out.
        times: start, end, seconds; the only part that differs between equal runs.
        seed: seed of every random draw.
        versions: versions of clickmap, Python and the packages that affect numbers.
        git_commit: commit of the folder in which the command was called, or None.
        notices: notices about data and settings that were shown.
    """

    command: str
    config: Mapping[str, Any]
    config_hash: str
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Any]
    times: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    notices: Sequence[str] = ()

    @classmethod
    def made(
        cls,
        *,
        command: str,
        config: Mapping[str, Any],
        config_hash: str,
        inputs: Mapping[str, Mapping[str, Any]],
        outputs: Mapping[str, Mapping[str, Any]],
        counts: Mapping[str, Any],
        seed: int,
        started: Stopwatch,
        notices: Sequence[str],
    ) -> Manifest:
        """Build the manifest of a run that ends now; `started` has run since its beginning."""
        seconds = started.seconds
        times = {"started": started.began, "ended": started.began + seconds, "seconds": seconds}
        return cls(
            command, config, config_hash, inputs, dict(sorted(outputs.items())), counts, times,
            seed, versions(), git_commit(), tuple(notices),
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write `manifest.json`; it is written last, so its presence proves that outputs exist."""
        write_json(folder / MANIFEST, asdict(self))


def load_manifest(folder: Path) -> Manifest | None:
    """Load the manifest of a folder; None if there is none.

    Raises:
        RunError: the file exists but is not a manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    damaged = f"{path} is damaged; run the command again with --overwrite."
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        are_texts = all(isinstance(text, str) for text in manifest.notices)
    except (ValueError, TypeError) as error:
        raise RunError(damaged) from error
    if not are_texts:
        raise RunError(damaged)
    return manifest


def describe_files(base: Path | None, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of files, by path relative to `base`, or as given if that is None."""
    described = {}
    for path in paths:
        name = str(path) if base is None else path.relative_to(base).as_posix()
        described[name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    return described


def damaged_outputs(folder: Path, outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the outputs that are missing or whose bytes differ from those in the manifest."""
    return [name for name, stated in outputs.items() if not is_whole(folder / name, stated)]


def versions() -> dict[str, str]:
    """Return versions of clickmap, Python and packages that affect numbers, without imports."""
    found = {"clickmap": clickmap_cli.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """Return the commit checked out in the current folder; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - fixed words, no input
        [git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None if done.returncode == 0 else None
