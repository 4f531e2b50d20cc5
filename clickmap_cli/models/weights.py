"""Weights of networks: read safely from files, or random if a config explicitly requests that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from clickmap_cli.runtime.errors import ConfigError, DataError, did_you_mean, printable
from clickmap_cli.storage.safe_arrays import load_tensors

Network = TypeVar("Network", bound=torch.nn.Module)
State = dict[str, torch.Tensor]

_SHOWN = 3
_INSIDE = ("state_dict", "model_state_dict", "model")
RANDOM = "none"
"""Value of `weights` that requests random weights."""


def read_weights_setting(
    weights_path: str | None, weights: str | None, what: str, release: str = ""
) -> Path | None:
    """Return the file of weights, or None if random weights are requested.

    Args:
        weights_path: a file.
        weights: `none` for random weights; null otherwise.
        what: owner of the weights, for messages.
        release: word for downloaded weights, which the caller handles itself, for messages.

    Raises:
        ConfigError: neither is set, both are, or `weights` has another value.
        DataError: the file does not exist.
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


def random_weights_notice(what: str) -> str:
    """Return the notice that a model has random weights."""
    return f"{what}: random weights (weights: none); its scores mean nothing."


def find_module(network: torch.nn.Module, name: str, what: str) -> torch.nn.Module:
    """Return a network's module by name; raise ConfigError if it does not exist."""
    modules = dict(network.named_modules())
    if name not in modules or not name:
        near = suggest_nearest(name, list(modules))
        raise ConfigError(f"{what}: there is no layer '{name}'. {near}")
    return modules[name]


def suggest_nearest(name: str, known: Sequence[str]) -> str:
    """Suggest the nearest known name, without listing hundreds."""
    words = did_you_mean(name, known)
    return words if words.startswith("Did") else f"There are {len(known)}, such as {known[-1]!r}."


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the same random weights inside every time, and leave the outer generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_without_memory(build: Callable[[], Network]) -> Network:
    """Build a network whose weights have shapes but no values, with little time and memory.

    If that fails, the network is built with values instead.

    Args:
        build: function that builds the network with random weights.

    Raises:
        ClickmapError: the network cannot be built; `build` raises it.
    """
    try:
        with torch.device("meta"):
            return build()
    except Exception:
        # it cannot be built, or reads values during the build; only a real build tells which
        return build()


def read_state(path: Path) -> State:
    """Read the named tensors of a checkpoint.

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
            raise DataError(
                f"{path}: '{printable(str(key))}' is not a tensor; the file is not a checkpoint."
            )
    return dict(loaded)


def load_state(
    network: Network, state: Mapping[str, torch.Tensor], source: Path, name: str = ""
) -> Network:
    """Load weights into a network; every key and shape must match.

    Args:
        network: the network.
        state: tensors by name.
        source: file they come from, for messages.
        name: name of the network in messages; its class if empty.

    Raises:
        DataError: keys or shapes differ; the message names the first few differences.
    """
    wanted = network.state_dict()
    require_fitting(
        source,
        name or type(network).__name__,
        lacking=[key for key in wanted if key not in state],
        unknown=[key for key in state if key not in wanted],
        misshapen=[
            f"{key} {list(state[key].shape)} for {list(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    )
    network.load_state_dict(dict(state))
    return network


def require_fitting(
    source: Path,
    network: str,
    *,
    lacking: Sequence[str] = (),
    unknown: Sequence[str] = (),
    misshapen: Sequence[str] = (),
) -> None:
    """Raise DataError, with the first few differences, if weights do not fit a network.

    Args:
        source: file of the weights.
        network: name of the network.
        lacking: names that the file should have.
        unknown: names that the network does not have.
        misshapen: names with the found and the required shape.
    """
    differences = []
    kinds = (("lacks", lacking), ("has unknown", unknown), ("has other shapes:", misshapen))
    for what, words in kinds:
        if words:
            more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
            shown = ", ".join(printable(word) for word in words[:_SHOWN])
            differences.append(f"it {what} {shown}{more}")
    if differences:
        raise DataError(f"{source}: not the weights of {network}; {'; '.join(differences)}.")


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
