"""Networks as sources of features: a detector's pyramid, or named layers of any other network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.models.timm_models import load_pretrained_config
from clickmap_cli.models.weights import load_state, read_state, seeded, weights_setting
from clickmap_cli.runtime.errors import ConfigError, DataError, did_you_mean, short_reason
from clickmap_cli.storage.atomic import sha256_of

DOWNLOADED = ("torchvision", "timm")
_DETECTOR = "fasterrcnn_resnet50_fpn"
_RELEASE = "258fb6c6"
"""First digits of the SHA-256 of torchvision's COCO_V1 file, which are in its name."""


class FeatureNetwork(torch.nn.Module):
    """A network that returns (n, channels, h, w) features by the name of their level.

    Args:
        network: the whole network.
        layers: names of modules whose outputs are the levels; None if the network returns the
            levels itself.
    """

    def __init__(self, network: torch.nn.Module, layers: Sequence[str] | None) -> None:
        super().__init__()
        self.network = network
        self._layers = layers
        self._found: dict[str, torch.Tensor] = {}
        for name in layers or ():
            module = _module(network, name)
            module.register_forward_hook(self._keeper(name))

    def forward(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the features of (n, 3, h, w) images, in the order of the levels.

        Raises:
            DataError: a layer's output is not an (n, channels, h, w) tensor.
        """
        self._found = {}
        given = self.network(images)
        if self._layers is None:
            return dict(given)
        found = {name: self._found[name] for name in self._layers if name in self._found}
        for name in self._layers:
            if name not in found or found[name].ndim != 4:
                raise DataError(f"eigencam: the layer {name} gives no (channels, h, w) features.")
        return found

    def _keeper(self, name: str) -> Any:
        def keep(_module: torch.nn.Module, _given: Any, output: Any) -> None:
            # a later in-place layer must not change what was kept
            self._found[name] = output.clone() if isinstance(output, torch.Tensor) else output

        return keep


def feature_digest(backbone: str, weights_path: str | None, weights: str | None, seed: int) -> str:
    """Return a text that identifies the weights: the file's SHA-256, the release, or the seed.

    Raises:
        ConfigError: the settings do not say where weights come from.
    """
    if weights in DOWNLOADED and not weights_path:
        return f"{weights} {backbone}"
    path = _file(backbone, weights_path, weights)
    return f"random {seed}" if path is None else sha256_of(path)


def choose_normalisation(
    backbone: str, weights: str | None
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Return mean and standard deviation (3 each) for a network's images; None = ImageNet's.

    A timm network has its own. torchvision's detectors normalise images themselves, so they receive
    RGB in 0..1. torchvision's other networks were trained with ImageNet's values, and so was the
    backbone of `fasterrcnn_resnet50_fpn`, which is used without the rest of the detector.

    Args:
        backbone: as for `build_features`; an unknown name raises nothing here.
        weights: as for `build_features`.

    Raises:
        ConfigError: timm has the network but not the tag in its name.
    """
    if backbone == _DETECTOR:
        return None, None
    if _is_timm(backbone, weights):
        known = load_pretrained_config(backbone, "eigencam")
        return known.mean, known.std
    from torchvision.models import detection, list_models

    inside = backbone in list_models(module=detection)
    return ((0.0,) * 3, (1.0,) * 3) if inside else (None, None)


def _is_timm(backbone: str, weights: str | None) -> bool:
    """Return True if timm builds the network; torchvision's weights need torchvision's network."""
    import timm

    return weights != "torchvision" and timm.is_model(backbone)


def build_features(
    backbone: str,
    layers: Sequence[str] | None,
    weights_path: str | None,
    weights: str | None,
    seed: int,
) -> FeatureNetwork:
    """Build a network and load its weights.

    Args:
        backbone: `fasterrcnn_resnet50_fpn`, or the name of a timm or torchvision network.
        layers: names of modules; None for the detector's pyramid.
        weights_path: a checkpoint.
        weights: `torchvision` or `timm` to download weights, `none` for random ones.
        seed: seed of random weights.

    Raises:
        ConfigError: the network or a layer does not exist, or the settings do not say where weights
            come from.
        DataError: the weights are missing, damaged or do not fit.
    """
    download = weights if weights in DOWNLOADED and not weights_path else None
    path = None if download else _file(backbone, weights_path, weights)
    with seeded(seed):
        if backbone == _DETECTOR:
            return FeatureNetwork(_detector(path, download), None)
        network = _classifier(backbone, download)
    if path is not None:
        load_state(network, read_state(path), path)
    return FeatureNetwork(network, layers)


def _file(backbone: str, weights_path: str | None, weights: str | None) -> Path | None:
    release = "torchvision" if backbone == _DETECTOR else "timm"
    return weights_setting(weights_path, weights, "eigencam", release)


def _detector(path: Path | None, download: str | None) -> torch.nn.Module:
    """Build the backbone and feature pyramid of Faster R-CNN, without its heads."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    released = bool(download) or (path is not None and sha256_of(path).startswith(_RELEASE))
    # torchvision does the same: this release was trained with eps 0
    norm = partial(FrozenBatchNorm2d, eps=0.0) if released else FrozenBatchNorm2d
    network: torch.nn.Module = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm
    )
    if path is not None:
        state = read_state(path)
    elif download is not None:
        state = _downloaded_detector(download)
    else:
        return network
    kept = {}
    for key, value in state.items():
        part = key.removeprefix("backbone.")
        if part.endswith("num_batches_tracked") or part.split(".")[0] not in ("body", "fpn"):
            continue
        words = part.split(".")
        if words[0] == "fpn" and len(words) == 4:  # fpn.inner_blocks.0.weight of older releases
            words.insert(3, "0")
        kept[".".join(words)] = value
    source = path or Path("the torchvision release")
    return load_state(network, kept, source, "torchvision's Faster R-CNN")


def _downloaded_detector(release: str) -> dict[str, torch.Tensor]:
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    if release != "torchvision":
        raise ConfigError(f"eigencam: weights is {release}; the detector's are torchvision's.")
    try:
        found = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(progress=False)
    except OSError as error:
        raise DataError(
            f"eigencam: torchvision's weights could not be downloaded ({short_reason(error)}); "
            "give weights_path."
        ) from error
    return dict(found)


def _classifier(name: str, download: str | None) -> torch.nn.Module:
    """Build a timm network, or torchvision's if timm does not build it."""
    import timm
    from torchvision import models

    try:
        if _is_timm(name, download):
            made: torch.nn.Module = timm.create_model(name, pretrained=download == "timm")
            return made
        if name in models.list_models():
            settings = {"weights": "DEFAULT" if download == "torchvision" else None}
            builder = models.get_model_builder(name)
            if "weights_backbone" in inspect.signature(builder).parameters:
                settings["weights_backbone"] = None  # otherwise detectors download them
            network: torch.nn.Module = builder(**settings)
            return network
    except OSError as error:
        raise DataError(
            f"eigencam: the weights of {name} could not be downloaded ({short_reason(error)}); "
            "give weights_path."
        ) from error
    known = [_DETECTOR, *timm.list_models(), *models.list_models()]
    raise ConfigError(f"eigencam: there is no network '{name}'. {_near(name, known)}")


def _module(network: torch.nn.Module, name: str) -> torch.nn.Module:
    modules = dict(network.named_modules())
    if name not in modules or not name:
        raise ConfigError(f"eigencam: there is no layer '{name}'. {_near(name, modules)}")
    return modules[name]


def _near(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Suggest the nearest known name, without listing hundreds."""
    said = did_you_mean(name, known)
    if said.startswith("Did"):
        return said
    return f"There are {len(known)}, such as {list(known)[-1]!r}."
