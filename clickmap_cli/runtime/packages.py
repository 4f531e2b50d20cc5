"""Required and optional packages: the versions required and the versions installed."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import clickmap_cli

_DISTRIBUTION = "clickmap"

_MODULES = {
    "pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "pot": "ot",
}  # fmt: skip
"""Package -> name of its module, if that differs."""


@dataclass(frozen=True)
class Package:
    """A required package.

    Attributes:
        name: name of the package.
        wanted: accepted versions; empty if any version is accepted.
        version: installed version, or None.
        fits: True if the installed version is accepted.
    """

    name: str
    wanted: str
    version: str | None
    fits: bool

    @property
    def module(self) -> str:
        """Name of the module to import."""
        plain = canonicalize_name(self.name)
        return _MODULES.get(plain, plain.replace("-", "_"))

    @property
    def problem(self) -> str:
        """Clause that describes a problem; empty if there is none."""
        if self.version is None:
            return f"{self.name} is not installed"
        if not self.fits:
            return f"{self.name} is {self.version}, and {self.wanted} is wanted"
        return ""


def wanted_packages() -> tuple[tuple[Package, ...], dict[str, tuple[Package, ...]]]:
    """Return the packages that are always required, and those of each extra by its name."""
    needed, extras = _stated()
    return _packages(needed), {name: _packages(lines) for name, lines in extras.items()}


def _stated() -> tuple[list[str], dict[str, list[str]]]:
    """Return requirements and extras, from pyproject.toml in a checkout, else from the metadata."""
    source = Path(clickmap_cli.__file__).resolve().parents[1] / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _DISTRIBUTION:
            return project.get("dependencies", []), project.get("optional-dependencies", {})
    try:
        about = importlib.metadata.metadata(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return [], {}
    lines = about.get_all("Requires-Dist") or []
    extras: dict[str, list[str]] = {name: [] for name in about.get_all("Provides-Extra") or []}
    for name, own in extras.items():
        own += [line for line in lines if _belongs(line, name) and not _belongs(line, "")]
    return [line for line in lines if _belongs(line, "")], extras


def _belongs(line: str, extra: str) -> bool:
    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": extra})


def _packages(lines: list[str]) -> tuple[Package, ...]:
    """Return the packages of those requirements that apply to this system."""
    found = []
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is None or "extra" in str(wanted.marker) or wanted.marker.evaluate():
            version = _installed(wanted.name)
            fits = version is not None and wanted.specifier.contains(version, prereleases=True)
            found.append(Package(wanted.name, str(wanted.specifier), version, fits))
    return tuple(found)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
