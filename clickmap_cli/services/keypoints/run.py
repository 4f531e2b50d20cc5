"""Train a key-point network on labelled images, and write scores and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.clickmaps.keys import flat_name
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.loading import as_dict, numbers_hash
from clickmap_cli.config.saliency import Stage
from clickmap_cli.metrics.keypoints import KeypointScores
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.models.attention import keypoint_maps
from clickmap_cli.models.building import describe_release
from clickmap_cli.models.keypoint_net import (
    NAMES,
    KeypointNet,
    build_keypoint_net,
    check_keypoint_net,
)
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.parallel import worker_count
from clickmap_cli.runtime.progress import Checks, Progress, Silent
from clickmap_cli.services.job import Identity, Job, Outcome, Run, Shared, run_job
from clickmap_cli.services.keypoints.data import KeypointData, load_keypoints
from clickmap_cli.services.keypoints.results import (
    SUMMARY,
    KeypointSummary,
    score_predictions,
    summarise,
    write_tables,
)
from clickmap_cli.services.training_views import HISTORY, Shown, TrainingViews, make_trackers
from clickmap_cli.storage.atomic import sha256_of, write_csv
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest
from clickmap_cli.storage.safe_images import read_image
from clickmap_cli.storage.text_files import write_ids
from clickmap_cli.training.checkpoints import BEST, FINAL, LAST, load
from clickmap_cli.training.distributed import Group, join_processes
from clickmap_cli.training.fitting import FIRST_SCALE, FitJob, FitSettings, Watch, fit
from clickmap_cli.training.tasks.keypoint_augmentation import Pixels, Points, is_on
from clickmap_cli.training.tasks.keypoints import KeypointTask
from clickmap_cli.training.trackers import Row, WandbTracker, require_trackers

UNMATCHED = "unmatched.csv"
_SHEET_IMAGES = 4
_TENTH = 10

Image = NDArray[np.uint8]


class KeypointFigures(Protocol):
    """Functions that draw pictures into their paths; `reports.keypoints` has them.

    Images are (h, w, 3) RGB; points are (k, 2) x and y in their pixels, NaN without a label.
    """

    def draw_overlay(
        self,
        path: Path,
        title: str,
        pixels: Image,
        names: Sequence[str],
        *,
        true: Points | None = None,
        predicted: Points | None = None,
        wrong: Sequence[int] = (),
    ) -> None:
        """Draw points over an image; `wrong` are indices of predicted points too far off."""

    def draw_sheet(
        self,
        path: Path,
        names: Sequence[str],
        rows: Sequence[tuple[str, Sequence[tuple[str, Pixels, Points]]]],
    ) -> None:
        """Draw a row per image: its name, and title, pixels in 0..1 and points of each panel."""

    def draw_losses(self, path: Path, rows: Sequence[Row], best: int | None = None) -> None:
        """Draw losses and scores of a history; `best` is the epoch or step to mark."""

    def draw_attention(
        self,
        path: Path,
        title: str,
        pixels: Image,
        names: Sequence[str],
        maps: Pixels,
        true: Points,
        predicted: Points,
    ) -> None:
        """Draw the (k, h, w) attention maps of an image, one for each key point."""


def picture_file(number: int, name: str) -> str:
    """Return the file name of an image's picture: `<number>_<image name without ending>.png`."""
    return f"{number:03d}_{Path(flat_name(name)).stem}.png"


def run(
    config: KeypointConfig,
    progress: Progress,
    views: TrainingViews,
    figures: KeypointFigures,
    when: WhenPresent = WhenPresent.STOP,
    dry_run: bool = False,
) -> Outcome[KeypointSummary | None] | None:
    """Train a network on labelled key points and score it on held-out images.

    Args:
        config: the checked configuration.
        progress: receives the current stage and notices.
        views: show the training.
        figures: draw pictures.
        when: what to do with existing outputs.
        dry_run: read the labels and build the network; train and write nothing, and return no
            summary.

    Returns:
        The outcome; None in the processes of a distributed run that report nothing.

    Raises:
        ConfigError: the call contradicts itself or the existing outputs, or names something that
            does not exist.
        DataError: labels, images or weights cannot be used.
        RunError: the loss became NaN or infinite, the GPU ran out of memory, or the folder is busy.
        MissingExtraError: a tracker needs a package that is not installed.
    """
    with join_processes() as group:
        told = progress if group.first else Silent()
        job = KeypointJob(config, views, figures, group)
        outcome = run_job(job, when, dry_run=dry_run, progress=told)
    return outcome if group.first else None


class KeypointJob(Job[tuple[KeypointData, KeypointTask, FitSettings], KeypointSummary | None]):
    """Training of a key-point network; only `work` calls `figures`."""

    command = "finetune"
    owns = (
        "predictions.csv", "labels.csv", "predictions_dlc.csv", "per_image.csv",
        "per_keypoint.csv", SUMMARY, "augmentation.png", "loss_curve.png", "overlays", "attention",
    )  # fmt: skip

    def __init__(
        self, config: KeypointConfig, views: TrainingViews, figures: KeypointFigures, group: Group
    ) -> None:
        self.config: KeypointConfig = config
        self.folder = Path(config.output_dir)
        self.views = views
        self.figures = figures
        self.group = group
        self.first = group.first

    def share(self, value: Shared) -> Shared:
        """Return the first process's value."""
        return self.group.broadcast(value)

    def check(self, progress: Progress) -> tuple[()]:
        """Raise ConfigError unless the network exists and takes images of this size."""
        config = self.config
        with Checks(progress).part():
            check_keypoint_net(config.model_type, config.img_size, config.n_KPs or 1)
        return ()

    def load(
        self, progress: Progress, *, dry_run: bool
    ) -> tuple[KeypointData, KeypointTask, FitSettings]:
        """Read the labels and build the network; a dry run downloads no weights."""
        config, checks = self.config, Checks(progress)
        self.check(progress)
        with checks.part():
            require_trackers(tensorboard=config.tensorboard, wandb=config.use_wandb)
        data = load_keypoints(config)
        network, notices = build_network(config, len(data.names), download=not dry_run)
        for text in (*data.notices, *notices):
            progress.notice(text)
        if config.fp16_opt_level is not None:
            progress.notice(
                f"fp16_opt_level ({config.fp16_opt_level}) is of an earlier library; fp16: true "
                "uses today's automatic mixed precision, which has no levels."
            )
        with checks.part():
            network.to(choose_device(config.device))
        about = {
            "names": list(data.names), "model_type": config.model_type,
            "img_size": config.img_size, "mean": list(network.shown.mean),
            "std": list(network.shown.std),
        }  # fmt: skip
        task = KeypointTask(
            network, data.train, data.validation, reference=data.reference, alpha=config.alpha,
            augment=config.augment, swaps=data.swaps, seed=config.seed, about=about,
        )  # fmt: skip
        return data, task, _fit_settings(config, len(data.train), progress)

    def identity(self, inputs: tuple[KeypointData, KeypointTask, FitSettings]) -> Identity:
        """Return what the scores depend on."""
        data, weights = inputs[0], str(self.config.pretrained_dir)
        if Path(weights).is_file():
            weights = sha256_of(Path(weights))
        words = (data.digest(), weights)
        return Identity(numbers_hash(self.config, ["scores", "output"], *words), data.inputs)

    def preview(self, inputs: Any) -> None:
        """Return nothing, because nothing is trained."""

    def stored(self, inputs: Any, manifest: Manifest) -> KeypointSummary:
        """Return the summary of a finished run."""
        return KeypointSummary.load(self.folder)

    def work(
        self, inputs: tuple[KeypointData, KeypointTask, FitSettings], run: Run
    ) -> KeypointSummary | None:
        """Train the network, score its best checkpoint, and write tables and pictures."""
        config, (data, task, settings), path = self.config, inputs, run.path
        if self.first:
            self._write_inputs(data, task, run)
        history = self._train(task, settings, run)
        if not self.first:
            return None
        best = load(path / BEST)
        task.network.load_state_dict(best["state_dict"])
        run.progress.stage("Scoring the test images", len(data.test))
        points = task.predict(data.test, config.eval_batch_size)
        predicted, own, network = score_predictions(data, points, task.shown.size, config.alpha)
        summary = summarise(config, data, task.shown.size, own, network, best["about"])
        run.progress.stage("Tables and pictures")
        run.add(write_tables(path, data, predicted, own, network, summary))
        self.figures.draw_losses(
            path / "loss_curve.png", history, summary.best_step or summary.best_epoch
        )
        run.add([path / "loss_curve.png"])
        self._draw_worst(data, task, predicted, own, run)
        names = (BEST, FINAL, LAST, HISTORY, UNMATCHED, "train.txt", "test.txt")
        run.add(path / name for name in names)
        run.add(path.glob("epoch_*.pth") if config.save_every else ())
        run.counts |= {
            "train": len(data.train), "test": len(data.test), "keypoints": len(data.names),
            "resamples": RESAMPLES,
        }  # fmt: skip
        return summary

    def _write_inputs(self, data: KeypointData, task: KeypointTask, run: Run) -> None:
        """Write lists of the images, unmatched labels and a sheet of augmented images."""
        if not run.resumed:
            (run.path / LAST).unlink(missing_ok=True)
        for name, images in (("train", data.train), ("test", data.test)):
            write_ids(run.path / f"{name}.txt", [image.name for image in images])
        write_csv(run.path / UNMATCHED, ("labels", "name", "what"), data.unmatched)
        if is_on(self.config.augment):
            rows = [(image.name, task.sheet_row(image)) for image in data.train[:_SHEET_IMAGES]]
            sheet = run.path / "augmentation.png"
            self.figures.draw_sheet(sheet, data.names, rows)
            run.add([sheet])

    def _train(self, task: KeypointTask, settings: FitSettings, run: Run) -> tuple[Row, ...]:
        config = self.config
        kept = make_trackers(run.path, config.tensorboard) if self.first else []
        if self.first and config.use_wandb:
            kept.append(
                WandbTracker(
                    run.path, name=config.name, group=config.name, mode=config.wandb_mode,
                    project=config.wandb_project_name, config=as_dict(config),
                )
            )  # fmt: skip
        watch = Shown(config.name, self.views, run.progress) if self.first else Watch()
        job = FitJob(task, settings, run.path, run.identity, kept, watch, self.group)
        return fit(job, run.resumed)

    def _draw_worst(
        self,
        data: KeypointData,
        task: KeypointTask,
        predicted: NDArray[np.float64],
        scores: KeypointScores,
        run: Run,
    ) -> None:
        """Draw overlays and attention maps of the test images with the largest errors."""
        config, names = self.config, data.names
        worst = np.argsort(-np.nan_to_num(scores.image_rmse, nan=-1.0), kind="stable")
        n = max(config.overlay_images, config.attention_images)
        run.progress.stage("Pictures", min(n, len(worst)))
        for rank, at in enumerate(worst[:n]):
            image, points = data.test[at], predicted[at]
            pixels = read_image(image.path)
            title = f"{image.name}: RMSE {scores.image_rmse[at]:.1f} px"
            file = picture_file(rank + 1, image.name)
            if rank < config.overlay_images:
                path = run.path / "overlays" / file
                self.figures.draw_overlay(
                    path, title, pixels, names, true=image.points, predicted=points,
                    wrong=scores.wrong[at],
                )  # fmt: skip
                run.add([path])
            if rank < config.attention_images:
                maps, notice = keypoint_maps(task.network, task.read(image, None).planes)
                if notice and not rank:
                    run.progress.notice(notice)
                path = run.path / "attention" / file
                maps = resize(maps, image.size)
                self.figures.draw_attention(
                    path, title, pixels, names, maps, image.points, points
                )  # fmt: skip
                run.add([path])
            run.progress.advance()


def _fit_settings(config: KeypointConfig, n_train: int, progress: Progress) -> FitSettings:
    """Return the settings of the training, and give notices about keys that count in steps."""
    steps = -(-n_train // config.train_batch_size) * config.num_epochs
    warmup = config.warmup_steps
    if warmup > steps // _TENTH:
        progress.notice(
            f"warmup_steps is {warmup}, more than a tenth of the {steps} steps; "
            f"{steps // _TENTH} are used."
        )
        warmup = steps // _TENTH
    if config.eval_every is not None:
        progress.notice(
            f"eval_every is {config.eval_every} optimiser steps, and an epoch has "
            f"{steps // config.num_epochs}; eval_every_epochs counts epochs."
        )
    stage = Stage(
        name="train", epochs=config.num_epochs, lr=config.learning_rate,
        weight_decay=config.weight_decay, schedule=config.decay_type, warmup_steps=warmup,
    )  # fmt: skip
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


def build_network(
    config: KeypointConfig, n_points: int, *, download: bool
) -> tuple[KeypointNet, Sequence[str]]:
    """Build the network of a configuration with its initial weights.

    Args:
        config: the configuration.
        n_points: number of key points.
        download: False to draw random weights instead of timm's.

    Returns:
        The network, and notices about its weights.

    Raises:
        ConfigError: the network does not exist, or cannot take images of this size.
        DataError: its weights cannot be loaded, or do not fit.
    """
    pretrained = config.pretrained_dir
    if pretrained is not None and pretrained.lower() == "none":
        pretrained = None
    note = None
    if not download:
        timm_name = NAMES.get(config.model_type, config.model_type)
        note = describe_release("pretrained_dir", str(pretrained).lower(), timm_name)
    torch.manual_seed(config.seed)
    network = build_keypoint_net(
        config.model_type, config.img_size, n_points, pretrained if note is None else None,
        config.seed,
    )  # fmt: skip
    return network, network.notices if note is None else (note,)
