"""Reads a YAML file and `KEY=VALUE` words as plain values; `loading` interprets them.

Their size is limited before the libraries that read them fill the memory: a few lines of YAML can
expand without end where aliases repeat other aliases, and deeply nested brackets end the process.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clickmap_cli.config.shipped import shipped_files
from clickmap_cli.runtime.errors import ConfigError, printable, short_reason

_WINDOWS = re.compile(r'"[A-Za-z]:(?:[^"\\]|\\\\)*\\(?!\\)')
"""A Windows path in double quotes with a single backslash, which YAML reads as an escape."""

_WINDOWS_HINT = (
    "holds a Windows path in double quotes, where YAML takes a backslash for the start of a "
    "special character; put it in single quotes, such as 'C:\\data', or write C:/data"
)
_NO_BLANK = re.compile(r"\s*[A-Za-z_]+:[^\s/]")
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:[^${}\\]*\}")
MAX_CONFIG_BYTES = 1 << 20
_MAX_NODES = 10_000
_MAX_DEPTH = 40


def check_nodes(text: str) -> None:
    """Raise unless a YAML text has an acceptable number of values, depth and references.

    Raises:
        ValueError: it has too many values, is nested too deeply, has an alias that holds itself, or
            refers with `${...}` to anything but the environment. An alias counts as all the values
            that it repeats.
        YAMLError: the text is not valid YAML, or has a tag that sets the type of a value.
    """
    repeated: dict[str, int] = {}
    names: list[str | None] = []
    counts = [0]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise yaml.YAMLError(f"the tag '{printable(tag, 40)}'; values have no tags here")
        if isinstance(event, yaml.CollectionStartEvent):
            names.append(event.anchor)
            counts.append(1)
            if len(names) > _MAX_DEPTH:
                raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            name, size = names.pop(), counts.pop()
        elif isinstance(event, yaml.ScalarEvent):
            name, size = event.anchor, 1
            if "${" in _ENVIRONMENT.sub("", event.value):
                raise ValueError(
                    f"'{printable(event.value, 60)}' refers to another value; only "
                    "${oc.env:NAME} is filled in, so write the value out"
                )
        elif isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor in names:
                raise ValueError(f"the alias *{anchor[:40]} holds itself")
            name, size = None, repeated.get(anchor, 1)
        else:
            continue
        if name is not None:
            repeated[name] = size
        counts[-1] += size
        if sum(counts) > _MAX_NODES:
            raise ValueError(f"it holds more than {_MAX_NODES:,} values, with those of its aliases")


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the values of a configuration file, and the line number of each key.

    Raises:
        ConfigError: the file cannot be read, is not valid YAML, or is not made of `key: value`
            lines.
    """
    text = read_config_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#") and _WINDOWS.search(line.partition(" #")[0]):
            raise ConfigError(f"{path}: line {number} {_WINDOWS_HINT}.")
    try:
        check_nodes(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode | None):
            found = "a list" if isinstance(node, yaml.SequenceNode) else "one value"
            raise ConfigError(f"{path}: expected lines of 'key: value' at the top, found {found}.")
        loaded = OmegaConf.create(text)
        plain = OmegaConf.to_container(loaded, resolve=True)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path}: not readable as YAML: {short_reason(error, 400)}.{_yaml_hint(text)}"
        ) from error
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {short_reason(error, 400)}") from error
    assert isinstance(plain, dict)  # noqa: S101 - it is made of a mapping
    lines: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        lines = {str(k.value): k.start_mark.line + 1 for k, _ in node.value}
    for name in plain:
        if not isinstance(name, str) or not name.isprintable():
            raise ConfigError(f"{path}: the key {name!r} is not a word.")
    return typing.cast("dict[str, Any]", plain), lines


def read_config_text(path: Path) -> str:
    """Return the text of a configuration file.

    Raises:
        ConfigError: the file is missing, is a folder, is not text, or is too large to be a config.
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
        such = f", such as {path / inside[0]}" if inside else "; there is none in it"
        raise ConfigError(f"{path} is a folder; name a configuration file, which is YAML{such}.")
    if not path.is_file():
        raise ConfigError(f"No config file at {path} (looked from {Path.cwd()}).{_hint(path)}")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB: not a configuration file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {short_reason(error, 400)}") from error


def _hint(path: Path) -> str:
    """Return how to get the shipped file that has the name of a missing one; empty if none has."""
    names = [file.name for file in shipped_files()]
    name = path.name.removesuffix(".yaml")
    return f" clickmap config copy {name} writes the one that comes along." if name in names else ""


def _yaml_hint(text: str) -> str:
    """Return a hint at a common mistake in a file that is not valid YAML; empty if none fits."""
    if "\t" in text:
        return " YAML is indented with spaces, not tabs."
    for number, line in enumerate(text.splitlines(), 1):
        if _NO_BLANK.match(line):
            return f" Line {number} needs a blank behind its colon."
    return ""


def parse_override(word: str) -> tuple[str, Any]:
    """Return the key and value of a `KEY=VALUE` word.

    Raises:
        ConfigError: the word is not KEY=VALUE, or its value is not valid YAML.
    """
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise ConfigError(f"'{word}' is not KEY=VALUE, such as min_clicks=5{_instead(word)}.")
    if _WINDOWS.search(text):
        raise ConfigError(f"'{word}' {_WINDOWS_HINT}.")
    try:
        check_nodes(text)
        loaded = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        if torn(word):
            said = f" {TORN}"
        elif text.startswith("{"):
            said = (
                ": a value that begins with a brace is a mapping; to give it as text, quote it "
                f"twice: '{name}=\"{text}\"'."
            )
        else:
            said = f": {short_reason(error, 400)}"
        raise ConfigError(f"'{word}'{said}") from error
    assert isinstance(loaded, dict)  # noqa: S101 - from_dotlist makes mappings
    return name, loaded["value"]


TORN = "is a piece of a list or mapping that the shell took apart; put it in quotes: 'key=[a, b]'."
"""The message about such a word."""


def torn(word: str) -> bool:
    """Return True if a word of the command line has unpaired brackets: the shell has split it."""
    return any(word.count(opened) != word.count(closed) for opened, closed in ("[]", "{}"))


def _instead(word: str) -> str:
    """Return a hint at the intended meaning of a word that sets nothing."""
    if torn(word):
        return f"; it {TORN.removesuffix('.')}"
    if word.endswith((".yaml", ".yml")):
        return f"; a configuration file is named with --config {word}"
    return "; files and folders are values too, and a configuration file is named with --config"


def settings_from_words(words: Iterable[str]) -> dict[str, Any]:
    """Return the settings given as `KEY=VALUE` words, such as `name=folder root=photos`.

    Raises:
        ConfigError: a word is not KEY=VALUE.
    """
    return dict(parse_override(word) for word in words)
