"""Backbones of DeepGaze: four classifiers, and the layers whose activations it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import timm
import torch
import torchvision
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.torch_model import IMAGENET_MEAN, IMAGENET_STD

_RESNET = ("layer3.0.conv2", "layer3.3.conv2", "layer3.5.conv1", "layer3.5.conv2",
           "layer4.1.conv2", "layer4.2.conv2")  # fmt: skip
_EFFICIENTNET = ("_blocks.24._depthwise_conv", "_blocks.26._depthwise_conv",
                 "_blocks.35._project_conv")  # fmt: skip
_DENSENET = tuple(
    f"features.denseblock4.{layer}"
    for layer in ("denselayer32.norm1", "denselayer32.conv1", "denselayer31.conv2")
)
_RESNEXT = ("layer3.5.conv1", "layer3.5.conv2", "layer3.4.conv2", "layer4.2.conv2")

_LAST_BLOCK = 35
"""Last block of EfficientNet-B5 that runs; the layers after it only hold weights."""


class Extractor(torch.nn.Module):
    """A frozen classifier of which some layers are read.

    It stays in evaluation mode even if `train` is called, so its batch norms keep their statistics.

    Args:
        backbone: the classifier.
        layers: names of the modules inside it that are read, in the order they are concatenated in.
        wrapped: True if the checkpoint calls it `1.module` instead of `1`.
    """

    def __init__(
        self, backbone: torch.nn.Module, layers: Sequence[str], wrapped: bool = False
    ) -> None:
        super().__init__()
        inner = torch.nn.ModuleDict({"module": backbone}) if wrapped else backbone
        # number 0 in the checkpoints is the normalisation, which has no weights
        self.features = torch.nn.ModuleDict({"1": inner})
        self._wrapped = wrapped
        self._layers = tuple(layers)
        self.requires_grad_(False)
        self.train()

    @property
    def backbone(self) -> Any:
        """The classifier."""
        inner = self.features["1"]
        return inner["module"] if self._wrapped else inner

    def train(self, mode: bool = True) -> Extractor:
        """Keep evaluation mode, whatever `mode` is."""
        super().train(False)
        return self

    def forward(self, image: torch.Tensor, grid: Size) -> torch.Tensor:
        """Return the activations of the layers, resized to one grid and concatenated.

        Args:
            image: (n, 3, H, W) RGB in 0..255.
            grid: height and width of the output.

        Returns:
            (n, channels, h, w).
        """
        backbone = self.backbone
        kept: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            # a copy: DenseNet's next layer writes into this one
            return lambda _module, _inputs, made: kept.__setitem__(name, made.clone())

        modules = dict(backbone.named_modules())
        hooks = [modules[name].register_forward_hook(keep(name)) for name in self._layers]
        try:
            backbone(normalise(image, next(backbone.parameters()).dtype))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([resize_nearest(kept[name], grid) for name in self._layers], dim=1)


def resnet50() -> tuple[Extractor, int]:
    """Build ResNet-50, trained on stylised ImageNet; also return the number of channels read."""
    return Extractor(torchvision.models.resnet50(weights=None), _RESNET, wrapped=True), 2048


def efficientnet_b5() -> tuple[Extractor, int]:
    """Build EfficientNet-B5; also return the number of channels read."""
    return Extractor(EfficientNetB5(), _EFFICIENTNET), 2416


def densenet201() -> tuple[Extractor, int]:
    """Build DenseNet-201; also return the number of channels read (`norm1` before its ReLU)."""
    return Extractor(torchvision.models.densenet201(weights=None), _DENSENET), 2048


def resnext50() -> tuple[Extractor, int]:
    """Build ResNeXt-50 32x4d; also return the number of channels read."""
    return Extractor(torchvision.models.resnext50_32x4d(weights=None), _RESNEXT), 2560


# --- images and grids ----------------------------------------------------------------------------


def normalise(image: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Take every second pixel and normalise with ImageNet's mean and standard deviation.

    The constants are float64 and every step is rounded to `dtype`, as DeepGaze was trained:
    constants in float32 change log densities by up to 4e-4.

    Args:
        image: (n, 3, H, W) RGB in 0..255.
        dtype: type of the result.

    Returns:
        (n, 3, H // 2, W // 2).
    """
    height, width = image.shape[-2:]
    halved = image[..., ::2, ::2][..., : height // 2, : width // 2]
    # Apple's GPU has no float64
    exact = halved.to("cpu" if image.device.type == "mps" else image.device, torch.float64)
    mean, std = (
        torch.tensor(values, dtype=torch.float64, device=exact.device)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    scaled = (exact / 255).to(dtype).double()
    centred = (scaled - mean).to(dtype).double()
    return (centred / std).to(image.device, dtype)


def resize_nearest(values: torch.Tensor, size: Size) -> torch.Tensor:
    """Resize the last two axes by nearest neighbour, as `interpolate(mode="nearest")`."""
    if tuple(values.shape[-2:]) == size:
        return values
    rows, columns = (
        find_sources(side, wanted).to(values.device)
        for side, wanted in zip(values.shape[-2:], size, strict=True)
    )
    return values.index_select(-2, rows).index_select(-1, columns)


@lru_cache(maxsize=256)
def find_sources(size_in: int, size_out: int) -> torch.Tensor:
    """Return the source index in an axis of `size_in` for each index of an axis of `size_out`.

    The result has shape (size_out). torch computes it in float32 whatever is resized, because two
    types would round differently.
    """
    with torch.inference_mode(False):
        places = torch.arange(size_in, dtype=torch.float32)[None, None]
        return functional.interpolate(places, size=size_out, mode="nearest")[0, 0].long()


# --- EfficientNet-B5 -----------------------------------------------------------------------------


class EfficientNetB5(torch.nn.Module):
    """EfficientNet-B5 built from timm's layers, with the names of DeepGaze's checkpoint.

    It is TensorFlow's variant (batch norm's eps 1e-3) with the padding for an input of 456 pixels,
    which DeepGaze was trained with. timm's padding adapts to the input and differs where a side is
    not a multiple of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        made = timm.create_model("tf_efficientnet_b5", pretrained=False)
        self._conv_stem = _fix_padding(made.conv_stem)
        self._bn0 = made.bn1
        self._blocks = torch.nn.ModuleList(
            _Block(block, expands=stage > 0)
            for stage, blocks in enumerate(made.blocks)
            for block in blocks
        )
        self._conv_head = made.conv_head
        self._bn1 = made.bn2
        self._fc = made.classifier

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Run the network up to the last layer that is read.

        Args:
            image: (n, 3, h, w) normalised.

        Returns:
            (n, 304, h // 32, w // 32) of block 35.
        """
        values = self._bn0(self._conv_stem(image))
        for block in self._blocks[: _LAST_BLOCK + 1]:
            values = block(values)
        return values


class _Block(torch.nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation and projection.

    The batch norms from timm apply their own SiLU.
    """

    def __init__(self, made: Any, expands: bool) -> None:
        super().__init__()
        if expands:
            self._expand_conv = made.conv_pw
            self._bn0 = made.bn1
        self._depthwise_conv = _fix_padding(made.conv_dw)
        self._bn1 = made.bn2 if expands else made.bn1
        self._se_reduce = made.se.conv_reduce
        self._se_expand = made.se.conv_expand
        self._project_conv = made.conv_pwl if expands else made.conv_pw
        self._bn2 = made.bn3 if expands else made.bn2
        self._expands = expands
        self._adds = bool(made.has_skip)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        inside = self._bn0(self._expand_conv(values)) if self._expands else values
        inside = self._bn1(self._depthwise_conv(inside))
        means = inside.mean((2, 3), keepdim=True)
        weights = self._se_expand(functional.silu(self._se_reduce(means)))
        projected: torch.Tensor = self._bn2(self._project_conv(inside * weights.sigmoid()))
        return projected + values if self._adds else projected


class _PaddedConv(torch.nn.Conv2d):
    """A convolution of stride 2 that pads as for an even side: less before than after."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        lacking = self.kernel_size[0] - 2
        before, after = lacking // 2, math.ceil(lacking / 2)
        return super().forward(functional.pad(values, (before, after, before, after)))


def _fix_padding(conv: Any) -> Any:
    """Return the convolution; one of stride 2 gets padding that is the same at every size."""
    if conv.stride == (1, 1):
        return conv
    padded = _PaddedConv(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, groups=conv.groups,
        bias=False,
    )  # fmt: skip
    padded.weight = conv.weight
    return padded
