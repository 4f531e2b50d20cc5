"""Build a model that can predict from its name and settings in a config."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from clickmap_cli.config.benchmark import MODEL_ENTRY, Spec
from clickmap_cli.config.fields import read_settings, settings_of
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Checks, Progress
from clickmap_cli.storage.atomic import sha256_of

_EVERYWHERE = ("device", "requires_size", "weights_path", "repo_id")
"""Settings that the field's configs carry for every model; an empty one is always allowed."""

_EMPTY = (None, False, "")


@dataclass(frozen=True)
class BuiltModel:
    """A model with the data that identify its predictions.

    Attributes:
        label: name of the model in tables and files.
        model: the model.
        settings: all its settings, including defaults.
        identity: hash of type, version, output, settings, weights, and a plugin's file.
        cached: True if its predictions may be cached (`cache: false` in its entry forbids it).
    """

    label: str
    model: SaliencyModel
    settings: Mapping[str, Any]
    identity: str
    cached: bool = True

    def key(self, stimulus: Stimulus, postprocess: bool) -> str:
        """Return the cache key of one image's prediction: model, image, and postprocessing.

        Raises:
            DataError: an input of the prediction is missing.
        """
        words = [self.identity, self.model.depends_on(stimulus), stimulus.size, postprocess]
        if self.model.of_file and stimulus.layout:
            words.append(stimulus.layout)
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def model_settings(
    label: str, name: str, given: Mapping[str, Any], device: str
) -> tuple[Any, dict[str, Any], bool]:
    """Return a model's class and settings without building it, for checks that need no weights.

    Args:
        label: name of the model in tables and files.
        name: registered name of the model.
        given: its settings in the config, including whether to `cache` its predictions.
        device: device for a network that does not set its own.

    Returns:
        Its class, all its settings, and whether its predictions may be cached.

    Raises:
        ConfigError: the name or a setting is unknown, or `cache` is not a boolean.
    """
    made = MODELS.get(name)
    known = {*settings_of(made), *(each.name for each in MODEL_ENTRY)}
    wanted = {
        key: value
        for key, value in given.items()
        if key in known or not (key in _EVERYWHERE and (value in _EMPTY or key == "device"))
    }
    if "device" in known and wanted.get("device") is None:
        wanted["device"] = device
    settings = read_settings(made, wanted, f"model {label}", MODEL_ENTRY)
    del settings["type"]
    return made, settings, settings.pop("cache")


def build_model(
    label: str, name: str, given: Mapping[str, Any], device: str, *, download: bool = True
) -> BuiltModel:
    """Build a registered model; see `model_settings`.

    Args:
        label: name of the model in tables and files.
        name: registered name of the model.
        given: its settings in the config.
        device: device for a network that does not set its own.
        download: whether weights may be downloaded to identify them; if False, a dry run can build
            the model, but its identity differs from that of a real run.

    Raises:
        ConfigError: the name or a setting is unknown, or a value is wrong.
    """
    made, settings, cached = model_settings(label, name, given, device)
    try:
        model = made(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {label}: {error}") from error
    if not isinstance(model, SaliencyModel):
        raise ConfigError(f"model {label}: {name} is not a SaliencyModel.")
    numbers = {k: v for k, v in settings.items() if k not in model.run_only}
    weights = "not downloaded"
    if download or describe_download(label, settings) is None:
        weights = model.weights_digest()
    words = [type(model).__qualname__, model.version, model.output, numbers, weights]
    words.append(_code_digest(model))
    text = json.dumps(words, sort_keys=True, default=str)
    return BuiltModel(label, model, settings, hashlib.sha256(text.encode()).hexdigest(), cached)


def build_models(
    specs: Sequence[Spec], device: str, progress: Progress, *, dry_run: bool
) -> list[BuiltModel]:
    """Build the models of a config; see `build_model`.

    Args:
        specs: names and settings of the models.
        device: device for a network that does not set its own.
        progress: receives the models' notices.
        dry_run: download nothing, say where the weights are, and try networks without weights.

    Raises:
        ConfigError: a name or a setting is unknown, or a network cannot be built.
        MissingDeviceError: a GPU is missing.
    """
    checks, models = Checks(progress), []
    for spec in specs:
        what = f"model {spec.label}"
        with checks.part(what):
            given = (spec.label, spec.name, spec.settings, device)
            built = build_model(*given, download=not dry_run)
            if dry_run:
                try_network(*given)
                _notify_weights(what, built.settings, progress)
            models.append(built)
    with checks.part():
        require_devices(models)
    for text in dict.fromkeys(text for built in models for text in built.model.notices):
        progress.notice(text)
    return models


def _notify_weights(what: str, settings: Mapping[str, Any], progress: Progress) -> None:
    """Give a notice of the weights that a run may download."""
    note, weights = describe_download(what, settings), str(settings.get("weights"))
    if note is not None:
        progress.notice(note)
    elif not settings.get("weights_path") and weights.lower() not in ("none", "false"):
        progress.notice(
            f"{what}: a run downloads its weights ({weights}) unless they are on this machine."
        )


def try_network(label: str, name: str, given: Mapping[str, Any], device: str) -> Any:
    """Build a registered model's network without weights, for checks only.

    Args:
        label: name of the model in tables and files.
        name: registered name of the model.
        given: its settings in the config.
        device: device it would run on; the network is not moved there.

    Returns:
        The network, or None if the model has no network that can be built without weights.

    Raises:
        ConfigError: the network or one of its layers does not exist, or the network cannot take
            images of the requested size.
    """
    made, settings, _ = model_settings(label, name, given, device)
    if not {"weights", "weights_path"} <= set(settings):
        return None
    from clickmap_cli.models.torch_model import TorchSaliencyModel
    from clickmap_cli.models.weights import RANDOM, build_without_memory

    model = made(**{**settings, "weights": RANDOM, "weights_path": None})
    return build_without_memory(model.build) if isinstance(model, TorchSaliencyModel) else None


def _code_digest(model: SaliencyModel) -> str:
    """Hash the file of a user's own model, which may be edited at any time; empty for ours."""
    module = type(model).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return "" if module.startswith("clickmap_cli.") or file is None else sha256_of(Path(file))


def require_devices(models: Iterable[BuiltModel]) -> None:
    """Raise MissingDeviceError unless every GPU that a model needs is available."""
    for wanted in {getattr(built.model, "device", "cpu") for built in models}:
        if wanted not in ("auto", "cpu"):
            choose_device(wanted)


TIMM, TORCHVISION = "timm", "torchvision"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""File names that timm looks for in a repository of the hub, in this order."""


def describe_download(what: str, settings: Mapping[str, Any]) -> str | None:
    """Tell whether the weights that a model's settings require are on this machine.

    Args:
        what: owner of the weights, such as `model eigencam`.
        settings: mapping with `weights`, `weights_path` and the network as `model` or `backbone`.

    Returns:
        A sentence; None if the settings require no download that is known here.
    """
    release = str(settings.get("weights")).lower()
    network = settings.get("model", settings.get("backbone"))
    if settings.get("weights_path") or not isinstance(network, str):
        return None
    return describe_release(what, release, network)


def describe_release(what: str, release: str, network: str) -> str | None:
    """Tell whether a network's released weights are on this machine; see `describe_download`."""
    url, config = None, None
    if release == TORCHVISION:
        url = _find_torchvision_url(network)
    elif release == TIMM:
        import timm

        # building the model reports a network or a tag that does not exist
        with suppress(RuntimeError):
            config = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
        url = config.url if config is not None else None
    if config is not None and config.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.constants import HF_HUB_CACHE

        folder = Path(HF_HUB_CACHE)
        name, _, revision = config.hf_hub_id.partition("@")
        files = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
        cached = [try_to_load_from_cache(name, file, revision=revision or None) for file in files]
        places = [Path(path) for path in cached if isinstance(path, str)]
    elif url:
        import torch

        folder = Path(torch.hub.get_dir()) / "checkpoints"
        places = [folder / Path(urlparse(url).path).name]
    else:
        return None
    found = next((path for path in places if path.is_file()), None)
    if found is not None:
        return f"{what}: its weights ({release}, {network}) are on this machine: {found}."
    return (
        f"{what}: its weights ({release}, {network}) are not on this machine; a run downloads them "
        f"to {folder}."
    )


def _find_torchvision_url(network: str) -> str | None:
    from torchvision import models

    if network == "fasterrcnn_resnet50_fpn":
        return str(models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url)
    if network not in models.list_models():
        return None
    return str(models.get_model_weights(network)["DEFAULT"].url)
