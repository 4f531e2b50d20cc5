"""A configuration key: default, meaning, allowed values, and the results that it changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

# A new value of the key changes: maps = the maps; output = the files written from them;
# ceiling = the ceilings; scores = the scores of models; run = no results, only how the work runs.
# input: the key names a file; the file's content counts, not its path.
Scope = Literal["maps", "output", "ceiling", "scores", "input", "run"]


@dataclass(frozen=True)
class Key:
    """The meaning and limits of one key; its type and default are in the dataclass field.

    Attributes:
        help: one line for `config show`, the README's table and the YAML template.
        scope: the results that a new value changes.
        minimum: smallest allowed number; None = no limit.
        maximum: largest allowed number; None = no limit.
        choices: allowed words, compared in lower case; None = any.
        false_is_null: True if `false` means null, as in the field's files.
    """

    help: str
    scope: Scope
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    false_is_null: bool = False


def key(default: Any, help: str, scope: Scope, **limits: Any) -> Any:  # noqa: A002 - the word a reader expects
    """Return a dataclass field that carries its `Key`; each instance copies a mutable default."""
    metadata = {"key": Key(help=help, scope=scope, **limits)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


MAX_LOST = 0.25
"""Default share of clicks, fixations, trials or images that may be lost."""


def max_lost_key() -> Any:
    """Return the key `max_lost`, which every schema that reads data has."""
    return key(
        MAX_LOST,
        "Stop if a larger share of clicks, fixations, trials or images is lost: outside the image, unreadable, unmatched or missing.",  # noqa: E501 - one line a key
        "run",
        minimum=0,
        maximum=1,
    )


def keys_of(schema: type) -> dict[str, Key]:
    """Return every key of a schema, in the order of the schema."""
    return {field.name: field.metadata["key"] for field in dataclasses.fields(schema)}


def default_of(schema: type, name: str) -> Any:
    """Return the default value of one key."""
    field = next(f for f in dataclasses.fields(schema) if f.name == name)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise KeyError(name)
