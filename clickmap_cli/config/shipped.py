"""The configurations that come with clickmap, and editable copies of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import clickmap_cli
from clickmap_cli.runtime.errors import ConfigError, did_you_mean

FOLDER = "configs"
"""Their folder in a checkout, and the default folder of a copy."""

_SUFFIXES = (".yaml", ".py", ".sh")
_COMMENT = re.compile(r"(^|\s)#.*", re.MULTILINE)
_PLAIN_PLACE = re.compile(r"[\w./~ -]*")


@dataclass(frozen=True)
class ShippedFile:
    """A configuration, or a file that one of them uses.

    Attributes:
        name: file name, without `.yaml` for a configuration; users ask for the file by it.
        path: path of the file.
    """

    name: str
    path: Path

    @property
    def about(self) -> str:
        """The first sentence of the file's heading."""
        lines = [line.strip() for line in self.path.read_text(encoding="utf-8").splitlines()]
        if self.path.suffix == ".py":
            text = lines[0].strip('"')
        else:
            heads = [line for line in lines if not line.startswith("#!")]
            head = itertools.takewhile(lambda line: line.startswith("# "), heads)
            text = " ".join(line.removeprefix("# ") for line in head)
        found = re.match(r".+?[.?!](?=\s+([A-Z]|clickmap )|$)", text)
        return found.group() if found else text


def shipped_folder() -> Path:
    """Return their folder: inside an installed package, else beside the package in a checkout."""
    package = Path(clickmap_cli.__file__).resolve().parent
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent / FOLDER


def shipped_files() -> list[ShippedFile]:
    """Return every file that can be copied, sorted by name."""
    folder = shipped_folder()
    paths = [path for path in folder.glob("*") if path.suffix in _SUFFIXES and path.is_file()]
    files = [
        ShippedFile(path.stem if path.suffix == ".yaml" else path.name, path)
        for path in paths
        if not path.name.startswith("_")
    ]
    return sorted(files, key=lambda file: file.name)


def shipped(name: str) -> ShippedFile:
    """Return the file with a name, such as `osie_mouse` or `configs/osie_mouse.yaml`.

    Raises:
        ConfigError: no shipped file has this name; the message suggests the nearest.
    """
    files = {file.name: file for file in shipped_files()}
    wanted = Path(name).name.removesuffix(".yaml")
    if wanted not in files:
        alike = [known for known in files if wanted and wanted in known]
        near = f"Did you mean {' or '.join(alike)}?" if alike else did_you_mean(wanted, files)
        raise ConfigError(f"No configuration '{name[:60]}' comes with clickmap. {near}")
    return files[wanted]


def copies(name: str, place: Path | None = None) -> Mapping[Path, str]:
    """Return the files of a copy: the file itself, and beside it the files that it names.

    Paths `configs/...` in their texts are replaced by the paths of the copies.

    Args:
        name: name of the file.
        place: a file to write, or a folder; None = `configs/` in the current folder.

    Returns:
        Path -> text; the requested file comes first.

    Raises:
        ConfigError: no file has this name, or `place` cannot be written as a path in YAML.
    """
    wanted = shipped(name)
    target = _target(wanted, place)
    files = {file.path.name: file for file in shipped_files()}
    texts = {target: wanted.path.read_text(encoding="utf-8")}
    for other in _named(wanted, files):
        texts[target.parent / other] = files[other].path.read_text(encoding="utf-8")
    if len(texts) > 1 and not _PLAIN_PLACE.fullmatch(target.parent.as_posix()):
        raise ConfigError(
            f"{target}: {wanted.path.name} names files beside it, and the name of this folder "
            "would mean something else in YAML; choose one of letters, digits, '-', '_' and '.'."
        )

    def now(found: re.Match[str]) -> str:
        if found[1] not in files:
            return found[0]
        new = target if found[1] == wanted.path.name else target.parent / found[1]
        return new.as_posix()

    pattern = re.compile(rf"\b{FOLDER}/([\w.-]*\w)")
    return {path: pattern.sub(now, text) for path, text in texts.items()}


def _target(file: ShippedFile, place: Path | None) -> Path:
    if place is None:
        return Path(FOLDER) / file.path.name
    if place.suffix in (file.path.suffix, ".yml") and not place.is_dir():
        return place
    return place / file.path.name


def _named(file: ShippedFile, files: Mapping[str, ShippedFile]) -> list[str]:
    """Return other shipped files that a configuration names in its values, not in its comments."""
    if file.path.suffix != ".yaml":
        return []
    values = _COMMENT.sub("", file.path.read_text(encoding="utf-8"))
    found = re.findall(rf"\b{FOLDER}/([\w.-]*\w)", values)
    return [name for name in dict.fromkeys(found) if name in files and name != file.path.name]
