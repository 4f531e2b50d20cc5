"""Keys of configurations and settings of models: type, default, bounds, choices and meaning.

A key is a field of a dataclass; a setting is a parameter of a registered class or function. Both
are described by a `Field`, and both are checked and converted by `read_value`, so that a bound, a
choice or a default is stated once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from clickmap_cli.runtime.errors import ConfigError, did_you_mean

# A new value of the key changes: maps = the maps; output = the files written from them;
# ceiling = the ceilings; scores = the scores of models; run = no results, only how the work runs.
# input: the key names a file; the file's content counts, not its path.
Scope = Literal["maps", "output", "ceiling", "scores", "input", "run"]
Part = TypeVar("Part")


@dataclass(frozen=True)
class Key:
    """The meaning and limits of one key; in a list, limits are those of each item.

    Attributes:
        help: one line for `config show`, the README's table and the YAML template.
        scope: the results that a new value changes.
        minimum: smallest allowed number; None = no limit.
        maximum: largest allowed number; None = no limit.
        above: number that a value must exceed; None = no limit.
        below: number that a value must stay below; None = no limit.
        choices: allowed words, in any case; of a mapping, its allowed keys; None = any.
        length: number of items of a list; None = any.
        parse: turns another accepted form of the value into the declared one; it raises ValueError
            with the end of a sentence about the value.
    """

    help: str = ""
    scope: Scope = "scores"
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    length: int | None = None
    parse: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Field:
    """One key of a schema, or one setting of a model or a data set.

    Attributes:
        name: its name in configs.
        hint: its type.
        default: its default value; `MISSING` if it must be set.
        key: its meaning and limits.
    """

    name: str
    hint: Any
    default: Any
    key: Key


def key(default: Any, help: str, scope: Scope, **limits: Any) -> Any:  # noqa: A002 - the word a reader expects
    """Return a dataclass field that carries its `Key`; a class as default is a part with keys."""
    metadata = {"key": Key(help=help, scope=scope, **limits)}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def square(value: object) -> object:
    """Return [side, side] for one number."""
    return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


Count = Annotated[int, Key(minimum=1)]
Positive = Annotated[float, Key(above=0)]
OptionalPositive = Annotated[float | None, Key(above=0)]
OptionalSize = Annotated[Sequence[int] | None, Key(minimum=1, length=2, parse=square)]
"""(height, width), or one number for a square."""
Channels = Annotated[Sequence[float] | None, Key(length=3)]
"""One number for each of red, green and blue."""

MOST_SIDE = 65_536
"""Largest side of a map, in pixels."""

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


def workers_key(help: str) -> Any:  # noqa: A002 - the word a reader expects
    """Return the key `n_jobs`."""

    def parse(value: Any) -> Any:
        if value in (0, "0"):
            raise ValueError("is 0; use 1 for no parallel work or -1 for every core.")
        return value

    return key(-1, help, "run", parse=parse)


def fail(sources: Mapping[str, str], name: str, text: str) -> NoReturn:
    """Raise an error about a key that names where the key was set.

    Args:
        sources: key -> where its value comes from.
        name: the key.
        text: the rest of the sentence.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{sources.get(name, 'default')}: {name} {text}")


def is_file_name(word: object) -> bool:
    """Return True if a value is a word that can be a part of a file name."""
    return (
        isinstance(word, str)
        and word.isprintable()
        and word not in ("", ".", "..")
        and not any(c in word for c in "/\\\0")
    )


def fields_of(schema: type) -> dict[str, Field]:
    """Return the fields of a schema by name, in the order of the schema."""
    hints = typing.get_type_hints(schema)
    return {
        each.name: Field(
            each.name,
            hints[each.name],
            each.default if each.default_factory is MISSING else each.default_factory(),
            each.metadata["key"],
        )
        for each in dataclasses.fields(schema)
    }


def keys_of(schema: type) -> dict[str, Key]:
    """Return every key of a schema, in the order of the schema."""
    return {name: each.key for name, each in fields_of(schema).items()}


def default_of(schema: type, name: str) -> Any:
    """Return the default value of one key."""
    return fields_of(schema)[name].default


def part_of(hint: Any) -> Any:
    """Return the schema of the keys inside a value of a type, or None if it has none."""
    (inner,) = typing.get_args(hint) if typing.get_origin(hint) is list else (hint,)
    return inner if dataclasses.is_dataclass(inner) else None


# --- checking and converting values --------------------------------------------------------------


def read_part(schema: type[Part], value: Any, place: str, source_of: Callable[[str], str]) -> Part:
    """Return a mapping as a schema's dataclass, after checking every value in it.

    Args:
        schema: the dataclass.
        value: key -> value; None means all defaults, and `false` switches off a part that has the
            key `enabled`.
        place: dotted name of the mapping in the configuration; empty for the whole.
        source_of: returns where the value of a dotted name was set, for messages.

    Raises:
        ConfigError: a key is unknown, or a value is wrong.
    """
    known = fields_of(schema)
    if value is None or value is False:
        value = {"enabled": False} if value is False and "enabled" in known else {}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{source_of(place)}: {place} is {value!r}; it must hold 'key: value' pairs, such as "
            f"{place}.{next(iter(known))}=..."
        )
    values = {}
    for name, item in value.items():
        inner = f"{place}.{name}" if place else name
        if name not in known:
            near = did_you_mean(str(name), known)
            raise ConfigError(f"{source_of(place)}: unknown key '{inner}'. {near}")
        values[name] = read_value(known[name], item, inner, source_of)
    return schema(**values)


def read_value(each: Field, value: Any, place: str, source_of: Callable[[str], str]) -> Any:
    """Return a value in its declared type, after checking its form, choices and range.

    Null, an empty word and `false` mean null where the type allows it, else an empty list or
    mapping where it is one. A single word or number may stand for a list of one.

    Args:
        each: the field.
        value: the value as it was read.
        place: dotted name of the value in the configuration, for messages.
        source_of: returns where the value of a dotted name was set, for messages.

    Raises:
        ConfigError: the value is not allowed.
    """
    try:
        parsed = value if each.key.parse is None else each.key.parse(value)
        part = part_of(each.hint)
        if part is None:
            return _limited(_converted(each, parsed), each.key)
    except ConfigError as error:
        raise ConfigError(f"{source_of(place)}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{source_of(place)}: {place} {error}") from error
    if part is each.hint:
        return read_part(part, parsed, place, source_of)
    items = [] if parsed in (None, False) else parsed
    if not isinstance(items, list):
        raise ConfigError(f"{source_of(place)}: {place} is {value!r}; it must be a list.")
    return [read_part(part, item, f"{place}.{at}", source_of) for at, item in enumerate(items)]


def _converted(each: Field, value: Any) -> Any:
    """Return a value in its declared type.

    Raises:
        ValueError: it has another type.
    """
    kinds = _kinds(each.hint)
    empty = value is False or value in ("", "null", "None")
    if isinstance(value, str) and each.key.choices is not None:
        empty &= value.lower() not in each.key.choices
    if type(None) in kinds and (value is None or (empty and bool not in kinds)):
        return None
    # a value of the right type stays as it is: in `str | int`, 3 is a number and "3" a word
    if type(value) in kinds:
        return value
    listed = next((kind for kind in kinds if typing.get_origin(kind) is list), None)
    if value is None or empty:
        several = next((kind for kind in kinds if typing.get_origin(kind) in (list, dict)), None)
        if several is not None:
            return typing.get_origin(several)()
    for kind in kinds:
        item = value
        if (
            kind is listed
            and not isinstance(value, list | tuple | dict)
            and each.key.length is None
        ):
            item = [value]
        with contextlib.suppress(ValueError, TypeError):
            return _leaf(kind, item)
    example = f", such as {each.default}" if isinstance(each.default, list) and each.default else ""
    raise ValueError(f"is {value!r}; it must be {type_words(each)}{example}.")


def _kinds(hint: Any) -> list[Any]:
    """Return the members of a union, or the type alone, in forms that OmegaConf knows."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return [kind for member in typing.get_args(hint) for kind in _kinds(member)]
    if origin is Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin is Literal:
        return [str]
    if origin in (Sequence, tuple):
        return [types.GenericAlias(list, typing.get_args(hint)[:1])]
    if origin is Mapping:
        return [types.GenericAlias(dict, typing.get_args(hint))]
    return [hint]


def _leaf(kind: Any, value: Any) -> Any:
    """Return a value as one type by the rules of OmegaConf, which reads '3' as the number 3.

    Raises:
        ValueError, TypeError: it is not of this type.
    """
    from omegaconf import DictConfig, OmegaConf  # schemas must be quick to import
    from omegaconf.errors import OmegaConfBaseException

    known = (bool, int, float, str, Path)
    if kind not in known and typing.get_origin(kind) not in (list, dict):
        if kind is Any or isinstance(value, kind):
            return value
        raise TypeError(kind)
    if isinstance(value, tuple):
        value = list(value)
    if kind == list[str] and any(isinstance(item, bool | float) for item in value):
        raise TypeError(kind)  # 1.50 and yes would become other words than those that were written
    try:
        holder = DictConfig({"value": value}, element_type=kind)
        found: Any = OmegaConf.to_container(holder, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error
    return found["value"]


def _limited(value: Any, limits: Key) -> Any:
    """Return a value after checking its limits; words get the spelling of the choices.

    Raises:
        ValueError: the value is outside them.
    """
    if value is None:
        return None
    if isinstance(value, dict):
        if limits.choices is None:
            return value
        names = {name: _word(name, value, limits) for name in value}
        plain = dataclasses.replace(limits, choices=None)
        return {names[name]: _limited(item, plain) for name, item in value.items()}
    if isinstance(value, list):
        if limits.length not in (None, len(value)):
            raise ValueError(f"is {value!r}; it must hold {limits.length} values.")
        if "" in value:
            raise ValueError(f"is {value!r}; it must be a word or a list of words.")
        plain = dataclasses.replace(limits, length=None)
        return [_limited(item, plain) for item in value]
    if isinstance(value, str):
        return _word(value, value, limits)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _require_range(value, limits)
    return value


def _require_range(value: float, limits: Key) -> None:
    """Raise ValueError unless a number is finite and in range."""
    if not math.isfinite(value):
        raise ValueError(f"is {value!r}; it must be finite.")
    if limits.minimum is not None and value < limits.minimum:
        raise ValueError(f"is {value}; the least allowed is {limits.minimum:g}.")
    if limits.maximum is not None and value > limits.maximum:
        raise ValueError(f"is {value}; the most allowed is {limits.maximum:g}.")
    if limits.above is not None and value <= limits.above:
        raise ValueError(f"is {value}; it must be above {limits.above:g}.")
    if limits.below is not None and value >= limits.below:
        raise ValueError(f"is {value}; it must be below {limits.below:g}.")


def _word(word: str, value: Any, limits: Key) -> str:
    """Return a word in the spelling of the choices.

    Raises:
        ValueError: it is none of them.
    """
    if limits.choices is None:
        return word
    spelled = {choice.lower(): choice for choice in limits.choices}
    low = word.lower()
    found = spelled.get(low, spelled.get(low.replace("-", "_")))
    if found is None:
        near = did_you_mean(word, limits.choices)
        near = "" if near.startswith("Known:") else f" {near}"
        has = f"is {word!r}" if word == value else f"has {word!r}"
        raise ValueError(f"{has}; it must be one of {', '.join(limits.choices)}.{near}")
    return found


_TYPE_WORDS: Mapping[Any, tuple[str, str]] = {
    str: ("text", "words"), bool: ("true or false", "true or false"), Any: ("a value", "values"),
    int: ("a whole number", "whole numbers"), float: ("a number", "numbers"),
    type(None): ("null", "null"), Path: ("a path", "paths"),
}  # fmt: skip


def type_words(each: Field) -> str:
    """Return the type of a field in words, such as 'a whole number or null'."""
    return " or ".join(_type_words(kind, each.key.length) for kind in _kinds(each.hint))


def _type_words(kind: Any, length: int | None) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        inner = [_TYPE_WORDS.get(each, ("", "lists"))[1] for each in _kinds(arguments[0])]
        items = " or ".join(inner)
        if length is not None:
            return f"a list of {length} {items}"
        return f"a word or a list of {items}" if inner == ["words"] else f"a list of {items}"
    if origin is dict:
        values = _TYPE_WORDS.get(arguments[1], ("", "mappings"))[1]
        return f"'name: value' pairs whose values are {values}"
    return _TYPE_WORDS[kind][0] if kind in _TYPE_WORDS else str(getattr(kind, "__name__", kind))


# --- settings of registered classes and functions ------------------------------------------------

_ARGUMENTS = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(
    r"^ {4}\*{0,2}(\w+)(?: \([^)]*\))?:\s+(\S.*(?:\n(?: {5}.*|\s*$))*)", re.MULTILINE
)


def settings_of(thing: Callable[..., Any]) -> dict[str, Field]:
    """Return the settings of a class or a function: its parameters, which carry their types.

    `Annotated[float, Key(minimum=0)]` sets limits and `Literal[...]` choices; the meaning is the
    entry under `Args:` of the docstring. A class with `**kwargs` also has the settings of its
    bases. A parameter whose type is not stated, or cannot be found, accepts any value.
    """
    found: dict[str, Field] = {}
    texts: dict[str, str] = {}
    open_ended = True
    for part in inspect.getmro(thing) if inspect.isclass(thing) else (thing,):
        # a class may describe parameters that it hands on to a base, and the other way round
        for owner in (part, vars(part).get("__init__")) if inspect.isclass(part) else (part,):
            texts = {**_described_arguments(getattr(owner, "__doc__", None) or ""), **texts}
        if not open_ended:
            continue
        parameters = inspect.signature(part).parameters.values()
        hints = _hints(part)
        for each in parameters:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                hint = hints.get(each.name, Any)
                default = MISSING if each.default is each.empty else each.default
                found.setdefault(each.name, Field(each.name, hint, default, _limits(hint)))
        open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return {
        name: dataclasses.replace(
            each, key=dataclasses.replace(each.key, help=texts.get(name, each.key.help))
        )
        for name, each in found.items()
    }


def read_settings(
    thing: Callable[..., Any],
    given: Mapping[str, Any],
    what: str,
    shared: Sequence[Field] = (),
) -> dict[str, Any]:
    """Return all settings of a class or a function: those given, and defaults for the rest.

    Args:
        thing: class or function whose parameters are its settings.
        given: settings from a config.
        what: name of the object, for messages.
        shared: settings that every object of its kind has besides its own.

    Raises:
        ConfigError: a setting is unknown (the error suggests the nearest), has a wrong value, or
            has no default and is missing.
    """
    known = {**settings_of(thing), **{each.name: each for each in shared}}
    own = {*inspect.signature(thing).parameters, *(each.name for each in shared)}
    for name in given:
        if name not in known:
            raise ConfigError(f"{what}: unknown setting '{name}'. {did_you_mean(name, known)}")
    lacking = [n for n, each in known.items() if each.default is MISSING and given.get(n) is None]
    if lacking:
        raise ConfigError(f"{what}: set {' and '.join(lacking)}.")
    return {
        name: read_value(each, given[name], name, lambda _: what) if name in given else each.default
        for name, each in known.items()
        if name in given or name in own  # a base class sets defaults itself
    }


def _hints(part: Any) -> dict[str, Any]:
    """Return the types of the parameters of a function or constructor; empty if one is unknown."""
    try:
        owner = part.__init__ if inspect.isclass(part) else part
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}  # a plugin may name types that it imports for the type checker only


def _limits(hint: Any) -> Key:
    """Return the limits in an annotation: of `Annotated`, or the words of a `Literal`."""
    if typing.get_origin(hint) is Annotated:
        return next((each for each in hint.__metadata__ if isinstance(each, Key)), Key())
    for member in (hint, *typing.get_args(hint)):
        if typing.get_origin(member) is Literal:
            return Key(choices=typing.get_args(member))
    return Key()


def _described_arguments(doc: str) -> dict[str, str]:
    """Return name -> text of the entries under `Args:` in a docstring."""
    section = _ARGUMENTS.search(inspect.cleandoc(doc))
    entries = _ARGUMENT.finditer(section[1]) if section else ()
    return {entry[1]: " ".join(entry[2].split()) for entry in entries}
