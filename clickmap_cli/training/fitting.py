"""The training of one network: stages, steps, checkpoints, and resuming after an interruption.

The loop is written here, not taken from a library, because a killed training must resume to the
same bytes, and because a loss that becomes NaN must name its images.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from clickmap_cli.config.saliency import Stage
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import is_whole, sha256_of
from clickmap_cli.training.blocks import BlockRow, apply_freeze, set_modes
from clickmap_cli.training.checkpoints import (
    BEST,
    FINAL,
    LAST,
    get_random_states,
    load,
    restore_random_states,
    save,
    save_weights,
)
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.optimisation import Schedule, make_optimizer, set_rates, step
from clickmap_cli.training.tasks.base import Task
from clickmap_cli.training.trackers import Row, Tracker

FIRST_SCALE = 65536.0
"""Initial factor of fp16's losses: torch's default."""

_NAMED = 8
"""Largest number of items that a message names."""


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

    def restart(self, file: Path) -> None:
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


@dataclass
class Place:
    """The state of a training apart from its weights; all of it is stored in `last.pth`."""

    stage: int = 0
    stage_epoch: int = 0
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    stage_best: float = math.inf
    waited: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(job: FitJob, resume: bool = False) -> tuple[Row, ...]:
    """Train a network and write `best.pth`, `final.pth` and `last.pth`.

    Args:
        job: description of the training.
        resume: resume from `last.pth`, if this training has written one.

    Returns:
        The history: a row for each epoch, and for each validation within one.

    Raises:
        ConfigError: a stage names a block that does not exist.
        DataError: an item is missing or damaged, or has no ground truth.
        RunError: the loss or the gradients became NaN or infinite, the monitored score is
            undefined, the GPU's memory is full, or `last.pth` is of another training.
    """
    return _Fit(job).run(resume)


class _Fit:
    def __init__(self, job: FitJob) -> None:
        self.job = job
        self.task = job.task
        self.settings = job.settings
        self.network = job.task.network
        self.per_step = job.settings.batch_size * job.settings.accumulate
        self.steps = math.ceil(len(job.task.items(1, job.settings.seed)) / self.per_step)
        self.monitor = job.settings.monitor if job.task.validation else "train_loss"
        self.more_is_better = job.settings.monitor_max and bool(job.task.validation)
        self.place = Place()
        self.kept = 0  # epochs that `last.pth` holds
        self.optimizer: torch.optim.Optimizer
        self.schedule: Schedule
        fp16 = job.settings.precision == "fp16"
        device = next(self.network.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, job.settings.loss_scale, enabled=fp16)

    def run(self, resume: bool) -> tuple[Row, ...]:
        job = self.job
        torch.manual_seed(job.settings.seed + job.group.rank)
        stored = load_last(job) if resume else None
        if stored is not None:
            self._restore(stored)
        job.group.synchronise(self.network)
        trackers = job.trackers if job.group.first else ()
        try:
            for tracker in trackers:
                tracker.begin(self.place.history)
            while not self.place.finished:
                self._stage(stored, trackers)
                stored = None
            if job.group.first:
                about = self._about(self.place.history[-1])
                save_weights(job.folder / FINAL, self.network, about)
        finally:
            for tracker in trackers:
                tracker.end()
            self.network.eval()
        return tuple(self.place.history)

    def _stage(self, stored: Mapping[str, Any] | None, trackers: Sequence[Tracker]) -> None:
        """Train the rest of the current stage."""
        job, place = self.job, self.place
        stage = self.settings.stages[place.stage]
        last = stage.freeze.backbone_last_n_modules
        table = apply_freeze(self.network, stage.freeze, self._find_reached() if last else None)
        self.optimizer = make_optimizer(
            self.network, stage, self.settings.optimizer, self.settings.momentum
        )
        self.schedule = Schedule(stage, self.steps)
        if stored is not None:
            self.optimizer.load_state_dict(stored["optimizer"])
            self.schedule.restore(stored["schedule"])
            self.scaler.load_state_dict(stored["scaler"])
        epochs = sum(stage.epochs for stage in self.settings.stages[place.stage :])
        job.watch.stage(stage, table, self.steps * (epochs - place.stage_epoch))
        while not self._is_stage_done(stage):
            for row in self._epoch(stage):
                value = self._get_monitored(row)
                if value is not None:
                    self.schedule.validated(value)
                    better = value < place.stage_best
                    place.stage_best = min(value, place.stage_best)
                    place.waited = 0 if better else place.waited + 1
                place.history.append(row)
                self._keep_best(row, value)
                if row["epoch"] == place.epoch:
                    self._keep_last()
                for tracker in trackers:
                    tracker.log(row)
                job.watch.epoch(row)
            if place.finished:
                return
        if place.stage + 1 == len(self.settings.stages):
            place.finished = True
            return
        place.stage, place.stage_epoch = place.stage + 1, 0
        place.stage_best, place.waited = math.inf, 0

    def _find_reached(self) -> set[int]:
        """Return the `id`s of the parameters that a loss's gradients reach."""
        self.network.eval().requires_grad_(True)
        example = self.task.read(self.task.train[0], None)
        losses, _ = self.task.losses([example], "fp32")
        losses.sum().backward()
        found = {id(p) for p in self.network.parameters() if p.grad is not None}
        self.network.zero_grad(set_to_none=True)
        return found

    def _is_stage_done(self, stage: Stage) -> bool:
        place = self.place
        stopped = stage.patience is not None and place.waited >= stage.patience
        return place.stage_epoch >= stage.epochs or stopped

    def _epoch(self, stage: Stage) -> Iterator[dict[str, Any]]:
        """Train one pass over the items and yield its rows of the history, the epoch's own last."""
        place = self.place
        set_modes(self.network)
        number, seed = place.epoch + 1, self.settings.seed
        items = self.task.items(number, seed)
        steps = [items[at : at + self.per_step] for at in range(0, len(items), self.per_step)]
        mine = [self.job.group.share(some) for some in steps]
        total, seen, rate = 0.0, 0, 0.0
        for at, examples in enumerate(read_ahead(self.task, mine, number, self.settings.threads)):
            factor = self.schedule.factor(place.stage_epoch * self.steps + at)
            set_rates(self.optimizer, factor)
            rate = stage.lr * factor
            loss = self._step(steps[at], examples, f"step {at + 1} of epoch {number}")
            total, seen = total + loss * len(steps[at]), seen + len(steps[at])
            self.job.watch.step(f"{stage.name}, epoch {place.stage_epoch + 1}", loss)
            done = place.epoch * self.steps + at + 1
            if at + 1 < len(steps) and self._is_validation_due_within(done):
                self.job.group.synchronise(self.network)
                found = self._validate(f"the validation after step {done}")
                yield self._row(stage, done, rate, total / seen, found)
                set_modes(self.network)
        # a trained BatchNorm's statistics differ between processes
        self.job.group.synchronise(self.network)
        place.epoch, place.stage_epoch = number, place.stage_epoch + 1
        found = dict.fromkeys(("loss", *self.task.watched), math.nan)
        if self._is_validation_due(stage):
            found = self._validate(f"the validation after epoch {number}")
        yield self._row(stage, number * self.steps, rate, total / seen, found)

    def _row(
        self, stage: Stage, step: int, rate: float, loss: float, found: Mapping[str, float]
    ) -> dict[str, Any]:
        """Build a row of the history after a number of steps over all stages."""
        epoch = math.ceil(step / self.steps)
        return {
            "epoch": epoch,
            **({"step": step} if self.settings.validate_steps else {}),
            "stage": stage.name,
            "stage_epoch": self.place.stage_epoch + epoch - self.place.epoch,
            "lr": rate,
            "train_loss": loss,
            **{f"val_{name}": value for name, value in found.items()},
        }

    def _is_validation_due_within(self, step: int) -> bool:
        """Return True if a validation follows this step, which is not an epoch's last."""
        every = self.settings.validate_steps
        return every is not None and step % every == 0 and bool(self.task.validation)

    def _is_validation_due(self, stage: Stage) -> bool:
        """Return True if a validation follows the epoch that was just trained."""
        place, every = self.place, self.settings.validate_steps
        if every is None:
            due = place.epoch % self.settings.validate_every == 0
        else:
            due = place.epoch * self.steps % every == 0
        return due or place.stage_epoch == stage.epochs

    def _step(self, items: Sequence[Any], examples: Sequence[Any], where: str) -> float:
        """Do one optimiser step and return the mean loss over its items."""
        settings = self.settings
        self.optimizer.zero_grad(set_to_none=True)
        total, bad = 0.0, []
        names = self._names(self.job.group.share(items), examples)
        for batch in batches(self.task, examples, settings.batch_size):
            with self._explain_full_memory():
                losses, _ = self.task.losses(batch, settings.precision)
                self.scaler.scale(losses.sum() / len(items)).backward()
            values = losses.detach().cpu().tolist()
            total += sum(values)
            pairs = zip(batch, values, strict=True)
            bad += [names[id(example)] for example, value in pairs if not math.isfinite(value)]
        total = self.job.group.sum([total])[0]
        if not math.isfinite(total):
            self._stop("the loss", where, self.job.group.gather(bad))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.job.group.sum_gradients(parameters)
        if not step(self.optimizer, self.scaler, parameters, settings.clip_norm):
            self._stop("a gradient", where, [[self.task.name(item) for item in items]])
        return total / len(items)

    def _names(self, items: Sequence[Any], examples: Sequence[Any]) -> dict[int, str]:
        """Return the names of examples by their `id`."""
        return {id(e): self.task.name(item) for item, e in zip(items, examples, strict=True)}

    def _validate(self, where: str) -> dict[str, float]:
        """Return the mean loss and scores of the validation items; NaN where none is defined."""
        self.network.eval()
        mine = self.job.group.share(self.task.validation)
        total, bad = 0.0, []
        sums = dict.fromkeys(self.task.watched, 0.0)
        counts = dict.fromkeys(self.task.watched, 0.0)
        size = self.settings.batch_size
        some = [mine[first : first + size] for first in range(0, len(mine), size)]
        read = read_ahead(self.task, some, None, self.settings.threads)
        for items, examples in zip(some, read, strict=True):
            names = self._names(items, examples)
            for batch in batches(self.task, examples, size):
                with torch.inference_mode(), self._explain_full_memory():
                    losses, outputs = self.task.losses(batch, self.settings.precision)
                for example, loss, output in zip(batch, losses.tolist(), outputs, strict=True):
                    total += loss
                    if not math.isfinite(loss):
                        bad.append(names[id(example)])
                        continue
                    for name, value in self.task.scores(example, output).items():
                        if not math.isnan(value):
                            sums[name] += value
                            counts[name] += 1
        n = len(sums)
        total, *summed = self.job.group.sum([total, *sums.values(), *counts.values()])
        if not math.isfinite(total):
            self._stop("the loss", where, self.job.group.gather(bad))
        means = (a / b if b else math.nan for a, b in zip(summed[:n], summed[n:], strict=True))
        loss = total / len(self.task.validation) if self.task.validation else math.nan
        return {"loss": loss, **dict(zip(sums, means, strict=True))}

    def _get_monitored(self, row: Mapping[str, Any]) -> float | None:
        """Return the monitored value, negated if higher is better; None without a validation."""
        value = float(row[self.monitor])
        if math.isfinite(value):
            return -value if self.more_is_better else value
        if not math.isfinite(row["val_loss"]):
            return None  # no validation after this epoch
        raise RunError(
            f"{self.job.folder.name}: {self.monitor} is not defined for any validation item; "
            "monitor another score."
        )

    def _keep_best(self, row: Row, value: float | None) -> None:
        """Write `best.pth` if these weights are the best so far."""
        place, job = self.place, self.job
        if value is None or value >= place.best:
            return
        place.best, place.best_epoch = value, row["epoch"]
        names, settings = [BEST], self.settings
        if settings.keep_bests is not None:
            names.append(settings.keep_bests.format(row["epoch"]))
        for name in names if job.group.first else ():
            save_weights(job.folder / name, self.network, self._about(row))

    def _keep_last(self) -> None:
        """Write `last.pth` at the end of an epoch; an interrupted training resumes from it."""
        place, job, settings = self.place, self.job, self.settings
        stage = settings.stages[place.stage]
        place.finished = self._is_stage_done(stage) and place.stage + 1 == len(settings.stages)
        states = job.group.gather(get_random_states())
        self.kept = place.epoch
        if not job.group.first:
            return
        if settings.keep_every is not None and place.epoch % settings.keep_every == 0:
            name = f"epoch_{place.epoch}.pth"
            save_weights(job.folder / name, self.network, self._about(place.history[-1]))
        state = {
            "state_dict": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "random": states,
            "identity": job.identity,
            "place": dict(vars(place)),
            "best_sha256": sha256_of(job.folder / BEST) if place.best_epoch else "",
        }
        save(job.folder / LAST, state)

    def _restore(self, stored: Mapping[str, Any]) -> None:
        self.network.load_state_dict(stored["state_dict"])
        self.place = Place(**stored["place"])
        self.kept = self.place.epoch
        states = stored["random"]
        if len(states) == self.job.group.world:
            restore_random_states(states[self.job.group.rank])

    @contextmanager
    def _explain_full_memory(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            size, together = self.settings.batch_size, self.per_step
            less = next((n for n in range(size // 2, 0, -1) if together % n == 0), 0)
            one, more = self.settings.batch_keys
            advice = (
                f"try {one}={less} {more}={together // less}, which gives the same steps"
                if less
                else f"{one} is 1 already; try half precision or smaller images"
            )
            text = f"The GPU's memory is full with {size} at once; {advice}."
            raise RunError(text) from error

    def _stop(self, what: str, where: str, names: Sequence[Sequence[str]]) -> NoReturn:
        """Raise RunError because a number is NaN or infinite; `names` are those of all processes.

        Raises:
            RunError: always.
        """
        stage = self.settings.stages[self.place.stage].name
        every = [name for part in names for name in part]
        more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
        kept = f"{LAST} holds epoch {self.kept}" if self.kept else "nothing was kept"
        raise RunError(
            f"{self.job.folder.name}, stage {stage}: {what} became NaN or infinite in {where} "
            f"({self.task.noun}: {', '.join(every[:_NAMED]) + more or 'all'}). "
            f"{kept}; try a lower learning rate, clipped gradients, or full precision."
        )

    def _about(self, row: Row) -> dict[str, Any]:
        """Return plain values to store with the weights of a row of the history."""
        best = -self.place.best if self.more_is_better else self.place.best
        return {
            **{name: row[name] for name in ("epoch", "step") if name in row},
            "monitor": self.monitor,
            "best": best,
            "best_epoch": self.place.best_epoch,
            **self.task.about(),
        }


def read_ahead(
    task: Task, steps: Sequence[Sequence[Any]], epoch: int | None, threads: int
) -> Iterator[list[Any]]:
    """Yield the examples of each step, reading the next step's in the background.

    Args:
        task: the task that reads items.
        steps: the items of every step.
        epoch: as in `Task.read`.
        threads: number of reading threads.

    Raises:
        DataError: as in `Task.read`.
    """
    with ThreadPoolExecutor(threads) as pool:

        def begin(step: Sequence[Any]) -> list[Future[Any]]:
            return [pool.submit(task.read, item, epoch) for item in step]

        waiting = begin(steps[0]) if steps else []
        for at in range(len(steps)):
            found = [future.result() for future in waiting]
            waiting = begin(steps[at + 1]) if at + 1 < len(steps) else []
            yield found


def batches(task: Task, examples: Sequence[Any], batch_size: int) -> list[list[Any]]:
    """Group examples that can share a batch, at most `batch_size` per batch."""
    groups: dict[Hashable, list[Any]] = {}
    for example in examples:
        groups.setdefault(task.alike(example), []).append(example)
    return [
        alike[first : first + batch_size]
        for alike in groups.values()
        for first in range(0, len(alike), batch_size)
    ]


def load_last(job: FitJob) -> dict[str, Any] | None:
    """Read the checkpoint to resume from; None if it is missing or damaged.

    A missing or changed `best.pth` also makes the checkpoint unusable.

    Raises:
        RunError: the checkpoint is of another training.
    """
    path = job.folder / LAST
    if not path.is_file():
        return None
    try:
        stored = load(path)
    except RunError:
        job.watch.restart(path)
        return None
    if stored.get("identity") != job.identity:
        raise RunError(f"{path} is of another training; run again with --overwrite.")
    if _is_best_whole(job.folder / BEST, stored):
        return stored
    job.watch.restart(job.folder / BEST)
    return None


def _is_best_whole(path: Path, stored: Mapping[str, Any]) -> bool:
    """Return True if `best.pth` is the file that a checkpoint refers to."""
    place = stored["place"]
    if not place["best_epoch"]:
        return True
    if is_whole(path, {"sha256": stored.get("best_sha256")}):
        return True
    if place["finished"] or not path.is_file():
        return False
    try:  # killed between `best.pth` and `last.pth`: the epoch is repeated and writes both again
        return bool(load(path)["about"]["epoch"] == place["epoch"] + 1)
    except (RunError, KeyError, TypeError):
        return False
