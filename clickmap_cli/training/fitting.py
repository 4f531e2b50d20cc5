"""The training of one network: stages, steps, checkpoints, and going on after a kill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clickmap_cli.config.finetune import Stage
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import RunError
from clickmap_cli.training.batches import Examples, batches, epoch_steps, shares
from clickmap_cli.training.blocks import BlockRow, apply_freeze, set_modes
from clickmap_cli.training.checkpoints import (
    BEST,
    FINAL,
    LAST,
    load,
    random_states,
    restore_random_states,
    save,
    save_weights,
)
from clickmap_cli.training.distributed import Group
from clickmap_cli.training.optimisers import make_optimizer, set_rates, step
from clickmap_cli.training.schedules import Schedule
from clickmap_cli.training.targets import Targets
from clickmap_cli.training.trackers import Row, Tracker
from clickmap_cli.training.validation import Means, losses_of, watched_scores

_NAMED = 8
"""Images that a message names at most."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained; see `config.finetune.TrainingSettings`."""

    stages: tuple[Stage, ...]
    loss: str = "kl"
    batch_size: int = 4
    accumulate: int = 1
    precision: str = "fp32"
    clip_norm: float | None = None
    optimizer: str = "adamw"
    momentum: float = 0.9
    seed: int = 0
    threads: int = 1


class Watch:
    """What is told of a training while it runs; by default nothing is done with it."""

    def stage(self, stage: Stage, table: Sequence[BlockRow], steps_left: int) -> None:
        """A stage begins; `steps_left` counts those of all stages that are to come."""

    def step(self, epoch: str, loss: float) -> None:
        """An optimiser's step is done."""

    def epoch(self, row: Row) -> None:
        """An epoch is done."""


@dataclass
class FitJob:
    """What is trained, on what, and where it is kept.

    Attributes:
        model: the network's model.
        train: images that are learnt from.
        validation: images that choose the best weights; empty = the training loss does.
        targets: their ground truth.
        settings: how.
        folder: where checkpoints go.
        identity: of the run; a checkpoint of another one is not gone on from.
        trackers: of the first process.
        watch: is told.
        group: the processes that do it together.
    """

    model: TorchSaliencyModel
    train: Sequence[Stimulus]
    validation: Sequence[Stimulus]
    targets: Targets
    settings: FitSettings
    folder: Path
    identity: str = ""
    trackers: Sequence[Tracker] = ()
    watch: Watch = field(default_factory=Watch)
    group: Group = field(default_factory=Group)


@dataclass
class _Place:
    """Where a training is; everything here is in `last.pth`."""

    stage: int = 0
    stage_epoch: int = 0
    epoch: int = 0
    best: float = math.inf
    stage_best: float = math.inf
    waited: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(job: FitJob, resume: bool = False) -> tuple[Row, ...]:
    """Train a network; leaves `best.pth`, `final.pth` and `last.pth`.

    Args:
        job: what and how.
        resume: go on from `last.pth`, where there is one of this run.

    Returns:
        The history, a row an epoch.

    Raises:
        ConfigError: a stage names a block that is not there.
        DataError: an image is missing or damaged, or has no ground truth.
        RunError: the loss is no number any more, or the GPU's memory is full.
    """
    return _Fit(job).run(resume)


class _Fit:
    def __init__(self, job: FitJob) -> None:
        self.job = job
        self.settings = job.settings
        self.network = job.model.network()
        self.device = next(self.network.parameters()).device
        self.examples = Examples(job.model, job.targets, job.settings.loss, job.settings.threads)
        self.per_step = job.settings.batch_size * job.settings.accumulate
        self.steps = math.ceil(len(job.train) / self.per_step)
        self.place = _Place()
        self.optimizer: torch.optim.Optimizer | None = None
        self.schedule: Schedule | None = None
        fp16 = job.settings.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)

    def run(self, resume: bool) -> tuple[Row, ...]:
        job = self.job
        torch.manual_seed(job.settings.seed + job.group.rank)
        stored = self._stored() if resume else None
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
                save_weights(job.folder / FINAL, self.network, self._about())
        finally:
            for tracker in trackers:
                tracker.end()
            self.network.eval()
        return tuple(self.place.history)

    def _stage(self, stored: Mapping[str, Any] | None, trackers: Sequence[Tracker]) -> None:
        """What is left of the current stage."""
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
            row = self._epoch(stage)
            better = row["val_loss" if job.validation else "train_loss"]
            self._take(better)
            place.history.append(row)
            self._keep(better)
            for tracker in trackers:
                tracker.log(row)
            job.watch.epoch(row)
            if place.finished:
                return
        self._next_stage()

    def _reached(self) -> set[int]:
        """`id`s of the parameters that the gradients of an image's loss reach."""
        self.network.eval().requires_grad_(True)
        example = self.examples.read(self.job.train[0], None)
        losses, _ = losses_of(self.job.model, self.network, [example], "fp32")
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

    def _epoch(self, stage: Stage) -> dict[str, Any]:
        """One pass over the training images; the row of the history."""
        place = self.place
        set_modes(self.network)
        number = place.epoch + 1
        steps = epoch_steps(self.job.train, self.per_step, self.settings.seed, number)
        total, rate = 0.0, 0.0
        some = self.examples.groups(shares(steps, self.job.group), number)
        for at, examples in enumerate(some):
            factor = self._schedule.factor(place.stage_epoch * self.steps + at)
            set_rates(self._optimizer, factor)
            rate = stage.lr * factor
            loss = self._step(steps[at], examples, f"step {at + 1} of epoch {number}")
            total += loss * len(steps[at])
            self.job.watch.step(f"{stage.name}, epoch {place.stage_epoch + 1}", loss)
        # statistics of a trained BatchNorm are each process's own
        self.job.group.same_everywhere(self.network)
        loss, scores = self._validate(f"the validation after epoch {number}")
        place.epoch, place.stage_epoch = number, place.stage_epoch + 1
        return {
            "epoch": number, "stage": stage.name, "stage_epoch": place.stage_epoch, "lr": rate,
            "train_loss": total / len(self.job.train), "val_loss": loss,
            **{f"val_{name}": value for name, value in scores.items()},
        }  # fmt: skip

    def _step(self, images: Sequence[Stimulus], examples: Sequence[Any], where: str) -> float:
        """One optimiser's step; returns the mean loss over its images."""
        settings = self.settings
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        bad: list[str] = []
        for batch in batches(examples, settings.batch_size):
            with self._memory_watched():
                losses, _ = losses_of(self.job.model, self.network, batch, settings.precision)
                self.scaler.scale(losses.sum() / len(images)).backward()
            values = losses.detach().cpu().tolist()
            total += sum(values)
            names = [example.stimulus.image_id for example in batch]
            bad += [n for n, v in zip(names, values, strict=True) if not math.isfinite(v)]
        total = self.job.group.sums([total])[0]
        if not math.isfinite(total):
            named = [name for part in self.job.group.gathered(bad) for name in part]
            self._stop("the loss is no number", where, named)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self.job.group.sum_gradients(parameters)
        if not step(self._optimizer, self.scaler, parameters, settings.clip_norm):
            self._stop("the gradients are no numbers", where, [s.image_id for s in images])
        return total / len(images)

    def _validate(self, where: str) -> tuple[float, dict[str, float]]:
        """Loss and scores of the validation images; NaN where there are none."""
        self.network.eval()
        mine = self.job.group.share(self.job.validation)
        means = Means()
        total = 0.0
        bad: list[str] = []
        size = self.settings.batch_size
        some = [mine[first : first + size] for first in range(0, len(mine), size)]
        for examples in self.examples.groups(some, None):
            for batch in batches(examples, size):
                with torch.inference_mode(), self._memory_watched():
                    losses, densities = losses_of(
                        self.job.model, self.network, batch, self.settings.precision
                    )
                for example, loss, density in zip(batch, losses.tolist(), densities, strict=True):
                    total += loss
                    if math.isfinite(loss):
                        means.add(watched_scores(example, density))
                    else:
                        bad.append(example.stimulus.image_id)
        summed = self.job.group.sums([total, *means.numbers()])
        if not math.isfinite(summed[0]):
            named = [name for part in self.job.group.gathered(bad) for name in part]
            self._stop("the loss is no number", where, named)
        n = len(self.job.validation)
        return summed[0] / n if n else math.nan, Means.of(summed[1:])

    def _take(self, loss: float) -> None:
        """Early stopping and the plateau schedule go by this loss."""
        self._schedule.epoch_ended(loss)
        if loss < self.place.stage_best:
            self.place.stage_best, self.place.waited = loss, 0
        else:
            self.place.waited += 1

    def _keep(self, loss: float) -> None:
        """`best.pth` where it is the best, then `last.pth`."""
        place, job = self.place, self.job
        stage = self.settings.stages[place.stage]
        best = loss < place.best
        place.best = min(place.best, loss)
        place.finished = self._stage_done(stage) and place.stage + 1 == len(self.settings.stages)
        states = job.group.gathered(random_states())
        if not job.group.first:
            return
        if best:
            save_weights(job.folder / BEST, self.network, self._about())
        save(
            job.folder / LAST,
            {
                "state_dict": self.network.state_dict(), "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state(), "scaler": self.scaler.state_dict(),
                "random": states, "identity": job.identity, "place": dict(vars(place)),
            },
        )  # fmt: skip

    def _stored(self) -> dict[str, Any] | None:
        """The checkpoint to go on from."""
        path = self.job.folder / LAST
        if not path.is_file():
            return None
        stored = load(path)
        if stored.get("identity") != self.job.identity:
            raise RunError(f"{path} is of another training; run again with --overwrite.")
        return stored

    def _restore(self, stored: Mapping[str, Any]) -> None:
        self.network.load_state_dict(stored["state_dict"])
        self.place = _Place(**stored["place"])
        states = stored["random"]
        if len(states) == self.job.group.world:
            restore_random_states(states[self.job.group.rank])

    @contextmanager
    def _memory_watched(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            size, images = self.settings.batch_size, self.per_step
            less = next((n for n in range(size // 2, 0, -1) if images % n == 0), 0)
            advice = (
                f"try training.batch_size={less} training.accumulate={images // less}, which gives "
                "the same steps"
                if less
                else "training.batch_size is 1 already; try precision: bf16 or a smaller "
                "requires_size"
            )
            text = f"The GPU's memory is full with {size} images at once; {advice}."
            raise RunError(text) from error

    def _stop(self, what: str, where: str, images: Sequence[str]) -> None:
        stage = self.settings.stages[self.place.stage].name
        more = f" and {len(images) - _NAMED} more" if len(images) > _NAMED else ""
        named = ", ".join(images[:_NAMED]) + more
        kept = f"{LAST} holds epoch {self.place.epoch}" if self.place.epoch else "nothing was kept"
        raise RunError(
            f"{self.job.folder.name}, stage {stage}: {what} in {where} (images: {named or 'all'}). "
            f"{kept}; try a lower lr, a clip_norm, or precision: fp32."
        )

    def _about(self) -> dict[str, Any]:
        return {"epoch": self.place.epoch, "loss": self.place.best, "kind": self.settings.loss}

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        assert self.optimizer is not None  # noqa: S101 - made when a stage begins
        return self.optimizer

    @property
    def _schedule(self) -> Schedule:
        assert self.schedule is not None  # noqa: S101 - made when a stage begins
        return self.schedule
