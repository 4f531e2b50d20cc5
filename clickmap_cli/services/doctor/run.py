"""Check this machine and installation, and find what in a config cannot work on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clickmap_cli.runtime import machine
from clickmap_cli.runtime.errors import ClickmapError, readable_size
from clickmap_cli.runtime.machine import Disk, Package, probe, wanted_packages
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.doctor.disk_need import DiskNeed
from clickmap_cli.services.doctor.facts import (
    ConfigFacts,
    Diagnosis,
    Extra,
    Finding,
    Installed,
)
from clickmap_cli.storage.manifest import versions

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

_NOT_OFFERED = ("dev", "fuzz", "all")  # extras for developers, and the union of the other extras


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
    extras = tuple(
        Extra(name, ENABLES.get(name, ""), packages)
        for name, packages in by_extra.items()
        if name not in _NOT_OFFERED
    )
    problems, gpus = probe([package.module for package in needed if package.version is not None])
    findings = _of_packages(needed, problems)
    cores, memory = machine.cores(), machine.memory()
    facts: ConfigFacts | None = None
    words = list(overrides)
    if config is not None or words:
        about = Installed(extras, problems, gpus, cores, memory)
        facts, found = _of_config(config, words, output, about, progress)
        findings += found
    progress.stage("Measuring the disk")
    place = facts.output if facts is not None else output or Path()
    disk = machine.disk(place)
    if disk.problem and (output is not None or facts is not None):
        findings.append(
            Finding("problem", f"Results cannot go to {place}: {disk.folder} {disk.problem}.")
        )
    if facts is not None and facts.need is not None:
        findings += _of_need(facts.need, disk)
    return Diagnosis(versions(), needed, cores, memory, gpus, disk, extras, facts, tuple(findings))


def _of_packages(needed: Sequence[Package], problems: Mapping[str, str]) -> list[Finding]:
    findings = [
        Finding("problem", f"{package.problem}: pip install '{package.name}{package.wanted}'.")
        for package in needed
        if package.problem
    ]
    for module, why in problems.items():
        findings.append(Finding("problem", f"{module} is installed and does not import: {why}."))
    return findings


def _of_config(
    path: Path | None,
    overrides: list[str],
    output: Path | None,
    about: Installed,
    progress: Progress,
) -> tuple[ConfigFacts | None, list[Finding]]:
    """Return facts and findings of the config, or a note if packages needed to read it fail."""
    if not about.works("yaml", "omegaconf", "numpy", "pandas", "scipy", "h5py", "pyarrow", "PIL"):
        text = "The config is not looked into before these packages import."
        return None, [Finding("note", text)]
    from clickmap_cli.services.doctor import config as doctor_config

    try:
        return doctor_config.examine(path, overrides, about, progress, output)
    except (ClickmapError, OSError) as error:
        return None, [Finding("problem", str(error))]


def _of_need(need: DiskNeed, disk: Disk) -> list[Finding]:
    """Return a finding if the maps may not fit on the disk."""
    if disk.free is None or disk.free >= need.most:
        return []
    sizes = (
        f"maps of {need.images:,} images need about {readable_size(need.likely, up=True)} (at most "
        f"{readable_size(need.most, up=True)}), and {disk.folder} has {readable_size(disk.free)} "
        "free"
    )
    if disk.free < need.likely:
        return [Finding("problem", f"The disk is too small: {sizes}; choose another --output.")]
    return [Finding("note", f"The disk may just do: {sizes}.")]
