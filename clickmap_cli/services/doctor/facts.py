"""What `doctor` finds, before anyone shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clickmap_cli.runtime.machine import Cores, Disk, Memory
from clickmap_cli.runtime.packages import Package
from clickmap_cli.runtime.probes import Gpus, Probed
from clickmap_cli.services.doctor.disk_need import DiskNeed


@dataclass(frozen=True)
class Finding:
    """Something a person should know.

    Attributes:
        kind: `problem` (it will not work) or `note` (it will, but).
        text: a sentence.
    """

    kind: Literal["problem", "note"]
    text: str


@dataclass(frozen=True)
class Extra:
    """An optional extra.

    Attributes:
        name: as in `pip install 'clickmap[name]'`.
        enables: what it is for.
        packages: what it adds.
    """

    name: str
    enables: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> str:
        """What it lacks, in a clause; empty where it is there."""
        return "; ".join(package.problem for package in self.packages if package.problem)


@dataclass(frozen=True)
class ConfigFacts:
    """A config, held against this machine.

    Attributes:
        path: the file.
        kind: which kind of config it is.
        output: where its results go.
        need: what `prepare` will need there, where that is known.
    """

    path: Path
    kind: str
    output: Path
    need: DiskNeed | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        versions: of clickmap, Python and the packages that numbers depend on.
        packages: those that are always needed.
        cores: of this machine.
        memory: of this machine.
        gpus: as torch sees them.
        disk: that of the output.
        extras: the optional ones.
        config: the config that was asked about, where one was and it can be read.
        findings: what a person should know.
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
        """What will not work."""
        return tuple(finding for finding in self.findings if finding.kind == "problem")


@dataclass(frozen=True)
class Installed:
    """What a config is held against."""

    extras: Sequence[Extra]
    probed: Probed
    cores: Cores
    memory: Memory

    def works(self, *modules: str) -> bool:
        """Whether these packages import here."""
        return not any(name in self.probed.problems for name in modules)
