"""Registries of objects named in a config: built in, from packages, or from a user's own file."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from clickmap_cli.runtime.errors import ConfigError, DataError, did_you_mean, typed_reason

Thing = TypeVar("Thing", bound=Callable[..., Any])

_OWN = "clickmap"


@dataclass(frozen=True)
class Entry:
    """One name and its description, which is known without importing the object.

    Attributes:
        name: name in configs.
        target: the object, or `module:attribute` of it.
        summary: one line for `--list`.
        origin: `clickmap`, or another source.
        reference: paper or format that it follows.
    """

    name: str
    target: Any
    summary: str
    origin: str = _OWN
    reference: str = ""


class Registry(Generic[Thing]):
    """Names and the objects they refer to; an object is imported only when it is requested.

    Args:
        kind: kind of the objects, for messages (`model`, `data set`).
        group: group of entry points through which other packages add objects.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}  # by name in lower case
        self._found_installed = False

    def add(
        self, name: str, target: Any, summary: str, origin: str = _OWN, reference: str = ""
    ) -> None:
        """Register a name; see `Entry`.

        Raises:
            ConfigError: another object has this name already.
        """
        there = self._entries.get(name.lower())
        if there is not None and (there.name, there.target) != (name, target):
            raise ConfigError(
                f"The {self.kind} '{name}' is registered twice, by {there.origin} and {origin}; "
                "rename one."
            )
        self._entries[name.lower()] = Entry(name, target, summary, origin, reference)

    def register(self, name: str) -> Callable[[Thing], Thing]:
        """Return a decorator for a user's own file; the docstring's first line is the summary."""

        def keep(thing: Thing) -> Thing:
            summary = (inspect.getdoc(thing) or "").split("\n")[0]
            self.add(name, thing, summary, getattr(thing, "__module__", "a plugin"))
            return thing

        return keep

    def entries(self) -> list[Entry]:
        """Return all registered entries, sorted by name."""
        self._find_installed()
        return sorted(self._entries.values(), key=lambda entry: entry.name.lower())

    def get(self, name: str) -> Thing:
        """Return the object of a name, which may be in upper or lower case.

        Raises:
            ConfigError: the name is unknown (the error suggests the nearest), or the object belongs
                to another package and cannot be imported.
        """
        self._find_installed()
        entry = self._entries.get(name.lower())
        if entry is None:
            known = [entry.name for entry in self._entries.values()]
            raise ConfigError(f"There is no {self.kind} '{name}'. {did_you_mean(name, known)}")
        if not isinstance(entry.target, str):
            return entry.target  # type: ignore[no-any-return]
        module, _, attribute = entry.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        except Exception as error:
            if entry.origin == _OWN:
                raise
            raise ConfigError(
                f"The {self.kind} '{name}' {entry.summary} cannot be imported: "
                f"{typed_reason(error)}"
            ) from error

    def _find_installed(self) -> None:
        """Add the entries of installed packages, once."""
        if self._found_installed:
            return
        self._found_installed = True
        for point in importlib.metadata.entry_points(group=self.group):
            package = point.dist.name if point.dist is not None else point.value
            target = f"{point.module}:{point.attr}"
            self.add(point.name, target, f"from {package}", package)


def load_plugin(path: Path) -> None:
    """Import a user's own Python file, which registers its models or data sets.

    Raises:
        ConfigError: the file raises, or is not a Python file.
        DataError: the file is missing.
    """
    if not path.is_file():
        raise DataError(f"plugins: no file at {path} (looked from {Path.cwd()}).")
    path = path.resolve()
    name = f"clickmap_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugins: {path} is not a Python file.")
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"plugins: {path} raised {typed_reason(error)}") from error
    # worker processes cannot import the file by name, so its classes are pickled by value
    joblibs_cloudpickle().register_pickle_by_value(module)


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, without importing it; None if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def joblibs_cloudpickle() -> Any:
    """Return the pickler of joblib's workers: a separate package since 1.6, bundled before."""
    try:
        return importlib.import_module("joblib.externals.cloudpickle")
    except ModuleNotFoundError:
        return importlib.import_module("cloudpickle")
