"""Turns a YAML file and KEY=VALUE overrides into one checked configuration.

Also adds missing keys to existing files without changing a line of them.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clickmap_cli.config.benchmark import (
    BENCHMARK_ALIASES,
    BenchmarkConfig,
    DataSetSpec,
    ModelSpec,
    check_benchmark,
)
from clickmap_cli.config.classifier import ClassifierConfig, check_classifier
from clickmap_cli.config.experiment import (
    ALIASES,
    NO_LONGER_NEEDED,
    NOT_SUPPORTED_YET,
    ExperimentConfig,
    blur_window,
    check_experiment,
)
from clickmap_cli.config.fields import Scope, default_of, keys_of, read_part
from clickmap_cli.config.keypoints import (
    KEYPOINT_ALIASES,
    KEYPOINT_KEYS,
    KEYPOINT_RETIRED,
    KeypointConfig,
    check_keypoints,
)
from clickmap_cli.config.participant_quality import (
    ParticipantQualityConfig,
    check_participant_quality,
)
from clickmap_cli.config.playground import (
    BLOCK,
    Translated,
    is_saliency,
    name_here,
    translate_models,
)
from clickmap_cli.config.reading import parse_override, read_config_text, read_yaml
from clickmap_cli.config.saliency import (
    SALIENCY_ALIASES,
    SaliencyConfig,
    check_saliency,
    fill_stages,
)
from clickmap_cli.runtime.errors import ConfigError, did_you_mean, short_reason

Config = TypeVar("Config")

_OUTPUT = "--output"
"""The option that sets `output_dir`."""

_FILE_ENDINGS = frozenset({
    ".bmp", ".bz2", ".ckpt", ".csv", ".gif", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ipynb",
    ".jpeg", ".jpg", ".json", ".jsonl", ".log", ".mat", ".md", ".npy", ".npz", ".parquet", ".pdf",
    ".pickle", ".pkl", ".png", ".pt", ".pth", ".py", ".svg", ".tar", ".tif", ".tiff", ".tsv",
    ".txt", ".xls", ".xlsx", ".yaml", ".yml", ".zip", ".zst",
})  # fmt: skip
"""Endings that a folder of results must not have; others, as in `run_v1.5`, are allowed."""


@dataclass(frozen=True)
class Schema(Generic[Config]):
    """One kind of configuration file.

    Attributes:
        type: its dataclass.
        check: raises ConfigError unless the values fit together.
        aliases: old name -> current name.
        retired: keys that no longer do anything.
        unsupported: keys of the field's files that clickmap does not support yet.
        command: the command that runs this kind of file.
        playground: True if files of the playground are read as this kind too.
    """

    type: type[Config]
    check: Callable[[Config, Mapping[str, str]], None]
    aliases: Mapping[str, str] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    unsupported: frozenset[str] = frozenset()
    command: str = "prepare"
    playground: bool = False

    @property
    def of(self) -> str:
        """The commands that read such a configuration, for messages."""
        return (
            f"{self.command}, ceiling and visualize" if self.command == "prepare" else self.command
        )

    def knows(self, name: str) -> bool:
        """Return True if a key belongs to this kind, under its current name or an old one."""
        return name in keys_of(self.type) or name in {
            *self.aliases, *self.retired, *self.unsupported
        }  # fmt: skip

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return True if all keys of a file belong to this kind, or it is a playground's file."""
        own = self.playground and BLOCK in values and is_saliency(values)
        return own or all(self.knows(name) for name in values)


EXPERIMENT = Schema(
    ExperimentConfig, check_experiment, ALIASES, NO_LONGER_NEEDED, NOT_SUPPORTED_YET
)
BENCHMARK = Schema(BenchmarkConfig, check_benchmark, BENCHMARK_ALIASES, command="benchmark")
SALIENCY = Schema(
    SaliencyConfig, check_saliency, SALIENCY_ALIASES, command="finetune", playground=True
)
KEYPOINTS = Schema(
    KeypointConfig, check_keypoints, KEYPOINT_ALIASES, KEYPOINT_RETIRED, command="finetune"
)
CLASSIFIER = Schema(ClassifierConfig, check_classifier, command="train-classifier")
PARTICIPANT_QUALITY = Schema(
    ParticipantQualityConfig, check_participant_quality, command="train-classifier"
)

BY_TASK: Mapping[str, Schema[Any]] = {
    "saliency": SALIENCY, "keypoints": KEYPOINTS, "classifier": CLASSIFIER,
    "participant_quality": PARTICIPANT_QUALITY,
}  # fmt: skip
"""Value of the key `task` -> the kind of file."""

_OLD_TASKS = dict.fromkeys(("heatmap", "heatmap_cnn", "heatmap_classifier"), "classifier")
"""Old value of the key `task` -> current value."""

ALL_SCHEMAS: tuple[Schema[Any], ...] = (EXPERIMENT, BENCHMARK, *BY_TASK.values())


@dataclass(frozen=True)
class LoadedConfig(Generic[Config]):
    """A checked configuration and where each value came from.

    Attributes:
        config: the values.
        sources: key -> `default`, `file.yaml:12`, `command line` or `--option`.
        notices: sentences a person should read once (keys that no longer do anything, ...).
    """

    config: Config
    sources: Mapping[str, str]
    notices: tuple[str, ...] = field(default=())


def load_experiment(
    path: Path | None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> LoadedConfig[ExperimentConfig]:
    """Read, merge and check the configuration of an experiment; see `load_config`."""
    loaded = load_config(EXPERIMENT, path, overrides, options)
    default = loaded.sources["blur_size"] == "default"
    if default and loaded.config.blur_size != blur_window(ExperimentConfig()):
        sources = {**loaded.sources, "blur_size": "from blur_sigma"}
        loaded = dataclasses.replace(loaded, sources=sources)
    if path is None or loaded.sources["kernel_type"] != "default":
        return loaded
    notice = (
        "kernel_type is not set: blurring with 'circle' (two passes of a flat disk), which is "
        "what the field's scripts do when they say Gaussian. Set kernel_type to be explicit."
    )
    return dataclasses.replace(loaded, notices=(notice, *loaded.notices))


def load_config(
    schema: Schema[Config],
    path: Path | None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> LoadedConfig[Config]:
    """Read, merge and check a configuration.

    Args:
        schema: the kind of configuration.
        path: the YAML file; None takes defaults and overrides only.
        overrides: `KEY=VALUE` words; they win over the file.
        options: values of command-line options; they win over the file and the overrides.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is wrong.
    """
    gathered = _Gathered(schema)
    notices: list[str] = []
    if path is not None:
        values, lines = read_yaml(path)
        _require_own(schema, path, values)
        origins: Mapping[str, str] = {}
        if schema.playground:
            translated = Translated(values, path.name)
            values, origins = translated.values, translated.origins
            notices += translated.notices
        for name, value in values.items():
            line = lines.get(origins.get(name, name), 1)
            gathered.add(name, value, f"{path.name}:{line}")
    for word in overrides:
        name, value = parse_override(word)
        gathered.add(name, value, "command line")
    for name, value in (options or {}).items():
        if value is not None:
            option = _OUTPUT if name == "output_dir" else f"--{name.replace('_', '-')}"
            gathered.add(name, value, option)
    values = copy.deepcopy(gathered.values)
    if schema.command in ("benchmark", "finetune"):
        notices += translate_models(values, gathered.sources)
    if path is not None and schema.command == "finetune" and "task" not in values:
        task = default_of(schema.type, "task")
        notices.insert(0, f"{path.name} sets no task: it is read as task: {task}.")
    if schema is SALIENCY:
        fill_stages(values)
    config = read_part(schema.type, values, "", gathered.source_of)
    schema.check(config, gathered.sources)
    place = getattr(config, "output_dir", None)
    fault = None if place is None else folder_fault(place)
    if fault is not None:
        source = gathered.sources.get("output_dir", "default")
        raise ConfigError(f"{source}: {'' if source == _OUTPUT else 'output_dir '}{fault}")
    sources = {name: gathered.sources.get(name, "default") for name in keys_of(schema.type)}
    return LoadedConfig(config, sources, (*notices, *gathered.all_notices()))


def folder_fault(place: str) -> str | None:
    """Return why results cannot be written into a folder of this name, or None if they can.

    They cannot if the name is that of a file, or looks like one.

    Args:
        place: the folder; it need not exist yet.
    """
    path = Path(place)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError:  # a name that the file system rejects; the run reports it later
        return None
    if exists and not is_folder:
        return f"{place} is a file; name a folder for the results."
    if not exists and path.suffix.lower() in _FILE_ENDINGS:
        return (
            f"{place} looks like a file ({path.suffix}); results are written into a folder, so "
            "name a folder."
        )
    return None


def _require_own(schema: Schema[Any], path: Path, values: Mapping[str, Any]) -> None:
    """Raise if a file as a whole belongs to another command, which the error then names.

    Without this check the error would be about the first key that is unknown here.
    """
    if schema.holds(values) or (schema.playground and values.get("task") == "saliency"):
        return
    for other in ALL_SCHEMAS:
        if other is not schema and other.holds(values):
            raise ConfigError(
                f"{path} is a configuration of {other.of}, not of {schema.of}; run `clickmap "
                f"{other.command} --config {path}`, or name another file."
            )


def load_any(
    path: Path | None, overrides: Iterable[str] = (), options: Mapping[str, Any] | None = None
) -> LoadedConfig[Any]:
    """Read, merge and check a configuration of any kind; see `load_config`."""
    schema = EXPERIMENT if path is None else schema_of(path, overrides)
    if schema is EXPERIMENT:
        return load_experiment(path, overrides, options)
    return load_config(schema, path, overrides, options)


def schema_of(path: Path | None, overrides: Iterable[str] = ()) -> Schema[Any]:
    """Return the kind of a configuration file: by its `task`, else by the keys it has.

    Raises:
        ConfigError: the file cannot be read, or its task is unknown.
    """
    values = {} if path is None else read_yaml(path)[0]
    for word in overrides:
        name, value = parse_override(word)
        if name == "task" or path is None:
            values[name] = value
    if "task" in values:
        task = _current_task(values["task"])
        if task not in BY_TASK:
            raise ConfigError(f"task is {values['task']!r}. {did_you_mean(task, BY_TASK)}")
        return BY_TASK[task]
    if KEYPOINT_KEYS & set(values):
        return KEYPOINTS
    if is_saliency(values):
        return SALIENCY
    return BENCHMARK if {"datasets", "models"} & set(values) else EXPERIMENT


def schema_of_task(
    default: Schema[Any], path: Path | None, overrides: Iterable[str] = ()
) -> Schema[Any]:
    """Return the kind of a configuration file for a command that runs several tasks.

    Args:
        default: the command's schema for a file that names no task.
        path: the YAML file, or None.
        overrides: `KEY=VALUE` words.

    Raises:
        ConfigError: the file cannot be read, or its task belongs to another command.
    """
    schema = schema_of(path, overrides)
    if schema.command == default.command:
        return schema
    if schema in BY_TASK.values():
        raise ConfigError(f"This task is one of `clickmap {schema.command}`.")
    return default


def experiment_from_values(values: Mapping[str, Any]) -> ExperimentConfig:
    """Return the configuration that a manifest recorded, after checking each key and value.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    gathered = _Gathered(EXPERIMENT)
    for name, value in values.items():
        gathered.add(name, value, "manifest")
    return read_part(ExperimentConfig, gathered.values, "", gathered.source_of)


def as_dict(config: Any) -> dict[str, Any]:
    """Return the values as plain Python objects, in the schema's order and a file's words."""
    return {each.name: _plain(getattr(config, each.name)) for each in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    """Return a value of a configuration as a file holds it."""
    if isinstance(value, DataSetSpec | ModelSpec):
        return copy.deepcopy(value.to_config()) if value.label else None
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    return [_plain(item) for item in value] if isinstance(value, list) else copy.deepcopy(value)


def _current_task(value: Any) -> str:
    task = str(value).lower().replace("-", "_")
    return _OLD_TASKS.get(task, task)


def numbers_hash(config: Any, scopes: Iterable[Scope], *more: str) -> str:
    """Return a hash over the keys that change numbers, so that a new job count keeps finished work.

    Args:
        config: the values.
        scopes: scopes of the keys to hash: `maps` for the maps of `prepare`, `ceiling` as well for
            agreement, `scores` for models.
        more: anything else the numbers depend on, such as hashes of input files, which count by
            their content and not by their path.

    Returns:
        64 hexadecimal digits.
    """
    wanted = set(scopes)
    known = keys_of(type(config))
    values = {k: v for k, v in as_dict(config).items() if known[k].scope in wanted}
    text = json.dumps([values, list(more)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class _Gathered(Generic[Config]):
    """Collects values as they were written, their sources, and keys that no longer do anything."""

    def __init__(self, schema: Schema[Config]) -> None:
        self.schema = schema
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.retired: list[str] = []
        self.unsupported: list[str] = []
        self._known = keys_of(schema.type)
        self._set_at: dict[str, str] = {}  # dotted name -> source, for messages

    def add(self, name: str, value: Any, source: str) -> None:
        aliases = self.schema.aliases
        if name in self.schema.retired:
            self.retired.append(name)
            return
        if name in self.schema.unsupported:
            if value not in (None, False, ""):
                self.unsupported.append(name)
            return
        top, _, inner = name.partition(".")
        today = aliases.get(top, top)
        if today not in self._known:
            here = name_here(name) if self.schema.playground and top == BLOCK else ""
            if here:
                raise ConfigError(f"{source}: {name!r} is read from a file; here it is {here}.")
            known = [*self._known, *aliases]
            raise ConfigError(f"{source}: unknown key {top[:60]!r}. {did_you_mean(top, known)}")
        if today != name and self.values.get(today) is not None and not inner:
            if value in (None, False):
                return  # an old name left empty beside the new one
            if self.sources[today].partition(":")[0] == source.partition(":")[0]:
                raise ConfigError(
                    f"{source}: '{name}' is the old name of '{today}', and both are set; keep one."
                )
        if today == "task":
            task = _current_task(value)
            value = task if task in BY_TASK else value
        if inner:
            value = self._with_inner(today, inner, value, source)
        else:
            self._set_at = {k: v for k, v in self._set_at.items() if k.split(".")[0] != today}
        self.values[today] = value
        self.sources[today] = source
        self._set_at[f"{today}.{inner}" if inner else today] = source

    def source_of(self, place: str) -> str:
        """Return where the value of a dotted name, or the nearest mapping around it, was set."""
        while place and place not in self._set_at:
            place = place.rpartition(".")[0]
        return self._set_at.get(place, "command line")

    def _with_inner(self, top: str, inner: str, value: Any, source: str) -> Any:
        """Return the value of a key with one place inside it changed: `datasets.0.root=...`."""
        there = self.values.get(top, default_of(self.schema.type, top))
        if there is None or dataclasses.is_dataclass(there):
            there = {}
        try:
            holder = OmegaConf.create({top: copy.deepcopy(there)})
            OmegaConf.update(holder, f"{top}.{inner}", value, force_add=True)
        except (OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
            held = (
                f" {top} has {len(there)} in it, counted from 0." if isinstance(there, list) else ""
            )
            raise ConfigError(f"{source}: no such place as {top}.{inner} to set.{held}") from error
        plain = OmegaConf.to_container(holder)
        return typing.cast("dict[str, Any]", plain)[top]

    def all_notices(self) -> Iterable[str]:
        for names, text in ((self.retired, "longer needed"), (self.unsupported, "supported yet")):
            if names:
                lead = "no" if names is self.retired else "not"
                listed = ", ".join(sorted(set(names)))
                yield f"Keys that are {lead} {text} and were ignored: {listed}."


# --- adding missing keys to a file ----------------------------------------------------------------


def missing_keys(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the keys of the schema that a file does not set, under the current name or an old one.

    Args:
        path: the YAML file.
        wanted: keys to look for; empty means every key.

    Raises:
        ConfigError: the file cannot be read, or a wanted key does not exist.
    """
    schema = schema_of(path)
    known = keys_of(schema.type)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown key '{name}'. {did_you_mean(name, known)}")
    values = _top_level(read_config_text(path), path)
    if schema.playground:
        values = Translated(values, path.name).values
    present = {schema.aliases.get(name, name) for name in values}
    return [name for name in known if name not in present and (not wanted or name in wanted)]


def updated_text(path: Path, names: Sequence[str]) -> str:
    """Return the file's text with `names` appended at their defaults, each with its meaning.

    Comments, order and layout of the existing lines do not change.

    Raises:
        ConfigError: keys cannot be appended to this file, for example one in `{...}` form.
    """
    schema = schema_of(path).type
    text = read_config_text(path)
    before = _top_level(text, path)
    defaults = as_dict(schema())
    lines = [
        f"{name}: {yaml_value(defaults[name])}  # {keys_of(schema)[name].help}" for name in names
    ]
    joint = "" if not text or text.endswith("\n") else "\n"
    updated = text + joint + "\n".join(lines) + ("\n" if lines else "")
    try:
        after = yaml.safe_load(updated)
    except (yaml.YAMLError, ValueError):
        after = None
    expected = {**before, **{name: defaults[name] for name in names}}
    if lines and after != expected:
        raise ConfigError(
            f"{path}: keys cannot be appended to this layout; write one 'key: value' a line."
        )
    return updated


def _top_level(text: str, path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date such as 2024-99-99
        raise ConfigError(f"{path}: not readable as YAML: {short_reason(error, 400)}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected lines of 'key: value' at the top.")
    return loaded


def yaml_value(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).split("\n")[0]
