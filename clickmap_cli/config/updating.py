"""Adds missing keys to existing YAML files without changing a line of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from clickmap_cli.config.fields import default_of, keys_of
from clickmap_cli.config.loading import schema_of
from clickmap_cli.config.playground import Translated
from clickmap_cli.config.reading import read_config_text
from clickmap_cli.runtime.errors import ConfigError, did_you_mean, short_reason


def missing_keys(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the keys of the schema that a file does not set, under the current name or an old one.

    Args:
        path: the YAML file.
        wanted: keys to look for; empty means every key.

    Raises:
        ConfigError: the file cannot be read, or a wanted key does not exist.
    """
    schema = schema_of(path)
    known = keys_of(schema.type)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown key '{name}'. {did_you_mean(name, known)}")
    values = _top_level(read_config_text(path), path)
    if schema.playground:
        values = Translated(values, path.name).values
    present = {schema.aliases.get(name, name) for name in values}
    return [name for name in known if name not in present and (not wanted or name in wanted)]


def updated_text(path: Path, names: Sequence[str]) -> str:
    """Return the file's text with `names` appended at their defaults, each with its meaning.

    Comments, order and layout of the existing lines do not change.

    Raises:
        ConfigError: keys cannot be appended to this file, for example one in `{...}` form.
    """
    schema = schema_of(path).type
    text = read_config_text(path)
    before = _top_level(text, path)
    lines = [
        f"{name}: {_yaml_value(schema, name)}  # {keys_of(schema)[name].help}" for name in names
    ]
    joint = "" if not text or text.endswith("\n") else "\n"
    updated = text + joint + "\n".join(lines) + ("\n" if lines else "")
    try:
        after = yaml.safe_load(updated)
    except (yaml.YAMLError, ValueError):
        after = None
    expected = {**before, **{name: _plain_default(schema, name) for name in names}}
    if lines and after != expected:
        raise ConfigError(
            f"{path}: keys cannot be appended to this layout; write one 'key: value' a line."
        )
    return updated


def _top_level(text: str, path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date such as 2024-99-99
        raise ConfigError(f"{path}: not readable as YAML: {short_reason(error, 400)}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected lines of 'key: value' at the top.")
    return loaded


def _yaml_value(schema: type, name: str) -> str:
    value = _plain_default(schema, name)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]


def _plain_default(schema: type, name: str) -> Any:
    value = default_of(schema, name)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
