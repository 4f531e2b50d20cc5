"""Completions for the shell's TAB: keys and their values, registered names, configuration files.

Nothing that runs a job is imported here, so TAB is as quick as `--help`. An incomplete line gets
the offers that fit it, never an error.

bash splits `metric=sp` into three words and replaces the last; zsh and fish treat it as one word.
Each gets offers in the form in which it asks.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clickmap_cli.config.experiment import METHODS

if TYPE_CHECKING:
    from clickmap_cli.config.fields import Field
    from clickmap_cli.config.loading import Schema

Offer = tuple[str, str]
"""A word and what it means; bash shows only the word."""

_MOST_ENTRIES = 2000
"""Maximum entries read of a folder: TAB must not read a million images to find one YAML file."""


def among(*words: str) -> Callable[[str], list[str]]:
    """Return a completion function that offers those of a few words that fit."""

    def offered(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offered


def some_of(*words: str) -> Callable[[str], list[str]]:
    """Return a completion function for a comma-separated list that holds each word at most once."""

    def offered(incomplete: str) -> list[str]:
        before = incomplete[: incomplete.rfind(",") + 1]
        given = before.split(",")
        lists = (before + word for word in words if word not in given)
        return [text for text in lists if text.startswith(incomplete)]

    return offered


def configuration_files(incomplete: str) -> list[str]:
    """Return the YAML files of the folder typed so far, and of the folders in it."""
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
    """Return a completion function for the YAML files of a command, and for unreadable ones."""

    def offered(incomplete: str) -> list[str]:
        found = configuration_files(incomplete)
        return [path for path in found if _command_of(path) in (command, "")]

    def _command_of(path: str) -> str:
        from clickmap_cli.config.loading import schema_of
        from clickmap_cli.runtime.errors import ClickmapError

        with suppress(ClickmapError, OSError):  # a file that is being written may not be YAML yet
            return schema_of(Path(path)).command
        return ""

    return offered


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            some = itertools.islice(entries, _MOST_ENTRIES)
            return [entry for entry in some if not entry.name.startswith(".")]
    except OSError:
        return []  # an unreadable folder has nothing to offer


def shipped_names(incomplete: str) -> list[Offer]:
    """Return the configurations that come with clickmap."""
    from clickmap_cli.config.shipped import shipped_files

    return _fitting(((file.name, file.about) for file in shipped_files()), incomplete)


def overrides(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return keys of the configuration that the command reads, or values once a key is typed."""
    words = _words(ctx)
    schema = _schema(ctx, words)
    place, typed, before = _place(words, incomplete)
    if place is None:
        return _guide(_keys(schema, typed), typed, lambda key: _values(schema, key, ""))
    return [(before + word, text) for word, text in _values(schema, place, typed)]


def ceiling_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return the methods, unless one is named, and the offers of `overrides`."""
    words = _words(ctx)
    named = ctx.params.get("method") or any(word in METHODS for word in words)
    if named or _place(words, incomplete)[0] is not None:
        return overrides(ctx, incomplete)
    methods = [(word, "a method of `ceiling`") for word in METHODS]
    return _fitting(methods, incomplete) + overrides(ctx, incomplete)


def benchmark_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return the offers of `overrides`; after `--list`, the names that it explains."""
    if not ctx.params.get("listing"):
        return overrides(ctx, incomplete)
    from clickmap_cli.config.benchmark import SALIENCY_METRICS
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.models.base import MODELS

    named = [(each.name, each.summary) for each in (*DATASETS.entries(), *MODELS.entries())]
    return _fitting([*named, *((name, "a metric") for name in SALIENCY_METRICS)], incomplete)


def data_set_words(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return `name=` with every data set; once one is named, the settings of that data set."""
    from clickmap_cli.config.fields import settings_of
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.runtime.errors import ClickmapError

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
    with suppress(ClickmapError):  # the name is not yet that of a data set
        settings = list(settings_of(DATASETS.get(named)))
    offers = [(f"{name}=", f"a setting of {named}") for name in settings]
    return _guide(offers, typed, lambda _: [("./", "a folder")])


def _fitting(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Return the offers that begin with the typed text.

    Square brackets in their meanings become round, because zsh and fish would read them as markup.
    """
    return [
        (word, text.replace("[", "(").replace("]", ")"))
        for word, text in offers
        if word.startswith(incomplete)
    ]


def _guide(keys: Iterable[Offer], typed: str, values: Callable[[str], list[Offer]]) -> list[Offer]:
    """Return the keys that fit; if only one does, return it with its values.

    With a single offer, the shell would end the word after the key.
    """
    found = _fitting(keys, typed)
    if len(found) != 1:
        return found
    only = found[0][0]
    if only.endswith("="):
        known = values(only.removesuffix("=")) or [("null", "none")]
        found += [(only + word, meaning) for word, meaning in known]
    return _fitting(found, only)


def _words(ctx: typer.Context) -> list[str]:
    """Return the arguments so far, with the pieces that bash has split at `=` joined again."""
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
    """Return the key whose value is being typed, the part typed so far, and the text before it.

    The key is None while a key is being typed.
    """
    name, equals, value = incomplete.partition("=")
    if equals:
        return name, value, f"{name}="
    if words and words[-1].endswith("="):
        return words[-1][:-1], incomplete, ""
    if words and not incomplete and _bash_is_at_equals():
        return words[-1], "", ""
    return None, incomplete, ""


def _bash_is_at_equals() -> bool:
    """Return True if bash asks for the text right after `=`: the `=` itself is then the word."""
    line, at = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    return at.isdecimal() and int(at) < len(line) and line[int(at)] == "="


def _schema(ctx: typer.Context, words: list[str]) -> Schema[Any]:
    """Return the schema to complete: that of `--config` and `task=`, else that of the command."""
    from clickmap_cli.config.loading import BENCHMARK, CLASSIFIER, EXPERIMENT, SALIENCY, schema_of
    from clickmap_cli.runtime.errors import ClickmapError

    of_command = {
        schema.command: schema for schema in (EXPERIMENT, BENCHMARK, SALIENCY, CLASSIFIER)
    }
    of_command |= {"ceiling": EXPERIMENT, "visualize": EXPERIMENT}
    command = ctx.info_name or ""
    config = ctx.params.get("config")
    found = of_command.get(command, EXPERIMENT)
    with suppress(ClickmapError, OSError):  # the file or the words so far cannot be read
        complete = [word for word in words if word.partition("=")[1]]
        named = schema_of(Path(config) if config else None, complete)
        if command not in of_command or named.command == command:
            found = named
    return found


def _keys(schema: Schema[Any], typed: str) -> list[Offer]:
    """Return the keys, each with `=`; the keys inside a part are offered once the part is typed."""
    from clickmap_cli.config.benchmark import DataSetSpec, ModelSpec
    from clickmap_cli.config.fields import fields_of, part_of

    known = fields_of(schema.type)
    fitting = [name for name in known if typed and name.startswith(typed)]
    offers: list[Offer] = []
    entries: list[Offer] = []
    for name, each in known.items():
        if each.hint == ModelSpec:
            entries.append((f"{name}.name=", "the registered model"))
        if part_of(each.hint) == DataSetSpec:
            entries.append((f"{name}.0.name=", "the first data set"))
            entries.append((f"{name}.0.root=", "where the first data set is"))
        if part_of(each.hint) != each.hint or each.hint == ModelSpec:
            offers.append((f"{name}=", each.key.help))
        elif typed.startswith(f"{name}.") or fitting == [name]:
            inner = fields_of(each.hint)
            offers += [(f"{name}.{key}=", about.key.help) for key, about in inner.items()]
        else:
            offers.append((f"{name}.", each.key.help))
    return offers + entries


def _values(schema: Schema[Any], place: str, typed: str) -> list[Offer]:
    """Return values of a key that continue the typed text; in a list, of its last entry."""
    head = typed[: max(typed.rfind("["), typed.rfind(",")) + 1]
    there = set(re.split(r"[\[,]", head))
    known = [offer for offer in _known(schema, place) if offer[0] not in there]
    return _fitting(((head + word, text) for word, text in known), typed)


def _known(schema: Schema[Any], place: str) -> list[Offer]:
    """Return the words that a key may hold, or its default if they are not limited."""
    from clickmap_cli.config.benchmark import DataSetSpec, ModelSpec
    from clickmap_cli.config.fields import fields_of, part_of
    from clickmap_cli.datasets.base import DATASETS
    from clickmap_cli.models.base import MODELS

    top, _, inner = place.partition(".")
    each = fields_of(schema.type).get(schema.aliases.get(top, top))
    if each is None:
        return []
    part, last = part_of(each.hint), inner.rpartition(".")[2]
    if part == DataSetSpec:
        return [(one.name, one.summary) for one in DATASETS.entries() if last == "name"]
    if part == ModelSpec or top == "active_models":
        named = last in ("", "name", "type")
        return [(one.name, one.summary) for one in MODELS.entries() if named]
    if inner:
        each = fields_of(part).get(inner) if part == each.hint else None
    return [] if each is None else _allowed(each)


def _allowed(each: Field) -> list[Offer]:
    """Return the words that a key may hold, or its default, according to its schema."""
    default = each.default
    if each.key.choices is not None:
        text = "a metric" if each.name in ("metric", "metrics") else each.key.help
        return [(word, text) for word in each.key.choices]
    if isinstance(default, bool):
        return [(word, each.key.help) for word in ("true", "false")]
    if isinstance(default, list):
        # an empty default offers only the opening bracket
        text = f"[{','.join(map(str, default))}]" if default else "["
        return [(text, f"the default. {each.key.help}")]
    known = default is not None and not isinstance(default, dict)
    return [(str(default), f"the default. {each.key.help}")] if known else []
