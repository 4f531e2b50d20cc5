"""Networks that regress key points: a backbone of timm and one linear layer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.baselines import read_size
from clickmap_cli.models.timm_models import (
    RELEASE,
    create_network,
    get_own_size,
    load_pretrained_config,
    set_input_size,
    try_image,
)
from clickmap_cli.models.weights import build_without_memory, require_fitting, seeded
from clickmap_cli.runtime.errors import (
    ConfigError,
    DataError,
)
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_arrays import NpzArrays

NAMES = {
    "ViT-B_16": "vit_base_patch16_224.orig_in21k",
    "ViT-B_32": "vit_base_patch32_224.orig_in21k",
    "ViT-L_16": "vit_large_patch16_224.orig_in21k",
    "ViT-L_32": "vit_large_patch32_224.orig_in21k",
    "ViT-H_14": "vit_huge_patch14_224.orig_in21k",
    "R50-ViT-B_16": "vit_base_r50_s16_224.orig_in21k",
}
"""Name in the original release -> the same network with the same weights in timm."""


@dataclass(frozen=True)
class KeypointInput:
    """Format of the images a network takes.

    Attributes:
        size: height and width.
        mean: (3) values subtracted from RGB in 0..1.
        std: (3) values the result is divided by.
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]


class KeypointNet(torch.nn.Module):
    """A backbone and a linear layer that outputs the position of each key point.

    Args:
        name: name of the network, for messages.
        backbone: module from images (n, 3, height, width) to features (n, n_features).
        n_features: number of features per image.
        n_points: number of key points.
        shown: format of its images.
        seed: seed of the linear layer's random weights, which do not depend on the backbone:
            normal, standard deviation 0.01; its biases are 0.5, so that all points start near the
            centre.

    Attributes:
        name: as given.
        n_points: as given.
        shown: as given.
        notices: messages for the user about its weights.

    Raises:
        ConfigError: `n_points` is not a whole number of at least 1.
    """

    def __init__(
        self,
        name: str,
        backbone: torch.nn.Module,
        n_features: int,
        n_points: int,
        shown: KeypointInput,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if type(n_points) is not int or n_points < 1:
            raise ConfigError(f"{name}: {n_points!r} key points; there must be 1 or more.")
        self.name = name
        self.n_points = n_points
        self.shown = shown
        self.notices: tuple[str, ...] = ()
        self.backbone = backbone
        with seeded(seed):  # its weights are replaced below; this keeps the global generator
            self.finalizer = torch.nn.Linear(n_features, 2 * n_points)
        drawn = generator(seed, "keypoints", "finalizer").standard_normal(
            (2 * n_points, n_features), np.float32
        )
        with torch.no_grad():
            self.finalizer.weight.copy_(torch.from_numpy(drawn * np.float32(0.01)))
            self.finalizer.bias.fill_(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the key points of images.

        Args:
            images: (n, 3, height, width) normalised, of the size the network was built for.

        Returns:
            (n, points, 2) x / width and y / height, 0 to 1 inside the image. The head's own
            precision is used under autocast too, because half precision is coarser than a pixel.
        """
        features = self.backbone(images)
        with torch.autocast(images.device.type, enabled=False):
            places: torch.Tensor = self.finalizer(features.to(self.finalizer.weight.dtype))
        return places.unflatten(1, (self.n_points, 2))

    def blocks(self) -> dict[str, list[torch.nn.Parameter]]:
        """Return the parameters by the names used for freezing: `backbone` and `finalizer`."""
        return {
            "backbone": list(self.backbone.parameters()),
            "finalizer": list(self.finalizer.parameters()),
        }


def build_keypoint_net(
    model_type: str,
    img_size: int | Sequence[int] | None,
    n_points: int,
    pretrained: str | Path | None = None,
    seed: int = 0,
    **overrides: Any,
) -> KeypointNet:
    """Build a network for key points with its weights, on the CPU, in training mode.

    Args:
        model_type: ViT-B_16, ViT-B_32, ViT-L_16, ViT-L_32, ViT-H_14, R50-ViT-B_16, or any network
            of timm by timm's name, with or without the tag of its weights.
        img_size: height and width of its input, one number for a square; None = its own.
        n_points: number of key points.
        pretrained: `timm` downloads timm's weights (those of the original release for its six
            names); a path is an `.npz` of the original release; None draws random weights, which
            `notices` reports. Position embeddings are resized to `img_size` (bicubic, antialiased).
        seed: seed of random weights; the head's do not depend on the backbone's.
        overrides: arguments of timm's constructor, such as depth, embed_dim or proj_drop_rate.

    Returns:
        The network. Its images are normalised with 0.5 and 0.5 for an `.npz`, else as timm says.

    Raises:
        ConfigError: the network does not exist, it cannot take images of that size, or the
            overrides do not fit it.
        DataError: weights are missing, cannot be downloaded, or do not fit.
    """
    name = NAMES.get(model_type, model_type)
    config = load_pretrained_config(name, "model_type", NAMES)
    setting = f"{model_type}: img_size"
    size = read_size(img_size, setting) or get_own_size(config)
    release = str(pretrained).lower() == RELEASE
    path = None if release or pretrained is None else Path(pretrained)
    if path is not None and not path.is_file():
        raise DataError(f"{model_type}: no weights at {path} (looked from {Path.cwd()}).")
    instead = "name an .npz of the original release instead, or nothing"
    backbone = create_network(
        name, model_type, download=release, seed=seed, instead=instead, num_classes=0, **overrides
    )
    with seeded(seed):  # some networks draw new random weights here
        set_input_size(backbone, size, config, setting)
    shown = KeypointInput(size, tuple(config.mean), tuple(config.std))
    if path is not None:
        shown = KeypointInput(size, RELEASE_MEAN, RELEASE_STD)
        notices = load_vit_npz(backbone, path, model_type)
    elif release:
        notices = (f"{model_type}: weights of timm ({name}).",)
    else:
        notices = (f"{model_type}: random weights (nothing pretrained was named).",)
    features = try_image(backbone, size, setting)  # timm has no attribute for their number
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or not features.shape[1]:
        raise ConfigError(f"{model_type} gives no row of features for an image; choose another.")
    network = KeypointNet(model_type, backbone, int(features.shape[1]), n_points, shown, seed)
    network.notices = notices
    return network


def check_keypoint_net(model_type: str, img_size: int, n_points: int) -> None:
    """Raise unless the network exists and takes images of this size; weights are not checked.

    Raises:
        ConfigError: the network does not exist, or cannot take images of that size.
    """
    build_without_memory(lambda: build_keypoint_net(model_type, img_size, n_points))


CLASSIFIER = ("head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias")
"""Arrays that a regression does not use."""

RELEASE_MEAN = (0.5, 0.5, 0.5)
RELEASE_STD = (0.5, 0.5, 0.5)
"""Mean and standard deviation for the release's images, for RGB in 0..1."""

_POSITIONS = "Transformer/posembed_input/pos_embedding"
_ATTENTION = "Transformer/encoderblock_{0}/MultiHeadDotProductAttention_1"
_UNIT = r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)"
_LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"patch_embed\.proj", ("embedding",)),
    (r"norm", ("Transformer/encoder_norm",)),
    (r"blocks\.(\d+)\.norm1", ("Transformer/encoderblock_{0}/LayerNorm_0",)),
    (r"blocks\.(\d+)\.norm2", ("Transformer/encoderblock_{0}/LayerNorm_2",)),
    (r"blocks\.(\d+)\.attn\.qkv", tuple(f"{_ATTENTION}/{q}" for q in ("query", "key", "value"))),
    (r"blocks\.(\d+)\.attn\.proj", (f"{_ATTENTION}/out",)),
    (r"blocks\.(\d+)\.mlp\.fc1", ("Transformer/encoderblock_{0}/MlpBlock_3/Dense_0",)),
    (r"blocks\.(\d+)\.mlp\.fc2", ("Transformer/encoderblock_{0}/MlpBlock_3/Dense_1",)),
    (r"patch_embed\.backbone\.stem\.conv", ("conv_root",)),
    (r"patch_embed\.backbone\.stem\.norm", ("gn_root",)),
    (rf"{_UNIT}\.conv([123])", ("{0}/{1}/conv{2}",)),
    (rf"{_UNIT}\.norm([123])", ("{0}/{1}/gn{2}",)),
    (rf"{_UNIT}\.downsample\.conv", ("{0}/{1}/conv_proj",)),
    (rf"{_UNIT}\.downsample\.norm", ("{0}/{1}/gn_proj",)),
)
"""Layers of timm and their names in the release; a ResNet's blocks and units count from 1."""


def load_vit_npz(network: Any, path: Path, what: str) -> tuple[str, ...]:
    """Load the weights of the original release into a vision transformer, with timm's loader.

    The layout is that of `vit_models/imagenet21k/ViT-B_16.npz` and similar files (Dosovitskiy et
    al., 2021, An image is worth 16x16 words; github.com/google-research/vision_transformer),
    including hybrids with a ResNet. Every parameter is filled and every array is used, except the
    classifier (`head`, `pre_logits`). timm's loader ignores unknown arrays and reshapes those that
    do not fit, so all are checked before. It also resizes position embeddings without antialiasing,
    so they are loaded at the file's grid, and `set_input_size` resizes them to the network's grid
    (bicubic, antialiased, the class token's unchanged).

    Args:
        network: a VisionTransformer of timm with a class token and without a classifier, already at
            its final input size.
        path: the `.npz`.
        what: owner of the weights, for messages.

    Returns:
        Notices about arrays that were left out and embeddings that were resized.

    Raises:
        ConfigError: the network is built differently from those of the release.
        DataError: the file is damaged, or its arrays do not fit; the message names the first few.
    """
    shapes = _shapes_in_file(network, what)
    arrays = NpzArrays(path)
    required = [_POSITIONS, *shapes]
    lacking = [name for name in required if name not in arrays]
    unknown = sorted(set(arrays) - {*required, *CLASSIFIER})
    require_fitting(path, what, lacking=lacking, unknown=unknown)
    misshapen = []
    for name, shape in shapes.items():
        found = _read_numbers(arrays, name).shape
        # GroupNorm's arrays are (1, 1, 1, c) in the original files
        grouped = "/gn" in f"/{name}" and found == (1, 1, 1, *shape)
        if found != shape and not grouped:
            misshapen.append(f"{name} {list(found)} for {list(shape)}")
    positions = _read_numbers(arrays, _POSITIONS).shape
    width = network.pos_embed.shape[-1]
    side = math.isqrt(max(0, positions[1] - 1)) if len(positions) == 3 else 0
    if side < 1 or positions != (1, 1 + side * side, width):
        misshapen.append(f"{_POSITIONS} {list(positions)} for [1, 1 + a square, {width}]")
    require_fitting(path, what, misshapen=misshapen)

    size, grid = network.patch_embed.img_size, network.patch_embed.grid_size
    rows, columns = (length // count for length, count in zip(size, grid, strict=True))
    network.set_input_size(img_size=(side * rows, side * columns))
    network.load_pretrained(str(path))
    network.set_input_size(img_size=size)
    left_out = [name for name in CLASSIFIER if name in arrays]
    notices = []
    if left_out:
        notices.append(f"{what}: {path.name}: its classifier is left out ({', '.join(left_out)}).")
    if (side, side) != grid:
        notices.append(
            f"{what}: {path.name}: position embeddings resized from {side} x {side} patches to "
            f"{grid[0]} x {grid[1]}."
        )
    return tuple(notices)


def _shapes_in_file(network: Any, what: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array that fills the network, except the position embeddings.

    Raises:
        ConfigError: the network has other parts than those of the release.
    """
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    positions = getattr(network, "pos_embed", None)
    fits = (
        grid is not None
        and positions is not None
        and getattr(network, "cls_token", None) is not None
        and getattr(network, "num_prefix_tokens", None) == 1
        and positions.shape[1:-1] == (1 + grid[0] * grid[1],)
    )
    shapes: dict[str, tuple[int, ...]] = {}
    for key, values in network.state_dict().items() if fits else ():
        if key in ("pos_embed", "cls_token"):
            continue
        layer, _, kind = key.rpartition(".")
        names = _find_arrays(layer)
        if not names:
            fits = False
            break
        out, *rest = values.shape
        out //= len(names)
        heads = (
            network.get_submodule(layer.rpartition(".")[0]).num_heads if ".attn." in layer else 0
        )
        if layer.endswith(".qkv"):
            shape = (*rest, heads, out // heads)
        elif heads and rest:
            shape = (heads, rest[0] // heads, out)
        else:  # rows, columns, in, out
            shape = (*rest[1:], *rest[:1], out)
        if kind == "weight":
            kind = "kernel" if rest else "scale"
        shapes |= {f"{name}/{kind}": shape for name in names}
    if not fits:
        raise ConfigError(
            f"{what} is built otherwise than the vision transformers of the original release, so "
            "that its .npz files do not fit; take one of those, or other weights."
        )
    return {"cls": tuple(network.cls_token.shape), **shapes}


def _find_arrays(layer: str) -> tuple[str, ...]:
    """Return the folders of a timm layer in the file; empty if the release has no such layer."""
    for pattern, names in _LAYERS:
        match = re.fullmatch(pattern, layer)
        if match is not None:
            words = match.groups()
            if "stages" in layer:
                stage, unit, *which = words
                words = (f"block{int(stage) + 1}", f"unit{int(unit) + 1}", *which)
            return tuple(name.format(*words) for name in names)
    return ()


def _read_numbers(arrays: NpzArrays, name: str) -> NDArray[Any]:
    """Return an array; raise DataError unless it holds numbers that are finite as float32."""
    values = arrays[name]
    if values.dtype.kind != "f" or not values.dtype.isnative:
        raise DataError(f"{arrays.path}: {name} does not hold floating-point numbers.")
    with np.errstate(over="ignore"):
        if not np.isfinite(values.astype(np.float32)).all():
            raise DataError(f"{arrays.path}: {name} holds numbers that are not finite.")
    return values
