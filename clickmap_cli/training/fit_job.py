"""The description of one training: task, settings, folder, and listeners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickmap_cli.config.saliency import Stage
from clickmap_cli.training.blocks import BlockRow
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.tasks.base import Task
from clickmap_cli.training.trackers import Row, Tracker

FIRST_SCALE = 65536.0
"""Initial factor of fp16's losses: torch's default."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of a training; see `config.saliency.TrainingSettings`.

    Attributes:
        monitor: column of the history that chooses the best weights, ends stages and drives
            `plateau`; without validation items it is `train_loss`.
        monitor_max: True if higher values are better.
        validate_every: number of epochs between validations; a stage's last epoch always has one.
        validate_steps: number of optimiser steps between validations, in place of `validate_every`,
            counted over all stages; a stage's last step always has one. The history then has the
            column `step` and, besides its row for each epoch, a row for each validation within an
            epoch, whose training loss is the mean of the epoch so far. A stage's `patience` and
            `plateau_patience` then count validations; a stage still ends at an epoch's end. None =
            validate at the end of epochs.
        keep_every: number of epochs between kept `epoch_<n>.pth` files; None = keep none.
        keep_bests: name of a file that is kept whenever the weights are the best so far, with `{}`
            for the epoch; None = keep none.
        loss_scale: initial factor of fp16's losses.
        batch_keys: keys of a config that set `batch_size` and `accumulate`, for messages.
    """

    stages: tuple[Stage, ...]
    batch_size: int = 4
    accumulate: int = 1
    precision: str = "fp32"
    clip_norm: float | None = None
    optimizer: str = "adamw"
    momentum: float = 0.9
    seed: int = 0
    threads: int = 1
    monitor: str = "val_loss"
    monitor_max: bool = False
    validate_every: int = 1
    validate_steps: int | None = None
    keep_every: int | None = None
    keep_bests: str | None = None
    loss_scale: float = FIRST_SCALE
    batch_keys: tuple[str, str] = ("training.batch_size", "training.accumulate")


class Watch:
    """Listener to the events of a training; the methods of this class do nothing."""

    def stage(self, stage: Stage, table: Sequence[BlockRow], steps_left: int) -> None:
        """Handle the start of a stage; `steps_left` counts the remaining steps of all stages."""

    def anew(self, file: Path) -> None:
        """Handle a damaged checkpoint, from which the training cannot resume."""

    def step(self, epoch: str, loss: float) -> None:
        """Handle the end of an optimiser step."""

    def epoch(self, row: Row) -> None:
        """Handle a new row of the history, for an epoch or for a validation within one."""


@dataclass
class FitJob:
    """The full description of one training.

    Attributes:
        task: the network and what it learns.
        settings: settings of the training.
        folder: folder of the checkpoints.
        identity: identity of the training; it does not resume from a checkpoint with another
            identity.
        trackers: trackers that the first process writes to.
        watch: listener to the training's events.
        group: the processes that train together.
    """

    task: Task
    settings: FitSettings
    folder: Path
    identity: str = ""
    trackers: Sequence[Tracker] = ()
    watch: Watch = field(default_factory=Watch)
    group: Group = field(default_factory=Group)
