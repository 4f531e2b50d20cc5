"""Networks that regress key points: a backbone of timm and one linear layer."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.baselines import size_setting
from clickmap_cli.models.timm_models import RELEASE
from clickmap_cli.models.vit_npz import RELEASE_MEAN, RELEASE_STD, load_vit_npz
from clickmap_cli.models.weights import seeded, without_memory
from clickmap_cli.runtime.errors import (
    ConfigError,
    DataError,
    did_you_mean,
    printable,
    short_reason,
)
from clickmap_cli.runtime.seeding import generator

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
