"""Weights of vision transformers from the `.npz` files of their original release."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.safe_arrays import NpzArrays

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

_SHOWN = 3


@dataclass(frozen=True)
class _Place:
    """Source of a parameter in the file.

    Attributes:
        names: arrays of the file that form the parameter when concatenated in this order.
        shape: shape of each of them in the file.
        part: shape of each of them in the network.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    part: tuple[int, ...]

    def fits(self, array: NDArray[Any]) -> bool:
        """Return True if an array has the shape expected in the file."""
        grouped = self.names[0].rpartition("/")[0].rpartition("/")[2].startswith("gn")
        # GroupNorm's arrays are (1, 1, 1, c) in the original files
        return array.shape == self.shape or (grouped and array.shape == (1, 1, 1, *self.shape))

    def turned(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an array in the network's order of axes."""
        if len(self.part) == 4:  # rows, columns, in, out -> out, in, rows, columns
            return array.transpose(3, 2, 0, 1)
        if len(self.part) == 2:  # in, out, where heads split one of them -> out, in
            return array.reshape(self.part[::-1]).T
        return array.reshape(self.part)


def load_vit_npz(network: Any, path: Path, what: str) -> tuple[str, ...]:
    """Load the weights of the original release into a vision transformer.

    The layout is that of `vit_models/imagenet21k/ViT-B_16.npz` and similar files (Dosovitskiy et
    al., 2021, An image is worth 16x16 words; github.com/google-research/vision_transformer),
    including hybrids with a ResNet. Every parameter is filled and every array is used, except the
    classifier (`head`, `pre_logits`). Position embeddings are resized to the network's grid; see
    `resized`.

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
    grid = _checked(network, what)
    state = network.state_dict()
    places = _places(network, state, what)
    arrays = NpzArrays(path)
    wanted = [_POSITIONS, *(name for place in places.values() for name in place.names)]
    differences = [
        *_listed("lacks", [name for name in wanted if name not in arrays]),
        *_listed("has unknown", sorted(set(arrays) - {*wanted, *CLASSIFIER})),
    ]
    _refuse(differences, path, what)
    found, misfits = _collected(arrays, places)
    positions = _numbers(arrays, _POSITIONS)
    width = state["pos_embed"].shape[-1]
    side = math.isqrt(max(0, positions.shape[1] - 1)) if positions.ndim == 3 else 0
    if side < 1 or positions.shape != (1, 1 + side * side, width):
        misfits.append(f"{_POSITIONS} {list(positions.shape)} for [1, 1 + a square, {width}]")
    _refuse(_listed("has other shapes:", misfits), path, what)
    found["pos_embed"] = resized(torch.from_numpy(positions), grid)
    network.load_state_dict(found)
    return _notices(arrays, (side, side), grid, f"{what}: {path.name}")


def resized(positions: torch.Tensor, grid: Size) -> torch.Tensor:
    """Resize position embeddings to another grid of patches.

    The resizing is bicubic with antialiasing, as `torch.nn.functional.interpolate(mode="bicubic",
    antialias=True)`, for each channel separately; the class token's embedding does not change.
    Nothing changes if the grid already matches.

    Args:
        positions: (1, 1 + side * side, channels) of the class token, then of the patches of a
            square grid, row by row.
        grid: rows and columns of the new grid.

    Returns:
        (1, 1 + rows * columns, channels).
    """
    side = math.isqrt(positions.shape[1] - 1)
    if (side, side) == grid:
        return positions
    planes = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    planes = torch.nn.functional.interpolate(
        planes, size=grid, mode="bicubic", align_corners=False, antialias=True
    )
    return torch.cat([positions[:, :1], planes.flatten(2).transpose(1, 2)], dim=1)


def _checked(network: Any, what: str) -> Size:
    """Return rows and columns of the network's patches; raise if it differs from the release."""
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    positions = getattr(network, "pos_embed", None)
    one_class = (
        getattr(network, "cls_token", None) is not None
        and getattr(network, "num_prefix_tokens", None) == 1
    )
    if grid is None or positions is None or not one_class:
        raise ConfigError(f"{what} {_OTHERWISE}")
    rows, columns = int(grid[0]), int(grid[1])
    if positions.ndim != 3 or positions.shape[1] != 1 + rows * columns:
        raise ConfigError(f"{what} {_OTHERWISE}")
    return rows, columns


_OTHERWISE = (
    "is built otherwise than the vision transformers of the original release, so that its .npz "
    "files do not fit; take one of those, or other weights."
)


def _places(network: Any, state: Mapping[str, torch.Tensor], what: str) -> dict[str, _Place]:
    """Return the source of each parameter, except the position embeddings."""
    places: dict[str, _Place] = {}
    for key, values in state.items():
        if key == "pos_embed":
            continue
        if key == "cls_token":
            places[key] = _Place(("cls",), tuple(values.shape), tuple(values.shape))
            continue
        layer, _, kind = key.rpartition(".")
        folders = _folders(layer)
        if not folders:
            raise ConfigError(f"{what} {_OTHERWISE}")
        if kind == "weight":
            kind = "scale" if values.ndim == 1 else "kernel"
        part = (values.shape[0] // len(folders), *values.shape[1:])
        places[key] = _Place(
            tuple(f"{folder}/{kind}" for folder in folders),
            _shape_in_file(network, layer, part),
            part,
        )
    return places


def _folders(layer: str) -> tuple[str, ...]:
    """Return the names of a timm layer in the file; empty if the release has no such layer."""
    for pattern, names in _LAYERS:
        match = re.fullmatch(pattern, layer)
        if match is None:
            continue
        words = match.groups()
        if "stages" in layer:
            stage, unit, *which = words
            words = (f"block{int(stage) + 1}", f"unit{int(unit) + 1}", *which)
        return tuple(name.format(*words) for name in names)
    return ()


def _shape_in_file(network: Any, layer: str, part: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array in the file, from that of the parameter."""
    if len(part) == 4:
        return (part[2], part[3], part[1], part[0])
    heads = network.get_submodule(layer.rpartition(".")[0]).num_heads if ".attn." in layer else 0
    if layer.endswith(".qkv"):
        return (*part[1:], heads, part[0] // heads)
    if layer.endswith(".attn.proj") and len(part) == 2:
        return (heads, part[1] // heads, part[0])
    return part[::-1]


def _collected(
    arrays: NpzArrays, places: Mapping[str, _Place]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the parameters, and a list of arrays with a wrong shape."""
    found: dict[str, torch.Tensor] = {}
    misfits: list[str] = []
    for key, place in places.items():
        parts = [_numbers(arrays, name) for name in place.names]
        wrong = [
            f"{name} {list(part.shape)} for {list(place.shape)}"
            for name, part in zip(place.names, parts, strict=True)
            if not place.fits(part)
        ]
        misfits += wrong
        if not wrong:
            turned = np.concatenate([place.turned(part) for part in parts])
            found[key] = torch.from_numpy(np.ascontiguousarray(turned))
    return found, misfits


def _numbers(arrays: NpzArrays, name: str) -> NDArray[np.float32]:
    """Return a float32 array; raise DataError unless it holds finite floating-point numbers."""
    values = arrays[name]
    if values.dtype.kind != "f":
        raise DataError(f"{arrays.path}: {name} holds no floating-point numbers.")
    with np.errstate(over="ignore"):
        numbers = np.asarray(values, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{arrays.path}: {name} holds numbers that are not finite.")
    return numbers


def _refuse(differences: Sequence[str], path: Path, what: str) -> None:
    if differences:
        raise DataError(f"{path}: these are no weights of {what}; it {'; it '.join(differences)}.")


def _listed(what: str, words: Sequence[str]) -> list[str]:
    if not words:
        return []
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return [f"{what} {', '.join(word[:120] for word in words[:_SHOWN])}{more}"]


def _notices(arrays: NpzArrays, before: Size, grid: Size, what: str) -> tuple[str, ...]:
    """Describe the arrays that were left out and the embeddings that were resized."""
    left_out = [name for name in CLASSIFIER if name in arrays]
    notices = []
    if left_out:
        notices.append(f"{what}: its classifier is left out ({', '.join(left_out)}).")
    if before != grid:
        notices.append(
            f"{what}: position embeddings resized from {before[0]} x {before[1]} patches to "
            f"{grid[0]} x {grid[1]}."
        )
    return tuple(notices)
