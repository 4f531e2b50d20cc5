"""Output of a diagnosis."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import new_table
from clickmap_cli.runtime.errors import readable_size
from clickmap_cli.runtime.machine import Cores, Disk, Gpus, Memory
from clickmap_cli.services.doctor.run import ENABLES, Diagnosis


def machine_table(found: Diagnosis) -> Table:
    """Return a table of versions and of the machine's resources."""
    table = new_table("This machine", show_header=False)
    rows = {
        **found.versions,
        "cores": describe_cores(found.cores),
        "memory": describe_memory(found.memory),
        "GPU": describe_gpu(found.gpus),
        "disk": describe_disk(found.disk),
    }
    for name, words in rows.items():
        table.add_row(name, Text(words))
    return table


def extras_table(found: Diagnosis) -> Table:
    """Return a table of the optional extras: state, and what each enables."""
    table = new_table("Optional extras", show_header=False)
    for name, lack in found.extras.items():
        table.add_row(
            name, "-" if lack else "installed", ENABLES[name], style="dim" if lack else ""
        )
    return table


def verdict(found: Diagnosis) -> str:
    """Return a sentence that says if everything requested works."""
    n = len(found.problems)
    if n:
        what = "one thing" if n == 1 else f"{n} things"
        return f"{what[0].upper()}{what[1:]} will not work, as reported above."
    if found.config is None:
        return "Nothing is wrong with this installation."
    return f"{found.config.file}: nothing here stands in its way ({found.config.kind})."


def describe_cores(cores: Cores) -> str:
    """Describe the cores of the machine, and those that this process may use."""
    few = cores.usable < cores.total
    return f"{cores.total}{f', {cores.usable} of them for this process' if few else ''}"


def describe_memory(memory: Memory) -> str:
    """Describe the memory of the machine, and the part that is available."""
    words = "not told by this system" if memory.total is None else readable_size(memory.total)
    if memory.limit is not None:
        words += f", limited to {readable_size(memory.limit)} by a control group"
    if memory.available is not None:
        words += f", {readable_size(memory.available)} available"
    return words


def describe_gpu(gpus: Gpus) -> str:
    """Describe the GPUs that torch can use, or why there is none."""
    if gpus.cuda:
        return ", ".join(f"{name} ({readable_size(size)})" for name, size in gpus.cuda)
    return "Apple GPU (mps)" if gpus.mps else f"none: {gpus.why_none}"


def describe_disk(disk: Disk) -> str:
    """Describe free space and speed of the disk."""
    words = f"{disk.folder}: "
    words += "room not told" if disk.free is None else f"{readable_size(disk.free)} free"
    if disk.problem:
        return f"{words}, {disk.problem}"
    if disk.write is None or disk.read is None:
        return f"{words}, too little to measure its speed"
    return f"{words}, writes {readable_size(disk.write)}/s, reads {readable_size(disk.read)}/s"


def as_json(found: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis as one JSON value; sizes in bytes, speeds in bytes per second."""
    gpus = found.gpus
    return {
        "ok": not found.problems,
        "problems": found.problems,
        "notes": found.notes,
        "versions": found.versions,
        "packages": {
            package.name: {"wanted": package.wanted, "version": package.version}
            for package in found.packages
        },
        "cores": {**vars(found.cores), "usable": found.cores.usable},
        "memory": found.memory,
        "gpu": {
            "devices": [{"name": name, "memory": size} for name, size in gpus.cuda],
            "mps": gpus.mps,
            "torch_built_for_cuda": gpus.built,
            "reported_by_driver": gpus.driver,
            "why_none": gpus.why_none,
        },
        "disk": found.disk,
        "extras": {
            name: {"installed": not lack, "missing": lack, "enables": ENABLES[name]}
            for name, lack in found.extras.items()
        },
        "config": found.config,
    }
