"""The training of one network: stages, steps, checkpoints, and resuming after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from clickmap_cli.config.saliency import Stage
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.training.batches import batches, epoch_steps, read_ahead
from clickmap_cli.training.blocks import apply_freeze, set_modes
from clickmap_cli.training.checkpoints import (
    BEST,
    FINAL,
    LAST,
    random_states,
    restore_random_states,
    save,
    save_weights,
)
from clickmap_cli.training.fit_job import FitJob
from clickmap_cli.training.means import Means
from clickmap_cli.training.optimisers import make_optimizer, set_rates, step
from clickmap_cli.training.resuming import Place, load_last
from clickmap_cli.training.schedules import Schedule
from clickmap_cli.training.trackers import Row, Tracker

_NAMED = 8
"""Largest number of items that a message names."""


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
        self.optimizer: torch.optim.Optimizer | None = None
        self.schedule: Schedule | None = None
        fp16 = job.settings.precision == "fp16"
        device = next(self.network.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, job.settings.loss_scale, enabled=fp16)

    def run(self, resume: bool) -> tuple[Row, ...]:
        job = self.job
        torch.manual_seed(job.settings.seed + job.group.rank)
        stored = load_last(job) if resume else None
        if stored is not None:
            self._restore(stored)
        job.group.same_everywhere(self.network)
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
        table = apply_freeze(self.network, stage.freeze, self._reached() if last else None)
        self.optimizer = make_optimizer(self.network, stage, self.settings)
        self.schedule = Schedule(stage, self.steps)
        if stored is not None:
            self.optimizer.load_state_dict(stored["optimizer"])
            self.schedule.restore(stored["schedule"])
            self.scaler.load_state_dict(stored["scaler"])
        job.watch.stage(stage, table, self._steps_left())
        while not self._stage_done(stage):
            for row in self._epoch(stage):
                value = self._monitored(row)
                self._take(value)
                place.history.append(row)
                self._keep_best(row, value)
                if row["epoch"] == place.epoch:
                    self._keep_last()
                for tracker in trackers:
                    tracker.log(row)
                job.watch.epoch(row)
            if place.finished:
                return
        self._next_stage()

    def _reached(self) -> set[int]:
        """Return the `id`s of the parameters that a loss's gradients reach."""
        self.network.eval().requires_grad_(True)
        example = self.task.read(self.task.train[0], None)
        losses, _ = self.task.losses([example], "fp32")
        losses.sum().backward()
        found = {id(p) for p in self.network.parameters() if p.grad is not None}
        self.network.zero_grad(set_to_none=True)
        return found

    def _stage_done(self, stage: Stage) -> bool:
        place = self.place
        stopped = stage.patience is not None and place.waited >= stage.patience
        return place.stage_epoch >= stage.epochs or stopped

    def _next_stage(self) -> None:
        place = self.place
        if place.stage + 1 == len(self.settings.stages):
            place.finished = True
            return
        place.stage, place.stage_epoch = place.stage + 1, 0
        place.stage_best, place.waited = math.inf, 0

    def _steps_left(self) -> int:
        stages = self.settings.stages[self.place.stage :]
        return self.steps * (sum(stage.epochs for stage in stages) - self.place.stage_epoch)

    def _epoch(self, stage: Stage) -> Iterator[dict[str, Any]]:
        """Train one pass over the items and yield its rows of the history, the epoch's own last."""
        place = self.place
        set_modes(self.network)
        number = place.epoch + 1
        steps = epoch_steps(self.task, self.per_step, self.settings.seed, number)
        total, seen, rate = 0.0, 0, 0.0
        mine = [self.job.group.share(items) for items in steps]
        for at, examples in enumerate(read_ahead(self.task, mine, number, self.settings.threads)):
            factor = self._schedule.factor(place.stage_epoch * self.steps + at)
            set_rates(self._optimizer, factor)
            rate = stage.lr * factor
            loss = self._step(steps[at], examples, f"step {at + 1} of epoch {number}")
            total, seen = total + loss * len(steps[at]), seen + len(steps[at])
            self.job.watch.step(f"{stage.name}, epoch {place.stage_epoch + 1}", loss)
            done = place.epoch * self.steps + at + 1
            if at + 1 < len(steps) and self._validates_within(done):
                self.job.group.same_everywhere(self.network)
                found = self._validate(f"the validation after step {done}")
                yield self._row(stage, done, (rate, total / seen), found)
                set_modes(self.network)
        # a trained BatchNorm's statistics differ between processes
        self.job.group.same_everywhere(self.network)
        place.epoch, place.stage_epoch = number, place.stage_epoch + 1
        found = (math.nan, dict.fromkeys(self.task.watched, math.nan))
        if self._validates(stage):
            found = self._validate(f"the validation after epoch {number}")
        yield self._row(stage, number * self.steps, (rate, total / seen), found)

    def _row(
        self,
        stage: Stage,
        step: int,
        learnt: tuple[float, float],
        found: tuple[float, dict[str, float]],
    ) -> dict[str, Any]:
        """Build a row of the history.

        Args:
            stage: the current stage.
            step: number of steps done, over all stages.
            learnt: learning rate and training loss.
            found: result of `_validate`.
        """
        epoch = math.ceil(step / self.steps)
        loss, scores = found
        return {
            "epoch": epoch, **({"step": step} if self.settings.validate_steps else {}),
            "stage": stage.name, "stage_epoch": self.place.stage_epoch + epoch - self.place.epoch,
            "lr": learnt[0], "train_loss": learnt[1], "val_loss": loss,
            **{f"val_{name}": value for name, value in scores.items()},
        }  # fmt: skip

    def _validates_within(self, step: int) -> bool:
        """Return True if a validation follows this step, which is not an epoch's last."""
        every = self.settings.validate_steps
        return every is not None and step % every == 0 and bool(self.task.validation)

    def _validates(self, stage: Stage) -> bool:
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
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        bad: list[str] = []
        names = self._names(self.job.group.share(items), examples)
        for batch in batches(self.task, examples, settings.batch_size):
            with self._memory_watched():
                losses, _ = self.task.losses(batch, settings.precision)
                self.scaler.scale(losses.sum() / len(items)).backward()
            values = losses.detach().cpu().tolist()
            total += sum(values)
            bad += [
                names[id(example)]
                for example, value in zip(batch, values, strict=True)
                if not math.isfinite(value)
            ]
        total = self.job.group.sums([total])[0]
        if not math.isfinite(total):
            named = [name for part in self.job.group.gathered(bad) for name in part]
            self._stop("the loss is no number", where, named)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self.job.group.sum_gradients(parameters)
        if not step(self._optimizer, self.scaler, parameters, settings.clip_norm):
            self._stop("the gradients are no numbers", where, [self.task.name(i) for i in items])
        return total / len(items)

    def _names(self, items: Sequence[Any], examples: Sequence[Any]) -> dict[int, str]:
        """Return the names of examples by their `id`."""
        return {id(e): self.task.name(item) for item, e in zip(items, examples, strict=True)}

    def _validate(self, where: str) -> tuple[float, dict[str, float]]:
        """Compute loss and scores of the validation items; NaN without items."""
        self.network.eval()
        mine = self.job.group.share(self.task.validation)
        means = Means(self.task.watched)
        total = 0.0
        bad: list[str] = []
        size = self.settings.batch_size
        some = [mine[first : first + size] for first in range(0, len(mine), size)]
        read = read_ahead(self.task, some, None, self.settings.threads)
        for items, examples in zip(some, read, strict=True):
            names = self._names(items, examples)
            for batch in batches(self.task, examples, size):
                with torch.inference_mode(), self._memory_watched():
                    losses, outputs = self.task.losses(batch, self.settings.precision)
                for example, loss, output in zip(batch, losses.tolist(), outputs, strict=True):
                    total += loss
                    if math.isfinite(loss):
                        means.add(self.task.scores(example, output))
                    else:
                        bad.append(names[id(example)])
        summed = self.job.group.sums([total, *means.numbers()])
        if not math.isfinite(summed[0]):
            named = [name for part in self.job.group.gathered(bad) for name in part]
            self._stop("the loss is no number", where, named)
        n = len(self.task.validation)
        return summed[0] / n if n else math.nan, means.of(summed[1:])

    def _monitored(self, row: Mapping[str, Any]) -> float | None:
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

    def _take(self, value: float | None) -> None:
        """Pass a value to early stopping and the plateau schedule."""
        if value is None:
            return
        self._schedule.epoch_ended(value)
        if value < self.place.stage_best:
            self.place.stage_best, self.place.waited = value, 0
        else:
            self.place.waited += 1

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
        place.finished = self._stage_done(stage) and place.stage + 1 == len(settings.stages)
        states = job.group.gathered(random_states())
        self.kept = place.epoch
        if not job.group.first:
            return
        if settings.keep_every is not None and place.epoch % settings.keep_every == 0:
            name = f"epoch_{place.epoch}.pth"
            save_weights(job.folder / name, self.network, self._about(place.history[-1]))
        save(
            job.folder / LAST,
            {
                "state_dict": self.network.state_dict(), "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state(), "scaler": self.scaler.state_dict(),
                "random": states, "identity": job.identity, "place": dict(vars(place)),
                "best_sha256": sha256_of(job.folder / BEST) if place.best_epoch else "",
            },
        )  # fmt: skip

    def _restore(self, stored: Mapping[str, Any]) -> None:
        self.network.load_state_dict(stored["state_dict"])
        self.place = Place(**stored["place"])
        self.kept = self.place.epoch
        states = stored["random"]
        if len(states) == self.job.group.world:
            restore_random_states(states[self.job.group.rank])

    @contextmanager
    def _memory_watched(self) -> Iterator[None]:
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

    def _stop(self, what: str, where: str, names: Sequence[str]) -> None:
        stage = self.settings.stages[self.place.stage].name
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        named = ", ".join(names[:_NAMED]) + more
        kept = f"{LAST} holds epoch {self.kept}" if self.kept else "nothing was kept"
        raise RunError(
            f"{self.job.folder.name}, stage {stage}: {what} in {where} "
            f"({self.task.noun}: {named or 'all'}). "
            f"{kept}; try a lower learning rate, clipped gradients, or full precision."
        )

    def _about(self, row: Row) -> dict[str, Any]:
        """Return plain values to store with the weights of a row of the history."""
        best = -self.place.best if self.more_is_better else self.place.best
        return {
            **{name: row[name] for name in ("epoch", "step") if name in row},
            "monitor": self.monitor, "best": best, "best_epoch": self.place.best_epoch,
            **self.task.about(),
        }  # fmt: skip

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        assert self.optimizer is not None  # noqa: S101 - made when a stage begins
        return self.optimizer

    @property
    def _schedule(self) -> Schedule:
        assert self.schedule is not None  # noqa: S101 - made when a stage begins
        return self.schedule
