"""Check a config on this machine: everything its job would load, and what the machine offers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.config.benchmark import BenchmarkConfig, model_specs
from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.loading import load_any
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.runtime.errors import ClickmapError, MissingDeviceError, MissingExtraError
from clickmap_cli.runtime.machine import Gpus, disk, why_unreachable
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Findings, Progress
from clickmap_cli.services.any_job import job_for
from clickmap_cli.storage.folder import RunFolder, WhenPresent

KINDS: Mapping[type, tuple[str, str]] = {
    ExperimentConfig: ("experiment", "prepare"),
    BenchmarkConfig: ("benchmark", "benchmark"),
    SaliencyConfig: ("fine-tuning", "finetune"),
    KeypointConfig: ("key points", "finetune"),
    ClassifierConfig: ("classifier of maps", "train-classifier"),
    ParticipantQualityConfig: ("participant quality", "train-classifier"),
}
"""Schema -> its name in the output, and the command that writes its folder."""


@dataclass(frozen=True)
class ConfigFacts:
    """Facts about a config.

    Attributes:
        file: the file.
        kind: kind of config, such as `experiment`.
        output: folder for its results.
    """

    file: Path
    kind: str
    output: Path


def examine(
    path: Path | None,
    overrides: Sequence[str],
    progress: Progress,
    output: Path | None = None,
    *,
    broken: Mapping[str, str],
    missing: Mapping[str, str],
    gpus: Gpus,
    cores: int,
) -> tuple[ConfigFacts, Findings]:
    """Check a config against the installation, the machine and the files on the disk.

    Args:
        path: the file; None = an experiment made only of overrides.
        overrides: `KEY=VALUE` words that override the file.
        progress: shows the current stage.
        output: folder for results that overrides `output_dir`.
        broken: package -> clause that says why it cannot be imported.
        missing: extra that is not installed -> clause that says what it lacks.
        gpus: GPUs that torch finds.
        cores: cores that this process may use.

    Raises:
        ConfigError: the config cannot be read, or is invalid on any machine.
    """
    options = {"output_dir": None if output is None else str(output)}
    loaded = load_any(path, overrides, options)
    config = loaded.config
    kind, command = KINDS[type(config)]
    is_experiment = isinstance(config, ExperimentConfig)
    folder = config.folder if is_experiment else Path(config.output_dir)
    found = Findings(progress, ignored=(MissingDeviceError, MissingExtraError))
    for text in loaded.notices:
        found.notice(text)
    _check_extras(config, missing, found)
    _check_devices(config, gpus, found)
    _check_workers(config, cores, found)
    _check_folders(config, RunFolder(folder, command), found)
    torch_keys = ("participant_filter", "use_gpu_blurring") if is_experiment else ()
    with_torch = [key for key in torch_keys if getattr(config, key)]
    if is_experiment and with_torch and "torch" in broken:
        found.problem(f"{' and '.join(with_torch)}: torch does not import: {broken['torch']}.")
    elif not is_experiment and {"torch", "torchvision", "timm"} & broken.keys():
        found.notice("Data and models are not checked before torch, torchvision and timm import.")
    else:
        _load(config, found)
    return ConfigFacts(path or Path(), kind, folder), found


def _load(config: Any, found: Findings) -> None:
    """Load what the config's job would load, as a dry run does."""
    try:
        job = job_for(config)
        with job.resources(found, dry_run=True):
            inputs = job.load(found, dry_run=True)
            lost = [] if found.problems else job.failures(job.preview(inputs))
    except (ClickmapError, OSError) as error:
        found.add(error)
        return
    if lost:
        found.notice(f"A run would leave out {len(lost):,} of its items; the first is {lost[0]}")


def _check_extras(config: Any, missing: Mapping[str, str], found: Findings) -> None:
    """Report optional packages that the config needs and that are missing."""
    wandb = getattr(config, "wandb", None)
    wanted = {
        "metric: emd": ("emd", "emd" in getattr(config, "metric", ())),
        "metrics: EMD": ("emd", "EMD" in getattr(config, "metrics", ())),
        "backend: dask": ("dask", getattr(config, "backend", None) == "dask"),
        "tensorboard: true": ("tensorboard", getattr(config, "tensorboard", False)),
        "use_wandb: true": ("wandb", getattr(config, "use_wandb", False)),
        "wandb.enabled: true": ("wandb", wandb is not None and wandb.enabled),
    }
    for setting, (extra, is_wanted) in wanted.items():
        if is_wanted and extra in missing:
            found.problem(f"{MissingExtraError(extra, setting)} ({missing[extra]})")


def _check_devices(config: Any, gpus: Gpus, found: Findings) -> None:
    """Report a device that is missing, and a training that will use the CPU."""
    device = getattr(config, "device", None)
    wanted = {} if device is None else {f"device: {device}": str(device)}
    specs = model_specs(config) if isinstance(config, BenchmarkConfig) else ()
    for spec in (config.model,) if isinstance(config, SaliencyConfig) else specs:
        own = spec.settings.get("device")
        if own:
            wanted[f"model {spec.label}: device: {own}"] = str(own)
    for what, name in wanted.items():
        kind, _, number = name.partition(":")
        if kind == "cuda" and not gpus.cuda:
            found.problem(f"{what} will not work: {gpus.why_none}; use cpu or auto.")
        elif kind == "cuda" and number.isdecimal() and int(number) >= len(gpus.cuda):
            found.problem(f"{what} will not work: there are {len(gpus.cuda)} GPUs, from cuda:0 on.")
        elif kind == "mps" and not gpus.mps:
            found.problem(f"{what} will not work: torch sees no Apple GPU here; use cpu or auto.")
    trains = not isinstance(config, ExperimentConfig | BenchmarkConfig)
    if trains and device in (None, "auto") and not gpus.cuda and not gpus.mps:
        found.notice(f"It will train on the CPU: {gpus.why_none}.")


def _check_workers(config: Any, cores: int, found: Findings) -> None:
    """Report an unreachable scheduler, or more workers than usable cores."""
    scheduler = getattr(config, "scheduler", None)
    if scheduler is not None:
        why = why_unreachable(scheduler)
        if why:
            found.problem(f"scheduler: {scheduler} cannot be reached ({why}).")
        return
    wanted = getattr(config, "n_jobs", None)
    if wanted is not None and worker_count(wanted) > cores:
        found.notice(
            f"n_jobs: {wanted} starts {worker_count(wanted)} workers where this process may use "
            f"{cores} cores; set n_jobs={cores}."
        )


def _check_folders(config: Any, folder: RunFolder, found: Findings) -> None:
    """Report existing results, and other output folders that cannot be written."""
    try:
        folder.require_startable(WhenPresent.STOP)
    except ClickmapError as error:
        found.notice(str(error))
    if isinstance(config, BenchmarkConfig):
        for name, value in (
            ("prediction_cache_dir", config.prediction_cache_dir),
            ("heatmaps_png.out_dir", config.heatmaps_png.out_dir),
        ):
            place = None if value is None else disk(Path(value), 0)
            if place is not None and place.problem:
                found.problem(f"{name}: {place.folder} {place.problem}.")
