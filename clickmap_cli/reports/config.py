"""A resolved configuration, as a person or a program reads it."""

from __future__ import annotations

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
