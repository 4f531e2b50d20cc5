"""Tasks of a network, independent of the training loop: examples, their losses and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from clickmap_cli.runtime.seeding import generator


class HasBytes(Protocol):
    """An array, a tensor, or an example that holds some."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""


Kept = TypeVar("Kept", bound=HasBytes)


class Cache(Generic[Kept]):
    """Decoded images in memory, for as long as they fit; threads and tasks may share a cache.

    Args:
        limit: largest total size of the kept values in bytes.
    """

    def __init__(self, limit: int = 1 << 30) -> None:
        self._left = limit
        self._kept: dict[Hashable, Kept] = {}
        self._lock = Lock()

    def get(self, key: Hashable, read: Callable[[], Kept]) -> Kept:
        """Return the value of a key, which is read unless it is kept."""
        if key in self._kept:
            return self._kept[key]
        value = read()
        with self._lock:
            if key not in self._kept and value.nbytes <= self._left:
                self._kept[key] = value
                self._left -= value.nbytes
        return value


class Task(ABC):
    """Turns items (images, trials) into examples and examples into losses, for `fitting.fit`.

    Attributes:
        network: the network to train, on its device.
        train: items to train on.
        validation: items that choose the best weights; if empty, the training loss does.
        watched: names of the scores that `scores` returns.
        noun: word for items in messages.
    """

    network: nn.Module
    train: Sequence[Any]
    validation: Sequence[Any]
    watched: tuple[str, ...] = ()
    noun: str = "images"

    @abstractmethod
    def name(self, item: Any) -> str:
        """Return the name of an item in messages."""

    @abstractmethod
    def read(self, item: Any, epoch: int | None) -> Any:
        """Read one example, its tensors on the CPU; several threads call this at once.

        Args:
            item: an item of `train` or `validation`.
            epoch: seed of random changes; None = validation, without random changes.

        Raises:
            DataError: the item's file is missing or damaged, or it has no ground truth.
        """

    @abstractmethod
    def losses(self, batch: Sequence[Any], precision: str) -> tuple[torch.Tensor, Sequence[Any]]:
        """Compute (n) float32 losses of examples in one batch, and the outputs `scores` needs.

        Args:
            batch: examples with the same value of `alike`.
            precision: `fp32`, `bf16` or `fp16`; see `autocast`.
        """

    def alike(self, example: Any) -> Hashable:
        """Return a value that must be equal for all examples of a batch."""
        return None

    def scores(self, example: Any, output: Any) -> dict[str, float]:
        """Compute scores of one validation example by the names in `watched`; NaN = undefined."""
        return {}

    def items(self, epoch: int, seed: int) -> list[Any]:
        """Return the items of an epoch in their order."""
        order = generator(seed, "order", str(epoch)).permutation(len(self.train))
        return [self.train[at] for at in order]

    def about(self) -> Mapping[str, Any]:
        """Return plain values that a checkpoint stores with the weights."""
        return {}


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """Return a context that runs a network in half precision if `precision` is `bf16` or `fp16`."""
    device = next(network.parameters()).device
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=half, enabled=half is not None)
