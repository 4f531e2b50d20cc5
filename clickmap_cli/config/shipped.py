"""The configurations that come with clickmap, and copies of them to change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import clickmap_cli
from clickmap_cli.runtime.errors import ConfigError, did_you_mean

FOLDER = "configs"
"""Where they lie in a checkout, and where a copy goes unless another place is named."""

_SUFFIXES = (".yaml", ".py", ".sh")
_COMMENT = re.compile(r"(^|\s)#.*", re.MULTILINE)
_PLAIN_PLACE = re.compile(r"[\w./~ -]*")


@dataclass(frozen=True)
class ShippedFile:
    """A configuration, or a file that one of them uses.

    Attributes:
        name: what it is asked for by: a configuration's without `.yaml`, else the whole name.
        path: the file.
    """

    name: str
    path: Path

    @property
    def about(self) -> str:
        """The first sentence of its heading."""
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
    """The folder they are in: inside an installed package, else beside it in the checkout."""
    package = Path(clickmap_cli.__file__).resolve().parent
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent / FOLDER


def shipped_files() -> list[ShippedFile]:
    """Everything that can be copied, by name."""
    folder = shipped_folder()
    paths = [path for path in folder.glob("*") if path.suffix in _SUFFIXES and path.is_file()]
    files = [
        ShippedFile(path.stem if path.suffix == ".yaml" else path.name, path)
        for path in paths
        if not path.name.startswith("_")
    ]
    return sorted(files, key=lambda file: file.name)


def shipped(name: str) -> ShippedFile:
    """The one of a name, which may be written as a file's: `osie_mouse`, `configs/osie_mouse.yaml`.

    Raises:
        ConfigError: nothing that comes along has this name (the nearest is named).
    """
    files = {file.name: file for file in shipped_files()}
    wanted = Path(name).name.removesuffix(".yaml")
    if wanted not in files:
        alike = [known for known in files if wanted and wanted in known]
        near = f"Did you mean {' or '.join(alike)}?" if alike else did_you_mean(wanted, files)
        raise ConfigError(f"No configuration '{name[:60]}' comes with clickmap. {near}")
    return files[wanted]


def copies(name: str, place: Path | None = None) -> Mapping[Path, str]:
    """What a copy consists of: the file, and those that it names, beside it.

    Where one names another, or its own commands, as `configs/...`, the copy says where that is now.

    Args:
        name: of the file.
        place: a file to write, or a folder; None for `configs/` where the command is called.

    Returns:
        Path -> text; the file that was asked for is the first.

    Raises:
        ConfigError: nothing has this name, or `place` cannot stand in a configuration.
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
    """Other files that a configuration names in its values, not in its comments."""
    if file.path.suffix != ".yaml":
        return []
    values = _COMMENT.sub("", file.path.read_text(encoding="utf-8"))
    found = re.findall(rf"\b{FOLDER}/([\w.-]*\w)", values)
    return [name for name in dict.fromkeys(found) if name in files and name != file.path.name]
