"""Trains a key-point network on labelled images, and writes scores and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.config.saliency import Stage
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.models.attention import keypoint_maps, over_image
from clickmap_cli.models.keypoint_net import KeypointNet, build_keypoint_net
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Progress, Silent, Stopwatch
from clickmap_cli.services.keypoints.data import KeypointData, load_keypoints
from clickmap_cli.services.keypoints.pictures import (
    AttentionSheet,
    AugmentationSheet,
    KeypointFigures,
    KeypointOverlay,
    LossCurves,
    picture_file,
)
from clickmap_cli.services.keypoints.tables import (
    SUMMARY,
    KeypointResult,
    as_summary,
    scored,
    write_tables,
)
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, trackers
from clickmap_cli.storage.atomic import sha256_of, write_csv
from clickmap_cli.storage.folder import RunFolder, WhenPresent, already_done
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.storage.safe_images import read_image
from clickmap_cli.storage.text_files import write_ids
from clickmap_cli.training.checkpoints import BEST, FINAL, LAST, load
from clickmap_cli.training.distributed import Group, join_processes
from clickmap_cli.training.fitting import FIRST_SCALE, FitJob, FitSettings, Watch, fit
from clickmap_cli.training.tasks.keypoint_augmentation import is_on
from clickmap_cli.training.tasks.keypoints import KeypointTask
from clickmap_cli.training.trackers import Row, WandbRun, need_tensorboard, need_wandb

_OWN = (
    "predictions.csv", "labels.csv", "predictions_dlc.csv", "per_image.csv", "per_keypoint.csv",
    SUMMARY, "augmentation.png", "loss_curve.png", "overlays", "attention",
)  # fmt: skip
UNMATCHED = "unmatched.csv"
_SHEET_IMAGES = 4
_TENTH = 10


@dataclass(frozen=True)
class KeypointRun:
    """Results of a run.

    Attributes:
        folder: folder of all outputs.
        summary: content of `summary.json`; empty for a dry run.
        seconds: duration in seconds.
        pictures: names of the folders with pictures of test images.
        written: False for a dry run, which writes nothing.
        speaks: True in the one process of a distributed run that prints results.
    """

    folder: Path
    summary: Mapping[str, Any]
    seconds: float
    pictures: tuple[str, ...] = ()
    written: bool = True
    speaks: bool = True


def run(
    config: KeypointConfig,
    progress: Progress,
    views: TrainingViews,
    figures: KeypointFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> KeypointRun:
    """Train a network on labelled key points and score it on held-out images.

    Args:
        config: the checked configuration.
        progress: receives the current stage and notices.
        views: show the training.
        figures: draw pictures.
        when: what to do with existing outputs.
        dry_run: read the labels and build the network; train and write nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs, or names something that
            does not exist.
        DataError: labels, images or weights cannot be used.
        RunError: the loss became NaN or infinite, the GPU ran out of memory, or the folder is busy.
        MissingExtraError: a tracker needs a package that is not installed.
    """
    if config.use_wandb:
        need_wandb()
    if config.tensorboard:
        need_tensorboard()
    with join_processes() as group:
        told = progress if group.first else Silent()
        return _Run(config, told, views, figures, group).go(when, dry_run)


class _Run:
    def __init__(
        self,
        config: KeypointConfig,
        progress: Progress,
        views: TrainingViews,
        figures: KeypointFigures,
        group: Group,
    ) -> None:
        self.config = config
        self.progress = progress
        self.views = views
        self.figures = figures
        self.group = group
        self.started = Stopwatch()
        self.folder = RunFolder(Path(config.output_dir), "finetune", _OWN)

    def go(self, when: WhenPresent, dry_run: bool) -> KeypointRun:
        config, path = self.config, self.folder.path
        if not dry_run and self.group.first:
            when = self.folder.require_startable(when)
        data = load_keypoints(config)
        network = network_of(config, len(data.names))
        for text in (*data.notices, *network.notices, *_old_keys(config)):
            self.progress.notice(text)
        task = self._task(data, network)
        settings = self._settings(len(data.train))
        if dry_run:
            return self._result({}, written=False)
        identity = numbers_hash(
            config, ["scores", "output"], data.digest(), _weights_digest(config)
        )
        with self.folder.held() if self.group.first else nullcontext():
            there = self.group.first and self.folder.reuse_or_begin(identity, when) is not None
            there, when = self.group.from_first((there, when))
            if there:
                self.progress.notice(already_done(path), keep=False)
                return self._result(json.loads((path / SUMMARY).read_text(encoding="utf-8")))
            if self.group.first:
                self._before(data, task, when)
            history = self._train(task, settings, identity, when is WhenPresent.RESUME)
            summary: dict[str, Any] = {}
            if self.group.first:
                summary = self._finish(data, task, network, history, identity)
            return self._result(self.group.from_first(summary))

    def _task(self, data: KeypointData, network: KeypointNet) -> KeypointTask:
        config = self.config
        network.to(choose_device(config.device))
        about = {
            "names": list(data.names), "model_type": config.model_type,
            "img_size": config.img_size, "mean": list(network.shown.mean),
            "std": list(network.shown.std),
        }  # fmt: skip
        return KeypointTask(
            network, data.train, data.validation, reference=data.reference, alpha=config.alpha,
            augment=config.augment, swaps=data.swaps, seed=config.seed, about=about,
        )  # fmt: skip

    def _settings(self, n_train: int) -> FitSettings:
        config = self.config
        steps = -(-n_train // config.train_batch_size) * config.num_epochs
        warmup = config.warmup_steps
        if warmup > steps // _TENTH:
            self.progress.notice(
                f"warmup_steps is {warmup}, more than a tenth of the {steps} steps; "
                f"{steps // _TENTH} are used."
            )
            warmup = steps // _TENTH
        if config.eval_every is not None:
            self.progress.notice(
                f"eval_every is {config.eval_every} optimiser steps, and an epoch has "
                f"{steps // config.num_epochs}; eval_every_epochs counts epochs."
            )
        stage = Stage(
            name="train",
            epochs=config.num_epochs,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            schedule=config.decay_type,
            warmup_steps=warmup,
        )
        parts = config.gradient_accumulation_steps
        return FitSettings(
            (stage,), config.train_batch_size // parts, parts, "fp16" if config.fp16 else "fp32",
            config.max_grad_norm, config.optimizer, seed=config.seed,
            threads=worker_count(config.n_jobs), monitor=f"val_{config.monitor}",
            monitor_max=config.monitor == "pck", validate_every=config.eval_every_epochs or 1,
            validate_steps=config.eval_every, keep_every=config.save_every,
            loss_scale=config.loss_scale or FIRST_SCALE,
            batch_keys=("train_batch_size", "gradient_accumulation_steps"),
        )  # fmt: skip

    def _before(self, data: KeypointData, task: KeypointTask, when: WhenPresent) -> None:
        """Write lists of the images, unmatched labels and a sheet of augmented images."""
        path = self.folder.path
        if when is not WhenPresent.RESUME:
            (path / LAST).unlink(missing_ok=True)
        for name, images in (("train", data.train), ("test", data.test)):
            write_ids(path / f"{name}.txt", [image.name for image in images])
        write_csv(path / UNMATCHED, ("labels", "name", "what"), data.unmatched)
        if is_on(self.config.augment):
            shown = data.train[:_SHEET_IMAGES]
            rows = [(image.name, task.sheet_row(image)) for image in shown]
            self.figures.sheet(AugmentationSheet(path / "augmentation.png", data.names, rows))

    def _train(
        self, task: KeypointTask, settings: FitSettings, identity: str, resume: bool
    ) -> tuple[Row, ...]:
        config, first = self.config, self.group.first
        wandb = None
        if config.use_wandb:
            wandb = WandbRun(
                config.name, config.name, self.folder.path, config.wandb_mode,
                config.wandb_project_name, config=as_dict(config),
            )  # fmt: skip
        watch = Shown(config.name, self.views, self.progress) if first else Watch()
        kept = trackers(self.folder.path, config.tensorboard, wandb) if first else ()
        job = FitJob(task, settings, self.folder.path, identity, kept, watch, self.group)
        return fit(job, resume)

    def _finish(
        self,
        data: KeypointData,
        task: KeypointTask,
        network: KeypointNet,
        history: Sequence[Row],
        identity: str,
    ) -> dict[str, Any]:
        """Score the best checkpoint, write tables, pictures and manifest; return the summary."""
        config, path = self.config, self.folder.path
        stored = load(path / BEST)
        network.load_state_dict(stored["state_dict"])
        self.progress.stage("Scoring the test images", len(data.test))
        points = task.predict(data.test, config.eval_batch_size)
        own, scores, network_scores = scored(data, points, network.shown.size, config.alpha)
        result = KeypointResult(
            config.name, config.model_type, data, network.shown.size, own, scores, network_scores,
            int(stored["about"]["epoch"]), config.seed, stored["about"].get("step"),
        )  # fmt: skip
        self.progress.stage("Tables and pictures")
        files = [*write_tables(path, result), *self._pictures(result, task, network, history)]
        files += [
            path / name for name in (BEST, FINAL, LAST, HISTORY, UNMATCHED, "train.txt", "test.txt")
        ]
        files += sorted(path.glob("epoch_*.pth")) if config.save_every else []
        files += [path / "augmentation.png"] if is_on(config.augment) else []
        counts = {
            "train": len(data.train), "test": len(data.test), "keypoints": len(data.names),
            "resamples": RESAMPLES,
        }  # fmt: skip
        self.folder.finish(
            Manifest.made(
                command="finetune", config=as_dict(config), config_hash=identity,
                inputs=data.inputs, outputs=describe_files(path, files),
                counts=counts,
                started=self.started,
                seed=config.seed,
                notices=self.progress.kept,
            )
        )  # fmt: skip
        return as_summary(result)

    def _pictures(
        self,
        result: KeypointResult,
        task: KeypointTask,
        network: KeypointNet,
        history: Sequence[Row],
    ) -> list[Path]:
        """Draw the loss curve, and overlays and attention maps of the worst test images.

        Returns:
            Paths of the pictures.
        """
        config, path, data = self.config, self.folder.path, result.data
        written = [path / "loss_curve.png"]
        self.figures.losses(LossCurves(written[0], history, result.best_step or result.best))
        scores = result.scores
        worst = np.argsort(-np.nan_to_num(scores.image_rmse, nan=-1.0), kind="stable")
        n = max(config.overlay_images, config.attention_images)
        self.progress.stage("Pictures", min(n, len(worst)))
        for rank, at in enumerate(worst[:n]):
            image = data.test[at]
            pixels, predicted = read_image(image.path), result.predicted[at]
            title = f"{image.name}: RMSE {scores.image_rmse[at]:.1f} px"
            name = picture_file(rank + 1, image.name)
            if rank < config.overlay_images:
                written.append(path / "overlays" / name)
                overlay = KeypointOverlay(
                    written[-1], title, pixels, data.names, image.points, predicted,
                    scores.wrong[at],
                )  # fmt: skip
                self.figures.overlay(overlay)
            if rank < config.attention_images:
                maps, notice = keypoint_maps(network, task.read(image, None).planes)
                if notice and not rank:
                    self.progress.notice(notice)
                written.append(path / "attention" / name)
                sheet = AttentionSheet(
                    written[-1], title, pixels, data.names, over_image(maps, image.size),
                    image.points, predicted,
                )  # fmt: skip
                self.figures.attention(sheet)
            self.progress.advance()
        return written

    def _result(self, summary: Mapping[str, Any], written: bool = True) -> KeypointRun:
        seconds = self.started.seconds
        wanted = {
            "overlays": self.config.overlay_images, "attention": self.config.attention_images,
        }  # fmt: skip
        pictures = tuple(name for name, n in wanted.items() if n)
        return KeypointRun(self.folder.path, summary, seconds, pictures, written, self.group.first)


def network_of(config: KeypointConfig, n_points: int) -> KeypointNet:
    """Return the network of a configuration with its initial weights.

    Raises:
        ConfigError: the network does not exist, or cannot take images of this size.
        DataError: its weights cannot be loaded, or do not fit.
    """
    pretrained = config.pretrained_dir
    if pretrained is not None and pretrained.lower() == "none":
        pretrained = None
    torch.manual_seed(config.seed)
    return build_keypoint_net(config.model_type, config.img_size, n_points, pretrained, config.seed)


def _weights_digest(config: KeypointConfig) -> str:
    """Return a hash of the pretrained weights' file, or the value of `pretrained_dir` as text."""
    pretrained = config.pretrained_dir
    if pretrained is None or not Path(pretrained).is_file():
        return str(pretrained)
    return sha256_of(Path(pretrained))


def _old_keys(config: KeypointConfig) -> list[str]:
    if config.fp16_opt_level is None:
        return []
    text = (
        f"fp16_opt_level ({config.fp16_opt_level}) is of an earlier library; fp16: true uses "
        "today's automatic mixed precision, which has no levels."
    )
    return [text]
