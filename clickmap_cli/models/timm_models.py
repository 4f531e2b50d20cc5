"""Networks of timm: their names, input sizes, weights and scores, for the models that use them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.baselines import size_setting
from clickmap_cli.models.torch_model import INTERPOLATIONS
from clickmap_cli.models.weights import State, load_state, read_state, seeded, weights_setting
from clickmap_cli.runtime.errors import ConfigError, DataError, short_reason
from clickmap_cli.storage.atomic import sha256_of

RELEASE = "timm"
"""Value of `weights` that downloads timm's own weights."""

_MISFITS = (AssertionError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class TimmSettings:
    """Settings of a timm network.

    Attributes:
        model: its name in timm, with or without the tag of its weights (`resnet50.a1_in1k`).
        weights: `timm` downloads timm's weights, `none` draws random ones; null uses the file.
        weights_path: a checkpoint of the network, of `torch.save` or `.safetensors`.
        requires_size: (height, width) of its input; None = the size its weights were trained at.
        seed: seed of random weights.
    """

    model: str
    weights: str | None
    weights_path: str | None
    requires_size: Sequence[int] | None
    seed: int


class TimmNetwork:
    """A network of timm that is built on demand.

    Args:
        settings: the network and the source of its weights.
        what: the model that uses it, for messages.

    Attributes:
        name: its name in timm.
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

    def __init__(self, settings: TimmSettings, what: str) -> None:
        found = load_pretrained_config(settings.model, what)
        self.name = settings.model
        self.own_size: Size = (int(found.input_size[1]), int(found.input_size[2]))
        wanted = size_setting(settings.requires_size, f"{what}: requires_size")
        self.size = wanted or self.own_size
        self.mean: tuple[float, ...] = tuple(found.mean)
        self.std: tuple[float, ...] = tuple(found.std)
        self.interpolation = one_of(
            found.interpolation, INTERPOLATIONS, f"{what}: {self.name}'s interpolation"
        )
        self.n_classes = int(found.num_classes)
        self._fixed = bool(found.fixed_input_size)
        self._tag = found.tag or "no tag"
        self._seed = settings.seed
        self._what = what
        self._path: Path | None = None
        self._download = _is_release(settings, what)
        if not self._download:
            self._path = weights_setting(settings.weights_path, settings.weights, what, RELEASE)
        self.notices: tuple[str, ...] = ()
        if self._path is None and not self._download:
            self.notices = (
                f"{what}: {self.name} has random weights (weights: none); its scores mean nothing.",
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
        return f"{RELEASE} {self._tag} {state_digest(self._made().state_dict())}"

    def build(self) -> torch.nn.Module:
        """Build the network with its weights, for images of `size`.

        Raises:
            ConfigError: the network cannot take images of that size.
            DataError: the weights are missing or do not fit.
        """
        network = self._made()
        if self._path is not None:
            load_state(network, _read(self._path), self._path)
        if self.size != self.own_size:
            self._resize(network)
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
        sides = patch if isinstance(patch, tuple) and len(patch) == 2 else (1, 1)
        if any(side % step for side, step in zip(self.size, sides, strict=True)):
            raise ConfigError(
                f"{self._what}: requires_size is {list(self.size)}; {self.name} wants multiples "
                f"of its patches, {list(sides)}."
            )
        return network

    def _made(self) -> torch.nn.Module:
        """Build the network with timm's weights or random ones, for its own input size."""
        import timm

        if not self._download:
            with seeded(self._seed):
                network: torch.nn.Module = timm.create_model(self.name, pretrained=False)
            return network
        try:
            loaded: torch.nn.Module = timm.create_model(self.name, pretrained=True)
        except Exception as error:
            # hubs raise many types here; all mean that the weights could not be downloaded
            raise DataError(
                f"{self._what}: timm's weights of {self.name} could not be downloaded "
                f"({short_reason(error)}); give weights_path."
            ) from error
        return loaded

    def _resize(self, network: torch.nn.Module) -> None:
        """Resize position embeddings for another input size, if the network has any."""
        change = getattr(network, "set_input_size", None)
        if change is None:
            if self._fixed:
                raise ConfigError(
                    f"{self._what}: {self.name} takes images of {list(self.own_size)} only; leave "
                    "requires_size out."
                )
            return
        try:
            change(img_size=self.size)
        except _MISFITS as error:
            raise ConfigError(
                f"{self._what}: {self.name} cannot take images of {list(self.size)} "
                f"({short_reason(error)})."
            ) from error


def _is_release(settings: TimmSettings, what: str) -> bool:
    """Return True if the settings request timm's own weights."""
    if str(settings.weights).lower() != RELEASE:
        return False
    if settings.weights_path:
        raise ConfigError(f"{what}: weights_path is set and weights says {RELEASE}; keep one.")
    return True


def load_pretrained_config(name: str, what: str) -> Any:
    """Load timm's configuration of a network's weights: sizes, mean, interpolation, ...

    Args:
        name: the network, with or without the tag of its weights.
        what: the model that uses it, for messages.

    Raises:
        ConfigError: timm lacks the network or the tag.
    """
    import timm
    from timm.models import PretrainedCfg

    if not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(f"{what}: timm has no network {name!r}. {_near(name, timm)}")
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        network = name.partition(".")[0]
        tags = [word.partition(".")[2] for word in timm.list_pretrained(f"{network}.*")]
        known = f"known tags: {', '.join(tags)}" if tags else "it has none; leave the tag out"
        raise ConfigError(f"{what}: {name} has an unknown tag; {known}.") from error


def _near(name: object, timm: Any) -> str:
    """Suggest the nearest names, because there are more than a thousand."""
    known = timm.list_models()
    near = difflib.get_close_matches(str(name), known, n=3)
    if near:
        return f"Did you mean {', '.join(repr(word) for word in near)}?"
    return f"It has {len(known)}: timm.list_models() names them."


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


def class_setting(value: Any, n_classes: int, what: str) -> int | None:
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


def class_scores(scores: torch.Tensor, classes: torch.Tensor | int | None) -> torch.Tensor:
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


def one_of(value: Any, known: Sequence[str], what: str) -> str:
    """Return a word from a config if it is one of the allowed ones.

    Raises:
        ConfigError: the word is not allowed.
    """
    if value not in known:
        raise ConfigError(f"{what} is {value!r}; it must be one of {', '.join(known)}.")
    return str(value)
