"""MSI-Net of Kroner et al. (2020): VGG16, context at several scales, a small decoder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.config.fields import Count, OptionalSize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.baselines import read_size
from clickmap_cli.models.torch_model import CheckpointModel
from clickmap_cli.models.weights import State, load_state, read_state, seeded
from clickmap_cli.runtime.errors import ConfigError, DataError, printable
from clickmap_cli.storage.safe_arrays import NpzArrays

STRIDE = 8
"""Sides of the network's input must be multiples of this."""

SALICON_SIZE = (240, 320)
"""Default height and width of the input: those it was trained on."""

_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red; subtracted from red, green, blue
_PAD_VALUE = 126 / 255
_BLOCKS = (("conv1", 64, 2), ("conv2", 128, 2), ("conv3", 256, 3), ("conv4", 512, 3),
           ("conv5", 512, 3))  # fmt: skip
_HALVED = ("conv1", "conv2", "conv3")
_JOINED = ("conv3", "conv4", "conv5")
_ATROUS = (4, 8, 12)
_KINDS = {"kernel": "weight", "weights": "weight", "bias": "bias", "biases": "bias"}
_OF_TRAINING = re.compile(r"(^|/)(Adam(_\d+)?|beta[12]_power|global_step)$")


class MsiNet(torch.nn.Module):
    """The encoder-decoder, 24,934,209 parameters; built with random weights.

    Reference: Kroner, Senden, Driessens and Goebel (2020), Contextual encoder-decoder network for
    visual saliency prediction, Neural Networks 129.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name, width, depth in _BLOCKS:
            block = torch.nn.ModuleDict()
            for at in range(1, depth + 1):
                block[f"{name}_{at}"] = _conv(channels, width, 3, 2 if name == "conv5" else 1)
                channels = width
            self.add_module(name, block)
        joined = sum(width for name, width, _ in _BLOCKS if name in _JOINED)
        self.aspp = torch.nn.ModuleDict({"conv1_1": _conv(joined, 256, 1)})
        for at, dilation in enumerate(_ATROUS, start=2):
            self.aspp[f"conv1_{at}"] = _conv(joined, 256, 3, dilation)
        self.aspp["conv1_5"] = _conv(joined, 256, 1)
        self.aspp["conv2"] = _conv(5 * 256, 256, 1)
        self.decoder = torch.nn.ModuleDict()
        for at, (before, after) in enumerate(((256, 128), (128, 64), (64, 32), (32, 1)), start=1):
            self.decoder[f"conv{at}"] = _conv(before, after, 3)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the maps of images.

        Args:
            images: (n, 3, h, w) RGB in 0..255; sides are multiples of 8.

        Returns:
            (n, h, w) saliency in 0..1; each image's smallest value is 0 and its largest is 1.

        Raises:
            ValueError: a side is not a multiple of 8.
        """
        if any(side % STRIDE for side in images.shape[-2:]):
            raise ValueError(f"sides {tuple(images.shape[-2:])} are no multiples of {STRIDE}")
        return scale_to_one(self.decode(self.context(self.encode(images))))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, 1280, h/8, w/8), the pooled features of the last three blocks."""
        features = images - self.mean
        found = []
        for name, _, _ in _BLOCKS:
            for conv in self.get_submodule(name).values():
                features = functional.relu(conv(features))
            if name in _HALVED:
                features = functional.max_pool2d(features, 2)
            else:  # features are not negative, so zeros below and to the right change no maximum
                features = functional.max_pool2d(functional.pad(features, (0, 1, 0, 1)), 2, 1)
            if name in _JOINED:
                found.append(features)
        return torch.cat(found, dim=1)

    def context(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, 256, h/8, w/8) features with context up to the whole image."""
        branches = [self.aspp[f"conv1_{at}"](features) for at in range(1, 5)]
        everywhere = self.aspp["conv1_5"](features.mean(dim=(2, 3), keepdim=True))
        branches.append(everywhere.expand_as(branches[0]))
        return functional.relu(self.aspp["conv2"](functional.relu(torch.cat(branches, dim=1))))

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """Return the (n, h, w) raw map, with values of either sign."""
        for at in range(1, 4):
            features = functional.relu(self.decoder[f"conv{at}"](double_size(features)))
        return self.decoder["conv4"](features)[:, 0]


def _conv(before: int, after: int, size: int, dilation: int = 1) -> torch.nn.Conv2d:
    """Build a convolution that keeps height and width."""
    return torch.nn.Conv2d(before, after, size, padding=dilation * (size // 2), dilation=dilation)


def double_size(features: torch.Tensor) -> torch.Tensor:
    """Double the height and width, as TensorFlow 1 resizes bilinearly.

    Target pixel i lies at i / 2 of the source: even ones repeat a value, odd ones are the mean of
    two neighbours, and the last repeats the edge. No mode of `interpolate` does this.

    Args:
        features: (n, channels, h, w).

    Returns:
        (n, channels, 2 h, 2 w).
    """
    for axis in (2, 3):
        size = features.shape[axis]
        edge = features.narrow(axis, size - 1, 1)
        after = torch.cat([features.narrow(axis, 1, size - 1), edge], dim=axis)
        features = torch.stack([features, (features + after) / 2], dim=axis + 1)
        features = features.flatten(axis, axis + 1)
    return features


def scale_to_one(maps: torch.Tensor) -> torch.Tensor:
    """Subtract each (h, w) map's minimum and divide by the resulting maximum plus 1e-7."""
    shifted = maps - maps.amin(dim=(1, 2), keepdim=True)
    return shifted / (1e-7 + shifted.amax(dim=(1, 2), keepdim=True))


@dataclass(frozen=True)
class Frame:
    """The place of an image in the network's input; the rest of the input is padding.

    Attributes:
        whole: height and width of the input.
        inner: height and width of the image in it.
    """

    whole: Size
    inner: Size

    @property
    def corner(self) -> Size:
        """Row and column of the image's first pixel; the image is centred."""
        return (self.whole[0] - self.inner[0]) // 2, (self.whole[1] - self.inner[1]) // 2

    def placed(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """Resize (channels, h, w) in 0..1 and pad it to the input's size."""
        top, left = self.corner
        framed = np.full((len(planes), *self.whole), _PAD_VALUE, dtype=np.float32)
        inside = framed[:, top : top + self.inner[0], left : left + self.inner[1]]
        inside[:] = resize(planes, self.inner)
        return framed

    def cropped(self, values: NDArray[Any]) -> NDArray[Any]:
        """Remove the padding from a map of the input."""
        top, left = self.corner
        return values[top : top + self.inner[0], left : left + self.inner[1]]


def place_image(image: Size, wanted: Size | None, pad: bool) -> Frame:
    """Compute the place of an image in the network's input.

    Args:
        image: height and width of the image.
        wanted: height and width of the input; None = the image's own, rounded up to multiples of 8.
        pad: keep the aspect ratio and pad; otherwise the image is stretched.
    """
    whole = wanted or (-(-image[0] // STRIDE) * STRIDE, -(-image[1] // STRIDE) * STRIDE)
    if not pad:
        return Frame(whole, whole)
    ratio = 1.0 if wanted is None else min(whole[0] / image[0], whole[1] / image[1])
    height, width = (max(1, int(side * ratio + 0.5)) for side in image)
    return Frame(whole, (min(height, whole[0]), min(width, whole[1])))


def read_input_size(value: Any, what: str) -> Size | None:
    """Read the size of the network's input from a config; None = each image's own.

    Raises:
        ConfigError: the value is not a size, or a side is not a multiple of 8.
    """
    size = read_size(value, f"{what}: requires_size")
    if size is not None and any(side % STRIDE for side in size):
        raise ConfigError(
            f"{what}: requires_size is {list(size)}; its sides must be multiples of {STRIDE}."
        )
    return size


def from_tensorflow(arrays: Mapping[str, NDArray[Any]], source: Path) -> State:
    """Convert the weights of a TensorFlow checkpoint to this module's names.

    Args:
        arrays: arrays by the names of the variables: `conv1/conv1_1/kernel` (or `weights`) of (h,
            w, in, out) and `conv1/conv1_1/bias` (or `biases`), with or without `:0`. Variables of
            the optimiser are left out.
        source: file they come from, for messages.

    Raises:
        DataError: an array does not hold floating-point numbers, or occurs twice.
    """
    state: State = {}
    for name in arrays:
        variable = name.removesuffix(":0")
        if _OF_TRAINING.search(variable):
            continue
        layer, _, kind = variable.rpartition("/")
        key = f"{layer}.{_KINDS.get(kind, kind)}".replace("/", ".")
        values = np.asarray(arrays[name])
        if values.dtype.kind != "f":
            raise DataError(f"{source}: '{printable(name)}' holds no floating-point numbers.")
        if key in state:
            raise DataError(f"{source}: '{printable(name)}' stands there twice, under two names.")
        if values.ndim == 4:
            values = values.transpose(3, 2, 0, 1)
        state[key] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return state


class MsiNetModel(CheckpointModel):
    """MSI-Net with weights from a file.

    A `.npz` is TensorFlow's release, converted: where TensorFlow is installed, `r =
    tf.train.load_checkpoint(path)` and `numpy.savez("msi_net.npz", **{n: r.get_tensor(n) for n in
    r.get_variable_to_shape_map()})` write it. Any other file must be a checkpoint of `MsiNet`.

    Args:
        weights_path: the file.
        weights: `none` for random weights.
        requires_size: (height, width) of the input, multiples of 8; None = each image's own.
        pad: keep the aspect ratio and pad with grey (126), which is removed from the map again;
            otherwise the image is stretched.
        device: auto, cpu, cuda or mps.
        batch_size: number of images of one size that are predicted together.
        seed: seed of random weights.
    """

    run_only = CheckpointModel.run_only | {"weights_path", "seed"}  # the digest covers both

    def __init__(
        self,
        weights_path: str | None = None,
        weights: str | None = None,
        requires_size: OptionalSize = SALICON_SIZE,
        pad: bool = True,
        device: str = "auto",
        batch_size: Count = 1,
        seed: int = 0,
    ) -> None:
        size = read_input_size(requires_size, "msi_net")
        super().__init__(
            "msi_net",
            weights_path,
            weights,
            seed,
            device=device,
            requires_size=None if size is None else list(size),
            batch_size=batch_size,
            mean=[0] * 3,
            std=[1 / 255] * 3,
        )
        self._pad = pad

    def build(self) -> torch.nn.Module:
        """Build the network with its weights."""
        with seeded(self._seed):
            network = MsiNet()
        if self._path is None:
            return network
        npz = self._path.suffix.lower() == ".npz"
        found = (
            from_tensorflow(NpzArrays(self._path), self._path) if npz else read_state(self._path)
        )
        return load_state(network, found, self._path)

    def stretched_to(self, size: Size) -> Size | None:
        """Return the input's size; None if images are padded instead."""
        return None if self._pad else place_image(size, self.size, pad=False).whole

    def planes(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return (3, h, w) RGB in 0..1, padded."""
        return self._frame(stimulus).placed(np.moveaxis(stimulus.image(), -1, 0))

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict maps of several images, without padding."""
        maps = super().predict_batch(stimuli)
        return [
            self._frame(stimulus).cropped(values)
            for stimulus, values in zip(stimuli, maps, strict=True)
        ]

    def training_maps(
        self, network: torch.nn.Module, images: torch.Tensor, size: Size
    ) -> torch.Tensor:
        """Return (n, h, w) maps without padding, with gradients."""
        top, left = (frame := place_image(size, self.size, self._pad)).corner
        maps = self.forward(network, images)
        return maps[:, top : top + frame.inner[0], left : left + frame.inner[1]]

    def _frame(self, stimulus: Stimulus) -> Frame:
        return place_image(stimulus.size, self.size, self._pad)
