"""Data classes for the findings of `doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clickmap_cli.runtime.machine import Cores, Disk, Gpus, Memory, Package
from clickmap_cli.services.doctor.disk_need import DiskNeed


@dataclass(frozen=True)
class Finding:
    """Something the user should know.

    Attributes:
        kind: `problem` (it will not work) or `note` (it will work, with a caveat).
        text: a sentence.
    """

    kind: Literal["problem", "note"]
    text: str


@dataclass(frozen=True)
class Extra:
    """An optional extra.

    Attributes:
        name: its name, as in `pip install 'clickmap[name]'`.
        enables: the features it enables.
        packages: the packages it adds.
    """

    name: str
    enables: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> str:
        """The problems of its packages, in a clause; empty if it is installed."""
        return "; ".join(package.problem for package in self.packages if package.problem)


@dataclass(frozen=True)
class ConfigFacts:
    """Facts about a config on this machine.

    Attributes:
        path: the file.
        kind: kind of config, such as `experiment`.
        output: folder for its results.
        need: disk space that `prepare` needs in that folder; None if unknown.
    """

    path: Path
    kind: str
    output: Path
    need: DiskNeed | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The whole result of `doctor`.

    Attributes:
        versions: versions of clickmap, Python and the packages that numbers depend on.
        packages: the required packages.
        cores: cores of this machine.
        memory: memory of this machine.
        gpus: GPUs that torch finds.
        disk: the disk of the output folder.
        extras: the optional extras.
        config: facts about the given config; None without a config or if it cannot be read.
        findings: problems and notes for the user.
    """

    versions: Mapping[str, str]
    packages: tuple[Package, ...]
    cores: Cores
    memory: Memory
    gpus: Gpus
    disk: Disk
    extras: tuple[Extra, ...]
    config: ConfigFacts | None
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings about things that will not work."""
        return tuple(finding for finding in self.findings if finding.kind == "problem")


@dataclass(frozen=True)
class Installed:
    """The installation and machine that a config is checked against.

    Attributes:
        extras: the optional extras.
        problems: package -> clause that says why it cannot be imported.
        gpus: GPUs that torch finds.
        cores: cores of this machine.
        memory: memory of this machine.
    """

    extras: Sequence[Extra]
    problems: Mapping[str, str]
    gpus: Gpus
    cores: Cores
    memory: Memory

    def works(self, *modules: str) -> bool:
        """Return True if these packages can be imported on this machine."""
        return not any(name in self.problems for name in modules)
