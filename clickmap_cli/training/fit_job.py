"""One training: what, how, where it is kept, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickmap_cli.config.finetune import Stage
from clickmap_cli.training.blocks import BlockRow
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.tasks import Task
from clickmap_cli.training.trackers import Row, Tracker

FIRST_SCALE = 65536.0
"""What fp16's losses are multiplied by at first: torch's own choice."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained; see `config.finetune.TrainingSettings`.

    Attributes:
        monitor: column of the history that chooses the best weights, ends stages and drives
            `plateau`; without validation items it is `train_loss`.
        monitor_max: whether more of it is better.
        validate_every: epochs from one validation to the next; a stage's last epoch always has one.
        validate_steps: optimiser's steps from one validation to the next, in place of
            `validate_every`, counted over all stages; a stage's last step always has one. The
            history then has the column `step` and, beside its row for each epoch, a row for each
            validation within an epoch, whose training loss is the mean of the epoch so far. A
            stage's `patience` and `plateau_patience` then count validations; a stage still ends
            at an epoch's end. None = validate at the end of epochs.
        keep_every: epochs from one kept `epoch_<n>.pth` to the next; None = none is.
        keep_bests: name of a file that is kept whenever the weights are the best so far, with `{}`
            for the epoch; None = none is.
        loss_scale: what fp16's losses are multiplied by at first.
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
    """What is told of a training while it runs; by default nothing is done with it."""

    def stage(self, stage: Stage, table: Sequence[BlockRow], steps_left: int) -> None:
        """A stage begins; `steps_left` counts those of all stages that are to come."""

    def anew(self, file: Path) -> None:
        """A checkpoint is damaged, so nothing can be gone on from."""

    def step(self, epoch: str, loss: float) -> None:
        """An optimiser's step is done."""

    def epoch(self, row: Row) -> None:
        """A row of the history is there: of an epoch, or of a validation within one."""


@dataclass
class FitJob:
    """What is trained, on what, and where it is kept.

    Attributes:
        task: the network and what it learns.
        settings: how.
        folder: where checkpoints go.
        identity: of the run; a checkpoint of another one is not gone on from.
        trackers: of the first process.
        watch: is told.
        group: the processes that do it together.
    """

    task: Task
    settings: FitSettings
    folder: Path
    identity: str = ""
    trackers: Sequence[Tracker] = ()
    watch: Watch = field(default_factory=Watch)
    group: Group = field(default_factory=Group)
