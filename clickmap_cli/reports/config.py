"""Format a resolved configuration for people or programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.loading import LoadedConfig, as_dict


def config_yaml(loaded: LoadedConfig[Any]) -> str:
    """Return the resolved values as YAML that can be used again, each with its source."""
    lines = []
    for name, value in as_dict(loaded.config).items():
        text = yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]
        lines.append(f"{f'{name}: {text}':<44} # {loaded.sources[name]}")
    return "\n".join(lines)


def config_json(loaded: LoadedConfig[Any]) -> dict[str, Any]:
    """Return the resolved values and their sources as one JSON value."""
    values = as_dict(loaded.config)
    return {
        "config": values,
        "sources": dict(loaded.sources),
        "notices": list(loaded.notices),
    }


def keys_markdown(schema: type) -> str:
    """Return the README's table of keys, generated from the schema."""
    defaults = as_dict(schema())
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, key in keys_of(schema).items():
        default = yaml.safe_dump(defaults[name], default_flow_style=True).split("\n")[0]
        lines.append(f"| `{name}` | `{default}` | {key.help.replace('|', '/')} |")
    return "\n".join(lines)


def shipped_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format the included configurations, one per line; other files have an empty command."""
    width = max((len(row["name"]) for row in rows), default=0)
    return [f"{row['name']:<{width}}  {row['command'] or '':<16}  {row['about']}" for row in rows]


def copied_line(paths: Sequence[Path]) -> str:
    """Return the paths written, and how to check what a configuration still needs."""
    also = f" and {', '.join(str(path) for path in paths[1:])}" if len(paths) > 1 else ""
    first = f"{paths[0]}{also}."
    if paths[0].suffix not in (".yaml", ".yml"):
        return first
    return f"{first} clickmap doctor --config {paths[0]} says what it needs that is not here."
