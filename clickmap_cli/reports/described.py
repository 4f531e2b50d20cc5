"""Output of `clickmap benchmark --list NAME`: a data set, model or metric with its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.benchmark import listing_json
from clickmap_cli.runtime.errors import ConfigError, did_you_mean
from clickmap_cli.runtime.registry import Setting, describe_settings

_KINDS = {"datasets": "data set", "models": "model", "metrics": "metric"}
_OF_EVERY = {
    "datasets": (
        Setting("label", None, False, "what tables and files call it; null = its name."),
        Setting("ids", None, False, "a file with the only image ids that count, one a line."),
    ),
    "models": (
        Setting("type", None, False, "the registered model, where `name` is your own word for it."),
        Setting("cache", True, False, "whether its predictions may be kept."),
    ),
}
"""Settings that every entry of `datasets` or `models` accepts."""


def described_json(name: str) -> list[dict[str, Any]]:
    """Return everything that has this name, with its settings; usually one entry.

    Raises:
        ConfigError: the name is unknown; the error suggests the nearest.
    """
    listed = listing_json()
    found = [
        {"kind": _KINDS[kind], **entry, **_settings(kind, entry["name"])}
        for kind, entries in listed.items()
        for entry in entries
        if entry["name"].lower() == name.lower()
    ]
    if not found:
        known = [entry["name"] for entries in listed.values() for entry in entries]
        raise ConfigError(
            f"There is no data set, model or metric '{name}'. {did_you_mean(name, known)}"
        )
    return found


def _settings(kind: str, name: str) -> dict[str, Any]:
    if kind == "metrics":
        return {}
    registry: Any = DATASETS if kind == "datasets" else MODELS
    settings = [*describe_settings(registry.get(name)), *_OF_EVERY[kind]]
    return {
        "settings": [
            {
                "name": setting.name,
                "required": setting.required,
                "default": _plain(setting.default),
                "about": setting.about,
            }
            for setting in settings
        ]
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
        names = max(len(setting["name"]) for setting in settings)
        values = max(len(_value(setting)) for setting in settings)
        for setting in settings:
            line = f"  {setting['name']:<{names}}  {_value(setting):<{values}}  {setting['about']}"
            yield line.rstrip()


def _value(setting: Mapping[str, Any]) -> str:
    """Return a default as YAML text."""
    return "(must be set)" if setting["required"] else json.dumps(setting["default"])
