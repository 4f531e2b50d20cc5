"""Limits on the size of a configuration, checked before the libraries that read it fill the memory.

A few lines of YAML can expand without end: aliases repeat other aliases, or values refer to values
that refer to further values. Deeply nested brackets end the whole process.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from clickmap_cli.runtime.errors import printable

_MAX_NODES = 10_000
_MAX_DEPTH = 40
_MAX_CHARACTERS = 4 << 20
_MAX_UNCLEAR = 8
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_PLACE = re.compile(r"(\.*)([\w-]+(?:(?:\.|\[|\]\.|\]\[)[\w-]+)*)\]?")
_ENVIRONMENT = re.compile(r"\s*oc\.env\s*:")

Path = tuple[str, ...]


def check_nodes(text: str) -> None:
    """Raise unless a YAML text has an acceptable number of values and depth of nesting.

    Raises:
        ValueError: it has too many values, is nested too deeply, or has an alias that holds
            itself. An alias counts as all the values that it repeats.
        YAMLError: the text is not valid YAML, or has a tag that sets the type of a value.
    """
    repeated: dict[str, int] = {}
    names: list[str | None] = []
    counts = [0]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise yaml.YAMLError(f"the tag '{printable(tag, 40)}'; values have no tags here")
        if isinstance(event, yaml.CollectionStartEvent):
            names.append(event.anchor)
            counts.append(1)
            if len(names) > _MAX_DEPTH:
                raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            name, size = names.pop(), counts.pop()
        elif isinstance(event, yaml.ScalarEvent):
            name, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor in names:
                raise ValueError(f"the alias *{anchor[:40]} holds itself")
            name, size = None, repeated.get(anchor, 1)
        else:
            continue
        if name is not None:
            repeated[name] = size
        counts[-1] += size
        if sum(counts) > _MAX_NODES:
            raise ValueError(f"it holds more than {_MAX_NODES:,} values, with those of its aliases")


def check_references(root: Any) -> None:
    """Raise if the `${...}` in a file could make an endless text when they are filled in.

    Args:
        root: the file as `yaml.compose` gives it, after `check_nodes`.

    Raises:
        ValueError: the text could become too long, or a key cannot be printed.
        RecursionError: the references form too long a chain.
    """
    sizes = _Sizes()
    sizes.add((), root)
    if sizes.of(()) > _MAX_CHARACTERS:
        raise ValueError(f"its ${{...}} grow to more than {_MAX_CHARACTERS:,} characters")


class _Sizes:
    """Counts the characters of every value, including those of the values it refers to."""

    def __init__(self) -> None:
        self._texts: dict[Path, str] = {}
        self._below: dict[Path, list[Path]] = {}
        self._known: dict[Path, int] = {}
        self._unclear = 0

    def add(self, path: Path, node: Any) -> None:
        """Record a value and every value inside it."""
        if isinstance(node, yaml.ScalarNode):
            self._texts[path] = node.value
            return
        items: list[tuple[str, Any]] = []
        if isinstance(node, yaml.MappingNode):
            items = [(self._name(key), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            items = [(str(at), value) for at, value in enumerate(node.value)]
        self._below[path] = [(*path, name) for name, _ in items]
        for name, value in items:
            self.add((*path, name), value)

    @staticmethod
    def _name(key: Any) -> str:
        name = str(key.value)
        if not name.isprintable():
            raise ValueError(f"the key '{printable(name, 40)}' holds what cannot be printed")
        return name

    def of(self, path: Path) -> int:
        """Return the number of characters of a value.

        A reference to itself counts as 0 characters; rejecting it is left to OmegaConf.
        """
        if path not in self._known:
            self._known[path] = 0
            text = self._texts.get(path)
            parts = self._below.get(path, []) if text is None else self._referred(path, text)
            self._known[path] = len(text or "") + sum(self.of(part) for part in parts)
        return self._known[path]

    def _referred(self, path: Path, text: str) -> list[Path]:
        """Return the paths that a text refers to."""
        whole = _REFERENCE.findall(text)
        self._note_unclear(text.count("${") - len(whole))
        found = []
        for inner in whole:
            if _ENVIRONMENT.match(inner):
                continue
            place = _PLACE.fullmatch(inner.strip())
            if place is None:
                self._note_unclear(1)
                continue
            up, names = len(place[1]), re.split(r"[.\[\]]+", place[2])
            target = (*(path[: max(len(path) - up, 0)] if up else ()), *names)
            if target not in self._texts and target not in self._below:
                self._note_unclear(1)
            found.append(target)
        return found

    def _note_unclear(self, times: int) -> None:
        """Count references that only OmegaConf can follow; a few cannot make the text endless.

        Raises:
            ValueError: there are more than a few.
        """
        self._unclear += times
        if self._unclear > _MAX_UNCLEAR:
            raise ValueError(f"more than {_MAX_UNCLEAR} of its ${{...}} name no key of the file")
