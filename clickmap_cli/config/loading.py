"""Turns a YAML file and KEY=VALUE overrides into one checked configuration."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clickmap_cli.config.benchmark import BENCHMARK_ALIASES, BenchmarkConfig
from clickmap_cli.config.classifier import ClassifierConfig, check_classifier
from clickmap_cli.config.experiment import (
    ALIASES,
    NO_LONGER_NEEDED,
    NOT_SUPPORTED_YET,
    ExperimentConfig,
    blur_window,
)
from clickmap_cli.config.fields import Key, Scope, default_of, keys_of
from clickmap_cli.config.finetune_checks import check_saliency
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
from clickmap_cli.config.reading import parse_override, read_yaml
from clickmap_cli.config.saliency import SALIENCY_ALIASES, SaliencyConfig
from clickmap_cli.config.validation import (
    check_benchmark,
    check_experiment,
    check_value,
    folder_fault,
)
from clickmap_cli.runtime.errors import ConfigError, did_you_mean, short_reason

Config = TypeVar("Config")

_OUTPUT = "--output"
"""The option that sets `output_dir`."""


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
    "saliency": SALIENCY, "keypoints": KEYPOINTS, "heatmap": CLASSIFIER,
    "participant-quality": PARTICIPANT_QUALITY,
}  # fmt: skip
"""Value of the key `task` -> the kind of file."""

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
    if schema.command in ("benchmark", "finetune"):
        gathered.values = copy.deepcopy(gathered.values)
        notices += translate_models(gathered.values, gathered.sources)
    if path is not None and schema.command == "finetune" and "task" not in gathered.values:
        task = default_of(schema.type, "task")
        notices.insert(0, f"{path.name} sets no task: it is read as task: {task}.")
    config = _typed(gathered)
    schema.check(config, gathered.sources)
    place = getattr(config, "output_dir", None)
    fault = None if place is None else folder_fault(place)
    if fault is not None:
        source = gathered.sources.get("output_dir", "default")
        raise ConfigError(f"{source}: {'' if source == _OUTPUT else 'output_dir '}{fault}")
    sources = {name: gathered.sources.get(name, "default") for name in keys_of(schema.type)}
    return LoadedConfig(config, sources, (*notices, *gathered.all_notices()))


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


def load_any(path: Path | None, overrides: Iterable[str] = ()) -> LoadedConfig[Any]:
    """Read, merge and check a configuration of any kind; see `load_config`."""
    schema = EXPERIMENT if path is None else schema_of(path, overrides)
    if schema is EXPERIMENT:
        return load_experiment(path, overrides)
    return load_config(schema, path, overrides)


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
        task = str(values["task"]).lower()
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
    return _typed(gathered)


def as_dict(config: Any) -> dict[str, Any]:
    """Return the values as plain Python objects, in the schema's order."""
    return dataclasses.asdict(config)


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
    """Collects values, their sources, and the keys that no longer do anything."""

    def __init__(self, schema: Schema[Config]) -> None:
        self.schema = schema
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.retired: list[str] = []
        self.unsupported: list[str] = []
        self._known = keys_of(schema.type)

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
                raise ConfigError(f"{source}: '{name}' is read from a file; here it is {here}.")
            known = [*self._known, *aliases]
            raise ConfigError(f"{source}: unknown key '{top[:60]}'. {did_you_mean(top, known)}")
        if today != name and today in self.values and self.values[today] is not None and not inner:
            if value in (None, False):
                return  # an old name left empty beside the new one
            if self.sources[today].partition(":")[0] == source.partition(":")[0]:
                raise ConfigError(
                    f"{source}: '{name}' is the old name of '{today}', and both are set; keep one."
                )
        if inner:
            value = self._with_inner(today, inner, value, source)
        self.values[today] = self._checked(today, value, source)
        self.sources[today] = source

    def _with_inner(self, top: str, inner: str, value: Any, source: str) -> Any:
        """Return the value of a key with one place inside it changed: `datasets.0.root=...`."""
        there = self.values.get(top, default_of(self.schema.type, top))
        if dataclasses.is_dataclass(there) and not isinstance(there, type):
            there = {}
        try:
            holder = OmegaConf.create({top: copy.deepcopy({} if there is None else there)})
            OmegaConf.update(holder, f"{top}.{inner}", value, force_add=True)
        except (OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
            held = (
                f" {top} has {len(there)} in it, counted from 0." if isinstance(there, list) else ""
            )
            raise ConfigError(f"{source}: no such place as {top}.{inner} to set.{held}") from error
        plain = OmegaConf.to_container(holder, resolve=True)
        return typing.cast("dict[str, Any]", plain)[top]

    def _checked(self, name: str, value: Any, source: str) -> Any:
        """Return one value after checking it and the values inside it that the schema describes."""
        inner = default_of(self.schema.type, name)
        if not dataclasses.is_dataclass(inner) or isinstance(inner, type):
            return check_value(name, self._known[name], value, source)
        if value in (None, False):
            # false switches off a part that is on by default
            off = value is False and "enabled" in keys_of(type(inner))
            return {"enabled": False} if off else {}
        if not isinstance(value, dict):
            key = next(iter(keys_of(type(inner))))
            raise ConfigError(
                f"{source}: {name} is {value!r}; it must hold 'key: value' pairs, such as "
                f"{name}.{key}=..."
            )
        known: dict[str, Key] = keys_of(type(inner))
        for word in value:
            if word not in known:
                raise ConfigError(
                    f"{source}: unknown key '{name}.{word}'. {did_you_mean(str(word), known)}"
                )
        return {k: check_value(f"{name}.{k}", known[k], v, source) for k, v in value.items()}

    def all_notices(self) -> Iterable[str]:
        if self.retired:
            names = ", ".join(sorted(set(self.retired)))
            yield f"Keys that are no longer needed and were ignored: {names}."
        if self.unsupported:
            names = ", ".join(sorted(set(self.unsupported)))
            yield f"Keys that are not supported yet and were ignored: {names}."


def _typed(gathered: _Gathered[Config]) -> Config:
    """Return the values as the schema's dataclass; OmegaConf converts them to the declared types.

    Raises:
        ConfigError: a value does not have the declared type, or is missing.
    """
    schema = OmegaConf.structured(gathered.schema.type)
    for name, value in gathered.values.items():
        default = default_of(gathered.schema.type, name)
        within = dataclasses.is_dataclass(default)
        owner = type(default) if within else gathered.schema.type
        for inner, item in value.items() if within else [(name, value)]:
            place = f"{name}.{inner}" if within else name
            try:
                # merge=False: a mapping may replace a default list, not be merged into it
                OmegaConf.update(schema, place, item, merge=False)
            except (OmegaConfBaseException, ValueError) as error:
                wanted = _type_words(owner, inner)
                raise ConfigError(
                    f"{gathered.sources[name]}: {place} is {item!r}; it must be {wanted}."
                ) from error
    try:
        config = OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"A value is missing ('???' stands for none): {short_reason(error, 400)}"
        ) from error
    assert isinstance(config, gathered.schema.type)  # noqa: S101 - to_object of this very schema
    return config


_TYPE_WORDS = {
    "str": "text", "bool": "true or false", "int": "a whole number", "float": "a number",
    "list[int]": "a list of whole numbers, such as [256, 256]", "None": "null",
    "Any": "a word or a list",
}  # fmt: skip


def _type_words(schema: Any, name: str) -> str:
    hint = str(next(f.type for f in dataclasses.fields(schema) if f.name == name))
    return " or ".join(_TYPE_WORDS.get(part.strip(), part) for part in hint.split("|"))
