"""From a model's name and settings in a config to a model that predicts."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.models.downloads import download_note
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.registry import setting_names, settings_of
from clickmap_cli.storage.atomic import sha256_of

_EVERYWHERE = ("device", "requires_size", "weights_path", "repo_id")
"""Settings the field's configs carry for every model: an empty one is no mistake anywhere."""

_EMPTY = (None, False, "")


@dataclass(frozen=True)
class BuiltModel:
    """A model with what identifies its predictions.

    Attributes:
        label: what tables and files call it.
        model: the model.
        settings: all its settings, defaults too.
        identity: a hash of what it is: type, version, settings, weights, and a plugin's file.
        cached: whether its predictions may be kept (`cache: false` in its entry says no).
    """

    label: str
    model: SaliencyModel
    settings: Mapping[str, Any]
    identity: str
    cached: bool = True

    def key(self, stimulus: Stimulus, postprocess: bool) -> str:
        """The key of its prediction of one image: model, image, and how it is finished.

        Raises:
            DataError: what the prediction depends on is missing.
        """
        words = [self.identity, self.model.depends_on(stimulus), stimulus.size, postprocess]
        if self.model.of_file and stimulus.layout:
            words.append(stimulus.layout)
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def model_settings(
    label: str, name: str, given: Mapping[str, Any], device: str
) -> tuple[Any, dict[str, Any], bool]:
    """What a model is made with, before it is made: for checks that need no weights.

    Args:
        label: what tables and files call it.
        name: what it is registered as.
        given: its settings in the config, and whether to `cache` its predictions.
        device: where a network runs that does not set its own device.

    Returns:
        Its class, all its settings, and whether its predictions may be kept.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    made = MODELS.get(name)
    given = dict(given)
    cached = given.pop("cache", True)
    if not isinstance(cached, bool):
        raise ConfigError(f"model {label}: cache is {cached!r}; it must be true or false.")
    known = setting_names(made)
    wanted = {
        key: value
        for key, value in given.items()
        if key in known or not (key in _EVERYWHERE and (value in _EMPTY or key == "device"))
    }
    if "device" in known and wanted.get("device") is None:
        wanted["device"] = device
    return made, settings_of(made, wanted, f"model {label}"), cached


def build_model(
    label: str, name: str, given: Mapping[str, Any], device: str, *, download: bool = True
) -> BuiltModel:
    """Make a registered model; see `model_settings`.

    Args:
        label: what tables and files call it.
        name: what it is registered as.
        given: its settings in the config.
        device: where a network runs that does not set its own device.
        download: whether weights may be downloaded to be identified; without, a dry run can make
            the model, and its identity is not the one of a run.

    Raises:
        ConfigError: the name or a setting is unknown, or a value is wrong.
    """
    made, settings, cached = model_settings(label, name, given, device)
    try:
        model = made(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {label}: {error}") from error
    if not isinstance(model, SaliencyModel):
        raise ConfigError(f"model {label}: {name} is no SaliencyModel.")
    numbers = {k: v for k, v in settings.items() if k not in model.run_only}
    weights = "not downloaded"
    if download or download_note(label, settings) is None:
        weights = model.weights_digest()
    words = [type(model).__qualname__, model.version, model.output, numbers, weights]
    words.append(_code_digest(model))
    text = json.dumps(words, sort_keys=True, default=str)
    return BuiltModel(label, model, settings, hashlib.sha256(text.encode()).hexdigest(), cached)


def try_network(label: str, name: str, given: Mapping[str, Any], device: str) -> Any:
    """The network of a registered model as it is built, with no weights: for checks alone.

    Args:
        label: what tables and files call it.
        name: what it is registered as.
        given: its settings in the config.
        device: where it is to run; it is not put there.

    Returns:
        The network, or None where the model builds none whose weights may be left out.

    Raises:
        ConfigError: there is no such network or no such layer in it, or it cannot take images of
            the size that is asked for.
    """
    made, settings, _ = model_settings(label, name, given, device)
    if not {"weights", "weights_path"} <= set(settings):
        return None
    from clickmap_cli.models.torch_model import TorchSaliencyModel
    from clickmap_cli.models.weights import RANDOM, without_memory

    model = made(**{**settings, "weights": RANDOM, "weights_path": None})
    return without_memory(model.build) if isinstance(model, TorchSaliencyModel) else None


def _code_digest(model: SaliencyModel) -> str:
    """A hash of the file of a model that is not ours: its owner may edit it at any time."""
    module = type(model).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return "" if module.startswith("clickmap_cli.") or file is None else sha256_of(Path(file))


def require_devices(models: Iterable[BuiltModel]) -> None:
    """Whether every GPU that a model is to run on is there, before any of them runs.

    Raises:
        RunError: one is not.
    """
    for wanted in {getattr(built.model, "device", "cpu") for built in models}:
        if wanted not in ("auto", "cpu"):
            choose_device(wanted)
