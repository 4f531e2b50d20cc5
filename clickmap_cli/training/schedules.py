"""Learning rates over the steps of a stage, as factors of the stage's own rate."""

from __future__ import annotations

import math
from typing import Any

from clickmap_cli.config.saliency import Stage


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

    def epoch_ended(self, loss: float) -> None:
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
