"""EigenCAM: the main direction of variation of a network's features, without class or training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.features import (
    FeatureNetwork,
    build_features,
    choose_normalisation,
    feature_digest,
)
from clickmap_cli.models.principal import principal_component
from clickmap_cli.models.timm_models import one_of
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import ConfigError

DETECTOR = "fasterrcnn_resnet50_fpn"
DETECTOR_LEVELS = ("pool", "3", "2", "1", "0")
"""Levels of the feature pyramid, from the coarsest to the finest."""

_ZEROS = "constant"
_SMOOTH_MODES = (_ZEROS, "reflect", "mirror", "nearest")
_SHORT_SIDE, _LONG_SIDE = 800, 1333  # the detector's own rule for the size of images


class EigenCam(TorchSaliencyModel):
    """The first principal component of a network's features (Muhammad and Yeasin 2020).

    By default the features are those of Faster R-CNN's feature pyramid: the absolute values of all
    five levels are resized bilinearly to one of them, concatenated, centred over positions, and
    projected on their first principal component. A component's sign is arbitrary: here it is the
    one that correlates positively with the mean absolute activation. Negative values become 0; the
    rest is scaled to 0..1 and resized to the image. Images are normalised as the network requires
    (for a timm network, by its pretrained configuration).

    Args:
        backbone: `fasterrcnn_resnet50_fpn`, or any timm or torchvision network with `layers`.
        layers: names of the modules whose outputs are the levels, or one name; None for the
            detector's.
        level: the level that all are resized to: pool, 3, 2, 1 or 0 of the detector, or one of
            `layers`; None = the coarsest (the detector's pool, the last of `layers`).
        component: number of the principal component, from 1.
        invert: use the opposite sign.
        smooth_sigma: sigma of a Gaussian blur of the map in pixels of the image; None = no blur.
        smooth_mode: values the Gaussian assumes outside the map, in SciPy's words: constant
            (zeros), reflect, mirror or nearest.
        detector_resize: resize images to a short side of 800 first, as the detector does.
        weights_path: a checkpoint of the network (the whole detector's, or the whole classifier's).
        weights: `torchvision` or `timm` to download theirs, `none` for random ones.
        seed: seed of random weights.
        device: auto, cpu, cuda or mps.
        batch_size: number of images of one size that go through the network together.
    """

    version = 2
    run_only = TorchSaliencyModel.run_only | {"weights_path"}

    def __init__(
        self,
        backbone: str = DETECTOR,
        layers: Sequence[str] | None = None,
        level: str | int | None = None,
        component: int = 1,
        invert: bool = False,
        smooth_sigma: float | None = None,
        smooth_mode: str = _ZEROS,
        detector_resize: bool = False,
        weights_path: str | None = None,
        weights: str | None = None,
        seed: int = 0,
        device: str = "auto",
        batch_size: int = 1,
    ) -> None:
        mean, std = choose_normalisation(backbone, None if weights_path else weights)
        super().__init__(device, None, batch_size, mean=mean, std=std)
        self._explained: list[float] = []
        if (backbone == DETECTOR) != (layers is None):
            wanted = "needs layers" if layers is None else "has levels of its own; leave layers out"
            raise ConfigError(f"eigencam: backbone {backbone} {wanted}.")
        if layers is not None and not layers:
            raise ConfigError("eigencam: layers is empty; name at least one.")
        if component < 1:
            raise ConfigError(f"eigencam: component is {component}; the first one is 1.")
        if smooth_sigma is not None and smooth_sigma <= 0:
            raise ConfigError(f"eigencam: smooth_sigma is {smooth_sigma}; it must be above 0.")
        self._mode = one_of(smooth_mode, _SMOOTH_MODES, "eigencam: smooth_mode")
        if smooth_sigma is None and self._mode != _ZEROS:
            raise ConfigError(
                f"eigencam: smooth_mode is {self._mode} and smooth_sigma is not set; set it, or "
                "leave smooth_mode out."
            )
        self._backbone = backbone
        names = [layers] if isinstance(layers, str) else layers
        self._layers = None if names is None else [str(name) for name in names]
        levels = DETECTOR_LEVELS if self._layers is None else self._layers[::-1]
        self._level = str(levels[0] if level is None else level)
        if self._level not in levels:
            known = ", ".join(levels)
            raise ConfigError(f"eigencam: level is {level!r}; it must be one of {known}.")
        self._component, self._invert = component, invert
        self._smooth = smooth_sigma
        self._detector_resize = detector_resize
        self._weights = (weights_path, weights, seed)
        self._digest = feature_digest(backbone, weights_path, weights, seed)
        if self._digest.startswith("random"):
            self.notices = ("eigencam: random weights (weights: none); its scores mean nothing.",)

    def weights_digest(self) -> str:
        """Return the checkpoint's SHA-256, or the name of the release, or the seed."""
        return self._digest

    def build(self) -> FeatureNetwork:
        """Build the part of the network that gives the features."""
        return build_features(self._backbone, self._layers, *self._weights)

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) components on the level's grid, rectified, in 0..1."""
        features = self._features(network, images)
        maps = []
        for one in joined_features(features, self._level):
            signed, explained = signed_component(one, self._component)
            maps.append(rectified(-signed if self._invert else signed))
            self._explained.append(explained)
        return torch.stack(maps)

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict maps of several images of one size, at the image's size."""
        self._explained = []
        maps = super().predict_batch(stimuli)
        for stimulus, explained in zip(stimuli, self._explained, strict=True):
            self.details[stimulus.image_id] = {"explained_variance": explained}
        return [
            self._smoothed(resize(values, stimulus.size))
            for stimulus, values in zip(stimuli, maps, strict=True)
        ]

    def predict_variants(self, stimulus: Stimulus) -> dict[str, NDArray[Any]]:
        """Predict with every level, finest last, and either sign: `pool+`, `pool-`, `3+`, ..."""
        network = self.network()
        images = self.batch([stimulus])
        found: dict[str, NDArray[Any]] = {}
        with torch.inference_mode():
            features = self._features(network, images)
            for level in reversed(features):
                signed, _ = signed_component(joined_features(features, level)[0], self._component)
                for sign, values in (("+", signed), ("-", -signed)):
                    heat = rectified(values).float().cpu().numpy()
                    found[f"{level}{sign}"] = self._smoothed(resize(heat, stimulus.size))
        return found

    def _features(self, network: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = network(
            _as_the_detector(images) if self._detector_resize else images
        )
        return found

    def _smoothed(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._smooth is None:
            return values
        from scipy.ndimage import gaussian_filter

        return np.asarray(gaussian_filter(values, self._smooth, mode=self._mode))


def joined_features(features: dict[str, torch.Tensor], level: str) -> torch.Tensor:
    """Concatenate the absolute values of all levels, resized to the grid of one level.

    Args:
        features: level -> (n, channels, its h, its w).
        level: the level whose grid is used.

    Returns:
        (n, channels of all levels, h, w).
    """
    size = features[level].shape[-2:]
    parts = []
    for values in features.values():
        positive = values.abs()
        if positive.shape[-2:] != size:
            positive = functional.interpolate(
                positive, size=size, mode="bilinear", align_corners=False
            )
        parts.append(positive)
    return torch.cat(parts, dim=1)


def signed_component(features: torch.Tensor, number: int) -> tuple[torch.Tensor, float]:
    """Return (h, w) a component of (channels, h, w) features, and its share of the variance.

    The component's sign follows `oriented`. The features are overwritten: at the finest level a
    copy would take longer than the rest.
    """
    positions = features.flatten(1).T
    activation = positions.mean(dim=1)
    found = principal_component(positions, number, overwrite=True)
    signed = found.projection * oriented(found.projection, activation)
    return signed.reshape(features.shape[1:]), found.explained


def rectified(values: torch.Tensor) -> torch.Tensor:
    """Set negative values to 0 and min-max scale the rest to 0..1; zeros if all are equal."""
    heat = torch.relu(values)
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else torch.zeros_like(heat)


def oriented(projection: torch.Tensor, activation: torch.Tensor) -> float:
    """Return the sign, 1 or -1, that makes a projection correlate positively with the activation.

    If they do not correlate at all, return the sign that makes the projection's largest absolute
    value positive.
    """
    together = float(torch.dot(projection, activation - activation.mean()))
    if together == 0:
        together = float(projection[projection.abs().argmax()])
    return 1.0 if together >= 0 else -1.0


def _as_the_detector(images: torch.Tensor) -> torch.Tensor:
    """Resize images to a short side of 800 pixels, or less if the long side would exceed 1333."""
    height, width = images.shape[-2:]
    scale = min(_SHORT_SIDE / min(height, width), _LONG_SIDE / max(height, width))
    return functional.interpolate(
        images, scale_factor=scale, mode="bilinear", align_corners=False,
        recompute_scale_factor=True,
    )  # fmt: skip
