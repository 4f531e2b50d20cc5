"""Tell which weights a run would download and whether this machine has them already.

Nothing here uses the network; only the caches of torch and of the Hugging Face hub are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

TIMM, TORCHVISION = "timm", "torchvision"
_DETECTOR = "fasterrcnn_resnet50_fpn"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""File names that timm looks for in a repository of the hub, in this order."""


def download_note(what: str, settings: Mapping[str, Any]) -> str | None:
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
    return release_note(what, release, network)


def release_note(what: str, release: str, network: str) -> str | None:
    """Tell whether a network's released weights are on this machine; see `download_note`."""
    if release not in (TIMM, TORCHVISION):
        return None
    places = list(_places(release, network))
    found = next((path for path in places if path is not None and path.is_file()), None)
    if found is not None:
        return f"{what}: its weights ({release}, {network}) are on this machine: {found}."
    if not places:
        return None
    known = [path for path in places if path is not None]
    into = f" to {known[0].parent}" if known else f" to {_hub_cache()}"
    return (
        f"{what}: its weights ({release}, {network}) are not on this machine; a run downloads them"
        f"{into}."
    )


def _places(release: str, network: str) -> Iterator[Path | None]:
    """Yield the paths where the weights would be; None for a file missing from the hub's cache."""
    if release == TORCHVISION:
        url = _torchvision_url(network)
        if url is not None:
            yield _torch_file(url)
        return
    import timm

    try:
        known = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
    except RuntimeError:  # the tag does not exist; building the model reports it
        known = None
    if known is None:
        return
    if known.hf_hub_id:
        yield from _hub_files(known.hf_hub_id, known.hf_hub_filename)
    elif known.url:
        yield _torch_file(known.url)


def _torchvision_url(network: str) -> str | None:
    from torchvision import models

    if network == _DETECTOR:
        return str(models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url)
    if network not in models.list_models():
        return None
    return str(models.get_model_weights(network)["DEFAULT"].url)


def _torch_file(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def _hub_files(repository: str, filename: str | None) -> Iterator[Path | None]:
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    for file in (filename,) if filename else _HUB_FILES:
        found = try_to_load_from_cache(name, file, revision=revision or None)
        yield Path(found) if isinstance(found, str) else None


def _hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)
