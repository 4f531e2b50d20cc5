"""What configurations hold: resolved values, tables of keys, and the settings of one entry."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from clickmap_cli.config.benchmark import DATASET_ENTRY, MODEL_ENTRY, Spec
from clickmap_cli.config.fields import (
    Field,
    Key,
    fields_of,
    keys_of,
    part_of,
    settings_of,
    type_words,
)
from clickmap_cli.config.loading import ALL_SCHEMAS, LoadedConfig, as_dict, yaml_value
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.benchmark import listing_json
from clickmap_cli.runtime.errors import ConfigError, did_you_mean


def config_yaml(loaded: LoadedConfig[Any]) -> str:
    """Return the resolved values as YAML that can be used again, each with its source."""
    return "\n".join(
        f"{f'{name}: {yaml_value(value)}':<44} # {loaded.sources[name]}"
        for name, value in as_dict(loaded.config).items()
    )


def config_json(loaded: LoadedConfig[Any]) -> dict[str, Any]:
    """Return the resolved values and their sources as one JSON value."""
    return {
        "config": as_dict(loaded.config),
        "sources": dict(loaded.sources),
        "notices": list(loaded.notices),
    }


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


# --- tables of keys for the documentation ---------------------------------------------------------

_TABLE = re.compile(r"(<!-- keys of (\w+) -->\n)(?:\|.*\n)*")


def schemas() -> dict[str, type]:
    """Return every schema of a configuration, and of the parts inside one, by the class's name."""
    found: dict[str, type] = {}
    todo = [schema.type for schema in reversed(ALL_SCHEMAS)]
    while todo:
        schema = todo.pop()
        found[schema.__name__] = schema
        parts = [part_of(each.hint) for each in fields_of(schema).values()]
        todo += [
            part for part in reversed(parts) if part is not None and not issubclass(part, Spec)
        ]
    return found


def keys_markdown(schema: type) -> str:
    """Return a table of the keys of a schema: default, meaning and range."""
    defaults = as_dict(schema())
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, each in keys_of(schema).items():
        meaning = with_range(each).replace("|", "/")
        lines.append(f"| `{name}` | `{yaml_value(defaults[name])}` | {meaning} |")
    return "\n".join(lines) + "\n"


def with_tables(text: str) -> str:
    """Return a page in which every table behind `<!-- keys of SCHEMA -->` is the schema's."""
    return _TABLE.sub(lambda found: found[1] + keys_markdown(schemas()[found[2]]), text)


def with_range(limits: Key) -> str:
    """Return the meaning of a key and the range of its number, such as 'Opacity (0 to 1).'."""
    low = None if limits.minimum is None else f"{limits.minimum:g}"
    high = None if limits.maximum is None else f"{limits.maximum:g}"
    if limits.above is not None:
        low = f"above {limits.above:g}"
    if limits.below is not None:
        high = f"below {limits.below:g}"
    if low is None and high is None:
        return limits.help
    text = f"{low} to {high}"
    if high is None:
        text = str(low) if limits.above is not None else f"at least {low}"
    elif low is None:
        text = high if limits.below is not None else f"at most {high}"
    return f"{limits.help.removesuffix('.')} ({text})."


# --- `clickmap benchmark --list NAME` -------------------------------------------------------------

_KINDS = {"datasets": "data set", "models": "model", "metrics": "metric"}


def described_json(name: str) -> list[dict[str, Any]]:
    """Return every data set, model or metric of this name with its settings; usually one entry.

    Raises:
        ConfigError: the name is unknown; the error suggests the nearest.
    """
    listed = listing_json()
    found = []
    for kind, entries in listed.items():
        for entry in entries:
            if entry["name"].lower() == name.lower():
                described = {"kind": _KINDS[kind], **entry}
                if kind != "metrics":
                    registry: Any = DATASETS if kind == "datasets" else MODELS
                    shared = DATASET_ENTRY if kind == "datasets" else MODEL_ENTRY
                    settings = [*settings_of(registry.get(entry["name"])).values(), *shared]
                    described["settings"] = [_setting_json(each) for each in settings]
                found.append(described)
    if not found:
        known = [entry["name"] for entries in listed.values() for entry in entries]
        raise ConfigError(
            f"There is no data set, model or metric '{name}'. {did_you_mean(name, known)}"
        )
    return found


def _setting_json(each: Field) -> dict[str, Any]:
    required = each.default is MISSING
    return {
        "name": each.name,
        "required": required,
        "default": None if required else _plain(each.default),
        "type": type_words(each),
        "about": with_range(each.key),
    }


def _plain(value: Any) -> Any:
    """Return a default as a JSON value; other types become their Python representation."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def described_lines(name: str) -> Iterator[str]:
    """Yield the same as lines to print."""
    for found in described_json(name):
        settings = found.get("settings")
        if settings is None:
            turn = "higher is better" if found["higher_is_better"] else "lower is better"
            against = "fixations" if found["needs"] == "points" else "a ground-truth map"
            yield f"{found['name']}, a metric: {turn}, against {against}; {found['reference']}"
            continue
        own = found["origin"] == "clickmap"
        after = f"; {found['reference']}" if own else f" ({found['origin']})"
        yield f"{found['name']}, a {found['kind']}: {found['summary']}{after}"
        names = max(len(each["name"]) for each in settings)
        defaults = [
            "(must be set)" if each["required"] else json.dumps(each["default"])
            for each in settings
        ]
        width = max(map(len, defaults))
        for each, default in zip(settings, defaults, strict=True):
            yield f"  {each['name']:<{names}}  {default:<{width}}  {each['about']}".rstrip()


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
