"""A YAML file and KEY=VALUE overrides to one checked `ExperimentConfig`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clickmap_cli.config.experiment import (
    ALIASES,
    NO_LONGER_NEEDED,
    NOT_SUPPORTED_YET,
    ExperimentConfig,
)
from clickmap_cli.config.fields import Scope, keys_of
from clickmap_cli.config.validation import check_experiment, check_value
from clickmap_cli.runtime.errors import ConfigError, did_you_mean

MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration and where each value came from.

    Attributes:
        config: the values.
        sources: key -> `default`, `file.yaml:12`, `command line` or `--option`.
        notices: sentences a person should read once (keys that do nothing any more, ...).
    """

    config: ExperimentConfig
    sources: Mapping[str, str]
    notices: tuple[str, ...] = field(default=())


def load_experiment(
    path: Path | None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> LoadedConfig:
    """Read, merge and check the configuration of an experiment.

    Args:
        path: the YAML file; None takes defaults and overrides only.
        overrides: `KEY=VALUE` words; they win over the file.
        options: values of command-line options; they win over everything.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is wrong.
    """
    gathered = _Gathered()
    if path is not None:
        values, lines = _read_yaml(path)
        for name, value in values.items():
            gathered.add(name, value, f"{path.name}:{lines.get(name, 1)}")
    for word in overrides:
        name, value = _parse_override(word)
        gathered.add(name, value, "command line")
    for name, value in (options or {}).items():
        if value is not None:
            gathered.add(name, value, f"--{name.replace('_', '-')}")
    config = _typed(gathered)
    check_experiment(config, gathered.sources)
    if path is not None and "kernel_type" not in gathered.sources:
        gathered.notices.append(
            "kernel_type is not set: blurring with 'circle' (two passes of a flat disk), which is "
            "what the field's scripts do when they say Gaussian. Set kernel_type to be explicit."
        )
    sources = {name: gathered.sources.get(name, "default") for name in keys_of(ExperimentConfig)}
    return LoadedConfig(config, sources, tuple(gathered.all_notices()))


def experiment_from_values(values: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration a manifest recorded, checked like any other.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    gathered = _Gathered()
    for name, value in values.items():
        gathered.add(name, value, "manifest")
    return _typed(gathered)


def as_dict(config: ExperimentConfig) -> dict[str, Any]:
    """The values as plain Python, in the schema's order."""
    return dataclasses.asdict(config)


def numbers_hash(config: ExperimentConfig, scopes: Iterable[Scope], *more: str) -> str:
    """A hash over the keys that change numbers, so that a new job count keeps finished work.

    Args:
        config: the values.
        scopes: `maps` for what `prepare` writes; add `ceiling` for agreement.
        more: anything else the numbers depend on, such as hashes of input files: they count by
            their content, not by the path they happen to have.

    Returns:
        64 hexadecimal digits.
    """
    wanted = set(scopes)
    known = keys_of(ExperimentConfig)
    values = {k: v for k, v in as_dict(config).items() if known[k].scope in wanted}
    text = json.dumps([values, list(more)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class _Gathered:
    """Values, their sources, and keys met on the way that no longer do anything."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.notices: list[str] = []
        self.retired: list[str] = []
        self.unsupported: list[str] = []
        self._known = keys_of(ExperimentConfig)

    def add(self, name: str, value: Any, source: str) -> None:
        if name in NO_LONGER_NEEDED:
            self.retired.append(name)
            return
        if name in NOT_SUPPORTED_YET:
            if value not in (None, False, ""):
                self.unsupported.append(name)
            return
        today = ALIASES.get(name, name)
        if today not in self._known:
            known = [*self._known, *ALIASES]
            raise ConfigError(f"{source}: unknown key '{name[:60]}'. {did_you_mean(name, known)}")
        if today != name and today in self.values and self.values[today] is not None:
            if value in (None, False):
                return  # an old name left empty beside the new one
            if self.sources[today].partition(":")[0] == source.partition(":")[0]:
                raise ConfigError(
                    f"{source}: '{name}' is the old name of '{today}', and both are set; keep one."
                )
        self.values[today] = check_value(today, self._known[today], value, source)
        self.sources[today] = source

    def all_notices(self) -> Iterable[str]:
        yield from self.notices
        if self.retired:
            names = ", ".join(sorted(set(self.retired)))
            yield f"Keys that are no longer needed and were ignored: {names}."
        if self.unsupported:
            names = ", ".join(sorted(set(self.unsupported)))
            yield f"Keys that are not supported yet and were ignored: {names}."


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    text = read_config_text(path)
    try:
        loaded = OmegaConf.create(text)
        plain = OmegaConf.to_container(loaded, resolve=True)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        hint = " YAML is indented with spaces, not tabs." if "\t" in text else ""
        raise ConfigError(f"{path}: not readable as YAML: {_one_line(error)}.{hint}") from error
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{path}: expected lines of 'key: value' at the top, found a list.")
    lines: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        lines = {str(k.value): k.start_mark.line + 1 for k, _ in node.value}
    for name in plain:
        if not isinstance(name, str):
            raise ConfigError(f"{path}: the key {name!r} is not a word.")
    return typing.cast("dict[str, Any]", plain), lines


def read_config_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: the file is missing, is a folder, is not text, or is too large to be a config.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; --config wants a YAML file.")
    if not path.is_file():
        raise ConfigError(f"No config file at {path} (looked from {Path.cwd()}).")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB: not a configuration file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {_one_line(error)}") from error


def _parse_override(word: str) -> tuple[str, Any]:
    name, equals, _ = word.partition("=")
    if not equals or not name:
        raise ConfigError(f"'{word}' is not KEY=VALUE, such as min_clicks=5.")
    try:
        loaded = OmegaConf.to_container(OmegaConf.from_dotlist([word]), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"'{word}': {_one_line(error)}") from error
    assert isinstance(loaded, dict)  # noqa: S101 - from_dotlist makes a mapping
    (key, value), *_ = loaded.items()
    return str(key), value


def _typed(gathered: _Gathered) -> ExperimentConfig:
    """The values as the schema's dataclass; OmegaConf converts by the declared types."""
    schema = OmegaConf.structured(ExperimentConfig)
    for name, value in gathered.values.items():
        try:
            OmegaConf.update(schema, name, value)
        except (OmegaConfBaseException, ValueError) as error:
            wanted = _type_words(name)
            raise ConfigError(
                f"{gathered.sources[name]}: {name} is {value!r}; it must be {wanted}."
            ) from error
    try:
        config = OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"A value is missing ('???' stands for none): {_one_line(error)}"
        ) from error
    assert isinstance(config, ExperimentConfig)  # noqa: S101 - to_object of this very schema
    return config


_TYPE_WORDS = {
    "str": "text", "bool": "true or false", "int": "a whole number", "float": "a number",
    "list[int]": "a list of whole numbers", "None": "null", "Any": "a word or a list",
}  # fmt: skip


def _type_words(name: str) -> str:
    hint = str(next(f.type for f in dataclasses.fields(ExperimentConfig) if f.name == name))
    return " or ".join(_TYPE_WORDS.get(part.strip(), part) for part in hint.split("|"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
