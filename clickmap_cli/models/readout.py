"""A small trainable saliency network: features of any timm backbone, and a 1x1 readout.

The readout is that of DeepGaze II (Kümmerer et al. 2016): 1x1 convolutions over features that are
resized to one grid, then a learnt blur, then a centre bias, then a softmax over pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional

from clickmap_cli.config.fields import Key, OptionalPositive, OptionalSize, Positive
from clickmap_cli.models.base import Output
from clickmap_cli.models.baselines import read_center_sigma
from clickmap_cli.models.timm_models import TimmNetwork
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.models.weights import (
    evaluating,
    find_module,
    load_state,
    read_state,
    read_weights_setting,
    seeded,
)
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of

CENTER_BIASES = ("uniform", "gaussian")
_UNTRAINED = (
    "readout: its readout is random until `clickmap finetune` trains it; before, its scores mean "
    "nothing."
)
_BLUR_REACH = 3.0
"""Radius of the blur's kernel in standard deviations."""


class _Enough(Exception):  # noqa: N818 - not an error: all features are there
    """Stops a backbone after the last layer that is read."""


class Features(nn.Module):
    """Outputs of named layers of a backbone.

    Args:
        backbone: a network.
        layers: names of modules in it, in the order of the network.
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self._found: list[torch.Tensor] = []
        for at, name in enumerate(layers):
            module = find_module(backbone, name, "readout")
            module.register_forward_hook(self._keeper(at == len(layers) - 1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the (n, channels, h, w) output of each layer.

        Raises:
            DataError: a layer's output has another form.
        """
        self._found = []
        with suppress(_Enough):
            self.backbone(images)
        found, self._found = self._found, []
        for features in found:
            if not isinstance(features, torch.Tensor) or features.ndim != 4:
                raise DataError("readout: a layer gives no (channels, h, w) features.")
        return found

    def _keeper(self, last: bool) -> Any:
        def keep(_module: nn.Module, _given: Any, output: Any) -> None:
            self._found.append(output)
            if last:
                raise _Enough

        return keep


class Readout(nn.Module):
    """1x1 convolutions, each after a layer norm over channels and before a softplus.

    Args:
        channels: number of channels of the features.
        widths: numbers of channels of the hidden layers; a last layer gives a single channel.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [channels, *widths, 1]
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes[:-1])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) from (n, channels, h, w)."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            normed = norm(features.movedim(1, -1)).movedim(-1, 1)
            features = functional.softplus(convolution(normed))
        return features[:, 0]


class Finalizer(nn.Module):
    """Blur, centre bias and softmax.

    The blur's width, the weight of the centre bias, and the centre and widths of a Gaussian centre
    bias are learnt.

    Args:
        sigma: initial width of the blur, in cells of the readout's grid.
        center_bias: `uniform` or `gaussian`.
        center_sigma: initial width of the Gaussian, in image heights and widths.
    """

    def __init__(self, sigma: float, center_bias: str, center_sigma: float) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(sigma).log())
        self.gaussian = center_bias == "gaussian"
        if self.gaussian:
            self.center_bias_weight = nn.Parameter(torch.ones(()))
            self.center = nn.Parameter(torch.zeros(2))
            self.log_widths = nn.Parameter(torch.full((2,), center_sigma).log())

    def forward(self, readout: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (n, height, width) log densities from (n, h, w)."""
        values = self._blurred(readout.float())
        values = functional.interpolate(
            values[:, None], size=size, mode="bilinear", align_corners=False
        )[:, 0]
        if self.gaussian:
            values = values + self.center_bias_weight * self._log_bias(size, values.device)
        return values.flatten(1).log_softmax(1).view_as(values)

    def _blurred(self, values: torch.Tensor) -> torch.Tensor:
        sigma = self.log_sigma.exp()
        # at most as wide as the map, because padding repeats the border
        limit = min(values.shape[1:]) - 1
        radius = max(1, min(limit, round(_BLUR_REACH * float(sigma.detach()))))
        if limit < 1:
            return values
        away = torch.arange(-radius, radius + 1, device=values.device, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (away / sigma) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
        padded = functional.pad(values[:, None], (radius,) * 4, mode="replicate")
        across = functional.conv2d(padded, kernel.movedim(2, 3))
        return functional.conv2d(across, kernel)[:, 0]

    def _log_bias(self, size: tuple[int, int], device: torch.device) -> torch.Tensor:
        """Return the (h, w) logarithm of the Gaussian, up to a constant."""
        widths = self.log_widths.exp()
        along = []
        for axis, side in enumerate(size):
            at = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side - 0.5
            along.append(-0.5 * ((at - self.center[axis]) / widths[axis]) ** 2)
        return along[0][:, None] + along[1]


class ReadoutNetwork(nn.Module):
    """Backbone, readout and finalizer.

    Args:
        features: module that computes the features of images.
        readout: module that turns features into a map.
        finalizer: module that turns the map into a log density.
    """

    def __init__(self, features: Features, readout: Readout, finalizer: Finalizer) -> None:
        super().__init__()
        self.features = features
        self.readout = readout
        self.finalizer = finalizer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) log densities of (n, 3, h, w) images."""
        features = self.features(images)
        grid = features[0].shape[2:]
        alike = [
            functional.interpolate(f.float(), size=grid, mode="bilinear", align_corners=False)
            for f in features
        ]
        size = (int(images.shape[2]), int(images.shape[3]))
        density: torch.Tensor = self.finalizer(self.readout(torch.cat(alike, dim=1)), size)
        return density

    def blocks(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the block names that fine-tuning uses."""
        return {
            "backbone": list(self.features.parameters()),
            "saliency": list(self.readout.parameters()),
            "finalizer": list(self.finalizer.parameters()),
        }


class ReadoutModel(TorchSaliencyModel):
    """A backbone of timm with a readout that `clickmap finetune` trains.

    Args:
        backbone: a network of timm.
        layers: modules of the backbone whose outputs are read, from the earliest to the latest;
            they are resized to the grid of the first.
        weights: weights of the backbone: `timm` downloads timm's, `none` draws random ones.
        weights_path: a checkpoint of the whole network, as `clickmap finetune` writes it.
        widths: numbers of channels of the readout's layers.
        blur_sigma: initial width of the blur, in cells of the readout's grid.
        centerbias: `uniform`, or `gaussian`, whose position and widths are learnt.
        centerbias_sigma: initial width of that Gaussian as a share of the image's height and width;
            0.25 if neither this nor `sigma_ratio` is set.
        sigma_ratio: the same as a share of half the height and width, as in `center_bias`.
        requires_size: (height, width) images are resized to; None = their own.
        seed: seed of random weights.
        kwargs: device, batch_size and dtype, as for every network.
    """

    output: Output = "log_density"
    version = 2

    def __init__(
        self,
        backbone: str = "resnet18",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        weights_path: str | None = None,
        widths: Annotated[Sequence[int], Key(minimum=1)] = (16, 32, 2),
        blur_sigma: Positive = 1.0,
        centerbias: Annotated[str, Key(choices=CENTER_BIASES)] = "gaussian",
        centerbias_sigma: OptionalPositive = None,
        sigma_ratio: OptionalPositive = None,
        requires_size: OptionalSize = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        release = weights == "timm" and not weights_path
        path = None if release else read_weights_setting(weights_path, weights, "readout", "timm")
        self._timm = TimmNetwork(
            backbone,
            "readout",
            weights="timm" if release else "none",
            weights_path=None,
            requires_size=requires_size,
            seed=seed,
        )
        width, notices = read_center_sigma(
            centerbias_sigma, sigma_ratio, "readout", "centerbias_sigma"
        )
        if not layers:
            raise ConfigError("readout: layers is empty; name at least one module.")
        super().__init__(
            requires_size=requires_size, mean=self._timm.mean, std=self._timm.std, **kwargs
        )
        self.interpolation = self._timm.interpolation
        self._layers = tuple(layers)
        self._widths = tuple(widths)
        self._finalizer = (float(blur_sigma), centerbias, float(width))
        self._path: Path | None = path
        self._seed = seed
        self.notices = (_UNTRAINED, *notices) if path is None else notices

    def weights_digest(self) -> str:
        """Return the checkpoint's SHA-256, or a text that determines the initial weights."""
        return f"random {self._seed} {self._timm.digest()}" if self._path is None else sha256_of(
            self._path
        )  # fmt: skip

    def build(self) -> nn.Module:
        """Build the network with its weights."""
        backbone = self._timm.build()
        reset = getattr(backbone, "reset_classifier", None)
        if callable(reset):
            reset(0)  # class scores are not used
        with seeded(self._seed):
            features = Features(backbone, self._layers)
            network = ReadoutNetwork(
                features,
                Readout(_channels(features), self._widths),
                Finalizer(*self._finalizer),
            )
        if self._path is not None:
            load_state(network, read_state(self._path), self._path)
        return network


def _channels(features: Features) -> int:
    """Count the channels of all layers together, by running an empty image."""
    with evaluating(features), torch.no_grad():
        return sum(int(found.shape[1]) for found in features(torch.zeros(1, 3, 64, 64)))
