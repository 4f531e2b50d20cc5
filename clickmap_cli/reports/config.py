"""A resolved configuration, as a person or a program reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.loading import LoadedConfig, as_dict


def config_yaml(loaded: LoadedConfig[Any]) -> str:
    """The resolved values as YAML that can be used again, each with where it came from."""
    lines = []
    for name, value in as_dict(loaded.config).items():
        text = yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]
        lines.append(f"{f'{name}: {text}':<44} # {loaded.sources[name]}")
    return "\n".join(lines)


def config_json(loaded: LoadedConfig[Any]) -> dict[str, Any]:
    """The resolved values and their sources as one JSON value."""
    values = as_dict(loaded.config)
    return {
        "config": values,
        "sources": dict(loaded.sources),
        "notices": list(loaded.notices),
    }


def keys_markdown(schema: type) -> str:
    """The README's table of keys, made from the schema so that it cannot go stale."""
    defaults = as_dict(schema())
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, key in keys_of(schema).items():
        default = yaml.safe_dump(defaults[name], default_flow_style=True).split("\n")[0]
        lines.append(f"| `{name}` | `{default}` | {key.help.replace('|', '/')} |")
    return "\n".join(lines)


def shipped_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Configurations that come along, a line each; what is none has no command."""
    width = max((len(row["name"]) for row in rows), default=0)
    return [f"{row['name']:<{width}}  {row['command'] or '':<16}  {row['about']}" for row in rows]


def copied_line(paths: Sequence[Path]) -> str:
    """What was written, and how to see what it still needs."""
    also = f" and {', '.join(str(path) for path in paths[1:])}" if len(paths) > 1 else ""
    first = f"{paths[0]}{also}."
    if paths[0].suffix not in (".yaml", ".yml"):
        return first
    return f"{first} clickmap doctor --config {paths[0]} says what it needs that is not here."
