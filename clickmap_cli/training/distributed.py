"""Several processes that train one network together, started by `torchrun`.

Each process takes its share of every step's images; gradients are summed before the step. A step's
loss is divided by its number of images over all processes, so the number of processes changes
nothing beyond rounding. Small tensors are summed on the CPU, which every backend accepts. (Torch's
own wrapper requires the same number of forward passes in every process, which images of different
sizes do not give.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

Item = TypeVar("Item")

_PATIENCE = timedelta(days=2)
"""Timeout: the first process scores folds while the others wait for it."""


@dataclass(frozen=True)
class Group:
    """The processes that train together, and the rank of this one.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True if this is the process that writes files and messages."""
        return self.rank == 0

    def share(self, items: Sequence[Any]) -> list[Any]:
        """Return this process's share of some items."""
        return list(items[self.rank :: self.world])

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum some numbers over processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total.cpu()]

    def gather(self, item: Item) -> list[Item]:
        """Gather the items of all processes, in the order of processes."""
        if self.world == 1:
            return [item]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, item)
        return found

    def broadcast(self, item: Item) -> Item:
        """Return the first process's item."""
        if self.world == 1:
            return item
        holder = [item]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the sum of all gradients; a parameter that nobody used keeps none."""
        if self.world == 1:
            return
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        dist.all_reduce(used)
        for parameter, times in zip(parameters, used.tolist(), strict=True):
            if not times:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)

    def synchronise(self, network: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.world == 1:
            return
        for tensor in network.state_dict().values():
            held = tensor.cpu()
            dist.broadcast(held, src=0)
            tensor.copy_(held)


@contextmanager
def join_processes() -> Iterator[Group]:
    """Join the processes that `torchrun` started; without it, use this process alone.

    On a machine with GPUs, a process takes the GPU of its local rank.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in os.environ:
        yield Group()
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # leaving early would close a connection that others still use
    finally:
        dist.destroy_process_group()
