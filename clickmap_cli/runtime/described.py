"""Describe the settings of a registered model or data set: default and meaning of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clickmap_cli.runtime.registry import setting_names

_ENTRY = re.compile(r"(\*{0,2}\w+)(?: \([^)]*\))?:\s+(\S.*)")


@dataclass(frozen=True)
class Setting:
    """One setting of a model or a data set.

    Attributes:
        name: name in configs.
        default: default value; None also if the setting is required.
        required: True if a default is missing.
        about: meaning, from the docstring; empty if it is not documented.
    """

    name: str
    default: Any
    required: bool
    about: str


def described_settings(thing: Callable[..., Any]) -> list[Setting]:
    """Return every setting of a class or a function, in the order of its parameters."""
    parts = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    texts: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    for part in parts:
        for doc in _docstrings(part):
            texts = {**_arguments(doc), **texts}
        for name, parameter in inspect.signature(part).parameters.items():
            defaults.setdefault(name, parameter.default)
    return [
        Setting(
            name,
            None if defaults[name] is inspect.Parameter.empty else defaults[name],
            defaults[name] is inspect.Parameter.empty,
            texts.get(name, ""),
        )
        for name in setting_names(thing)
    ]


def _docstrings(part: Any) -> Iterator[str]:
    """Yield the docstring of a function, or those of a class and its constructor."""
    for owner in (part, vars(part).get("__init__")) if inspect.isclass(part) else (part,):
        text = getattr(owner, "__doc__", None)
        if owner is not None and text:
            yield inspect.cleandoc(text)


def _arguments(doc: str) -> dict[str, str]:
    """Return name -> text of the entries under `Args:` in a docstring."""
    found: dict[str, list[str]] = {}
    entry: list[str] | None = None
    inside = False
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if not indent and line.strip():
            inside = line.strip() == "Args:"
        elif inside and indent == 4:
            match = _ENTRY.match(line.strip())
            entry = None
            if match is not None:
                entry = found.setdefault(match[1].lstrip("*"), [match[2]])
        elif inside and entry is not None and line.strip():
            entry.append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}
