"""Tasks of a network, independent of the training loop: examples, their losses and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from clickmap_cli.runtime.seeding import generator


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
