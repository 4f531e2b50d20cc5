"""Networks that regress key points: a backbone of timm and one linear layer."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.baselines import size_setting
from clickmap_cli.models.timm_models import RELEASE
from clickmap_cli.models.weights import seeded, without_memory
from clickmap_cli.runtime.errors import (
    ConfigError,
    DataError,
    did_you_mean,
    printable,
    short_reason,
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

HEAD_STD = 0.01
"""Standard deviation of the head's random weights."""

_SET_HERE = frozenset(
    {
        "cache_dir", "checkpoint_path", "features_only", "img_size", "in_chans", "num_classes",
        "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict",
    }
)  # fmt: skip
_MISFITS = (AssertionError, RuntimeError, TypeError, ValueError)


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
            self.finalizer.weight.copy_(torch.from_numpy(drawn * np.float32(HEAD_STD)))
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
        **overrides: arguments of timm's constructor, such as depth, embed_dim or proj_drop_rate.

    Returns:
        The network. Its images are normalised with 0.5 and 0.5 for an `.npz`, else as timm says.

    Raises:
        ConfigError: the network does not exist, it cannot take images of that size, or the
            overrides do not fit it.
        DataError: weights are missing, cannot be downloaded, or do not fit.
    """
    name, known = _found(model_type)
    own: Size = (int(known.input_size[1]), int(known.input_size[2]))
    size = size_setting(img_size, f"{model_type}: img_size") or own
    release = str(pretrained).lower() == RELEASE
    path = None if release or pretrained is None else _file(pretrained, model_type)
    taken = sorted(_SET_HERE & overrides.keys())
    if taken:
        raise ConfigError(f"{model_type}: {taken[0]} cannot be overridden.")
    backbone = _made(model_type, name, release, seed, overrides)
    with seeded(seed):  # some networks draw new random weights here
        _resize(backbone, model_type, size, own, bool(known.fixed_input_size))
    shown = KeypointInput(size, tuple(known.mean), tuple(known.std))
    if path is not None:
        shown = KeypointInput(size, RELEASE_MEAN, RELEASE_STD)
        notices = load_vit_npz(backbone, path, model_type)
    elif release:
        notices = (f"{model_type}: weights of timm ({name}).",)
    else:
        notices = (f"{model_type}: random weights (nothing pretrained was named).",)
    network = KeypointNet(
        model_type, backbone, _n_features(backbone, size, model_type), n_points, shown, seed
    )
    network.notices = notices
    return network


def check_keypoint_net(model_type: str, img_size: int, n_points: int) -> None:
    """Raise unless the network exists and takes images of this size; weights are not checked.

    Raises:
        ConfigError: the network does not exist, or cannot take images of that size.
    """
    without_memory(lambda: build_keypoint_net(model_type, img_size, n_points))


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode inside; restore every module's mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, was in modes:
            module.training = was


def _found(model_type: str) -> tuple[str, Any]:
    """Return a network's name in timm, and timm's configuration of it."""
    import timm
    from timm.models import PretrainedCfg

    name = NAMES.get(str(model_type), str(model_type))
    if not timm.is_model(name):
        raise ConfigError(
            f"There is no network '{printable(str(model_type))}'. {_near(str(model_type))}"
        )
    try:
        return name, timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        raise ConfigError(
            f"{model_type}: timm knows no such weights; leave the tag out."
        ) from error


def _near(name: str) -> str:
    """Suggest the nearest name, or the six of the release; timm has more than a thousand."""
    import timm

    folded = {word.lower(): word for word in NAMES}
    almost = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.75)
    if almost:
        return did_you_mean(folded[almost[0]], NAMES)
    known = [*NAMES, *timm.list_models()]
    if difflib.get_close_matches(name, known, n=1):
        return did_you_mean(name, known)
    return f"{did_you_mean(name, NAMES)} Any of timm's will do too (timm.list_models())."


def _file(pretrained: str | Path, what: str) -> Path:
    path = Path(pretrained)
    if not path.is_file():
        raise DataError(f"{what}: no weights at {path} (looked from {Path.cwd()}).")
    return path


def _made(
    what: str, name: str, release: bool, seed: int, overrides: dict[str, Any]
) -> torch.nn.Module:
    """Build the backbone without a classifier, with timm's weights or random ones."""
    import timm

    if release:
        try:
            loaded: torch.nn.Module = timm.create_model(
                name, pretrained=True, num_classes=0, **overrides
            )
        except Exception as error:
            # hubs raise many types here; all mean that the weights could not be downloaded
            raise DataError(
                f"{what}: timm's weights of {name} could not be had ({short_reason(error)}); name "
                "an .npz of the original release instead, or nothing."
            ) from error
        return loaded
    try:
        with seeded(seed):
            made: torch.nn.Module = timm.create_model(
                name, pretrained=False, num_classes=0, **overrides
            )
    except _MISFITS as error:
        with_these = f" with {', '.join(overrides)}" if overrides else ""
        raise ConfigError(
            f"{what}: it cannot be built{with_these} ({short_reason(error)})."
        ) from error
    return made


def _resize(network: Any, what: str, size: Size, own: Size, fixed: bool) -> None:
    """Adapt a network to images of another size, if it needs adapting.

    Args:
        network: the network, built for the size `own`.
        what: its name, for messages.
        size: new height and width.
        own: height and width it was built for.
        fixed: True if, without adapting, it takes only the size `own`.
    """
    # read before the size changes: afterwards a hybrid has only the rounded quotient
    ratio = getattr(getattr(network, "patch_embed", None), "feat_ratio", None)
    steps = (1, 1) if ratio is None else ratio(as_scalar=False)
    if any(side % step for side, step in zip(size, steps, strict=True)):
        raise ConfigError(
            f"{what}: img_size is {list(size)}; its sides must be multiples of its patches, "
            f"{list(steps)}."
        )
    if size == own:
        return
    change = getattr(network, "set_input_size", None)
    if change is None:
        if fixed:
            raise ConfigError(f"{what} takes images of {list(own)} only; img_size is {list(size)}.")
        return
    try:
        change(img_size=size)
    except _MISFITS as error:
        raise ConfigError(_no_such_size(what, size, error)) from error


def _n_features(backbone: torch.nn.Module, size: Size, what: str) -> int:
    """Count the features per image by running a black image; timm has no attribute for it."""
    device = next(backbone.parameters()).device
    try:
        with evaluating(backbone), torch.no_grad():
            features = backbone(torch.zeros(1, 3, *size, device=device))
    except _MISFITS as error:
        raise ConfigError(_no_such_size(what, size, error)) from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or not features.shape[1]:
        raise ConfigError(f"{what} gives no row of features for an image; choose another network.")
    return int(features.shape[1])


def _no_such_size(what: str, size: Size, error: BaseException) -> str:
    return f"{what} cannot take images of {list(size)} ({short_reason(error)})."


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
