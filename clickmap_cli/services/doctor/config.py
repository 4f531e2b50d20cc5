"""Find what in a config will not work on this machine, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.clickmaps.reading.trials_file import rows_per_image
from clickmap_cli.clickmaps.survivors import load_prepare
from clickmap_cli.config.benchmark import BenchmarkConfig, Spec, model_specs
from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.loading import (
    EXPERIMENT,
    LoadedConfig,
    load_config,
    load_experiment,
    schema_of,
)
from clickmap_cli.config.participant_quality import ParticipantQualityConfig
from clickmap_cli.config.saliency import SaliencyConfig
from clickmap_cli.datasets.base import DataSet, Stimulus
from clickmap_cli.runtime.errors import ClickmapError, DataError, MissingExtraError, typed_reason
from clickmap_cli.runtime.machine import disk, why_unreachable
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.registry import load_plugin
from clickmap_cli.services.doctor.disk_need import DiskNeed, disk_need
from clickmap_cli.services.doctor.facts import ConfigFacts, Finding, Installed
from clickmap_cli.services.doctor.images import image_findings
from clickmap_cli.services.doctor.paths import is_folder, named_paths, there
from clickmap_cli.services.doctor.training import fine_tuning_findings, training_findings
from clickmap_cli.storage.folder import RunFolder, WhenPresent

_KINDS: Mapping[type, tuple[str, str]] = {
    ExperimentConfig: ("experiment", "prepare"),
    BenchmarkConfig: ("benchmark", "benchmark"),
    SaliencyConfig: ("fine-tuning", "finetune"),
    KeypointConfig: ("key points", "finetune"),
    ClassifierConfig: ("classifier of maps", "train-classifier"),
    ParticipantQualityConfig: ("participant quality", "train-classifier"),
}
"""Schema -> its name in the output, and the command that writes its folder."""

_LOOKED_AT = 1000  # largest number of images whose files are looked for


def examine(
    path: Path | None,
    overrides: Sequence[str],
    about: Installed,
    progress: Progress,
    output: Path | None = None,
) -> tuple[ConfigFacts, list[Finding]]:
    """Check a config against the installation and the files on the disk.

    Args:
        path: the file; None = an experiment made only of overrides.
        overrides: `KEY=VALUE` words that override the file.
        about: the installation.
        progress: receives the current stage.
        output: folder for results that overrides `output_dir`.

    Raises:
        ConfigError: the config cannot be read, or is invalid on any machine.
    """
    options = {"output_dir": None if output is None else str(output)}
    schema = EXPERIMENT if path is None else schema_of(path, overrides)
    loaded: LoadedConfig[Any]
    if schema is EXPERIMENT:
        loaded = load_experiment(path, overrides, options)
    else:
        loaded = load_config(schema, path, overrides, options)
    look = _Look(loaded.config, about, progress)
    for text in loaded.notices:
        look.note(text)
    look.go()
    kind = _KINDS[type(loaded.config)][0]
    return ConfigFacts(path or Path(), kind, look.output, look.need), look.findings


class _Look:
    """One config and the findings about it."""

    def __init__(self, config: Any, about: Installed, progress: Progress) -> None:
        self.config = config
        self.about = about
        self.progress = progress
        self.findings: list[Finding] = []
        self.need: DiskNeed | None = None
        self.read: dict[str, Sequence[Stimulus]] = {}  # data set -> its images, if it was read
        self.models: list[Any] = []

    @property
    def output(self) -> Path:
        """Folder for the results."""
        config = self.config
        return config.folder if isinstance(config, ExperimentConfig) else Path(config.output_dir)

    def problem(self, text: str) -> None:
        """Add a finding about something that will not work."""
        self.findings.append(Finding("problem", text))

    def note(self, text: str) -> None:
        """Add a finding about something that works but that the user should know."""
        self.findings.append(Finding("note", text))

    def go(self) -> None:
        """Run every check."""
        config = self.config
        all_there = self._files()
        self._extras()
        self._devices()
        self._workers()
        self._folders()
        if isinstance(config, ExperimentConfig):
            self._experiment(config)
        elif isinstance(config, BenchmarkConfig):
            self._plugins(config)
            sets = self._sets(config)
            self._models(model_specs(config), config.device)
            self.findings += image_findings(sets, self.models)
        elif isinstance(config, SaliencyConfig):
            self._fine_tuning(config, all_there)
        elif isinstance(config, ParticipantQualityConfig):
            all_there &= self._learnt_experiment(config)
        if all_there and self._has_torch():
            self.findings += training_findings(config, self.progress)

    def _files(self) -> bool:
        """Report missing input files and folders; return True if none is missing."""
        missing = [
            (name, value) for name, value in named_paths(self.config) if not there(Path(value))
        ]
        for name, value in missing:
            self.problem(f"{name}: nothing at {value} (looked from {Path.cwd()}).")
        return not missing

    def _has_torch(self) -> bool:
        return self.about.works("torch", "torchvision", "timm")

    def _extras(self) -> None:
        """Report optional packages that this config needs and that are missing."""
        for extra, what in _wanted_extras(self.config):
            known = next((each for each in self.about.extras if each.name == extra), None)
            if known is not None and known.missing:
                self.problem(f"{MissingExtraError(extra, what)} ({known.missing})")

    def _devices(self) -> None:
        """Report a device that is missing, and a training that will use the CPU."""
        wanted = getattr(self.config, "device", None)
        if wanted is not None:
            self._device(f"device: {wanted}", wanted)
        gpus = self.about.gpus
        trains = not isinstance(self.config, ExperimentConfig | BenchmarkConfig)
        if trains and wanted in (None, "auto") and not gpus.cuda and not gpus.mps:
            self.note(f"It will train on the CPU: {gpus.why_none}.")

    def _device(self, what: str, wanted: str) -> None:
        gpus = self.about.gpus
        kind, _, number = str(wanted).partition(":")
        if kind == "cuda" and not gpus.cuda:
            self.problem(f"{what} will not work: {gpus.why_none}; use cpu or auto.")
        elif kind == "cuda" and number.isdecimal() and int(number) >= len(gpus.cuda):
            self.problem(f"{what} will not work: there are {len(gpus.cuda)} GPUs, from cuda:0 on.")
        elif kind == "mps" and not gpus.mps:
            self.problem(f"{what} will not work: torch sees no Apple GPU here; use cpu or auto.")

    def _workers(self) -> None:
        """Report an unreachable scheduler, or more workers than usable cores."""
        scheduler = getattr(self.config, "scheduler", None)
        if scheduler is not None:
            why = why_unreachable(scheduler)
            if why:
                self.problem(f"scheduler: {scheduler} cannot be reached ({why}).")
            return
        wanted = getattr(self.config, "n_jobs", None)
        usable = self.about.cores.usable
        if wanted is not None and worker_count(wanted) > usable:
            self.note(
                f"n_jobs: {wanted} starts {worker_count(wanted)} workers where this process may "
                f"use {usable} cores; set n_jobs={usable}."
            )

    def _folders(self) -> None:
        """Report existing results, and other output folders that cannot be written."""
        command = _KINDS[type(self.config)][1]
        try:
            RunFolder(self.output, command).require_startable(WhenPresent.STOP)
        except ClickmapError as error:
            self.note(str(error))
        places = {"prediction_cache_dir": getattr(self.config, "prediction_cache_dir", None)}
        if isinstance(self.config, BenchmarkConfig):
            places["heatmaps_png.out_dir"] = self.config.heatmaps_png.out_dir
        for name, value in places.items():
            found = None if value is None else disk(Path(value), 0)
            if found is not None and found.problem:
                self.problem(f"{name}: {found.folder} {found.problem}.")

    def _experiment(self, config: ExperimentConfig) -> None:
        if config.participant_filter is not None and not self.about.works("torch"):
            self.problem(f"participant_filter needs torch: {self.about.gpus.why_none}.")
        if config.use_gpu_blurring and not self.about.gpus.cuda:
            why = self.about.gpus.why_none
            self.note(f"use_gpu_blurring: blurring stays on the CPU: {why}. Maps are the same.")
        if config.image_dir is not None and not is_folder(config.image_dir):
            self.note(f"image_dir: no folder at {config.image_dir}; only pictures need it.")
        if config.clickme_data is None:
            self.problem("clickme_data is not set; name the file of raw trials.")
            return
        data = Path(config.clickme_data)
        if is_folder(data):
            self._prepared_folder(data)
        elif there(data):
            try:
                self._trials(config, data)
            except DataError as error:
                self.problem(str(error))

    def _prepared_folder(self, folder: Path) -> None:
        try:
            load_prepare(folder)
        except ClickmapError as error:
            self.problem(f"clickme_data: {error}")

    def _trials(self, config: ExperimentConfig, data: Path) -> None:
        """Check the raw table: its columns, its images, and the disk space for their maps."""
        sizes = None
        if config.class_filter_file is not None and there(Path(config.class_filter_file)):
            read_categories(Path(config.class_filter_file))
        if config.metadata_file is not None and there(Path(config.metadata_file)):
            sizes = read_sizes(Path(config.metadata_file))
        rows = rows_per_image(data, config.remove_string, config.category_column, self.progress)
        enough = {key: n for key, n in rows.items() if n >= config.min_subjects}
        if not enough:
            most = max(rows.values(), default=0)
            self.problem(
                f"{data}: no image has min_subjects ({config.min_subjects}) rows; of "
                f"{len(rows):,} images the one with most has {most:,}."
            )
            return
        shapes = ImageShapes((config.image_shape[0], config.image_shape[1]), sizes)
        self.need = disk_need(config, enough, shapes)
        self._pictures(config, list(enough))

    def _pictures(self, config: ExperimentConfig, keys: Sequence[str]) -> None:
        if config.image_dir is None or not is_folder(config.image_dir):
            return
        looked = keys[:_LOOKED_AT]
        absent = [key for key in looked if not (Path(config.image_dir) / key).is_file()]
        if absent:
            self.note(
                f"image_dir: {len(absent):,} of {len(looked):,} images that were looked for are "
                f"not in {config.image_dir}, '{absent[0]}' for one; only pictures need them."
            )

    def _fine_tuning(self, config: SaliencyConfig, all_there: bool) -> None:
        self._plugins(config)
        sets = self._sets(config)
        sound = self._models([config.model], config.device)
        if all_there and sound and sets and self._has_torch():
            self.findings += fine_tuning_findings(config, sets[0].stimuli)

    def _plugins(self, config: BenchmarkConfig | SaliencyConfig) -> None:
        for path in config.plugins:
            try:
                load_plugin(Path(path))
            except ClickmapError as error:
                self.problem(str(error))

    def _sets(self, config: BenchmarkConfig | SaliencyConfig) -> list[DataSet]:
        """Read the data sets as a run would, and return those that can be read."""
        from clickmap_cli.scoring.data import read_set, require_truth

        found = []
        for spec in config.datasets:
            self.progress.stage(f"Reading {spec.label}")
            try:
                data = read_set(spec.name, spec.settings, f"data set {spec.label}")
                if isinstance(config, SaliencyConfig) or not config.predict_only:
                    require_truth(spec.label, data)
            except ClickmapError as error:
                self.problem(_said_of("data set", spec, error))
                continue
            found.append(data)
            for loss in data.losses:
                if loss.lost:
                    say = self.problem if loss.share > config.max_lost else self.note
                    say(f"data set {spec.label}: {loss} {loss.cause}".rstrip())
            for text in data.notices:
                self.note(f"data set {spec.label}: {text}")
            self.read[spec.label] = data.stimuli[: config.limit_images]
        return found

    def _models(self, models: Sequence[Spec], device: str) -> bool:
        """Build all models and their networks without weights; return True if all can be built."""
        if not self._has_torch():
            self.note("Models are not looked at before torch, torchvision and timm import.")
            return False
        n = len(self.findings)
        for spec in models:
            self._model(spec, device)
        return not any(finding.kind == "problem" for finding in self.findings[n:])

    def _model(self, spec: Spec, device: str) -> None:
        from clickmap_cli.models.building import (
            BuiltModel,
            describe_download,
            model_settings,
            try_network,
        )
        from clickmap_cli.models.precomputed import Precomputed
        from clickmap_cli.scoring.coverage import map_coverage

        self.progress.stage(f"Looking at {spec.label}")
        try:
            made, settings, _ = model_settings(spec.label, spec.name, spec.settings, device)
            model = made(**settings)
            try_network(spec.label, spec.name, spec.settings, device)
            self.models.append(model)
        except ClickmapError as error:
            self.problem(_said_of("model", spec, error))
            return
        except Exception as error:  # a user's own model may raise anything
            self.problem(f"model {spec.label} cannot be made: {typed_reason(error)}")
            return
        if spec.settings.get("device"):
            self._device(f"model {spec.label}: device: {settings['device']}", settings["device"])
        note = describe_download(f"model {spec.label}", settings)
        if note is not None:
            self.note(note)
        elif str(settings.get("weights")).lower() not in ("none", "false"):
            self.note(
                f"model {spec.label}: its weights ({settings['weights']}) are downloaded where "
                "this machine does not have them yet."
            )
        for text in getattr(model, "notices", ()):
            self.note(text)
        if isinstance(model, Precomputed):
            built = BuiltModel(spec.label, model, settings, "")
            postprocess = getattr(self.config, "postprocess", True)
            found = map_coverage(built, model, self.read, postprocess)
            if found.text:
                lost = found.lost > self.config.max_lost or found.lost == 1
                (self.problem if lost else self.note)(found.text)
            if found.refused:
                self.problem(found.refused)

    def _learnt_experiment(self, config: ParticipantQualityConfig) -> bool:
        """Check the experiment with the training trials; return True if it has no problem."""
        path = Path(str(config.data.experiment))
        if not there(path):
            return False  # `_files` reported it
        try:
            loaded = load_experiment(path)
        except ClickmapError as error:
            self.problem(f"data.experiment: {error}")
            return False
        inner = _Look(loaded.config, self.about, self.progress)
        inner._files()
        inner._experiment(loaded.config)
        for finding in inner.findings:
            self.findings.append(Finding(finding.kind, f"data.experiment: {finding.text}"))
        return not any(finding.kind == "problem" for finding in inner.findings)


def _said_of(what: str, spec: Spec, error: ClickmapError) -> str:
    """Return an error's text that begins with the data set or model it is about."""
    text = str(error).removeprefix(f"{what} {spec.label}: ").removeprefix(f"{spec.name}: ")
    return f"{what} {spec.label}: {text}"


def _wanted_extras(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the extras that a config needs, and the setting that needs each."""
    if isinstance(config, ExperimentConfig) and "emd" in config.metric:
        yield "emd", "metric: emd"
    if isinstance(config, BenchmarkConfig | SaliencyConfig) and "EMD" in config.metrics:
        yield "emd", "metrics: EMD"
    if getattr(config, "backend", None) == "dask":
        yield "dask", "backend: dask"
    if getattr(config, "tensorboard", False):
        yield "tensorboard", "tensorboard: true"
    if getattr(config, "use_wandb", False):
        yield "wandb", "use_wandb: true"
    if isinstance(config, SaliencyConfig) and config.wandb.enabled:
        yield "wandb", "wandb.enabled: true"
