"""What the shell offers after TAB: keys and their values, names of things, configurations.

Nothing that runs a job is imported here, so TAB is as quick as `--help`; and a line that cannot be
understood yet is offered what fits it, never an error.

bash takes `metric=sp` for three words and replaces the last; zsh and fish take it for one. Both are
answered in the form in which they ask.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clickmap_cli.config.experiment import METHODS

if TYPE_CHECKING:
    from clickmap_cli.config.fields import Key
    from clickmap_cli.config.loading import Schema

Offer = tuple[str, str]
"""A word and what it means; bash shows only the word."""

_MOST_ENTRIES = 2000
"""Of a folder: TAB must not read a million images for the one configuration among them."""


def among(*words: str) -> Callable[[str], list[str]]:
    """What offers some of a few words."""

    def offered(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offered


def some_of(*words: str) -> Callable[[str], list[str]]:
    """What offers words of a list with commas, each once."""

    def offered(incomplete: str) -> list[str]:
        before = incomplete[: incomplete.rfind(",") + 1]
        given = before.split(",")
        lists = (before + word for word in words if word not in given)
        return [text for text in lists if text.startswith(incomplete)]

    return offered


def configuration_files(incomplete: str) -> list[str]:
    """YAML files of the folder that is named so far, and of the folders in it."""
    before = incomplete[: incomplete.rfind("/") + 1]
    found: list[str] = []
    with suppress(OSError):
        here = _entries(before or ".")
        inside = [each for entry in here if entry.is_dir() for each in _entries(entry.path)]
        found = [
            before + os.path.relpath(entry.path, before or ".")
            for entry in (*here, *inside)
            if entry.name.endswith((".yaml", ".yml"))
        ]
    return sorted(path for path in found if path.startswith(incomplete))


def configurations_of(command: str) -> Callable[[str], list[str]]:
    """Return what offers the YAML files that a command can run, and those that cannot be read."""

    def offered(incomplete: str) -> list[str]:
        found = configuration_files(incomplete)
        return [path for path in found if _command_of(path) in (command, "")]

    def _command_of(path: str) -> str:
        from clickmap_cli.config.loading import schema_of
        from clickmap_cli.runtime.errors import ClickmapError

        with suppress(ClickmapError, OSError):  # what is being written may not be YAML yet
            return schema_of(Path(path)).command
        return ""

    return offered


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            some = itertools.islice(entries, _MOST_ENTRIES)
            return [entry for entry in some if not entry.name.startswith(".")]
    except OSError:
        return []  # a folder that may not be read has nothing to offer


def shipped_names(incomplete: str) -> list[Offer]:
    """Configurations that come along."""
    from clickmap_cli.config.shipped import shipped_files

    return _fitting(((file.name, file.about) for file in shipped_files()), incomplete)


def overrides(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Keys of the configuration that the command reads, then values of the key."""
    words = _words(ctx)
    schema = _schema(ctx, words)
    place, typed, before = _place(words, incomplete)
    if place is None:
        return _guide(_keys(schema, typed), typed, lambda key: _values(schema, key, ""))
    return [(before + word, text) for word, text in _values(schema, place, typed)]


def ceiling_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The method, unless it is named, and what `overrides` offers."""
    words = _words(ctx)
    named = ctx.params.get("method") or any(word in METHODS for word in words)
    if named or _place(words, incomplete)[0] is not None:
        return overrides(ctx, incomplete)
    methods = [(word, "a method of `ceiling`") for word in METHODS]
    return _fitting(methods, incomplete) + overrides(ctx, incomplete)


def benchmark_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """What `overrides` offers; behind `--list`, the names that it explains."""
    if not ctx.params.get("listing"):
        return overrides(ctx, incomplete)
    from clickmap_cli.config.benchmark import SALIENCY_METRICS
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.models.base import MODELS

    named = [(each.name, each.summary) for each in (*DATASETS.entries(), *MODELS.entries())]
    return _fitting([*named, *((name, "a metric") for name in SALIENCY_METRICS)], incomplete)


def data_set_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """`name=` and a data set; then the settings of that data set."""
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.runtime.errors import ClickmapError
    from clickmap_cli.runtime.registry import setting_names

    words = _words(ctx)
    sets = [(entry.name, entry.summary) for entry in DATASETS.entries()]
    place, typed, before = _place(words, incomplete)
    if place is not None:
        known = sets if place == "name" else []
        return _fitting(((before + name, text) for name, text in known), before + typed)
    named = next((word.partition("=")[2] for word in words if word.startswith("name=")), None)
    if named is None:
        return _guide([("name=", "the data set")], typed, lambda _: sets)
    settings: list[str] = []
    with suppress(ClickmapError):  # it is not a data set's name yet
        settings = setting_names(DATASETS.get(named))
    offers = [(f"{name}=", f"a setting of {named}") for name in settings]
    return _guide(offers, typed, lambda _: [("./", "a folder")])


def _fitting(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Those that begin so; zsh and fish would take brackets in the meaning for markup."""
    return [
        (word, text.replace("[", "(").replace("]", ")"))
        for word, text in offers
        if word.startswith(incomplete)
    ]


def _guide(keys: Iterable[Offer], typed: str, values: Callable[[str], list[Offer]]) -> list[Offer]:
    """Keys that fit; of a single one its values too, or the shell would end the word after it."""
    found = _fitting(keys, typed)
    if len(found) != 1:
        return found
    only = found[0][0]
    if only.endswith("="):
        known = values(only.removesuffix("=")) or [("null", "none")]
        found += [(only + word, meaning) for word, meaning in known]
    return _fitting(found, only)


def _words(ctx: typer.Context) -> list[str]:
    """The arguments so far, with what bash has cut at `=` put together again."""
    given = ctx.params.get("overrides") or ctx.params.get("words") or ctx.params.get("which") or ()
    joined: list[str] = []
    glue = False
    for word in given:
        if joined and (glue or word == "="):
            joined[-1] += word
        else:
            joined.append(word)
        glue = word == "="
    return joined


def _place(words: list[str], incomplete: str) -> tuple[str | None, str, str]:
    """Which key's value is being typed, what of it is there, and what stands before it."""
    name, equals, value = incomplete.partition("=")
    if equals:
        return name, value, f"{name}="
    if words and words[-1].endswith("="):
        return words[-1][:-1], incomplete, ""
    if words and not incomplete and _bash_is_at_equals():
        return words[-1], "", ""
    return None, incomplete, ""


def _bash_is_at_equals() -> bool:
    """Whether bash asks for what follows `=` directly: the `=` itself is then the word."""
    line, at = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    return at.isdecimal() and int(at) < len(line) and line[int(at)] == "="


def _schema(ctx: typer.Context, words: list[str]) -> Schema[Any]:
    """What the command will read: by its `--config` and `task=`, else by the command."""
    from clickmap_cli.config.loading import BENCHMARK, EXPERIMENT, FINETUNE, HEATMAP, schema_of
    from clickmap_cli.runtime.errors import ClickmapError

    of_command = {schema.command: schema for schema in (EXPERIMENT, BENCHMARK, FINETUNE, HEATMAP)}
    of_command |= {"ceiling": EXPERIMENT, "visualize": EXPERIMENT}
    command = ctx.info_name or ""
    config = ctx.params.get("config")
    found = of_command.get(command, EXPERIMENT)
    with suppress(ClickmapError, OSError):  # what is there so far cannot be read
        complete = [word for word in words if word.partition("=")[1]]
        named = schema_of(Path(config) if config else None, complete)
        if command not in of_command or named.command == command:
            found = named
    return found


def _keys(schema: Schema[Any], typed: str) -> list[Offer]:
    """Keys, each with `=`; those inside a part once the part is named."""
    offers = []
    for name, key, inner in _parts(schema):
        if inner is None:
            offers.append((f"{name}=", key.help))
        elif typed.startswith(f"{name}.") or (typed and _only(schema, typed) == name):
            offers += [(f"{name}.{each}=", about.help) for each, about in inner.items()]
        else:
            offers.append((f"{name}.", key.help))
    known = {name: inner for name, _, inner in _parts(schema)}
    if known.get("model", {}) is None:
        offers.append(("model.name=", "the registered model"))
    if "datasets" in known:
        offers.append(("datasets.0.name=", "the first data set"))
        offers.append(("datasets.0.root=", "where the first data set is"))
    return offers


def _only(schema: Schema[Any], typed: str) -> str | None:
    fitting = [name for name, _, _ in _parts(schema) if name.startswith(typed)]
    return fitting[0] if len(fitting) == 1 else None


def _parts(schema: Schema[Any]) -> list[tuple[str, Key, Mapping[str, Key] | None]]:
    """Every key with what is known of it, and the keys inside it where it has some."""
    from clickmap_cli.config.fields import default_of, keys_of

    found: list[tuple[str, Key, Mapping[str, Key] | None]] = []
    for name, key in keys_of(schema.type).items():
        default = default_of(schema.type, name)
        inner = keys_of(type(default)) if dataclasses.is_dataclass(default) else None
        found.append((name, key, inner))
    return found


def _values(schema: Schema[Any], place: str, typed: str) -> list[Offer]:
    """Values of a key that go on from what is typed; in a list, its last entry."""
    head = typed[: max(typed.rfind("["), typed.rfind(",")) + 1]
    there = set(re.split(r"[\[,]", head))
    known = [offer for offer in _known(schema, place) if offer[0] not in there]
    return _fitting(((head + word, text) for word, text in known), typed)


def _known(schema: Schema[Any], place: str) -> list[Offer]:
    """Words that a key may hold, or its default where they are not limited."""
    from clickmap_cli.config.fields import default_of

    top, _, inner = place.partition(".")
    top = schema.aliases.get(top, top)
    parts = {name: (key, within) for name, key, within in _parts(schema)}
    if top not in parts:
        return []
    key, within = parts[top]
    if within is None:
        named = bool(inner) or top in ("models", "active_models")
        return _registered(top, inner) if named else _allowed(schema.type, top, key)
    if inner not in within:
        return []
    return _allowed(type(default_of(schema.type, top)), inner, within[inner])


def _allowed(owner: type, name: str, key: Key) -> list[Offer]:
    """Words that a key may hold, from what its schema says of it."""
    from clickmap_cli.config.benchmark import SALIENCY_METRICS, DeepDive
    from clickmap_cli.config.experiment import METRICS
    from clickmap_cli.config.fields import default_of

    default = default_of(owner, name)
    if name in ("metric", "metrics"):
        of_models = name == "metrics" or owner is DeepDive
        return [(word, "a metric") for word in (SALIENCY_METRICS if of_models else METRICS)]
    if key.choices is not None:
        return [(word, key.help) for word in key.choices]
    if isinstance(default, bool):
        return [(word, key.help) for word in ("true", "false")]
    if isinstance(default, list):
        # an empty one is begun only
        text = f"[{','.join(map(str, default))}]" if default else "["
        return [(text, f"the default. {key.help}")]
    return [] if default is None else [(str(default), f"the default. {key.help}")]


def _registered(top: str, inner: str) -> list[Offer]:
    """Models and data sets: `models=`, `model.name=`, `models.0.type=`, `datasets.0.name=`."""
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.models.base import MODELS

    last = inner.rpartition(".")[2]
    if top == "datasets":
        registry = DATASETS if last == "name" else None
    else:
        registry = MODELS if last in ("", "name", "type") else None
    return [] if registry is None else [(each.name, each.summary) for each in registry.entries()]
