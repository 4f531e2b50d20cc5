"""Networks of timm: their names, input sizes, weights and scores, for the models that use them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.baselines import read_size
from clickmap_cli.models.torch_model import INTERPOLATIONS
from clickmap_cli.models.weights import (
    State,
    evaluating,
    load_state,
    read_state,
    read_weights_setting,
    seeded,
)
from clickmap_cli.runtime.errors import ConfigError, DataError, printable, short_reason
from clickmap_cli.storage.atomic import sha256_of

RELEASE = "timm"
"""Value of `weights` that downloads timm's own weights."""

_MISFITS = (AssertionError, RuntimeError, TypeError, ValueError)
"""Errors of networks that cannot be built with some settings, or cannot take some images."""


class TimmNetwork:
    """A network of timm that is built on demand.

    Args:
        model: its name in timm, with or without the tag of its weights (`resnet50.a1_in1k`).
        what: the model that uses it, for messages.
        weights: `timm` downloads timm's weights, `none` draws random ones; null uses the file.
        weights_path: a checkpoint of the network, of `torch.save` or `.safetensors`.
        requires_size: (height, width) of its input; None = the size its weights were trained at.
        seed: seed of random weights.

    Attributes:
        name: its name in timm.
        config: timm's configuration of it.
        size: height and width of its input.
        mean: (3) values that normalisation subtracts from RGB in 0..1.
        std: (3) values the result is divided by.
        interpolation: method of resizing images for its weights, `bilinear` or `bicubic`.
        n_classes: number of classes it scores; 0 for none.
        notices: messages for the user about the weights.

    Raises:
        ConfigError: the network does not exist, or the settings do not say where its weights come
            from.
    """

    def __init__(
        self,
        model: str,
        what: str,
        *,
        weights: str | None,
        weights_path: str | None,
        requires_size: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.name = model
        self.config = load_pretrained_config(model, what)
        wanted = read_size(requires_size, f"{what}: requires_size")
        self.size = wanted or get_own_size(self.config)
        self.mean: tuple[float, ...] = tuple(self.config.mean)
        self.std: tuple[float, ...] = tuple(self.config.std)
        self.interpolation = require_one_of(
            self.config.interpolation, INTERPOLATIONS, f"{what}: {model}'s interpolation"
        )
        self.n_classes = int(self.config.num_classes)
        self._seed = seed
        self._what = what
        self._path: Path | None = None
        self._download = str(weights).lower() == RELEASE
        if self._download and weights_path:
            raise ConfigError(f"{what}: weights_path is set and weights says {RELEASE}; keep one.")
        self.notices: tuple[str, ...] = ()
        if not self._download:
            self._path = read_weights_setting(weights_path, weights, what, RELEASE)
            if self._path is None:
                self.notices = (
                    f"{what}: {model} has random weights (weights: none); its scores mean nothing.",
                )

    def digest(self) -> str:
        """Return a text that identifies the weights; timm's own are downloaded and hashed.

        Raises:
            DataError: timm's weights cannot be downloaded.
        """
        if self._path is not None:
            return sha256_of(self._path)
        if not self._download:
            return f"random {self._seed}"
        tag = self.config.tag or "no tag"
        return f"{RELEASE} {tag} {state_digest(self._create().state_dict())}"

    def build(self) -> torch.nn.Module:
        """Build the network with its weights, for images of `size`.

        Raises:
            ConfigError: the network cannot take images of that size.
            DataError: the weights are missing or do not fit.
        """
        network = self._create()
        if self._path is not None:
            load_state(network, _read(self._path), self._path)
        set_input_size(network, self.size, self.config, f"{self._what}: requires_size")
        return network

    def _create(self) -> torch.nn.Module:
        return create_network(self.name, self._what, download=self._download, seed=self._seed)


def create_network(
    name: str,
    what: str,
    *,
    download: bool = False,
    seed: int = 0,
    state: State | None = None,
    instead: str = "give weights_path",
    **options: Any,
) -> torch.nn.Module:
    """Build a network of timm for its own input size.

    Args:
        name: the network, with or without the tag of its weights.
        what: owner of the network, for messages.
        download: True for timm's weights, False for random ones or `state`.
        seed: seed of random weights.
        state: weights that timm adapts to the options (it sums the first layer over RGB for grey
            images, and leaves out the last layer for other classes).
        instead: advice if the weights cannot be downloaded.
        options: arguments of timm's constructor.

    Raises:
        ConfigError: the network cannot be built with these options.
        DataError: timm's weights cannot be downloaded.
    """
    import timm

    if state is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        with seeded(seed):
            network: torch.nn.Module = timm.create_model(
                name, pretrained=download or state is not None, **options
            )
    except Exception as error:
        if download:  # hubs raise many types; all mean that the weights could not be downloaded
            raise DataError(
                f"{what}: timm's weights of {name} could not be downloaded "
                f"({short_reason(error)}); {instead}."
            ) from error
        if not isinstance(error, _MISFITS):
            raise
        raise ConfigError(f"{what}: it cannot be built ({short_reason(error)}).") from error
    return network


def get_own_size(config: Any) -> Size:
    """Return height and width of the images that a network's weights were trained with."""
    return int(config.input_size[1]), int(config.input_size[2])


def set_input_size(network: torch.nn.Module, size: Size, config: Any, setting: str) -> None:
    """Adapt a network to images of another size, if it needs adapting.

    Args:
        network: the network, built for its own size.
        size: height and width of the images.
        config: timm's configuration of the network.
        setting: owner and name of the setting that holds the size, for messages.

    Raises:
        ConfigError: the network cannot take images of that size.
    """
    ratio = getattr(getattr(network, "patch_embed", None), "feat_ratio", None)
    steps = (1, 1) if ratio is None else ratio(as_scalar=False)
    if any(side % step for side, step in zip(size, steps, strict=True)):
        raise ConfigError(
            f"{setting} is {list(size)}; its sides must be multiples of the network's patches, "
            f"{list(steps)}."
        )
    own = get_own_size(config)
    if size == own:
        return
    change: Any = getattr(network, "set_input_size", None)
    if change is not None:
        try:
            change(img_size=size)
        except _MISFITS as error:
            raise _refuse_size(size, setting, error) from error
    elif config.fixed_input_size:
        raise ConfigError(
            f"{setting} is {list(size)}; the network takes images of {list(own)} only."
        )


def try_image(
    network: torch.nn.Module, size: Size, setting: str, channels: int = 3
) -> torch.Tensor:
    """Return a network's output for a black image.

    Args:
        network: the network; its mode is left unchanged.
        size: height and width of the image.
        setting: as for `set_input_size`.
        channels: channels of the image.

    Raises:
        ConfigError: the network cannot take the image.
    """
    image = torch.zeros(1, channels, *size, device=next(network.parameters()).device)
    try:
        with evaluating(network), torch.no_grad():
            output: torch.Tensor = network(image)
    except _MISFITS as error:
        raise _refuse_size(size, setting, error) from error
    return output


def _refuse_size(size: Size, setting: str, error: BaseException) -> ConfigError:
    return ConfigError(
        f"{setting} is {list(size)}; the network cannot take such images ({short_reason(error)})."
    )


def load_pretrained_config(name: str, what: str, others: Collection[str] = ()) -> Any:
    """Load timm's configuration of a network's weights: sizes, mean, interpolation, ...

    Args:
        name: the network, with or without the tag of its weights.
        what: owner of the setting, for messages.
        others: other names that the setting takes, to suggest.

    Raises:
        ConfigError: timm lacks the network or the tag.
    """
    import timm
    from timm.models import PretrainedCfg

    if not isinstance(name, str) or not timm.is_model(name):
        known = {word.lower(): word for word in (*timm.list_models(), *others)}
        near = difflib.get_close_matches(str(name).lower(), known, n=3)
        if near:
            advice = f"Did you mean {', '.join(repr(known[word]) for word in near)}?"
        else:
            listed = f"Known: {', '.join(sorted(others))}. " if others else ""
            advice = f"{listed}timm.list_models() lists {len(known) - len(others)}."
        raise ConfigError(f"{what}: timm has no network '{printable(str(name), 80)}'. {advice}")
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        network = name.partition(".")[0]
        tags = [word.partition(".")[2] for word in timm.list_pretrained(f"{network}.*")]
        hint = f"known tags: {', '.join(tags)}" if tags else "it has none; leave the tag out"
        raise ConfigError(f"{what}: {name} has an unknown tag; {hint}.") from error


def _read(path: Path) -> State:
    """Read the named tensors of a checkpoint."""
    if path.suffix != ".safetensors":
        return read_state(path)
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:
        # safetensors raises its own types as well as OSError; all mean an unreadable file
        raise DataError(f"{path}: not a file of tensors ({short_reason(error)}).") from error


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256 over the names, types, shapes and values of tensors."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_class(value: Any, n_classes: int, what: str) -> int | None:
    """Read the index of a class from a config; None = each image's predicted class.

    Args:
        value: the setting.
        n_classes: number of classes of the network.
        what: owner of the setting, for messages.

    Raises:
        ConfigError: the network has no classes, or the index is out of range.
    """
    if n_classes < 1:
        raise ConfigError(f"{what}: the network scores no classes, so nothing has a gradient.")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < n_classes:
        raise ConfigError(
            f"{what}: class_index is {value!r}; the classes are 0 to {n_classes - 1}."
        )
    return value


def select_scores(scores: torch.Tensor, classes: torch.Tensor | int | None) -> torch.Tensor:
    """Select the score of one class of each image.

    Args:
        scores: (n, classes) output of a classifier, before any softmax.
        classes: (n) the class of each image, or one for all; None = the highest of each.

    Returns:
        (n) scores.
    """
    if classes is None:
        return scores.amax(dim=1)
    if isinstance(classes, int):
        return scores[:, classes]
    return scores.gather(1, classes[:, None])[:, 0]


def require_one_of(value: Any, known: Sequence[str], what: str) -> str:
    """Return a word from a config if it is one of the allowed ones.

    Raises:
        ConfigError: the word is not allowed.
    """
    if value not in known:
        raise ConfigError(f"{what} is {value!r}; it must be one of {', '.join(known)}.")
    return str(value)
