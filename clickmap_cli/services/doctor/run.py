"""Check this machine and installation, and find what in a config cannot work on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clickmap_cli.runtime import machine
from clickmap_cli.runtime.errors import ClickmapError
from clickmap_cli.runtime.machine import Cores, Disk, Gpus, Memory, Package, probe, wanted_packages
from clickmap_cli.runtime.progress import Findings, Progress
from clickmap_cli.storage.manifest import versions

if TYPE_CHECKING:
    from clickmap_cli.services.doctor.config import ConfigFacts

ENABLES = {
    "wandb": "training logged to Weights & Biases: wandb.enabled, use_wandb",
    "tensorboard": "training logged for TensorBoard: tensorboard: true",
    "dask": "workers on a Dask cluster: --backend dask --scheduler ADDRESS",
    "notebook": "the viewer, and notebooks that are run",
    "pysaliency": "pysaliency itself beside clickmap; its files are read and written without",
    "emd": "earth mover's distance: metric emd of ceilings, EMD of models",
    "tensorflow": "the model msi_net_tf",
    "video": "key points in videos: finetune --predict-only",
}
"""Extra -> the features it enables."""


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
        extras: optional extra -> the problems of its packages, in a clause; empty if installed.
        config: facts about the given config; None without a config or if it cannot be read.
        problems: sentences about what will not work.
        notes: sentences about what works, but should be known.
    """

    versions: Mapping[str, str]
    packages: tuple[Package, ...]
    cores: Cores
    memory: Memory
    gpus: Gpus
    disk: Disk
    extras: Mapping[str, str]
    config: ConfigFacts | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def run(
    config: Path | None, overrides: Iterable[str], output: Path | None, progress: Progress
) -> Diagnosis:
    """Check the installation, the machine and, if one is given, a config.

    Nothing is downloaded. The only file written is an unnamed temporary file of 64 MB.

    Args:
        config: the YAML file, or None.
        overrides: `KEY=VALUE` words that override the file.
        output: folder that overrides the config's `assets` or `output_dir`. Without a config, the
            disk of this folder is measured; None = the current folder.
        progress: receives the current stage.
    """
    progress.stage("Importing packages")
    needed, by_extra = wanted_packages()
    extras = {
        name: "; ".join(package.problem for package in packages if package.problem)
        for name, packages in by_extra.items()
        if name in ENABLES
    }
    broken, gpus = probe([package.module for package in needed if package.version is not None])
    cores, found = machine.cores(), Findings()
    for package in needed:
        if package.problem:
            found.problem(f"{package.problem}: pip install '{package.name}{package.wanted}'.")
    for module, why in broken.items():
        found.problem(f"{module} is installed and does not import: {why}.")
    facts, words = None, list(overrides)
    if {"yaml", "omegaconf", "numpy", "pandas", "scipy", "h5py", "pyarrow", "PIL"} & broken.keys():
        if config is not None or words:
            found.notice("The config is not looked into before these packages import.")
    elif config is not None or words:
        from clickmap_cli.services.doctor.config import examine

        missing = {name: lack for name, lack in extras.items() if lack}
        try:
            facts, about = examine(
                config, words, progress, output,
                broken=broken, missing=missing, gpus=gpus, cores=cores.usable,
            )  # fmt: skip
            found.problems += about.problems
            found.notices += about.notices
        except (ClickmapError, OSError) as error:
            found.add(error)
    progress.stage("Measuring the disk")
    place = facts.output if facts is not None else output or Path()
    disk = machine.disk(place)
    if disk.problem and (output is not None or facts is not None):
        found.problem(f"Results cannot go to {place}: {disk.folder} {disk.problem}.")
    return Diagnosis(
        versions(), needed, cores, machine.memory(), gpus, disk, extras, facts,
        tuple(found.problems), tuple(dict.fromkeys(found.notices)),
    )  # fmt: skip
