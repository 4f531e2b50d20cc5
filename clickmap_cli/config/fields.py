"""A configuration key: default, meaning, allowed values, and what a change of it changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

# maps: a new value gives other maps. output: other files of them. ceiling: other ceilings.
# scores: other scores of models. input: a file whose content counts, not its path.
# run: only another way to run.
Scope = Literal["maps", "output", "ceiling", "scores", "input", "run"]


@dataclass(frozen=True)
class Key:
    """What is known of one key beside its type and default.

    Attributes:
        help: one line for `config show`, the README's table and the YAML template.
        scope: which results a new value changes.
        minimum: least number allowed, where there is one.
        maximum: greatest number allowed, where there is one.
        choices: words allowed, where they are limited; compared in lower case.
        false_is_null: whether `false` means "none", as the field's files write it.
    """

    help: str
    scope: Scope
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    false_is_null: bool = False


def key(default: Any, help: str, scope: Scope, **limits: Any) -> Any:  # noqa: A002 - the word a reader expects
    """A dataclass field that carries its `Key`; mutable defaults are copied for each instance."""
    metadata = {"key": Key(help=help, scope=scope, **limits)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


MAX_LOST = 0.25
"""Share of clicks, fixations, trials or images that may be lost where nothing else is set."""


def max_lost_key() -> Any:
    """The key `max_lost` of every schema that reads data."""
    return key(
        MAX_LOST,
        "Stop if a larger share of clicks, fixations, trials or images is lost: outside the image, unreadable, unmatched or missing.",  # noqa: E501 - one line a key
        "run",
        minimum=0,
        maximum=1,
    )


def keys_of(schema: type) -> dict[str, Key]:
    """Every key of a schema, in the order the schema states them."""
    return {field.name: field.metadata["key"] for field in dataclasses.fields(schema)}


def default_of(schema: type, name: str) -> Any:
    """The default value of one key."""
    field = next(f for f in dataclasses.fields(schema) if f.name == name)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise KeyError(name)
