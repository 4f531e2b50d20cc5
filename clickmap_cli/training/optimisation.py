"""Optimisers with a learning rate for every block, and schedules of the rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from clickmap_cli.config.saliency import Stage
from clickmap_cli.training.blocks import expand_names, get_blocks, get_trained_blocks


def make_optimizer(
    network: nn.Module, stage: Stage, name: str, momentum: float
) -> torch.optim.Optimizer:
    """Build an optimiser for the parameters that a stage trains, one group per block.

    Args:
        network: the network, frozen as the stage wants it.
        stage: settings of the stage.
        name: `adamw`, `adam` or `sgd`.
        momentum: momentum of `sgd`.

    Raises:
        ConfigError: `block_lr` names a block that the network does not have.

    Reference: adamw Loshchilov and Hutter (2019), adam Kingma and Ba (2015), sgd with momentum
    Sutskever et al. (2013), as in PyTorch.
    """
    rates = block_rates(network, stage)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rates[block], "base_lr": rates[block]}
        for block, parameters in get_trained_blocks(network).items()
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=stage.weight_decay)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    optimizer: torch.optim.Optimizer = kind(groups, weight_decay=stage.weight_decay)
    return optimizer


def block_rates(network: nn.Module, stage: Stage) -> Mapping[str, float]:
    """Return block -> learning rate; a block's own name overrides `head`, which overrides `all`."""
    trained = get_trained_blocks(network)
    rates = dict.fromkeys(trained, stage.lr)
    order = {"all": 0, "head": 1}
    for name in sorted(stage.block_lr, key=lambda name: order.get(name, 2)):
        for block in expand_names([name], get_blocks(network)):
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


class Schedule:
    """The factor of every step of a stage.

    Warm-up: (t + 1) / warmup at step t < warmup. Then with s = t - warmup of S = steps - warmup:
    `constant` 1; `cosine` (1 + cos(pi s / S)) / 2; `linear` 1 - s / S; `step` gamma to the power of
    the number of whole `step_epochs` that have passed; `plateau` gamma to the power of the number
    of times that `plateau_patience` monitored values in a row brought no improvement.

    Args:
        stage: settings of the stage.
        steps_an_epoch: number of optimiser steps per epoch.

    Reference: warm-up Goyal et al. (2017), cosine Loshchilov and Hutter (2017); constant, linear,
    step and plateau as PyTorch's LinearLR, StepLR and ReduceLROnPlateau.
    """

    def __init__(self, stage: Stage, steps_an_epoch: int) -> None:
        self._stage = stage
        self._epoch = max(1, steps_an_epoch)
        self._steps = self._epoch * stage.epochs
        self._falls = 0
        self._waited = 0
        self._best = math.inf

    def factor(self, step: int) -> float:
        """Return the factor of the rate at a step, counted from 0 over the whole stage."""
        stage = self._stage
        if step < stage.warmup_steps:
            return (step + 1) / stage.warmup_steps
        if stage.schedule in ("cosine", "linear"):
            rest = max(1, self._steps - stage.warmup_steps)
            done = min(1.0, (step - stage.warmup_steps) / rest)
            linear = stage.schedule == "linear"
            return 1 - done if linear else 0.5 * (1 + math.cos(math.pi * done))
        if stage.schedule == "step":
            return float(stage.gamma ** (step // self._epoch // stage.step_epochs))
        if stage.schedule == "plateau":
            return float(stage.gamma**self._falls)
        return 1.0

    def validated(self, loss: float) -> None:
        """Take the monitored value that `plateau` depends on; lower is better."""
        if loss < self._best:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= self._stage.plateau_patience:
            self._falls, self._waited = self._falls + 1, 0

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {"falls": self._falls, "waited": self._waited, "best": self._best}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of an interrupted training."""
        self._falls, self._waited = int(state["falls"]), int(state["waited"])
        self._best = float(state["best"])
