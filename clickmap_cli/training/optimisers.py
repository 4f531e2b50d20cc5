"""Optimisers with a learning rate for every block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from clickmap_cli.config.saliency import Stage
from clickmap_cli.training.blocks import blocks_of, expanded, trained_by_block


class OptimizerSettings(Protocol):
    """The settings of a training that an optimiser needs."""

    @property
    def optimizer(self) -> str:
        """Name of the optimiser: `adamw`, `adam` or `sgd`."""

    @property
    def momentum(self) -> float:
        """Momentum of `sgd`."""


def make_optimizer(
    network: nn.Module, stage: Stage, settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """Build an optimiser for the parameters that a stage trains, one group per block.

    Raises:
        ConfigError: `block_lr` names a block that the network does not have.

    Reference: adamw Loshchilov and Hutter (2019), adam Kingma and Ba (2015), sgd with momentum
    Sutskever et al. (2013), as in PyTorch.
    """
    trained = trained_by_block(network)
    rates = block_rates(network, stage)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rates[name], "base_lr": rates[name]}
        for name, parameters in trained.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=stage.weight_decay)
    made = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    optimizer: torch.optim.Optimizer = made(groups, weight_decay=stage.weight_decay)
    return optimizer


def block_rates(network: nn.Module, stage: Stage) -> Mapping[str, float]:
    """Return block -> learning rate; a block's own name overrides `head`, which overrides `all`."""
    trained = trained_by_block(network)
    rates = dict.fromkeys(trained, stage.lr)
    order = {"all": 0, "head": 1}
    for name in sorted(stage.block_lr, key=lambda name: order.get(name, 2)):
        for block in expanded([name], blocks_of(network)):
            if block in rates:
                rates[block] = stage.block_lr[name]
    return rates


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every block's rate to its base rate times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def step(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Sequence[nn.Parameter],
    clip_norm: float | None,
) -> bool:
    """Clip the gradients and step; return False and skip the step if they are not finite.

    With fp16 the scaler skips a step whose gradients overflow and reduces its scale; True is
    returned.
    """
    scaler.unscale_(optimizer)
    limit = math.inf if clip_norm is None else clip_norm
    norm = float(nn.utils.clip_grad_norm_(parameters, limit))
    if not math.isfinite(norm) and not scaler.is_enabled():
        return False
    scaler.step(optimizer)
    scaler.update()
    return True
