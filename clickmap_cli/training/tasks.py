"""What a network is to learn, apart from how: examples, their losses, and how well it does."""

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
        network: what learns, on its device.
        train: items that are learnt from.
        validation: items that choose the best weights; empty = the training loss does.
        watched: names of the scores of `scores`.
        noun: what messages call items.
    """

    network: nn.Module
    train: Sequence[Any]
    validation: Sequence[Any]
    watched: tuple[str, ...] = ()
    noun: str = "images"

    @abstractmethod
    def name(self, item: Any) -> str:
        """What messages call an item."""

    @abstractmethod
    def read(self, item: Any, epoch: int | None) -> Any:
        """One example, its tensors on the CPU; several threads ask at once.

        Args:
            item: of `train` or `validation`.
            epoch: seeds what is random; None = validation, where nothing is.

        Raises:
            DataError: the item's file is missing or damaged, or it has no ground truth.
        """

    @abstractmethod
    def losses(self, batch: Sequence[Any], precision: str) -> tuple[torch.Tensor, Sequence[Any]]:
        """(n) float32 losses of examples that are alike, and what `scores` takes of each.

        Args:
            batch: examples.
            precision: `fp32`, `bf16` or `fp16`; see `autocast`.
        """

    def alike(self, example: Any) -> Hashable:  # noqa: ARG002 - for those who need it
        """What must be equal in a batch."""
        return None

    def scores(self, example: Any, output: Any) -> dict[str, float]:  # noqa: ARG002 - as above
        """Scores of one validation example, by `watched`'s names; NaN = not defined."""
        return {}

    def items(self, epoch: int, seed: int) -> list[Any]:
        """The items of an epoch in their order."""
        order = generator(seed, "order", str(epoch)).permutation(len(self.train))
        return [self.train[at] for at in order]

    def about(self) -> Mapping[str, Any]:
        """Plain values that a checkpoint keeps beside the weights."""
        return {}


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """Where a network runs in half precision, if `bf16` or `fp16` asks for it."""
    device = next(network.parameters()).device
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=half, enabled=half is not None)
