"""Weights of networks: read safely from files, or random where that is asked for aloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.safe_arrays import load_tensors

Network = TypeVar("Network", bound=torch.nn.Module)
State = dict[str, torch.Tensor]

_SHOWN = 3
_INSIDE = ("state_dict", "model_state_dict", "model")
RANDOM = "none"
"""What `weights` says where weights are to be random."""


def weights_setting(
    weights_path: str | None, weights: str | None, what: str, release: str = ""
) -> Path | None:
    """The file of weights, or None where they are to be random.

    Args:
        weights_path: a file.
        weights: `none` for random weights; null otherwise.
        what: whose they are, for messages.
        release: a word for downloaded weights that the caller takes itself, for messages.

    Raises:
        ConfigError: neither is said, or both are.
        DataError: there is no such file.
    """
    random = weights is not None and str(weights).lower() == RANDOM
    if weights is not None and not random:
        words = f"null, {RANDOM} or {release}" if release else f"null or {RANDOM}"
        raise ConfigError(f"{what}: weights is {weights!r}; it must be {words}.")
    if random and weights_path:
        raise ConfigError(f"{what}: weights_path is set and weights says none; keep one.")
    if random:
        return None
    if not weights_path:
        download = f" weights: {release} to download them," if release else ""
        raise ConfigError(
            f"{what}: set weights_path to its checkpoint,{download} or weights: none for random "
            "weights."
        )
    path = Path(weights_path)
    if not path.is_file():
        raise DataError(f"{what}: no weights at {path} (looked from {Path.cwd()}).")
    return path


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights drawn inside are the same every time; outside nothing changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def without_memory(build: Callable[[], Network]) -> Network:
    """A network whose weights have shapes and no values, in hardly any time and memory.

    Args:
        build: makes it with random weights.

    Raises:
        ClickmapError: it cannot be built, as `build` says.
    """
    try:
        with torch.device("meta"):
            return build()
    except Exception:
        # it cannot be built, or it looks at values while it is: then only building it tells
        return build()


def read_state(path: Path) -> State:
    """The named tensors of a checkpoint.

    Args:
        path: a file of `torch.save`: a dict of tensors, or one that holds such a dict as
            `state_dict`, `model_state_dict` or `model`.

    Raises:
        DataError: the file is missing, damaged, or holds anything but tensors and plain values.
    """
    loaded = load_tensors(path)
    for name in _INSIDE:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if not isinstance(loaded, Mapping) or not loaded:
        raise DataError(f"{path}: holds no named tensors.")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise DataError(f"{path}: {str(key)[:60]!r} is no tensor; it is no checkpoint.")
    return dict(loaded)


def load_state(
    network: Network, state: Mapping[str, torch.Tensor], source: Path, name: str = ""
) -> Network:
    """Give a network its weights; every key and shape must fit.

    Args:
        network: whose they are.
        state: tensors by name.
        source: where they come from.
        name: what a person calls the network; its class where empty.

    Raises:
        DataError: they do not; the first few differences are named.
    """
    wanted = network.state_dict()
    differences = [
        *_listed("lacks", [key for key in wanted if key not in state]),
        *_listed("has unknown", [key for key in state if key not in wanted]),
        *_listed(
            "has other shapes:",
            [
                f"{key} {list(state[key].shape)} for {list(wanted[key].shape)}"
                for key in wanted
                if key in state and state[key].shape != wanted[key].shape
            ],
        ),
    ]
    if differences:
        called = name or type(network).__name__
        raise DataError(
            f"{source}: these are no weights of {called}; it {'; it '.join(differences)}."
        )
    network.load_state_dict(dict(state))
    return network


def _listed(what: str, words: list[str]) -> list[str]:
    if not words:
        return []
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return [f"{what} {', '.join(words[:_SHOWN])}{more}"]
